"""Firefox, driven by its own means: WebDriver BiDi, JSON over one websocket (which comes with Jupyter).

    with Firefox() as page:
        page.open((folder / "01.html").as_uri())
        page.run("document.querySelector('[role=slider]').focus()")
        page.press("ArrowRight")
        assert page.run("document.activeElement.ariaValueNow") == "1" and page.errors == []

`outside` are the addresses a page asked other machines for, `errors` what its console has of errors. The
browser has a profile of its own in a temporary folder and is stopped by its process id.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from tests.notebooks.labdriver import stop

KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014"}  # as WebDriver writes them
PLACES = ("firefox-esr", "firefox")


def why_no_firefox() -> str | None:
    """Why Firefox cannot be driven here; None where it can."""
    if not any(map(shutil.which, PLACES)):
        return "there is no firefox here (Debian: apt-get install firefox-esr)"
    try:
        import websocket  # noqa: F401
    except ImportError:
        return "websocket-client is not installed (it comes with jupyterlab)"
    return None


class Firefox:
    """One window. Raises RuntimeError with Firefox's words where it refuses something."""

    def __init__(self) -> None:
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.calls = 0

    def __enter__(self) -> Firefox:
        import websocket

        with ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            program = next(found for name in PLACES if (found := shutil.which(name)))
            command = [program, "--headless", "--remote-debugging-port=0", "--profile", profile]
            process = subprocess.Popen(
                command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8"
            )
            stack.callback(stop, process)
            said = next(filter(None, (re.search(r"ws://\S+", line) for line in process.stderr or ())), None)
            if said is None:
                raise RuntimeError("Firefox did not start")
            self.socket = websocket.create_connection(f"{said[0]}/session", suppress_origin=True, timeout=60)
            stack.callback(self.socket.close)
            self.call("session.new", capabilities={})
            self.page = self.call("browsingContext.getTree")["contexts"][0]["context"]
            self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            self.closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.close()

    def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol; what it answers."""
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": params}))
        while (told := json.loads(self.socket.recv())).get("id") != self.calls:
            self._heard(told.get("method"), told.get("params", {}))
        if told["type"] == "error":
            raise RuntimeError(f"{method}: {told['error']}: {told['message']}")
        return told["result"]

    def _heard(self, event: str, said: dict[str, Any]) -> None:
        if event == "log.entryAdded" and said["level"] == "error":
            self.errors.append(said["text"])
        elif event == "network.beforeRequestSent" and said["context"] == self.page:
            url = said["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.outside.append(url)

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self.call("browsingContext.navigate", context=self.page, url=url, wait="complete")

    def run(self, expression: str) -> Any:
        """What a JavaScript expression gives (JSON)."""
        made = self.call(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))",
            target={"context": self.page},
            awaitPromise=True,
        )
        if made["type"] != "success":
            raise RuntimeError(f"{expression}: {made['exceptionDetails']['text']}")
        return json.loads(made["result"]["value"])

    def wait(self, expression: str, seconds: float = 30) -> None:
        """Wait until an expression is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """Press and let go of a key, as a person does."""
        value = KEYS.get(key, key)
        actions = [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.call("input.performActions", context=self.page, actions=[keyboard])
