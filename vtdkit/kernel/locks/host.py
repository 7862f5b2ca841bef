"""What a lock, RCU or a counter needs of its machine: the parts below it. Locks know no `Machine`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import random

    from vtdkit.kernel.checkers.checks import Checks
    from vtdkit.kernel.machine.costs import Costs
    from vtdkit.kernel.machine.irqflags import IrqFlags
    from vtdkit.kernel.machine.scheduling import Scheduler
    from vtdkit.kernel.machine.statistics import Statistics

T = TypeVar("T")


class Host(Protocol):
    """A machine, as its locks see it."""

    costs: Costs
    random: random.Random

    @property
    def sched(self) -> Scheduler: ...
    @property
    def irq(self) -> IrqFlags: ...
    @property
    def check(self) -> Checks: ...
    def make(self, cls: Callable[..., T], *args: Any, **options: Any) -> T:
        """A primitive of this machine."""

    def kfree(self, obj: Any) -> Any:
        """Give a driver object back."""

    def free_page(self, page: Any) -> Any:
        """Give a page back."""

    @property
    def stat(self) -> Statistics: ...
