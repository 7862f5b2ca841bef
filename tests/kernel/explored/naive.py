"""An explorer that cannot be wrong in an interesting way: every order, all of it by hand.

`explore` drops equivalent orders by sleep sets: they run each class of executions once, and give up on many
runs that would only repeat one. `every_order` drops nothing, and believes nothing of what a step says it
touched: every operation of every primitive is a step of its own, and each order of them is run. Nothing is
shared with the explorer under test but the system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from math import prod
from random import Random
from typing import Any

from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.scenario import MachineSystem
from vtdkit.kernel.machine.machine import Machine

LOOKS, SHARES = {0, 6}, {4, 5}
Touched = tuple[tuple[int, int], ...]
Scenario = Callable[[Machine], Any]
FAR = 20


def conflict(a: Touched, b: Touched) -> bool:
    """Do two steps depend on each other?"""
    return any(
        x == y and not ({how, other} <= LOOKS or {how, other} <= SHARES) for x, how in a for y, other in b
    )


@dataclass
class Result:
    """What came of it. `ended`: there was nothing more to run."""

    executions: int = 0
    deadlocks: int = 0
    outcomes: Counter[Hashable] = field(default_factory=Counter)
    findings: set[tuple[str, str]] = field(default_factory=set)
    ended: bool = True


def explore(scenario: Scenario, shared: frozenset[int], limit: int | None = None) -> Result:
    """Every class of executions of a scenario. `shared` must be all shared locations; raises `Grew`
    if it is not.
    """
    system, result = MachineSystem(scenario, shared=shared), Result()
    todo: list[tuple[tuple[Any, ...], dict[Any, Touched]]] = [((), {})]
    while todo:
        prefix, sleep = todo.pop()
        if limit is not None and result.executions + result.deadlocks >= limit:
            result.ended = False
            break
        system.start()
        for process in prefix:
            system.step(process)
        path = list(prefix)
        while enabled := system.enabled():
            awake = [process for process in enabled if process not in sleep]
            if not awake:
                break
            touched = tuple(system.step(awake[0]))
            if len(awake) > 1:
                todo.append((tuple(path), {**sleep, awake[0]: touched}))
            path.append(awake[0])
            sleep = {process: theirs for process, theirs in sleep.items() if not conflict(theirs, touched)}
        else:
            _count(system, result)
    return result


class _Everything(set[int]):
    """Every location is shared, whoever touches it."""

    def __contains__(self, location: object) -> bool:
        return True


def _every_step(scenario: Scenario) -> MachineSystem:
    """The system in which each operation is a step."""
    system = MachineSystem(scenario, grow=True)
    system.locations.shared = _Everything()
    return system


def every_order(scenario: Scenario, limit: int) -> Result:
    """Each order of all operations, up to `limit` of them. Where the first one had so many choices that the
    limit is out of reach, that one alone."""
    system, result = _every_step(scenario), Result()
    for path in _orders(system, result):
        if result.executions + result.deadlocks == 1 and prod(left + 1 for left in path) > FAR * limit:
            result.ended = False
            break
        if result.executions + result.deadlocks >= limit:
            result.ended = not any(path)
            break
    return result


def _orders(system: MachineSystem, result: Result) -> Iterator[list[int]]:
    """Run all of them; after each, how many choices are left at each step."""
    chosen: list[int] = []
    while True:
        left: list[int] = []
        system.start()
        while enabled := system.enabled():
            index = len(left)
            if index == len(chosen):
                chosen.append(0)
            left.append(len(enabled) - 1 - chosen[index])
            system.step(enabled[chosen[index]])
        _count(system, result)
        yield left
        while left and not left[-1]:
            left.pop()
        if not left:
            return
        chosen = [*chosen[: len(left) - 1], chosen[len(left) - 1] + 1]


def random_orders(scenario: Scenario, runs: int, seed: int) -> Result:
    """So many random orders of all operations; some threads are quicker than others."""
    system, result, random = _every_step(scenario), Result(ended=False), Random(seed)
    for _ in range(runs):
        system.start()
        pace = dict[Any, float]()
        while enabled := system.enabled():
            weights = [pace.setdefault(process, random.choice((0.1, 1, 10))) for process in enabled]
            system.step(random.choices(enabled, weights)[0])
        _count(system, result)
    return result


def _count(system: MachineSystem, result: Result) -> None:
    stuck = any(process.point is not None for process in system.machine.processes.values())
    outcome = system.finish()
    result.executions += not stuck
    result.deadlocks += stuck
    result.outcomes[outcome.value] += 1
    result.findings |= {(f.kind, f.where) for f in outcome.findings if isinstance(f, Finding)}
