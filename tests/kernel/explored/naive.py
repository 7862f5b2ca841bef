"""An explorer that cannot be wrong in an interesting way: every order, equivalent ones dropped by sleep sets,
all of it by hand.

Sleep sets alone run each class of executions once, and give up (`blocked`) on many runs that would only
repeat one. Nothing is shared with the explorer under test but the system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.scenario import MachineSystem
from vtdkit.kernel.machine.machine import Machine

LOOKS, SHARES = {0, 6}, {4, 5}
Touched = tuple[tuple[int, int], ...]


def conflict(a: Touched, b: Touched) -> bool:
    """Do two steps depend on each other?"""
    return any(
        x == y and not ({how, other} <= LOOKS or {how, other} <= SHARES) for x, how in a for y, other in b
    )


@dataclass
class Result:
    """What came of it."""

    executions: int = 0
    deadlocks: int = 0
    outcomes: Counter[Hashable] = field(default_factory=Counter)
    findings: set[tuple[str, str]] = field(default_factory=set)


def explore(scenario: Callable[[Machine], Any], shared: frozenset[int]) -> Result:
    """Every class of executions of a scenario. `shared` must be all shared locations; raises `Grew`
    if it is not.
    """
    system, result = MachineSystem(scenario, shared=shared), Result()
    todo: list[tuple[tuple[Any, ...], dict[Any, Touched]]] = [((), {})]
    while todo:
        prefix, sleep = todo.pop()
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


def _count(system: MachineSystem, result: Result) -> None:
    stuck = any(process.point is not None for process in system.machine.processes.values())
    outcome = system.finish()
    result.executions += not stuck
    result.deadlocks += stuck
    result.outcomes[outcome.value] += 1
    result.findings |= {(f.kind, f.where) for f in outcome.findings if isinstance(f, Finding)}
