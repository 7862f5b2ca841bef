"""What an exploration found: a frozen record, fit to be shown, asserted on and compared.

`Exploration` comes from all ways of running a system many times: exhaustive, bounded, random.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache

from .footprint import Footprint
from .schedule import Schedule
from .system import ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, Access, Process, access_text
from .tally import Tally

SHOWN = 12
_TAKES = {RELEASE: ACQUIRE, SHARED_RELEASE: SHARED_ACQUIRE}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one process did in one step, as far as coverage goes. A hold on a lock, from taking to
    giving back, is one.
    """

    process: Process
    accesses: tuple[Access, ...]

    def __repr__(self) -> str:
        return f"{self.process}: {access_text(self.accesses)}"


Pair = tuple[Operation, Operation]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which conflicting operations of different processes were seen one directly after the other,
    and in which order.

    both_orders  pairs seen in both orders
    one_order    pairs only ever seen in this order
    """

    both_orders: tuple[Pair, ...]
    one_order: tuple[Pair, ...]

    def __repr__(self) -> str:
        pairs = count_text(len(self.both_orders), "pair")
        return f"{pairs} of dependent operations in both orders, {len(self.one_order)} in one only"


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, with the first schedule that showed it.

    finding   what a checker said, or a `Deadlock`
    times     in how many executions
    schedule  who moved, step by step, in the first of them; `minimise` makes it shorter
    """

    finding: Hashable
    times: int
    schedule: Schedule

    def __repr__(self) -> str:
        return f"{self.finding!r}  (in {count_text(self.times, 'execution')}; {self.schedule.text})"


@dataclass(frozen=True, slots=True)
class Exploration:
    """What came of running a system under many schedules.

    - executions: those in which all processes came to their end; when exploring, each of another class
    - deadlocks: executions that ended with processes stuck
    - cut: executions in which the depth bound stopped a process
    - blocked: executions given up because they would only have repeated others; 0 if all processes touch
      only locks, and memory in steps of one access
    - steps: steps taken, without those of replays
    - outcomes: outcome -> in how many executions, the most frequent first
    - examples: outcome -> the first schedule that led to it
    - findings: what the checkers found, in the order of their texts
    - coverage: pairs of dependent operations in both orders, or one
    - complete: True if every class was run: then what is not in `outcomes` cannot happen
    - extent: a sentence: what the exploration is complete up to, or why it stopped
    """

    executions: int
    deadlocks: int
    cut: int
    blocked: int
    steps: int
    outcomes: Mapping[Hashable, int]
    examples: Mapping[Hashable, Schedule] = field(repr=False)
    findings: tuple[Found, ...]
    coverage: Coverage = field(repr=False)
    complete: bool
    extent: str

    def __repr__(self) -> str:
        told = [count_text(self.executions, "execution")]
        rarer = (
            (self.deadlocks, "deadlock"),
            (self.cut, "cut execution"),
            (self.blocked, "blocked execution"),
        )
        told += [count_text(number, noun) for number, noun in rarer if number]
        lines = [f"{', '.join(told)}: {self.extent}"]
        lines += [f"  {times:>7} x  {value!r}" for value, times in list(self.outcomes.items())[:SHOWN]]
        if len(self.outcomes) > SHOWN:
            lines.append(f"  and {len(self.outcomes) - SHOWN} other outcomes")
        lines.append(f"  findings: {len(self.findings) or 'none'}")
        lines += [f"    {found!r}" for found in self.findings[:SHOWN]]
        if len(self.findings) > SHOWN:
            lines.append(f"    and {len(self.findings) - SHOWN} others")
        lines.append(f"  coverage: {self.coverage!r}")
        return "\n".join(lines)


def exploration_of(tally: Tally, extent: str) -> Exploration:
    """Make the record of a tally."""
    outcomes = sorted(tally.outcomes.items(), key=lambda each: (-each[1].times, repr(each[0])))
    findings = [Found(finding, met.times, met.schedule) for finding, met in tally.findings.items()]
    return Exploration(
        executions=tally.executions,
        deadlocks=tally.deadlocks,
        cut=tally.cut,
        blocked=tally.blocked,
        steps=tally.steps,
        outcomes={value: met.times for value, met in outcomes},
        examples={value: met.schedule for value, met in outcomes},
        findings=tuple(sorted(findings, key=lambda found: repr(found.finding))),
        coverage=coverage_of(tally),
        complete=extent == "complete",
        extent=extent,
    )


def coverage_of(tally: Tally) -> Coverage:
    """Sort out in which orders conflicting steps were seen."""

    @cache
    def operation(process: Process, footprint: Footprint) -> Operation:
        accesses = tuple((location, _TAKES.get(kind, kind)) for location, kind in footprint.accesses)
        return Operation(process, accesses)

    seen = {(operation(p, f), operation(q, g)) for p, f, q, g in tally.meetings}
    order = sorted(seen, key=repr)
    both = tuple((one, two) for one, two in order if (two, one) in seen and repr(one) < repr(two))
    return Coverage(both, tuple((one, two) for one, two in order if (two, one) not in seen))


def count_text(number: int, noun: str) -> str:
    """`1 execution`, `2 executions`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
