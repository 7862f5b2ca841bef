"""An oracle for the explorer, written without it: run all that can happen, count the different classes.

An execution's class is told by the set of its steps, each with all the steps before it on which it
depends. Dependence is written out here again, from the definition. Two beginnings of executions of the
same class are gone on from only once: they lead to the same state, and to the same classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

READ, WRITE, ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT = range(7)
LOOKS = {READ, WAIT}
SHARES = {SHARED_ACQUIRE, SHARED_RELEASE}


class TooMany(Exception):
    """The program has more beginnings of executions than the test wants to pay for."""


@lru_cache(maxsize=100_000)
def depend(one: Any, two: Any) -> bool:
    """Say whether two steps, given by their accesses, must not be swapped."""
    return any(
        place == other and not (kind in LOOKS and kind2 in LOOKS) and not (kind in SHARES and kind2 in SHARES)
        for place, kind in one
        for other, kind2 in two
    )


class Oracle:
    """Names classes: two executions have the same name if they differ only in the
    order of independent steps.
    """

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def name(self, steps: Sequence[tuple[Any, Any]]) -> tuple[int, ...]:
        """Return the name of the class of an execution, given as (process, accesses) of each step."""
        numbers: list[int] = []
        for index, (process, accesses) in enumerate(steps):
            before = tuple(
                sorted(
                    numbers[earlier]
                    for earlier, (other, touched) in enumerate(steps[:index])
                    if other == process or depend(touched, accesses)
                )
            )
            numbers.append(self._numbers.setdefault((process, tuple(accesses), before), len(self._numbers)))
        return tuple(sorted(numbers))


def brute_force(make: Callable[[], Any], oracle: Oracle, most: int = 2000) -> tuple[set[Any], set[Any]]:
    """Return the classes of the complete executions, and of the deadlocked ones. TooMany if there is
    too much to do.
    """
    system = make()
    complete: set[Any] = set()
    deadlocked: set[Any] = set()
    seen = {()}
    todo: list[tuple[Any, ...]] = [()]

    def run(processes: tuple[Any, ...]) -> list[tuple[Any, Any]]:
        system.start()
        return [(process, tuple(system.step(process))) for process in processes]

    while todo:
        prefix = todo.pop()
        steps = run(prefix)
        movable = system.enabled()
        if not movable:
            (deadlocked if system.blocked() else complete).add(oracle.name(steps))
        for process in movable:
            name = oracle.name(run((*prefix, process)))
            if name not in seen:
                seen.add(name)
                todo.append((*prefix, process))
        if len(seen) > most:
            raise TooMany(f"more than {most} beginnings")
    return complete, deadlocked


def bounded_brute_force(make: Callable[[], Any], oracle: Oracle, bound: int, most: int = 4000) -> set[Any]:
    """Return the classes of all executions that some schedule within a bound shows."""
    system = make()
    found: set[Any] = set()
    todo: list[tuple[tuple[Any, ...], int]] = [((), 0)]
    runs = 0
    while todo:
        prefix, cost = todo.pop()
        system.start()
        steps = [(process, tuple(system.step(process))) for process in prefix]
        movable = system.enabled()
        runs += 1
        if runs > most:
            raise TooMany(f"more than {most} beginnings")
        if not movable:
            found.add(oracle.name(steps))
            continue
        last = prefix[-1] if prefix else 0
        costs = {process: int(bool(prefix) and last in movable and process != last) for process in movable}
        todo += [((*prefix, process), cost + more) for process, more in costs.items() if cost + more <= bound]
    return found
