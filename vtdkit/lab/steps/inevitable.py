"""The point of no return: the first step of a schedule after which every way to go on shows the finding.

Searched backwards from where the finding appeared: as long as all continuations of a prefix show it, the
prefix may be one step shorter; the first continuation that does not show it ends the search.
Continuations are tried depth first, with sleep sets (Godefroid), so that orders that differ only in
independent steps are tried once. Each try is one execution; when the budget is used up the search gives
up and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vtdkit.kernel.explorer.system import READ, SHARED_ACQUIRE, SHARED_RELEASE, WAIT

BUDGET = 300
_LOOKS, _SHARED = {READ, WAIT}, {SHARED_ACQUIRE, SHARED_RELEASE}
Sign = tuple[str, str]
Accesses = Sequence[tuple[Any, int]]


class _UsedUp(Exception):
    """No execution is left in the budget."""


def first_inevitable(
    system: Callable[[], Any],
    order: Sequence[Any],
    sign: Sign,
    appears: int,
    budget: int = BUDGET,
) -> tuple[int | None, str]:
    """The step after which the finding with this kind and place cannot be avoided, and a sentence
    on what was searched.

    `appears` is the step after which it showed in this order. None when the budget did not suffice.
    """
    if not budget:
        return None, "the mark is where the finding appears; nobody searched for the point of no return"
    search = _Search(system, sign, budget)
    try:
        for length in range(appears - 1, -1, -1):
            if search.avoids(list(order[:length])):
                return length + 1, f"every way to go on from there was tried ({_times(budget - search.left)})"
        return 0, f"there is no order without it ({_times(budget - search.left)})"
    except _UsedUp:
        return (
            None,
            f"the mark is where the finding appears; {_times(budget)} did not settle "
            "where it became inevitable",
        )
    finally:
        search.system.close()


def _times(executions: int) -> str:
    return "1 execution" if executions == 1 else f"{executions} executions"


class _Search:
    """Tries continuations, each on a fresh system, so that all stop at the same places. Guards:
    used by one thread.
    """

    def __init__(self, make: Callable[[], Any], sign: Sign, left: int) -> None:
        self.make = make
        self.system = make()
        self.sign = sign
        self.left = left

    def avoids(self, prefix: list[Any]) -> bool:
        """Is there a way to go on from `prefix` that does not show the finding?"""
        stack: list[_Node] = []
        while True:
            if self._once(prefix, stack):
                return True
            while stack and not stack[-1].next():
                stack.pop()
            if not stack:
                return False

    def _once(self, prefix: list[Any], stack: list[_Node]) -> bool:
        """Run one continuation, the one that `stack` asks for and then any; True if it
        ends without the finding.
        """
        if not self.left:
            raise _UsedUp
        self.left -= 1
        self.system.close()
        system = self.system = self.make()
        system.start()
        for name in prefix:
            system.step(name)
        depth, sleep = 0, dict[Any, Accesses]()
        while not self._shown():
            enabled = system.enabled()
            if not enabled:
                return not self._shown(system.finish())
            if depth == len(stack):
                awake = [name for name in enabled if name not in sleep]
                if not awake:
                    return False  # another order, already tried, leads here
                stack.append(_Node(awake, sleep))
            node = stack[depth]
            name = node.choices[0]
            node.accesses = tuple(system.step(name))
            sleep = {
                who: what
                for who, what in node.asleep().items()
                if who != name and not conflict(what, node.accesses)
            }
            depth += 1
        return False

    def _shown(self, end: Any = None) -> bool:
        kind, where = self.sign
        if kind == "deadlock":
            return end is not None and str(end.value).startswith("deadlock")
        return any(
            finding.kind == kind and finding.where == where for finding in self.system.machine.findings
        )


class _Node:
    """One state on the way: who is still to be tried there, and who need not be, with
    what its step touches.
    """

    def __init__(self, choices: list[Any], sleep: dict[Any, Accesses]) -> None:
        self.choices = choices
        self.sleep = sleep
        self.accesses: Accesses = ()

    def asleep(self) -> dict[Any, Accesses]:
        """Those asleep here."""
        return self.sleep

    def next(self) -> bool:
        """The present choice is done with: it goes to sleep; is another one left?"""
        self.sleep = {**self.sleep, self.choices.pop(0): self.accesses}
        return bool(self.choices)


def conflict(one: Accesses, other: Accesses) -> bool:
    """Do two steps depend on each other? (See `explore.system`: not if both only look, or both share.)"""
    kinds: dict[Any, list[int]] = {}
    for location, kind in one:
        kinds.setdefault(location, []).append(kind)
    return any(
        not ({kind, mine} <= _LOOKS or {kind, mine} <= _SHARED)
        for location, kind in other
        for mine in kinds.get(location, ())
    )
