"""Places in source: where a lock was taken, a page freed, a word written.

On the hot path a place is a `Spot`, one object for each place that is ever used; `site` turns it into
something readable when somebody looks. The name of a place is its function's, which for a driver is the
kernel's own function name. A table of spots that belongs to one lock class also counts what happened there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from traceback import walk_stack
from types import CodeType, FrameType
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One place: `function`, and the file (from the package down) and line it is at."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"

    __repr__ = __str__


NOWHERE = Site("?", "?", 0)


@dataclass(slots=True, eq=False)
class Spot:
    """One place: the code object and the offset of the instruction.

    Where locks are taken it also says what happened there: `waits` and `holds` are the nanoseconds of
    each wait and each hold since the statistics were last folded (`locks.log.LockLog`), `waited` counts
    the waits before that, `blocked` those who waited for a lock taken here.
    """

    code: CodeType
    offset: int
    waits: list[int] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    waited: int = 0
    blocked: int = 0

    @property
    def site(self) -> Site:
        """The readable form."""
        return _site(self.code, self.offset)


@dataclass(slots=True, eq=False, repr=False)
class Spots:
    """A table of spots, by one number made of code object and offset (a spot keeps its code object alive, so
    the number stays its own). Each lock class has one of its own, for its statistics. `first`: the first spot
    met at an offset, whatever its code, for who looks there first (measured: 3 % of a lock cycle).
    """

    table: dict[int, Spot] = field(default_factory=dict)
    first: dict[int, Spot] = field(default_factory=dict)

    def at(self, frame: FrameType) -> Spot:
        """The spot where `frame` is now."""
        try:
            return self.table[id(frame.f_code) << 16 | frame.f_lasti]
        except KeyError:
            return self.spot(frame.f_code, frame.f_lasti)

    def spot(self, code: CodeType, offset: int) -> Spot:
        """The spot at this instruction."""
        return self.table.setdefault(id(code) << 16 | offset, Spot(code, offset))


ANYWHERE = Spots()  #: places that belong to no lock class: allocations, frees, accesses


def here(depth: int = 1) -> Spot:
    """The place `depth` frames above the function that asks."""
    return ANYWHERE.at(sys._getframe(depth + 1))


def driver_here() -> Spot | None:
    """The place in the innermost frame that is not this room's: the line of whoever uses the kernel."""
    callers = (frame for frame, _ in walk_stack(sys._getframe(2)) if not _ours(frame.f_code))
    return next(map(ANYWHERE.at, callers), None)


def raised_at(error: BaseException) -> Spot | None:
    """The place where an error was raised: the innermost one on its way that is not this room's."""
    place, trace = None, error.__traceback__
    while trace is not None:
        if not _ours(trace.tb_frame.f_code):
            place = ANYWHERE.spot(trace.tb_frame.f_code, trace.tb_lasti)
        trace = trace.tb_next
    return place


def standing(coro: Any) -> Spot | None:
    """The place where a coroutine stands: the innermost one that it awaits and that is not this room's."""
    places = [ANYWHERE.at(frame) for frame in frames(coro) if not _ours(frame.f_code)]
    return places[-1] if places else None


def frames(coro: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of those that it awaits, outermost first."""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is not None:
            yield frame
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)


def _ours(code: CodeType) -> bool:
    """Is this code of the kernel room?"""
    return "/vtdkit/kernel/" in code.co_filename.replace("\\", "/")


def site(place: Spot | Site | None) -> Site:
    """The readable form of a place."""
    return NOWHERE if place is None else place if isinstance(place, Site) else place.site


@cache
def short_path(filename: str) -> str:
    """The part of a path that means something on another machine."""
    parts = filename.replace("\\", "/").split("/")
    for root in ("vtdkit", "tests", "notebooks", "lessons"):
        if root in parts:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(root) :])
    return "<cell>" if "ipykernel" in filename or filename.startswith("<") else parts[-1]


@lru_cache(maxsize=4096)
def _site(code: CodeType, offset: int) -> Site:
    lines = (line for start, end, line in code.co_lines() if start <= offset < end and line is not None)
    return Site(code.co_name, short_path(code.co_filename), next(lines, code.co_firstlineno))


def stack(innermost: FrameType, limit: int = 12) -> tuple[Site, ...]:
    """The call chain from a frame outwards, innermost first, as far as it is driver
    code (not the engine's).
    """
    chain: list[Site] = []
    for frame, _ in walk_stack(innermost):
        if "/kernel/" not in short_path(frame.f_code.co_filename):
            chain.append(_site(frame.f_code, frame.f_lasti))
        elif frame.f_code.co_name in ("_steps", "step"):
            break
    return tuple(chain[:limit])
