"""A bound on how many steps a process takes: what makes a system with endless loops explorable.

The bound is per process, not per execution, on purpose. A process that has taken its last step simply stands
still, which takes nothing from the others: exploration stays complete, and optimal, for the system so
curtailed. All executions in which no process takes more steps than the bound are among those it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .system import Access, Outcome, Process, System


class Truncated:
    """A system whose processes take at most `depth` steps each.

    cut  True at the end of an execution in which the bound stopped somebody who could have gone on
    """

    def __init__(self, system: System, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"a depth bound of {depth} steps for each process; it must be 1 or more")
        self._system = system
        self._depth = depth
        self._taken: dict[Process, int] = {}
        self.cut = False
        if hasattr(system, "born"):
            self.born = system.born

    def start(self) -> None:
        """Bring the system to its initial state."""
        self._taken = {}
        self._system.start()

    def enabled(self) -> Sequence[Process]:
        """Return who can move and has steps left."""
        able = self._system.enabled()
        left = tuple(process for process in able if self._taken.get(process, 0) < self._depth)
        self.cut = len(left) < len(able)
        return left

    def step(self, process: Process) -> Sequence[Access]:
        """Have a process take one step."""
        self._taken[process] = self._taken.get(process, 0) + 1
        return self._system.step(process)

    def blocked(self) -> Mapping[Process, Sequence[Access]]:
        """Return who waits; those who merely have no steps left do not."""
        return self._system.blocked()

    def finish(self) -> Outcome:
        """Say what came of the execution. Where it was cut short only the findings are the system's."""
        outcome = self._system.finish()
        return Outcome("cut short", outcome.findings) if self.cut else outcome
