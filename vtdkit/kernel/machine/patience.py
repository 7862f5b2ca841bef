"""A step that computes for ever: `while True: pass` in a thread.

The engine counts steps, and one that does not end is no step more. So whoever runs steps says so here
(`PATIENCE.begin(engine)`, `.end()`), and a thread of Python looks once a second whether the engine has
`taken` one more. When one step has computed for `SECONDS`, `TooLongError` is raised in it.
Where no thread can be started, in a browser for instance, nothing is watched; code written in C is not
interrupted.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from time import process_time, sleep
from typing import Protocol

SECONDS = 20.0  # of this program's computing, not of the clock on the wall


class TooLongError(BaseException):
    """Raised in a step that does not end; whoever runs the step says which it was."""


class Steps(Protocol):
    """Who runs steps: `taken` grows with each."""

    taken: int


class Patience:
    """Watches the steps of this program. `running`: who runs them, innermost last. Guards: `over`
    guards `running` against the watching thread, so that nothing is raised after the end.
    """

    def __init__(self) -> None:
        self.over = threading.Lock()
        self.running: list[Steps] = []
        self.begun = self.thread = 0
        self.watching = False

    def begin(self, steps: Steps) -> None:
        """Steps are run from now on."""
        self.running.append(steps)
        self.begun += 1
        if len(self.running) == 1:
            self.thread = threading.get_ident()
            if not self.watching:
                with suppress(RuntimeError):
                    threading.Thread(target=self._watch, daemon=True).start()
                self.watching = True

    def end(self) -> None:
        """The last of them has ended."""
        with self.over:
            self.running.pop()

    def _watch(self) -> None:
        seen, since = (0, 0), 0.0
        while True:
            sleep(1)
            with self.over:
                now = self.begun, self.running[-1].taken if self.running else 0
                if not self.running or now != seen:
                    seen, since = now, process_time()
                elif process_time() - since > SECONDS:
                    thread, error = ctypes.c_ulong(self.thread), ctypes.py_object(TooLongError)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)
                    since = process_time()


PATIENCE = Patience()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PATIENCE.__init__)  # type: ignore[misc]  # threads do not come along
