"""`explore` a scenario: the driver's own code under every schedule that matters, or under a sample of them.

    found = explore(scenario)                      every order of operations that conflict
    found = explore(scenario, preemptions=2)       those that so few preemptions can show
    found = sample(scenario, runs=100, seed=1)     random ones, for what is too big
    replay(scenario, found.findings[0].schedule)   one of them again

A scenario is a function of a machine (see `scenario`). Which locations its threads share is found by running
it: first a few random runs, then the exploration itself, which begins anew when it meets one more
(`locations.Grew`). A schedule counts steps between operations on shared locations, so it belongs to a set of
them: `ScenarioExploration.shared`. Without one, `replay` takes the set that the random runs find, which is
the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explorer.minimising import minimise
from vtdkit.kernel.explorer.replaying import Replay
from vtdkit.kernel.explorer.replaying import replay as replay_system
from vtdkit.kernel.explorer.result import Exploration
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.search import explore_system, pct, random_walk
from vtdkit.kernel.explorer.system import Outcome
from vtdkit.kernel.explorer.tally import Deadlock, OnOutcome
from vtdkit.kernel.machine.machine import Machine

from .locations import Grew
from .scenario import NamedSystem
from .sections import ASKED
from .watch import NotAStep

Scenario = Callable[[Machine], Callable[[], Hashable]]
Factory = Callable[[], NamedSystem]
R = TypeVar("R")
TRIED = 6  # random runs that look for shared locations


@dataclass(frozen=True, slots=True, repr=False)
class ScenarioExploration(Exploration):
    """An `Exploration` of a scenario on a machine. `shared`: the locations between which
    its schedules count steps.
    """

    shared: frozenset[int] = field(default=frozenset(), repr=False)

    def of(self, kind: str) -> list[Finding]:
        """The findings whose kind or place contains `kind`."""
        return [
            f
            for f in (found.finding for found in self.findings)
            if isinstance(f, Finding) and kind in f"{f.kind}: {f.where}"
        ]

    def times(self, kind: str) -> int:
        """In how many executions, at least, a finding whose kind contains `kind` came up: one execution can
        show several, so it is as often as the most frequent did.
        """
        return max(
            (each.times for each in self.findings if kind in getattr(each.finding, "kind", "")), default=0
        )

    def schedule_of(self, finding: Finding) -> Schedule:
        """The first schedule that showed a finding."""
        return next(found.schedule for found in self.findings if found.finding == finding)


def shared_locations(scenario: Scenario, briefly: bool = False, **options: Any) -> frozenset[int]:
    """The locations that several threads touch in a few random runs, the same ones every time; `briefly`:
    until one finds nothing new, for whoever goes on to find the rest.
    """
    system = NamedSystem(scenario, grow=True, **options)
    known = [0]

    def nothing_new(*_: object) -> bool:
        known.append(len(system.locations.shared))
        alone = len(system.machine.processes) < 2  # then it shares nothing
        return alone or (briefly and known[-1] == known[-2])

    random_walk(lambda: system, runs=TRIED, seed=0, on_outcome=nothing_new)
    system.close()
    return frozenset(system.locations.shared)


def explore(
    scenario: Scenario,
    *,
    preemptions: int | None = None,
    depth: int | None = None,
    limit: int | None = None,
    on_outcome: OnOutcome | None = None,
    sections: bool = False,
    trusted: bool = False,
    shared: frozenset[int] | None = None,
    **options: Any,
) -> ScenarioExploration:
    """Run a scenario in every order that matters; `options` go to the machine (`cpus=4`, `checkers=...`).

    `sections`: those of a lock that guards all it touches are single steps (see `sections.py`, also for what
    the scenario must keep to). `trusted`: its threads are known to share nothing that the explorer does not
    see, so that is not looked for (`_nothing_unseen`, a fifth of the time of a small exploration).
    `shared`: locations to begin with; None: those that a few random runs share. The other arguments are those
    of `vtdkit.kernel.explorer.explore_system`. What is said to be complete is complete for the memory model
    of the machine, one operation after the other, and for all but how often an endless loop goes round.
    """
    wanted: dict[str, Any] = {
        "preemptions": preemptions,
        "depth": depth,
        "limit": limit,
        "on_outcome": on_outcome,
    }

    def attempt(factory: Factory, shared: frozenset[int]) -> Exploration:
        return explore_system(factory, **wanted)

    found, shared = settled(scenario, attempt, sections, shared, **options)
    explored = _of_scenario(found, shared)
    # what is read in freed memory is rubbish
    if not trusted and explored.complete and not explored.of("use-after-free"):
        _nothing_unseen(scenario, explored, options)
    return explored


def _nothing_unseen(scenario: Scenario, found: ScenarioExploration, options: dict[str, Any]) -> None:
    """NotAStep if one of a few random orders, with a stop wherever time passes, ends as no explored one did:
    then the threads share what is neither field nor page nor primitive.
    """
    system = NamedSystem(scenario, shared=found.shared - {ASKED}, grow=True, tries=False, **options)
    system.locations.everywhere = True
    value, schedule = next(iter(found.examples.items()))

    def known(outcome: Outcome, _: object) -> None:
        new = outcome.value not in found.outcomes and not str(outcome.value).startswith("deadlock")
        # where outcomes have no equals, nothing is told by this
        if new and replay(scenario, schedule, shared=found.shared, **options).outcome.value == value:
            raise NotAStep(
                f"a random order ends in {repr(outcome.value)[:80]}, as no explored one does: the threads "
                "share something that the explorer does not see, such as a list or a variable of Python's. "
                "Make it a shared() field of a KObject, an atomic or a list_head, or let each thread return "
                "its own"
            )

    if len(set(schedule.steps)) > 1:  # a thread alone has one order
        random_walk(lambda: system, runs=TRIED, seed=0, on_outcome=known)
    system.close()


def settled(
    scenario: Scenario,
    attempt: Callable[[Factory, frozenset[int]], R],
    sections: bool = False,
    shared: frozenset[int] | None = None,
    **options: Any,
) -> tuple[R, frozenset[int]]:
    """What `attempt(factory, shared)` returns once it goes through, and with which locations.

    It is made anew, from the start, each time an execution shares a location that was not known to be shared.
    """
    if shared is None:
        shared = shared_locations(scenario, briefly=True, **options)
    shared = shared - {ASKED} | ({ASKED} if sections else set())
    while True:
        try:
            return attempt(partial(NamedSystem, scenario, shared=shared, **options), shared), shared
        except Grew as grew:
            shared |= grew.shared


def sample(
    scenario: Scenario,
    *,
    runs: int = 100,
    seed: int = 0,
    depth: int | None = None,
    on_outcome: OnOutcome | None = None,
    shared: frozenset[int] | None = None,
    **options: Any,
) -> ScenarioExploration:
    """Run a scenario under random schedules; with `depth`, under those of the PCT scheduler for
    bugs of that depth. `shared`: that of an exploration of it, if there was one.
    """

    def attempt(factory: Factory, shared: frozenset[int]) -> Exploration:
        if depth is None:
            return random_walk(factory, runs=runs, seed=seed, on_outcome=on_outcome)
        return pct(factory, runs=runs, depth=depth, seed=seed, on_outcome=on_outcome)

    sections = shared is not None and ASKED in shared
    found, shared = settled(scenario, attempt, sections, shared, **options)
    return _of_scenario(found, shared)


def _of_scenario(found: Exploration, shared: frozenset[int]) -> ScenarioExploration:
    """The same record; who waits for whom is told by the machine itself, which knows the names."""
    values = {item.name: getattr(found, item.name) for item in fields(Exploration)}
    values["findings"] = tuple(one for one in found.findings if not isinstance(one.finding, Deadlock))
    return ScenarioExploration(**values, shared=shared)


def replay(
    scenario: Scenario, schedule: Schedule | str, *, shared: frozenset[int] | None = None, **options: Any
) -> Replay:
    """Run a scenario once, as a schedule says. `shared` is that of the exploration the schedule comes from.

    ScheduleError if the schedule does not fit.
    """
    return replay_system(_system(scenario, shared, options), schedule)


def shortest(
    scenario: Scenario,
    schedule: Schedule | str,
    finding: Hashable = None,
    *,
    shared: frozenset[int] | None = None,
    tries: int = 300,
    **options: Any,
) -> Schedule:
    """The schedule with the fewest context switches found that still shows a finding (by
    default, the first one).
    """
    return minimise(_system(scenario, shared, options), schedule, finding, tries=tries)


def _system(scenario: Scenario, shared: frozenset[int] | None, options: dict[str, Any]) -> NamedSystem:
    known = shared_locations(scenario, **options) if shared is None else shared
    return NamedSystem(scenario, shared=known, grow=True, **options)
