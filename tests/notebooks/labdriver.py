"""JupyterLab in a real browser, driven from Python: Playwright and the chromium of the system.

    with lab_server(ROOT) as server, chromium() as browser, LabPage(browser, server) as page:
        page.open("notebooks/00-start-here.ipynb")
        page.run_all()
        assert page.errors() == [] and page.outside == []
        page.panel.get_by_role("slider", name="step").press("ArrowRight")

Rules for the caller: assert text, roles and names, never pixels. Everything the server and the browser
write goes to a temporary folder; the server listens on 127.0.0.1 with a token; the browser can resolve no
other host, and `outside` lists what it asked for all the same. Both are stopped by whoever started them,
by process id. `why_no_browser()` is the reason to skip.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
AUTOSAVE = "@jupyterlab/docmanager-extension/plugin"
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    AUTOSAVE: {"autosave": False},
    # Every cell is in the page, also those scrolled out of sight.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
#: roles that a person operates or looks at; each needs a name
_NAMED_ROLES = (
    "button|slider|spinbutton|textbox|combobox|listbox|checkbox|radio|switch|tab|link|img|"
    "application|grid|tree"
)


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return next((found for name in CHROMIUM if (found := shutil.which(name))), None)


def why_no_browser() -> str | None:
    """Why no browser can be driven here; None where one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed (pip install -e .[browser])"
    return None if find_chromium() else "there is no chromium here (Debian: apt-get install chromium)"


@dataclass(frozen=True, slots=True)
class Server:
    """A JupyterLab that runs: where, and what opens its door."""

    base: str
    token: str
    pid: int

    def url(self, path: str) -> str:
        """Where a file is opened, in a fresh workspace."""
        return f"{self.base}/lab/tree/{quote(path)}?reset&token={self.token}"


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def lab_server(folder: Path, *, timeout: float = 60, autosave: float | None = None) -> Iterator[Server]:
    """JupyterLab over `folder`, apart from the settings of whoever runs it. `autosave` saves what is
    changed every so many seconds; without it nothing is saved. Raises `RuntimeError` with its log if it
    does not start.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        home = Path(scratch)
        port, token = free_port(), secrets.token_hex(16)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                _command(folder, home, port, token),
                env=_environment(home, autosave),
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        try:
            server = Server(f"http://127.0.0.1:{port}", token, process.pid)
            _wait_until_it_answers(server, process, home / "log", timeout)
            yield server
        finally:
            stop(process)


def _command(folder: Path, home: Path, port: int, token: str) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
    ]
    words += [
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    # As an installed copy has it, installed or not.
    words += [f"--LabApp.extra_labextensions_path={ROOT / 'vtdkit/views/labextensions'}"]
    words += [f"--FileCheckpoints.checkpoint_dir={home / 'checkpoints'}"]
    return words + (["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])


def _environment(home: Path, autosave: float | None) -> dict[str, str]:
    saving = {} if autosave is None else {AUTOSAVE: {"autosave": True, "autosaveInterval": autosave}}
    for name, content in (SETTINGS | saving).items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    # The kernel imports this checkout, installed or not.
    path_list = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        **{name: str(home / folder) for name, folder in folders.items()},
        "PYTHONPATH": path_list,
    }


def _wait_until_it_answers(
    server: Server, process: subprocess.Popen[bytes], log: Path, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.base}/api/status?token={server.token}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(
        "JupyterLab did not start:\n" + log.read_text(encoding="utf-8", errors="replace")[-2000:]
    )


def stop(process: subprocess.Popen[Any]) -> None:
    """Ask; the server ends its kernels. Insist if it does not."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser (Playwright's `Browser`) that reaches this machine and no other."""
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*FLAGS, *as_root])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page with a record of what it asked other machines for (`outside`), of its
    JavaScript errors (`page_errors`), and of what its console has of errors (`console_errors`).
    """

    def __init__(self, browser: Any, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page = self.context.new_page()
        self.outside: list[str] = []
        self.page_errors: list[str] = []
        self.page.on("request", lambda request: self._seen(request.url))
        self.page.on("websocket", lambda socket: self._seen(socket.url))
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.console_errors: list[str] = []
        self.page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.console_errors.append(message.text)

    def _seen(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname != "127.0.0.1":
            self.outside.append(url)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()


class LabPage(Watched):
    """One notebook open in JupyterLab.

    `panel` is the Playwright locator of the notebook; below it the usual `get_by_role(...)`,
    `get_by_text(...)`, `.press(key)` work.
    """

    def __init__(
        self, browser: Any, server: Server, *, theme: str = "light", width: int = 1280, height: int = 900
    ) -> None:
        super().__init__(browser, width=width, height=height, dark=theme == "dark")
        self.server = server
        self.theme = theme

    @property
    def panel(self) -> Any:
        """The notebook that is open."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")

    def open(self, path: str, *, timeout: float = 60) -> None:
        """Open a notebook, named from the server's folder, and wait until its kernel is ready."""
        limit = timeout * 1000
        self.page.goto(self.server.url(path), timeout=limit)
        self.panel.wait_for(timeout=limit)
        self.page.wait_for_function(f"() => ({_KERNEL})?.status === 'idle'", timeout=limit)
        # The side bars would take a third of the width that a student has.
        self.page.evaluate(
            "() => { window.jupyterapp.shell.collapseLeft(); window.jupyterapp.shell.collapseRight(); }"
        )
        self.set_theme(self.theme)

    def set_theme(self, theme: str) -> None:
        """JupyterLab's light or dark theme."""
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        self.theme = theme

    def run_all(self, *, timeout: float = 120) -> float:
        """Run every cell and wait until all are done and the kernel idles; returns the seconds it took."""
        began = time.monotonic()
        self.page.evaluate(
            "() => { window.ranAll = false; "
            "window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { "
            "window.ranAll = true; }); }"
        )
        self.page.wait_for_function("() => window.ranAll", timeout=timeout * 1000)
        self.wait_idle(timeout=timeout)
        return time.monotonic() - began

    def wait_idle(self, *, timeout: float = 60) -> None:
        """Wait until the kernel has nothing to do and the browser has painted it."""
        self.page.wait_for_function(f"() => ({_KERNEL})?.status === 'idle'", timeout=timeout * 1000)
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def cells(self) -> list[dict[str, Any]]:
        """The cells with their outputs, as JupyterLab has them now."""
        found: list[dict[str, Any]] = self.page.evaluate(f"() => {_PANEL}.content.model.toJSON().cells")
        return found

    def errors(self) -> list[str]:
        """Error outputs in cells not tagged raises-exception, as `cell N: Name: text`."""
        return [
            f"cell {number}: {output['ename']}: {output['evalue']}"
            for number, cell in enumerate(self.cells(), 1)
            if "raises-exception" not in cell["metadata"].get("tags", [])
            for output in cell.get("outputs", [])
            if output["output_type"] == "error"
        ]

    def widgets(self) -> Any:
        """The locator of all widgets that are shown (Playwright waits for those that
        are still being made).
        """
        return self.panel.locator(".jp-OutputArea-output.lm-Panel")

    def accessibility(self) -> str:
        """The outputs as a screen reader is told of them: one line for each role with its name."""
        return "\n".join(
            area.aria_snapshot()
            for area in self.panel.locator(".jp-OutputArea-output").all()
            if area.is_visible()
        )

    def screenshots(self, folder: Path, name: str, *, slice_height: int = 1500) -> list[Path]:
        """The whole notebook as pictures of at most `slice_height` pixels each,
        `NAME-THEME-1.png` and so on.
        """
        size = self.page.viewport_size
        self.page.set_viewport_size({"width": size["width"], "height": min(self._height() + 200, 30_000)})
        self.panel.evaluate(f"node => {{ for (const each of {_SCROLLERS}) each.scrollTop = 0; }}")
        self.wait_idle()
        folder.mkdir(parents=True, exist_ok=True)
        box, height = self.panel.bounding_box(), self._height()
        written = []
        for number, top in enumerate(range(0, height, slice_height), 1):
            path = folder / f"{name}-{self.theme}-{number}.png"
            clip = {
                "x": box["x"],
                "y": box["y"] + top,
                "width": box["width"],
                "height": min(slice_height, height - top),
            }
            self.page.screenshot(path=str(path), clip=clip)
            written.append(path)
        self.page.set_viewport_size(size)
        return written

    def _height(self) -> int:
        """From the top of the first cell to the bottom of the last one, and a little air."""
        ends = "cells => cells.at(-1).getBoundingClientRect().bottom - cells[0].getBoundingClientRect().top"
        return int(self.panel.locator(".jp-Notebook-cell").evaluate_all(ends)) + 40


_SCROLLERS = "[node, ...node.querySelectorAll('.jp-WindowedPanel-outer')]"
_PANEL = "window.jupyterapp.shell.currentWidget"
_KERNEL = f"window.jupyterapp && {_PANEL}?.sessionContext?.session?.kernel"


def unnamed(snapshot: str) -> list[str]:
    """The lines of an accessibility snapshot that have a role a person operates or looks at, and no name."""
    return [
        line.strip()
        for line in snapshot.splitlines()
        if re.match(rf"\s*- (?:{_NAMED_ROLES})(?!\s*\")\b(?!-)", line)
    ]
