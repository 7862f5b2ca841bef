"""What was found so far: executions counted, outcomes, findings, and the pairs of steps that met.

A `Tally` is filled by the searches, and turned into the frozen `Exploration` that the user sees
(`result.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from .footprint import Footprint
from .path import Path, bits
from .races import holder_of
from .schedule import Schedule
from .system import Outcome, Process

OnOutcome = Callable[[Outcome, Schedule], object]
"""Called at the end of each execution; true means: enough."""


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A finding: processes that wait for each other, or for something that nobody will do any more.

    waits  for each stuck process: (process, location, who holds it, or None)
    """

    waits: tuple[tuple[Process, Hashable, Process | None], ...]

    def __repr__(self) -> str:
        return "deadlock: " + "; ".join(
            f"{process} waits for {location!r}" + (f" held by {holder}" if holder is not None else "")
            for process, location, holder in self.waits
        )


def outcome_of(path: Path, stuck: Mapping[Process, Footprint]) -> Outcome:
    """What the system says at the end of a path; if processes are stuck, with who waits for whom. Where a
    depth bound cut it short only the findings are the system's.
    """
    outcome = path.system.finish()
    if path.cut:
        return Outcome("cut short", outcome.findings)
    if not stuck:
        return outcome
    waits = []
    for process, footprint in stuck.items():
        for place, location in zip(footprint.places, footprint.locations, strict=True):
            if place.waits is not None:
                holder = holder_of(path, place, len(path.events))
                waits.append((process, location, None if holder is None else path.events[holder].process))
    return Outcome(outcome.value, (*outcome.findings, Deadlock(tuple(waits))))


@dataclass(slots=True)
class Met:
    """Something that came up: the schedule that first led to it, and how often it did."""

    schedule: Schedule
    times: int = 0


@dataclass(slots=True)
class Tally:
    """Counts and first examples. No lock: one writer.

    watch       called with (outcome, schedule) at the end of each execution; true means stop
    stopped     it said so
    executions  complete ones, each of another class
    deadlocks   ended with processes stuck
    cut         ended because the depth bound stopped a process
    blocked     given up because they would only repeat others
    steps       steps taken, without those of replays
    outcomes, findings   what came up
    meetings    (process, footprint, process, footprint): conflicting steps, the second directly after the
                first
    """

    watch: OnOutcome | None = None
    stopped: bool = False
    executions: int = 0
    deadlocks: int = 0
    cut: int = 0
    blocked: int = 0
    steps: int = 0
    outcomes: dict[Hashable, Met] = field(default_factory=dict)
    findings: dict[Hashable, Met] = field(default_factory=dict)
    meetings: set[tuple[Process, Footprint, Process, Footprint]] = field(default_factory=set)

    @property
    def ended(self) -> int:
        """Executions that came to an end, of whatever kind."""
        return self.executions + self.deadlocks + self.cut

    def count(self, path: Path, stuck: Mapping[Process, Footprint]) -> None:
        """Count the execution that has come to the end of a path; `stuck` are the
        processes that cannot move.
        """
        outcome = outcome_of(path, stuck)
        if path.cut:
            self.cut += 1
        elif stuck:
            self.deadlocks += 1
        else:
            self.executions += 1
        _enter(self.outcomes, outcome.value, path)
        for finding in outcome.findings:
            _enter(self.findings, finding, path)
        if self.watch is not None and self.watch(outcome, path.schedule()):
            self.stopped = True

    def meet(self, path: Path, start: int) -> None:
        """Note which conflicting steps directly follow each other, from step `start` of a path on."""
        events = path.events
        for event in events[start:]:
            if event.direct:
                process, footprint = event.process, event.footprint
                for number in bits(event.direct):
                    before = events[number]
                    if before.process != process:
                        self.meetings.add((before.process, before.footprint, process, footprint))


def _enter(met: dict[Hashable, Met], thing: Hashable, path: Path) -> None:
    if thing not in met:
        met[thing] = Met(path.schedule())
    met[thing].times += 1
