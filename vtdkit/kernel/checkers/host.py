"""What the checkers need of a machine, and of the things they report on: a lock, a page, a driver object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vtdkit.kernel.machine.context import Context
    from vtdkit.kernel.machine.irqflags import IrqFlags
    from vtdkit.kernel.machine.scheduling import Scheduler
    from vtdkit.kernel.machine.statistics import Statistics
    from vtdkit.kernel.machine.steps import Steps
    from vtdkit.kernel.record.sites import Spot

    from .checks import Checks
    from .lockdep.classes import LockClass
    from .races import Cell


class Host(Protocol):
    """A machine, as its checkers see it."""

    pages: Any
    rcu: Any

    @property
    def check(self) -> Checks: ...
    @property
    def sched(self) -> Scheduler: ...
    @property
    def irq(self) -> IrqFlags: ...
    @property
    def stat(self) -> Statistics: ...
    @property
    def steps(self) -> Steps: ...


class Memory(Protocol):
    """A page or an object: where it came from, and where it was given back."""

    allocated: Spot | None
    freed: Spot | None


class PageLike(Memory, Protocol):
    """A page frame."""

    pfn: int
    name: str


@runtime_checkable
class ObjectLike(Memory, Protocol):
    """A driver object with watched fields."""

    label: str
    serial: int

    @property
    def cells(self) -> Mapping[str, Cell]: ...

    def name_of_field(self, field: str) -> str:
        """What a finding calls one of the fields."""


class LockLike(Protocol):
    """A lock, for whoever reports on it."""

    name: str
    kind: str
    subclass: int
    place: Spot | None
    lockdep_class: LockClass | None

    @property
    def holders(self) -> Iterable[Context]: ...
