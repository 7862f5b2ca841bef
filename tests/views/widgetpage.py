"""One widget in a browser page of its own, without Jupyter: the very module and style sheet a notebook
gets, over a small model.

    with WidgetPage(browser, PageTableExplorer(image)) as page:
        page.slider("address").press("ArrowRight")
        assert page.status() == "…"

With `kernel=True` what the browser changes is set on the Python widget and what Python changes comes
back, as a kernel would do it; without, nobody answers, as in a saved page. `hosted=True` sends the state as
a kernel inside the browser does: what is None is not there. `zoom` is the browser's.
`outside` and `page_errors` must stay empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.notebooks.labdriver import unnamed
from vtdkit.views.shared.base import Widget

_GROUND = {"light": "#ffffff", "dark": "#111111"}
_START = """async ([source, sheet, state]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: sheet }));
  const heard = new Map();
  const say = (name) => (heard.get(`change:${name}`) ?? []).slice().forEach((act) => act());
  const dirty = new Set();
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
      state[name] = value;
      dirty.add(name);
      say(name);
    },
    save_changes: () => {
      const changes = Object.fromEntries([...dirty].map((name) => [name, state[name]]));
      dirty.clear();
      window.toPython?.(JSON.stringify(changes)).then((text) => {
        for (const [name, value] of Object.entries(JSON.parse(text))) { state[name] = value; say(name); }
      });
    },
    on: (name, act) => heard.set(name, [...(heard.get(name) ?? []), act]),
    off: (name, act) => heard.set(name, (heard.get(name) ?? []).filter((each) => each !== act)),
  };
  window.model = model;
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  await widget.render({ model, el: document.getElementById("host"), signal: new AbortController().signal });
}"""


def without_none(value: Any) -> Any:
    """Plain data as a kernel inside the browser sends it: keys whose value is None are dropped."""
    if isinstance(value, dict):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    return [without_none(each) for each in value] if isinstance(value, list | tuple) else value


class WidgetPage:
    """A widget that is shown. `root` is its locator, `page` Playwright's page."""

    def __init__(
        self,
        browser: Any,
        widget: Widget,
        *,
        theme: str = "light",
        width: int = 1280,
        zoom: float = 1,
        kernel: bool = False,
        hosted: bool = False,
    ) -> None:
        size = {"width": round(width / zoom), "height": round(900 / zoom)}
        self.context = browser.new_context(viewport=size, device_scale_factor=zoom, color_scheme=theme)
        self.page = self.context.new_page()
        self.outside: list[str] = []
        self.page_errors: list[str] = []
        self.page.on("request", lambda request: self._seen(request.url))
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.on("console", self._heard)
        light = "true" if theme == "light" else "false"
        body = f'<body data-jp-theme-light="{light}" style="margin:8px;background:{_GROUND[theme]}">'
        self.page.set_content(
            f'<!doctype html><html lang="en"><title>widget</title>{body}<div id="host"></div></body></html>'
        )
        self.widget = widget
        if kernel:
            self.page.expose_function("toPython", self._to_python)
        names = [
            name for name in widget.get_state() if name not in ("_esm", "_css") and not name.startswith("_")
        ]
        state = widget.get_state(names)
        self.page.evaluate(
            _START, [str(widget._esm), str(widget._css), without_none(state) if hosted else state]
        )
        self.root = self.page.locator(".vtd")

    def _seen(self, url: str) -> None:
        if urlsplit(url).scheme not in {"blob", "data", "about"}:
            self.outside.append(url)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.page_errors.append(message.text)

    def _to_python(self, text: str) -> str:
        before = self.widget.get_state()
        self.widget.set_state(json.loads(text))
        after = self.widget.get_state()
        return json.dumps({name: value for name, value in after.items() if value != before[name]})

    def html(self) -> str:
        """The whole widget, once what follows from its size (which a frame tells) is set too."""
        frames = "() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
        self.page.evaluate(frames)
        return str(self.root.evaluate("node => node.outerHTML"))

    def slider(self, name: str) -> Any:
        """The picture that shows the position, by its accessible name."""
        return self.root.get_by_role("slider", name=name)

    def status(self) -> str:
        """The line that says what is shown (without the signs that keep names whole)."""
        return str(self.root.locator(".vtd-status").text_content()).replace("\u2060", "")

    def aloud(self) -> str:
        """What of it is read out: what was not there before."""
        return str(self.root.get_by_role("status").text_content())

    def position(self, name: str) -> Any:
        """A trait as the browser has it."""
        return self.page.evaluate("name => window.model.get(name)", name)

    def complaints(self) -> list[str]:
        """Controls without a name, requests that left the page, JavaScript errors and what a console has
        of them, text that is cut off at the side.
        """
        wide = self.page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        cut = [f"{wide} pixels wider than the window"] if wide > 0 else []
        return unnamed(self.page.locator("body").aria_snapshot()) + self.outside + self.page_errors + cut

    def picture(self, path: Path) -> None:
        """A screenshot of the whole widget."""
        self.root.screenshot(path=str(path))

    def __enter__(self) -> WidgetPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()
