"""Schedules: who moved, step by step, as a short text that can be kept, mailed and replayed.

    v1: 0*4 1*2 0*3        process 0 takes four steps, process 1 two, process 0 three

A name is written as a number, a tuple of numbers or a plain word: `3`, `(1,0)`, `device.nvme_irq#2`. The text
begins with the version of this notation; where it is typed by hand it may be left out. A schedule without
steps is `v1:`; no text at all is none.
"""

from __future__ import annotations

import re
from ast import literal_eval
from dataclasses import dataclass
from itertools import groupby

from .system import Process

VERSION = "v1:"
MOST_STEPS = 1_000_000
# NAME or NAME*COUNT
_NUMBER = "(?:0|[1-9][0-9]{0,17})"
_NUMBERS = rf"\((?:{_NUMBER},)+(?:{_NUMBER})?\)"
_WORD = "[A-Za-z_][A-Za-z0-9_./#@-]*"
_PART = re.compile(rf"(?:({_NUMBER}|{_NUMBERS})|({_WORD}))(?:\*([1-9][0-9]{{0,17}}))?")


class ScheduleError(ValueError):
    """A schedule's text cannot be read, or does not fit the system that it is replayed on."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who moves, step by step.

    >>> Schedule.parse("v1: 0*2 1 0").steps
    (0, 0, 1, 0)
    >>> Schedule((0, 0, 1, 0)).switches
    2
    """

    steps: tuple[Process, ...]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule's text. ScheduleError says which part of it is none."""
        if not text.strip():
            raise ScheduleError("the schedule is empty; it begins with 'v1:', as in 'v1: cat*4 unmap'")
        steps: list[Process] = []
        for word in text.removeprefix(VERSION).split():
            part = _PART.fullmatch(word)
            if part is None:
                raise ScheduleError(
                    f"{word!r} is no part of a schedule; write cat*4 unmap: a thread's name, "
                    "and how many steps it takes"
                )
            number, name, digits = part.groups()
            count = int(digits or 1)
            if len(steps) + count > MOST_STEPS:
                raise ScheduleError(f"the schedule has more than {MOST_STEPS} steps at {word!r}")
            steps += [name or literal_eval(number)] * count
        return cls(tuple(steps))

    @property
    def runs(self) -> tuple[tuple[Process, int], ...]:
        """(process, how many steps it takes in a row)."""
        return tuple((process, len(list(steps))) for process, steps in groupby(self.steps))

    @property
    def switches(self) -> int:
        """How often the next step is another process's."""
        return max(0, len(self.runs) - 1)

    @property
    def text(self) -> str:
        """The schedule as text."""
        names = ((str(name).replace(" ", ""), count) for name, count in self.runs)
        return " ".join((VERSION, *(f"{name}*{count}" if count > 1 else name for name, count in names)))

    def __repr__(self) -> str:
        return f"Schedule({self.text!r})"
