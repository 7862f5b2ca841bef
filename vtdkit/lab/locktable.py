"""The lock table, measured: which locks each operation of a version takes, for how long, how
long interrupts are off.

`lock_table([0, 12])` runs every operation of `operations.OPERATIONS` once, alone, on a computer of its own,
and reads off the record: how often each lock was taken, the longest hold, the longest time with interrupts
off. A second run has a neighbour: a CPU that maps and unmaps in
another domain, behind another unit, with a device that has ATS. How long the neighbour had to wait for a lock
is what the operation costs those who have nothing to do with it.

"D" stands for the lock of the device lists: `device_domain_lock`, one for the machine, and from patch 12
on the domain's own mutex or spin lock. "L" is `iommu->lock`. The point to see: the number of
acquisitions goes up with the series; what falls is how long D is held, how long interrupts are off, and
how long the neighbour waits.

Guards: none here. Virtual time: the same table on every computer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vtdkit.kernel.record.spans import waits_of
from vtdkit.kernel.record.trace import Trace

from .computer import Computer
from .lesson.shown import Table
from .operations import IOVA, OPERATIONS, PAGE, Operation, with_devices
from .scaling import Version, driver_of, name_of

DEVICE_LOCKS = ("device_domain_lock", "&domain->lock", "&domain->mutex")
IOMMU_LOCK = "&iommu->lock"
NEIGHBOUR = "neighbour"


@dataclass(frozen=True, slots=True)
class OperationCost:
    """One operation in one version, times in ns of virtual time.

    - `duration` from beginning to end
    - `device_lock` the lock of the device lists, whatever it is in this version, `iommu_lock` the lock
      `iommu->lock`: how often it was taken, and the longest hold
    - `irqs_off` the longest time hard interrupts were off in one piece, `irqs_off_total` all pieces together
    - `device_tlb_flushes` device-TLB invalidations sent
    - `neighbour` the longest a CPU with a domain and a unit of its own waited for one lock meanwhile
    """

    version: Version
    operation: str
    duration: int
    device_lock: tuple[int, int]
    iommu_lock: tuple[int, int]
    irqs_off: int
    irqs_off_total: int
    device_tlb_flushes: int
    neighbour: int


HEAD = ("", "operation", "D", "longest", "L", "longest", "irqs off", "device TLBs", "neighbour waits")


class LockTable(tuple[OperationCost, ...]):
    """Measured operations; a table in a terminal and in a notebook. Times in ns."""

    __slots__ = ()

    def at(self, version: Version, operation: str) -> OperationCost:
        """One cell. Raises KeyError with those there are."""
        for cost in self:
            if (cost.version, cost.operation) == (version, operation):
                return cost
        versions, names = (
            list(dict.fromkeys(getattr(cost, field) for cost in self)) for field in ("version", "operation")
        )
        raise KeyError(f"no {operation!r} of version {version!r}; there are {names} of {versions}")

    def table(self) -> Table:
        """A row for each operation of each version."""
        rows = (
            (
                name_of(cost.version), cost.operation, *cost.device_lock, *cost.iommu_lock,
                cost.irqs_off, cost.device_tlb_flushes, cost.neighbour,
            )
            for cost in self
        )  # fmt: skip
        return Table(HEAD, tuple(rows))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


# -- measuring ----------------------------------------------------------------


def lock_table(
    versions: Iterable[Version] = (0, 11, 12, "6.0-rc5"), operations: Iterable[str] = (), **options: Any
) -> LockTable:
    """The table of some versions; `operations` by name (none named: all). `options` go to the
    machine, costs for instance.

    Raises ValueError for a version or an operation there is not.
    """
    wanted, known = list(operations), {each.name: each for each in OPERATIONS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no operation {name!r}; there are {', '.join(known)}")
    chosen = [each for name, each in known.items() if not wanted or name in wanted]
    return LockTable(measure(version, operation, **options) for version in versions for operation in chosen)


def measure(version: Version, operation: Operation, **options: Any) -> OperationCost:
    """One operation, once alone and once beside a neighbour."""
    pc = _computer(version, operation, **options)
    work, name = operation.prepare(pc), operation.name
    sent = sum(hardware.device_tlb_flushes for hardware in pc.hardware)
    began = pc.machine.now
    pc.machine.run(work(), name=name)
    off, trace = pc.machine.irq.irqsoff(name), pc.machine.trace()
    return OperationCost(
        version,
        name,
        pc.machine.now - began,
        _holds(trace, name, *DEVICE_LOCKS),
        _holds(trace, name, IOMMU_LOCK),
        off.longest,
        off.total,
        sum(hardware.device_tlb_flushes for hardware in pc.hardware) - sent,
        _neighbour(version, operation, **options),
    )


def _computer(version: Version, operation: Operation, **options: Any) -> Computer:
    """A computer without devices: the units of the operation, and one more for the neighbour."""
    return Computer(
        driver=driver_of(version),
        devices=(),
        units=[operation.unit] * (operation.units + 1),
        **{"cpus": 2, "checkers": (), **operation.options, **options},
    )


def _holds(trace: Trace, thread: str, *locks: str) -> tuple[int, int]:
    """How often a thread took these locks, and the longest hold; (0, 0) if never."""
    spans = (span for span in trace.spans() if (span.state, span.context) == ("holding", thread))
    holds = [span.end - span.start for span in spans if span.object in locks]
    return len(holds), max(holds, default=0)


def _neighbour(version: Version, operation: Operation, **options: Any) -> int:
    """How long a CPU with nothing in common with the operation waits for a lock meanwhile, at most."""
    pc = _computer(version, operation, **options)
    domain, _ = with_devices(pc, operation.units, ats=True, first=20)
    machine, core = pc.machine, pc.core
    work = operation.prepare(pc)
    pc.map(domain, IOVA, IOVA)
    thread = machine.spawn(work(), cpu=0, name=operation.name)

    async def unmap() -> None:
        while not thread.done:
            await core.iommu_unmap(domain, IOVA, PAGE)
            await core.iommu_map(domain, IOVA, IOVA, PAGE, 3)

    machine.spawn(unmap(), cpu=1, name=NEIGHBOUR)
    machine.simulate()
    trace = machine.trace()
    waits = (end - since for who, _, since, end in waits_of(trace) if trace.contexts[who] == NEIGHBOUR)
    return max(waits, default=0)
