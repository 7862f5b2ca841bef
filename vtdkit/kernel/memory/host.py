"""What pages and driver objects need of their machine: the parts below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random

    from vtdkit.kernel.checkers.checks import Checks
    from vtdkit.kernel.machine.costs import Costs
    from vtdkit.kernel.machine.scheduling import Scheduler
    from vtdkit.kernel.machine.statistics import Statistics
    from vtdkit.kernel.machine.steps import Steps

    from .allocator import PageAllocator


class Host(Protocol):
    """A machine, as its memory sees it."""

    costs: Costs
    random: random.Random
    pages: PageAllocator

    @property
    def sched(self) -> Scheduler: ...
    @property
    def check(self) -> Checks: ...
    @property
    def stat(self) -> Statistics: ...
    @property
    def steps(self) -> Steps: ...
