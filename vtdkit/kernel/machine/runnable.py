"""What was given to be run as a thread, looked at first: a coroutine, with no `await` missing in it."""

from __future__ import annotations

from typing import Any

from vtdkit.kernel.checkers.awaits import check_awaits
from vtdkit.kernel.record.sites import driver_here, site

from .engine import Pause


def runnable(coro: Any, what: str = "a thread") -> Any:
    """Something that can be run, made of what was given for it. Raises TypeError if it cannot be, or if
    an `await` is missing in it.
    """
    if isinstance(coro, Pause):
        coro = _only(coro)  # a thread may do nothing but `machine.work(ns)`
    if not hasattr(coro, "send"):
        hint = f"; call it: {coro.__name__}()" if callable(coro) and hasattr(coro, "__name__") else ""
        raise TypeError(
            f"{what} is a coroutine, what calling an async function gives; got {repr(coro)[:80]}{hint}, "
            f"at {site(driver_here())}"
        )
    try:
        check_awaits(coro)
    except TypeError:
        coro.close()
        raise
    return coro


async def _only(pause: Any) -> None:
    await pause
