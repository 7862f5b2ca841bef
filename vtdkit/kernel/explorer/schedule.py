"""Schedules: who moved, step by step, as a short text that can be kept, mailed and replayed.

    v1: 0*4 1*2 0*3        process 0 takes four steps, process 1 two, process 0 three

A name is written as a number, as a plain word, in quotes, or as a tuple of these without blanks: `3`, `dump`,
`'the dump'`, `(irq,0)`. The text begins with the version of this notation.

A schedule may stop early. `replay` then lets the process that moved last go on for as long as it can, then
the first of the others that can move, and so on to the end.

Past bugs are kept in text files, a few lines each: see `saved.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from .footprint import Footprints
from .path import Path
from .system import Access, Outcome, Process, System
from .tally import deadlock_of

VERSION = "v1:"
MOST_STEPS = 1_000_000
MOST_BYTES = 1_000_000
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./#@-]*")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_QUOTED = re.compile(r"'((?:[^'\\\s]|\\['\\s])*)'")


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
        """Read a schedule's text. ScheduleError says what is wrong, and where."""
        if len(text) > MOST_BYTES:
            raise ScheduleError(f"a schedule of {len(text)} characters; at most {MOST_BYTES} are read")
        words = text.split()
        version = words.pop(0) if words else ""
        if version != VERSION:
            raise ScheduleError(
                f"a schedule begins with {VERSION!r}, as in 'v1: 0*4 1*2'; this begins with {version!r}"
            )
        steps: list[Process] = []
        for number, word in enumerate(words, 1):
            name, count = _read_word(word, number)
            if len(steps) + count > MOST_STEPS:
                raise ScheduleError(
                    f"the schedule has more than {MOST_STEPS} steps at word {number}, {word!r}"
                )
            steps.extend([name] * count)
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
        """The schedule as text. ScheduleError if a process has a name that cannot be written."""
        runs = (name_text(name) + (f"*{count}" if count > 1 else "") for name, count in self.runs)
        return " ".join((VERSION, *runs))

    def __repr__(self) -> str:
        return f"Schedule({self.text!r})"

    def __len__(self) -> int:
        return len(self.steps)


def name_text(name: Process) -> str:
    """Write a process's name as it stands in a schedule."""
    if isinstance(name, int):
        return str(int(name))
    if isinstance(name, str):
        if _WORD.fullmatch(name):
            return name
        quoted = name.replace("\\", "\\\\").replace("'", "\\'").replace(" ", "\\s")
        if _QUOTED.fullmatch(f"'{quoted}'"):
            return f"'{quoted}'"
    if isinstance(name, tuple) and name:
        return "(" + ",".join(name_text(part) for part in name) + (",)" if len(name) == 1 else ")")
    raise ScheduleError(
        f"a process named {name!r} cannot be written in a schedule; use a number, a text or a tuple"
    )


def _read_word(word: str, number: int) -> tuple[Process, int]:
    name, end = _read_name(word, 0, word, number, 0)
    count = word[end:]
    if count == "":
        return name, 1
    if not re.fullmatch(r"\*[1-9][0-9]{0,8}", count):
        raise ScheduleError(f"word {number} of the schedule, {word!r}, should be NAME or NAME*COUNT")
    return name, int(count[1:])


def _read_name(text: str, start: int, word: str, number: int, depth: int) -> tuple[Process, int]:
    """Read a name from `start` on; return it and where it ends."""
    if found := _NUMBER.match(text, start):
        return int(found[0]), found.end()
    if found := _WORD.match(text, start):
        return found[0], found.end()
    if found := _QUOTED.match(text, start):
        return re.sub(r"\\(.)", lambda pair: " " if pair[1] == "s" else pair[1], found[1]), found.end()
    if text[start : start + 1] != "(" or depth == 5:
        raise ScheduleError(
            f"word {number} of the schedule, {word!r}, names no process at character {start + 1}"
        )
    parts: list[Process] = []
    while text[start] in "(," and text[start + 1 : start + 2] != ")":
        part, start = _read_name(text, start + 1, word, number, depth + 1)
        parts.append(part)
        if start == len(text):
            break
    closing = text.find(")", start, start + 2)
    if closing < 0 or not parts:
        raise ScheduleError(f"word {number} of the schedule, {word!r}, has a '(' without its ')'")
    return tuple(parts), closing + 1


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened when a schedule was run.

    schedule   all steps, also those taken after the given ones had run out
    steps      (process, accesses) of each
    outcome    what the system said at the end; a deadlock is added to its findings
    end        "complete" or "deadlock"
    """

    schedule: Schedule
    steps: tuple[tuple[Process, tuple[Access, ...]], ...]
    outcome: Outcome
    end: str


def replay(system: System, schedule: Schedule | str) -> Replay:
    """Run a schedule, and what is left after it, on a system.

    ScheduleError if a process is to move that cannot.
    """
    if isinstance(schedule, str):
        schedule = Schedule.parse(schedule)
    footprints = Footprints()
    return replay_of(system, run_path(system, schedule.steps, footprints), footprints)


def run_path(system: System, steps: Iterable[Process], footprints: Footprints) -> Path:
    """Run some steps from the start, then on to the end; return the path."""
    system.start()
    path = Path(system)
    path.enabled.append(system.enabled())
    for process in _to_the_end(path, steps):
        path.extend(process, footprints.of(system.step(process)))
        path.enabled.append(system.enabled())
    return path


def _to_the_end(path: Path, steps: Iterable[Process]) -> Iterator[Process]:
    for number, process in enumerate(steps):
        if process not in path.enabled[-1]:
            able = ", ".join(name_text(other) for other in path.enabled[-1]) or "nobody"
            raise ScheduleError(
                f"step {number + 1} of the schedule is process {process!r}, which cannot move there ({able} "
                "can): the schedule was made for another system, or for an older version of this one"
            )
        yield process
    while movable := path.enabled[-1]:
        last = path.events[-1].process if path.events else movable[0]
        yield last if last in movable else movable[0]


def replay_of(system: System, path: Path, footprints: Footprints) -> Replay:
    """Say what came of a path that has reached its end."""
    stuck = {process: footprints.of(wanted) for process, wanted in system.blocked().items()}
    outcome = system.finish()
    if stuck:
        outcome = Outcome(outcome.value, (*outcome.findings, deadlock_of(path, stuck)))
    return Replay(
        Schedule(path.schedule()),
        tuple((event.process, event.footprint.accesses) for event in path.events),
        outcome,
        "deadlock" if stuck else "complete",
    )
