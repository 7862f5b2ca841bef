"""A schedule, run again on a system.

A schedule may stop early: the process that moved last then goes on for as long as it can, then the first of
the others that can move, and so on to the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from .footprint import Footprints
from .path import Path
from .schedule import Schedule, ScheduleError
from .system import Outcome, System
from .tally import outcome_of


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened when a schedule was run.

    schedule   all steps, also those taken after the given ones had run out
    outcome    what the system said at the end; a deadlock is added to its findings
    """

    schedule: Schedule
    outcome: Outcome


def replay(system: System, schedule: Schedule | str) -> Replay:
    """Run a schedule, and what is left after it, on a system.

    ScheduleError if a process is to move that cannot.
    """
    if isinstance(schedule, str):
        schedule = Schedule.parse(schedule)
    path = Path(system, Footprints())
    for number, process in enumerate(schedule.steps, 1):
        if process not in path.enabled[-1]:
            others = ", ".join(map(str, path.enabled[-1])) or "nobody"
            raise ScheduleError(
                f"step {number} of the schedule is process {process!r}, which cannot move there ({others} "
                "can): the schedule was made for another system, or for an older version of this one"
            )
        path.take(process)
    while able := path.enabled[-1]:
        path.take(path.last if path.last in able else able[0])
    return Replay(path.schedule(), outcome_of(path, path.stuck()))
