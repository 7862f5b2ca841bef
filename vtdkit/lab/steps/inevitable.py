"""The point of no return: the first step of a schedule after which every way to go on shows the finding.

Searched backwards from where the finding appeared: as long as all continuations of a prefix show it, the
prefix may be one step shorter; the first continuation that does not show it ends the search. The
continuations are those that the explorer tries, one of each kind that can make a difference. When the budget
of executions is used up the search gives up and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.scenario import NamedSystem
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.search import explore_system
from vtdkit.kernel.explorer.system import Outcome

BUDGET = 300
Sign = tuple[str, str]


class _After:
    """A system that begins where a prefix of a schedule ends. Guards: used by one thread."""

    def __init__(self, system: NamedSystem, prefix: Sequence[Any]) -> None:
        self.prefix = prefix
        self.system = system
        self.enabled, self.step = system.enabled, system.step
        self.blocked, self.finish = system.blocked, system.finish

    def start(self) -> None:
        """Run the prefix."""
        self.system.start()
        for name in self.prefix:
            self.system.step(name)

    def born(self, name: Any) -> int:
        """After how many steps from here a process came to be."""
        return max(self.system.born(name) - len(self.prefix), 0)


def first_inevitable(
    system: Callable[[], NamedSystem],
    order: Sequence[Any],
    sign: Sign,
    appears: int,
    budget: int = BUDGET,
) -> tuple[int | None, str]:
    """The step after which the finding with this kind and place cannot be avoided, and a sentence
    on what was searched.

    `appears` is the step after which it showed in this order. None when the budget did not suffice.
    """
    appeared = "the mark is where the finding appears"
    if not budget:
        return None, f"{appeared}; nobody searched for the point of no return"
    tried, without = 0, False

    def avoided(outcome: Outcome, schedule: Schedule) -> bool:
        nonlocal tried, without
        tried += 1
        without = not _shows(outcome, sign)
        return without or tried == budget

    for length in range(appears - 1, -1, -1):
        without = False
        after = _After(system(), order[:length])
        complete = explore_system(lambda after=after: after, on_outcome=avoided).complete  # type: ignore[misc]
        after.system.close()
        if without:
            return length + 1, f"every way to go on from there was tried ({_times(tried)})"
        if not complete:
            return None, f"{appeared}; {_times(budget)} did not settle where it became inevitable"
    return 0, f"there is no order without it ({_times(tried)})"


def _shows(outcome: Outcome, sign: Sign) -> bool:
    if sign[0] == "deadlock":  # who waits for whom differs with the way there
        return str(outcome.value).startswith("deadlock")
    return any((each.kind, each.where) == sign for each in outcome.findings if isinstance(each, Finding))


def _times(executions: int) -> str:
    return "1 execution" if executions == 1 else f"{executions} executions"
