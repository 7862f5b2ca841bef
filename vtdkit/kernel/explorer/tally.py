"""What was found so far: executions counted, outcomes, findings, and the pairs of steps that met.

A `Tally` is filled by the engine and by the schedulers, and turned into the frozen `Exploration` that the
user sees (`result.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from .footprint import Footprint
from .path import Path, bits
from .races import holder_of
from .system import Outcome, Process, System

Steps = tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A finding: processes that wait for each other, or for something that nobody will do any more.

    waits  for each stuck process: (process, location, those who hold it)
    """

    waits: tuple[tuple[Process, Hashable, tuple[Process, ...]], ...]

    @property
    def cycle(self) -> tuple[Process, ...]:
        """The processes that wait for each other in a ring, smallest first; empty if there is no ring."""
        waits = {process: holders[0] for process, _, holders in self.waits if holders}
        for start in waits:
            ring = [start]
            while (following := waits.get(ring[-1])) is not None:
                if following == start:
                    return tuple(ring)
                if following in ring:
                    break
                ring.append(following)
        return ()

    def __repr__(self) -> str:
        told = []
        for process, location, holders in self.waits:
            by = " held by " + " and ".join(str(holder) for holder in holders) if holders else ""
            told.append(f"{process} waits for {location!r}{by}")
        return "deadlock: " + "; ".join(told)


def deadlock_of(path: Path, stuck: Mapping[Process, Footprint]) -> Deadlock:
    """Say who waits for whom at the end of a path."""
    waits = []
    for process, footprint in stuck.items():
        for place, location in zip(footprint.places, footprint.locations, strict=True):
            if place.waits is None:
                continue
            holder = holder_of(path, place, len(path.events))
            waits.append((process, location, () if holder is None else (path.events[holder].process,)))
    return Deadlock(tuple(waits))


@dataclass(slots=True)
class Tally:
    """Counts and first examples. No lock: one writer.

    executions  complete ones, each of another class
    deadlocks   ended with processes stuck
    cut         ended because the depth bound stopped a process
    blocked     given up because they would only repeat others
    steps       steps taken, without those of replays
    outcomes    value -> how often; `first` and `findings` give the first schedule of each
    meetings    (process, footprint, process, footprint): conflicting steps, the second directly after the
                first
    watch       called with (outcome, schedule) at the end of each execution; true means stop
    """

    executions: int = 0
    deadlocks: int = 0
    cut: int = 0
    blocked: int = 0
    steps: int = 0
    outcomes: dict[Hashable, int] = field(default_factory=dict)
    first: dict[Hashable, Steps] = field(default_factory=dict)
    findings: dict[Hashable, int] = field(default_factory=dict)
    shown: dict[Hashable, Steps] = field(default_factory=dict)
    meetings: set[tuple[Process, Footprint, Process, Footprint]] = field(default_factory=set)
    watch: Callable[[Outcome, Steps], object] | None = None
    stopped: bool = False

    @property
    def ended(self) -> int:
        """Executions that came to an end, of whatever kind."""
        return self.executions + self.deadlocks + self.cut

    def count(self, path: Path, system: System, stuck: Mapping[Process, Footprint]) -> None:
        """Count the execution that has come to the end of a path; `stuck` are the
        processes that cannot move.
        """
        outcome = system.finish()
        findings = outcome.findings
        if getattr(system, "cut", False):
            self.cut += 1
        elif stuck:
            self.deadlocks += 1
            findings = (*findings, deadlock_of(path, stuck))
        else:
            self.executions += 1
        self._enter(self.outcomes, self.first, outcome.value, path)
        for finding in findings:
            self._enter(self.findings, self.shown, finding, path)
        if self.watch is not None and self.watch(Outcome(outcome.value, findings), path.schedule()):
            self.stopped = True

    def _enter(
        self, counts: dict[Hashable, int], examples: dict[Hashable, Steps], thing: Hashable, path: Path
    ) -> None:
        seen = counts.get(thing)
        if seen is None:
            counts[thing] = 1
            examples[thing] = path.schedule()
        else:
            counts[thing] = seen + 1

    def meet(self, path: Path, start: int) -> None:
        """Note which conflicting steps directly follow each other, from step `start` of a path on."""
        events = path.events
        meetings = self.meetings
        for event in events[start:]:
            if event.direct:
                process, footprint = event.process, event.footprint
                for number in bits(event.direct):
                    before = events[number]
                    if before.process != process:
                        meetings.add((before.process, before.footprint, process, footprint))
