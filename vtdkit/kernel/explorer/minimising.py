"""Shorter schedules for a finding: the same bug with as few context switches as can be found.

Executions with few preemptions are searched for the same finding, the cheapest first, and the best is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from .bounded import Bounded
from .replaying import replay
from .schedule import Schedule
from .system import Outcome, System
from .tally import Tally


def minimise(
    system: System,
    schedule: Schedule | str,
    finding: Hashable | Callable[[Outcome], bool] = None,
    *,
    tries: int = 300,
) -> Schedule:
    """Return the schedule with the fewest context switches found that still shows a finding.

    - finding: the finding, or a function that says whether an `Outcome` shows it; by default the first one
      that the schedule shows
    - tries: how many other executions to look at

    ValueError if the schedule does not show it, ScheduleError if it does not fit the system.
    """
    first = replay(system, schedule)
    found = [first.schedule]
    wanted = first.outcome.findings[0] if finding is None and first.outcome.findings else finding

    def shows(outcome: Outcome) -> bool:
        return bool(wanted(outcome)) if callable(wanted) else wanted in outcome.findings

    def keep(outcome: Outcome, schedule: Schedule) -> None:
        if shows(outcome):
            found.append(schedule)

    if not shows(first.outcome):
        told = "; ".join(map(repr, first.outcome.findings)) or "nothing"
        raise ValueError(f"the schedule {first.schedule.text} does not show {finding!r}; it shows {told}")
    if first.schedule.switches:
        tally = Tally(keep)
        search = Bounded(system, tally, first.schedule.switches)
        search.run(lambda: tally.ended + tally.blocked < tries)
    return min(found, key=lambda each: each.switches)
