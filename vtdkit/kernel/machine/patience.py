"""A step that computes for ever: `while True: pass` in a thread.

The engine counts steps, and one that does not end is no step more. So whoever runs a step says so here
(`PATIENCE.begin()`, `.beat()` for each bit of progress, `.end()`), and a thread of Python looks once a
second whether anything goes on. When one step has computed for `SECONDS`, `TooLongError` is raised in it.
Where no thread can be started, in a browser for instance, nothing is watched; code written in C is not
interrupted.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from time import process_time, sleep

SECONDS = 20.0  # of this program's computing, not of the clock on the wall


class TooLongError(BaseException):
    """Raised in a step that does not end; whoever runs the step says which it was."""


class Patience:
    """Watches the steps of this program. Guards: `over` guards `busy` against the watching thread, so that
    nothing is raised after the end.
    """

    def __init__(self) -> None:
        self.over = threading.Lock()
        self.busy = self.beats = self.thread = 0
        self.watching = False

    def begin(self) -> None:
        """Steps are run from now on."""
        self.busy += 1
        self.beats += 1
        if self.busy == 1:
            self.thread = threading.get_ident()
            if not self.watching:
                with suppress(RuntimeError):
                    threading.Thread(target=self._watch, daemon=True).start()
                self.watching = True

    def end(self) -> None:
        """The last of them has ended."""
        with self.over:
            self.busy -= 1

    def _watch(self) -> None:
        seen, since = -1, 0.0
        while True:
            sleep(1)
            with self.over:
                if not self.busy or self.beats != seen:
                    seen, since = self.beats, process_time()
                elif process_time() - since > SECONDS:
                    thread, error = ctypes.c_ulong(self.thread), ctypes.py_object(TooLongError)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)
                    since = process_time()


PATIENCE = Patience()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PATIENCE.__init__)  # type: ignore[misc]  # threads do not come along
