"""Where a thread of an explored machine stands: the innermost line of shown source among the coroutines that
await each other, and which lines a step ran. What the thread is about to do is said by its point
(`vtdkit.kernel.explored.points`).
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from vtdkit.kernel.record.sites import frames, short_path

SHOWN = (
    "vtdkit/iommu/",
    "vtdkit/series/",
    "vtdkit/lab/scenarios/",
    "notebooks/lessons/scenes/",  # in a clone
    "lessons/scenes/",  # in a copy
    "<cell>",
)
LONGEST = 200  # lines of one function


@dataclass(frozen=True, slots=True)
class Source:
    """A function as it is shown: its name, the file from the package down, the number of its
    first line, its lines.
    """

    name: str
    file: str
    first: int
    lines: tuple[str, ...]


class Sources:
    """The functions that are shown, in order of first appearance. Guards: used by one thread."""

    def __init__(self, scenario: Any) -> None:
        code = getattr(getattr(scenario, "func", scenario), "__code__", None)
        self.own = code.co_filename if code is not None else ""
        self.shown: dict[CodeType, Source] = {}

    def shows(self, code: CodeType) -> bool:
        """Is a function's source shown?"""
        return code.co_filename == self.own or short_path(code.co_filename).startswith(SHOWN)

    def number(self, code: CodeType) -> int:
        """The number of a function, read when first asked for."""
        if code not in self.shown:
            file, first = short_path(code.co_filename), code.co_firstlineno
            self.shown[code] = Source(_shown_name(code), file, first, _lines(code))
        return list(self.shown).index(code)


def _lines(code: CodeType) -> tuple[str, ...]:
    """The source of a function; what can be had of it."""
    linecache.checkcache(code.co_filename)
    try:
        lines, _ = inspect.getsourcelines(code)
    except (OSError, TypeError):
        return (f"(the source of {code.co_name} is not at hand)",)
    indent = len(lines[0]) - len(lines[0].lstrip())
    return tuple(line.rstrip("\n")[indent:] for line in lines[:LONGEST])


def _shown_name(code: CodeType) -> str:
    """`Patch01.show_device_domain_translation`, or the bare name of a function inside another."""
    return code.co_qualname.split("<locals>.")[-1]


def standing(process: Any, sources: Sources) -> tuple[int, int, tuple[str, ...]]:
    """The innermost shown function, the line in it, and the functions on the way there."""
    shown = [frame for frame in frames(process.coro) if sources.shows(frame.f_code)]
    if not shown:
        return -1, 0, ()
    code, line = shown[-1].f_code, shown[-1].f_lineno
    return (
        sources.number(code),
        line or code.co_firstlineno,
        tuple(_shown_name(frame.f_code) for frame in shown),
    )


@contextmanager
def lines_run(sources: Sources) -> Iterator[list[tuple[CodeType, int]]]:
    """While it is open, the list gets which lines of shown functions run: (code, line), in order."""
    seen: list[tuple[CodeType, int]] = []

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            seen.append((frame.f_code, frame.f_lineno))
        return line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: line if sources.shows(frame.f_code) else None)
    try:
        yield seen
    finally:
        sys.settrace(before)
