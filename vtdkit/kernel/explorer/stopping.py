"""When a search ends early: at its limit, because the caller has seen enough, or by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from .tally import Tally


class Stopping:
    """Asked after each execution whether to go on.

    Used as a context manager: within it, in the main thread, the first Ctrl-C only sets `interrupted`; the
    second one interrupts at once as usual.

    limit  how many executions to run at most, or None
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.interrupted = False
        self._handler: Any = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def go_on(self, tally: Tally) -> bool:
        """Say whether to run another execution."""
        at_limit = self.limit is not None and tally.ended >= self.limit
        return not (self.interrupted or tally.stopped or at_limit)

    def reason(self, tally: Tally) -> str:
        """Say why the search ended early."""
        done = f"{tally.ended} execution{'' if tally.ended == 1 else 's'}"
        if self.interrupted:
            return f"stopped by the user after {done}"
        if tally.stopped:
            return f"stopped by on_outcome after {done}"
        return f"stopped at the limit of {self.limit}, after {done}"
