"""An oracle for the explorer, written without it: run every interleaving, count the different classes.

An execution's class is told by the set of its ordered pairs of dependent steps, nothing cleverer. Dependence is
written out here again, from the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

READ, WRITE, ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT = range(7)
LOOKS = {READ, WAIT}
SHARES = {SHARED_ACQUIRE, SHARED_RELEASE}


class TooMany(Exception):
    """The program has more interleavings than the test wants to pay for."""


def depend(one: Any, two: Any) -> bool:
    """Say whether two steps, given by their accesses, must not be swapped."""
    return any(
        place == other and not (kind in LOOKS and kind2 in LOOKS) and not (kind in SHARES and kind2 in SHARES)
        for place, kind in one
        for other, kind2 in two
    )


def class_of(steps: list[tuple[Any, Any]]) -> frozenset[Any]:
    """Return what is common to all executions that differ only in the order of independent steps."""
    named = []
    count: dict[Any, int] = {}
    for process, accesses in steps:
        count[process] = count.get(process, 0) + 1
        named.append(((process, count[process]), tuple(accesses)))
    pairs = {
        (one, two)
        for number, (two, touched) in enumerate(named)
        for one, earlier in named[:number]
        if one[0] != two[0] and depend(earlier, touched)
    }
    return frozenset(pairs | set(named))


def brute_force(make: Callable[[], Any], most: int = 20_000) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Run every interleaving; return {class: outcome} of the complete executions and of the deadlocked ones.

    TooMany if there are more than `most` interleavings.
    """
    system = make()
    complete: dict[Any, Any] = {}
    deadlocked: dict[Any, Any] = {}
    todo: list[tuple[Any, ...]] = [()]
    runs = 0
    while todo:
        prefix = todo.pop()
        system.start()
        steps = [(process, system.step(process)) for process in prefix]
        while movable := system.enabled():
            done = tuple(process for process, _ in steps)
            todo.extend((*done, process) for process in movable[1:])
            steps.append((movable[0], system.step(movable[0])))
        runs += 1
        if runs > most:
            raise TooMany(f"more than {most} interleavings")
        (deadlocked if system.blocked() else complete)[class_of(steps)] = system.finish()
    return complete, deadlocked
