"""The built site in a real browser: a server for its files, and one lesson open in it.

with site_server(SITE) as base, SitePage(browser, base) as page:
    page.open("01-the-debugfs-dump.ipynb")
    page.run_all()
    assert page.errors() == [] and page.outside == []
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.notebooks.labdriver import _KERNEL, ROOT, LabPage, Server

SITE = ROOT / "build/site"


class _Quiet(SimpleHTTPRequestHandler):
    """A static host that says nothing and knows what a browser insists on."""

    extensions_map: ClassVar = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""

    def handle(self) -> None:
        """A browser that closes early is no error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()


@contextmanager
def site_server(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class SitePage(LabPage):
    """One lesson open in the site: what `LabPage` offers, with the kernel in the browser."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        super().__init__(browser, Server(base, "", 0), **options)

    def open(self, path: str, *, timeout: float = 120) -> None:
        """Open a lesson and wait until its kernel is ready."""
        limit = timeout * 1000
        workspace = path.removesuffix(".ipynb")
        self.page.goto(f"{self.server.base}/lab/index.html?path={path}&workspace={workspace}", timeout=limit)
        self.panel.wait_for(timeout=limit)
        self.page.wait_for_function(f"() => ({_KERNEL})?.status === 'idle'", timeout=limit)

    def first_cell(self, path: str, *, same_tab: bool = False) -> None:
        """Open a lesson, as a page or beside the one that is open; run it until its first output is there."""
        if same_tab:
            opened = "path => window.jupyterapp.commands.execute('docmanager:open', {path})"
            self.page.evaluate(f"{opened}.then(() => undefined)", path)
            self.page.wait_for_function(f"() => ({_KERNEL})?.status === 'idle'", timeout=120_000)
        else:
            self.open(path)
        for command in ("clear-all-cell-outputs", "run-all-cells"):
            self.page.evaluate("name => { window.jupyterapp.commands.execute(name); }", f"notebook:{command}")
        self.panel.locator(".jp-OutputArea-output").first.wait_for(timeout=120_000)
