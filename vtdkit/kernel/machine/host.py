"""A machine, as its parts and its primitives see it. Nothing below `machine.py` names `Machine`.

The parts hold each other through this alone, so that the explorer can put others in their places
(`Machine.make`), and so that no module has to import one that imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import random

    from vtdkit.kernel.checkers.checks import Checks
    from vtdkit.kernel.locks.rcu import Rcu
    from vtdkit.kernel.memory.allocator import PageAllocator

    from .costs import Costs
    from .irqflags import IrqFlags
    from .scheduling import Scheduler
    from .statistics import Statistics
    from .steps import Steps

T = TypeVar("T")
Wait = Generator[int | None, None, None]  #: a primitive that is awaited for its effect alone


class Host(Protocol):
    """The parts of a machine."""

    costs: Costs
    random: random.Random
    sched: Scheduler
    irq: IrqFlags
    stat: Statistics
    steps: Steps
    check: Checks
    rcu: Rcu
    pages: PageAllocator

    def make(self, cls: Callable[..., T], *args: Any, **options: Any) -> T:
        """A primitive of this machine."""

    def kfree(self, obj: Any) -> Any:
        """Give a driver object back."""

    def free_page(self, page: Any) -> Any:
        """Give a page back."""
