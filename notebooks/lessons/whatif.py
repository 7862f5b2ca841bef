"""`what_if`: a scene of a lesson with knobs to turn; what it shows follows below.

    def dump(driver=old, pages=512):
        run = dump_scene(driver, pages)
        return LockTimeline(run.trace, start=run.start), run.locks

    what_if(dump, driver={"before": old, "after": new}, pages=[64, 512, 1024])

Each knob is a parameter of the function, which returns what is to be seen: a widget, a table, anything with
a repr, or several of these. It starts at the parameters' defaults, and runs again whenever a knob is turned,
which should take no longer than a third of a second. A page without a kernel, and a notebook that was only
opened, has one line of text instead (pages find the cell by its tag, `what-if`).
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anywidget
from ipywidgets import HTML, Dropdown, HBox, Layout, VBox, Widget

Choices = Sequence[Any] | Mapping[str, Any]


class KeepsKeys(anywidget.AnyWidget):
    """Unseen, in the row of knobs: a key pressed in one of them does not reach JupyterLab, whose shortcuts
    would move to the next cell or delete this one. Escape gives the keys back.
    """

    _esm = """
    export default { render({ el }) {
      const find = () => {
        const row = el.closest(".vtd-knobs");
        if (!row) return setTimeout(find, 50);  // not in the page yet
        const ours = ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true");
        row.addEventListener("focusin", ours);
        row.addEventListener("keydown", ({ key, target }) => {
          if (key !== "Escape") return;
          target.blur();
          row.closest(".jp-Cell")?.focus({ preventScroll: true });
        });
      };
      el.style.display = "none";
      find();
    } };
    """


class WhatIf:
    """Knobs, and below them what `show` makes of their values."""

    def __init__(self, show: Callable[..., Any], knobs: Mapping[str, Choices]) -> None:
        self.show = show
        starts = inspect.signature(show).parameters
        self.knobs = {name: _knob(name, choices, starts[name].default) for name, choices in knobs.items()}
        self.below = VBox()
        controls: list[Widget] = [KeepsKeys(), *self.knobs.values()]
        for knob in self.knobs.values():
            knob.observe(self.turned, "value")
        row = HBox(controls, layout=Layout(flex_flow="row wrap"))
        row.add_class("vtd-knobs")
        self.box = VBox([row, self.below])

    def turned(self, _change: object = None) -> None:
        """Run the scene with the knobs as they stand, and show what it shows in the old one's place."""
        try:
            shown = self.show(**{name: knob.value for name, knob in self.knobs.items()})
        except Exception as error:  # the reader may have changed the scene: say what is wrong with it, there
            shown = f"{type(error).__name__}: {error}"[:80]
        before, self.below.children = (
            self.below.children,
            tuple(_widget(each) for each in (shown if isinstance(shown, tuple) else (shown,))),
        )
        for each in before:
            each.close()

    def __repr__(self) -> str:
        at = ", ".join(f"{knob.description} {knob.label}" for knob in self.knobs.values())
        return f"<what if: {at}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The knobs; where there is no kernel to answer them, a line that says so."""
        self.turned()
        names = " and ".join(knob.description for knob in self.knobs.values())
        line = f"Knobs for {names}. They need a kernel: run this cell in JupyterLab."
        return {
            **self.box._repr_mimebundle_(**kwargs),
            "text/plain": repr(self),
            "text/html": f"<p>{html.escape(line)}</p>",
        }


def what_if(show: Callable[..., Any], **knobs: Choices) -> WhatIf:
    """Knobs for `show`: each a parameter's name and its values, or what the knob says for each value."""
    return WhatIf(show, knobs)


def _knob(name: str, choices: Choices, start: Any) -> Dropdown:
    """A drop-down list: a native control with a label, which keys and screen readers know."""
    pairs = choices.items() if isinstance(choices, Mapping) else ((_label(each), each) for each in choices)
    return Dropdown(
        options=list(pairs),
        value=start,
        description=name.replace("_", " "),
        style={"description_width": "initial"},
        layout=Layout(width="auto"),
    )


def _label(value: bool | int | str) -> str:
    """A value as the knob says it: thousands apart, yes and no."""
    names = {False: "no", True: "yes"}
    return names[value] if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else str(value)


def _widget(thing: Any) -> Widget:
    """What is to be seen, as a widget."""
    if isinstance(thing, Widget):
        return thing
    shown = getattr(thing, "_repr_html_", None)
    return HTML(shown() if shown else f"<pre>{html.escape(str(thing))}</pre>")
