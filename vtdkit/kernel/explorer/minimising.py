"""Shorter schedules for a finding: the same bug with as few context switches as can be found.

Two steps. Within the equivalence class of the schedule given, its steps are put in the order with the fewest
switches (exact unless the class is very wide). Then executions with few preemptions are searched for the same
finding, the cheapest first, and the best of those is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from .bounded import Bounded
from .footprint import Footprints
from .path import Path
from .schedule import Replay, Schedule, ScheduleError, replay_of, run_path
from .system import Outcome, Process, System
from .tally import Tally

WIDEST = 2000

Shows = Callable[[Outcome], bool]


def minimise(
    system: System, schedule: Schedule | str, finding: Hashable | Shows | None = None, *, tries: int = 500
) -> Schedule:
    """Return the schedule with the fewest context switches found that still shows a finding.

    - finding: the finding, or a function that says whether an `Outcome` shows it; by default the first one
      that the schedule shows
    - tries: how many other executions to look at

    ValueError if the schedule does not show it, ScheduleError if it does not fit the system.
    """
    if isinstance(schedule, str):
        schedule = Schedule.parse(schedule)
    footprints = Footprints()
    path = run_path(system, schedule.steps, footprints)
    first = replay_of(system, path, footprints)
    shows = _shows(first, finding)
    best = _best_of(system, path, first.schedule, shows)
    search = _Search(system, shows, tries, best)
    return search.run()


def _shows(first: Replay, finding: Hashable | Shows | None) -> Shows:
    if callable(finding):
        shows: Shows = finding
    else:
        if finding is None and first.outcome.findings:
            finding = first.outcome.findings[0]
        wanted = finding

        def shows(outcome: Outcome) -> bool:
            return wanted in outcome.findings

    if not shows(first.outcome):
        told = "; ".join(repr(found) for found in first.outcome.findings) or "nothing"
        raise ValueError(f"the schedule {first.schedule.text} does not show {finding!r}; it shows {told}")
    return shows


def _best_of(system: System, path: Path, fallback: Schedule, shows: Shows) -> Schedule:
    """Return the plainest schedule of a path's class, if it shows the finding as it should."""
    shorter = Schedule(plainest(path))
    if shorter.switches >= fallback.switches:
        return fallback
    try:
        footprints = Footprints()
        outcome = replay_of(system, run_path(system, shorter.steps, footprints), footprints).outcome
    except ScheduleError:
        return fallback
    return shorter if shows(outcome) else fallback


class _Search:
    """Looks through executions with few preemptions, the cheapest first."""

    def __init__(self, system: System, shows: Shows, tries: int, best: Schedule) -> None:
        self.system = system
        self.shows = shows
        self.tries = tries
        self.best = best
        self.found: list[tuple[Process, ...]] = []

    def run(self) -> Schedule:
        footprints = Footprints()
        tally = Tally(watch=self._look)
        runs = 0

        def go_on(tally: Tally) -> bool:
            nonlocal runs
            runs += 1
            return runs < self.tries

        if self.tries > 0 and self.best.switches > 0:
            Bounded(self.system, footprints, tally, self.best.switches).run(go_on)
        for steps in sorted(self.found, key=lambda steps: Schedule(steps).switches):
            path = run_path(self.system, steps, footprints)
            better = _best_of(self.system, path, Schedule(steps), self.shows)
            if better.switches < self.best.switches:
                self.best = better
        return self.best

    def _look(self, outcome: Outcome, steps: tuple[Process, ...]) -> bool:
        if self.shows(outcome):
            self.found.append(steps)
        return len(self.found) >= 20


def plainest(path: Path) -> tuple[Process, ...]:
    """Return the steps of a path in the equivalent order with the fewest context switches.

    A process that is running goes on for as long as it can: taking its next step later would not save a
    switch. What is left to choose is who runs next. All choices are followed, one more switch at a time;
    where there are more than `WIDEST` ways, those that have come furthest.
    """
    events = path.events
    mine: dict[Process, list[int]] = {}
    for index, event in enumerate(events):
        mine.setdefault(event.process, []).append(index)
    full = (1 << len(events)) - 1
    layer: dict[int, tuple[int, ...]] = {0: ()}
    while full not in layer:
        following: dict[int, tuple[int, ...]] = {}
        for done, order in layer.items():
            for indexes in mine.values():
                reached, run = done, order
                for index in indexes:
                    if reached >> index & 1:
                        continue
                    if events[index].past & ~reached & ~(1 << index):
                        break
                    reached |= 1 << index
                    run = (*run, index)
                if reached != done:
                    following.setdefault(reached, run)
        if len(following) > WIDEST:
            furthest = sorted(following, key=lambda reached: -reached.bit_count())[:WIDEST]
            following = {reached: following[reached] for reached in furthest}
        layer = following
    return tuple([events[index].process for index in layer[full]])
