"""Schedules of past bugs, kept as text and run as regression tests.

    # anything after a hash at the start of a line is a remark
    name: the dump reads a table that unmap freed
    finding: use-after-free
    schedule: v1: dump*4 unmap*9 dump

An empty line ends an entry. `finding` is what the finding's text must contain; `none` says that nothing may
be found on this schedule any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as File

from vtdkit.kernel.explorer.replaying import Replay, replay
from vtdkit.kernel.explorer.schedule import Schedule, ScheduleError
from vtdkit.kernel.explorer.system import System

_KEYS = ("name", "finding", "schedule")


@dataclass(frozen=True, slots=True)
class Saved:
    """One kept schedule, with what it must show.

    name      what happens, in words
    finding   part of the text of the finding expected, or "none"
    schedule  who moves
    """

    name: str
    finding: str
    schedule: Schedule

    @property
    def text(self) -> str:
        """The entry as it stands in a file."""
        return f"name: {self.name}\nfinding: {self.finding}\nschedule: {self.schedule.text}\n"

    def check(self, system: System) -> Replay:
        """Replay on a system and return what happened.

        AssertionError if the finding expected did not come, or, where none is expected, if one did.
        """
        result = replay(system, self.schedule)
        found = [repr(finding) for finding in result.outcome.findings]
        if self.finding == "none":
            if found:
                raise AssertionError(
                    f"{self.name}: nothing should be found any more, but there is {'; '.join(found)}"
                )
        elif not any(self.finding in text for text in found):
            told = "; ".join(found) or "nothing"
            raise AssertionError(f"{self.name}: expected a finding with {self.finding!r}, found {told}")
        return result


def load_saved(file: str | File) -> list[Saved]:
    """Read a file of kept schedules. ScheduleError names the file and the line that is wrong."""
    path = File(file)
    return list(_entries(path.name, path.read_text(encoding="utf-8")))


def _entries(file: str, text: str) -> Iterator[Saved]:
    fields: dict[str, str] = {}
    begun = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        line = line.strip()
        if line.startswith("#"):
            continue
        if line:
            key, colon, value = line.partition(":")
            if not colon or key not in _KEYS or key in fields:
                raise ScheduleError(
                    f"{file}, line {number}: expected one of {', '.join(_KEYS)}, once each, as 'key: value'"
                )
            fields[key] = value.strip()
            begun = begun or number
        elif fields:
            yield _entry(file, begun, fields)
            fields, begun = {}, 0


def _entry(file: str, number: int, fields: dict[str, str]) -> Saved:
    missing = [key for key in _KEYS if not fields.get(key)]
    if missing:
        raise ScheduleError(f"{file}, entry at line {number}: no {' and no '.join(missing)}")
    try:
        return Saved(fields["name"], fields["finding"], Schedule.parse(fields["schedule"]))
    except ScheduleError as error:
        raise ScheduleError(f"{file}, entry at line {number}: {error}") from None
