"""The lock table, measured: which locks each operation of a version takes, for how long, how
long interrupts are off.

`lock_table([0, 12])` runs every operation of `operations.OPERATIONS` once, alone, on a computer of its own,
and reads off the record: how often each lock was taken and in which functions, the longest hold, the longest
time with interrupts off and where it began. A second run has a neighbour: a CPU that maps and unmaps in
another domain, behind another unit, with a device that has ATS. How long the neighbour had to wait for a lock
is what the operation costs those who have nothing to do with it.

"D" stands for the lock of the device lists: `device_domain_lock`, one for the machine, and from patch 12
on the domain's own mutex or spin lock. "L" is `iommu->lock`. The point to see: the number of
acquisitions goes up with the series; what falls is how long D is held, how long interrupts are off, and
how long the neighbour waits.

Guards: none here. Virtual time: the same table on every computer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vtdkit.kernel.record.record import ACQUIRE, RELEASE
from vtdkit.kernel.record.spans import waits_of

from .computer import Computer
from .lesson.shown import Table
from .operations import IOVA, OPERATIONS, PAGE, Operation, with_devices
from .scaling import Version, driver_of, name_of

DEVICE_LOCKS = ("device_domain_lock", "&domain->lock", "&domain->mutex")
IOMMU_LOCK = "&iommu->lock"
NEIGHBOUR = "neighbour"


@dataclass(frozen=True, slots=True)
class LockUse:
    """One lock in one operation: taken `count` times, held `held` ns in all, `longest` ns at most;
    `functions`: how often where.
    """

    lock: str
    count: int
    held: int
    longest: int
    functions: tuple[tuple[str, int], ...]

    def __repr__(self) -> str:
        where = ", ".join(
            f"{function} {count}" if count > 1 else function for function, count in self.functions
        )
        return f"{self.lock}: {self.count} x, {self.held} ns in all, {self.longest} ns at most, in {where}"


@dataclass(frozen=True, slots=True)
class OperationCost:
    """One operation in one version, times in ns of virtual time.

    - `duration` from beginning to end; `locks` in the order in which they were first taken
    - `irqs_off` the longest time hard interrupts were off in one piece, `irqs_off_in` the function that
      switched them off, `irqs_off_total` all pieces together
    - `device_tlb_flushes` device-TLB invalidations sent
    - `neighbour` the longest a CPU with a domain and a unit of its own waited for one lock
      meanwhile, `neighbour_lock` which one
    """

    version: Version
    operation: str
    duration: int
    locks: tuple[LockUse, ...]
    irqs_off: int
    irqs_off_in: str
    irqs_off_total: int
    device_tlb_flushes: int
    neighbour: int
    neighbour_lock: str

    def of(self, *names: str) -> tuple[int, int]:
        """How often the locks of these names were taken, all together, and the longest hold (ns);
        (0, 0) if never.
        """
        uses = [use for use in self.locks if use.lock in names]
        return sum(use.count for use in uses), max((use.longest for use in uses), default=0)

    @property
    def device_lock(self) -> tuple[int, int]:
        """The lock of the device lists, whatever it is in this version: how often, longest hold."""
        return self.of(*DEVICE_LOCKS)

    @property
    def iommu_lock(self) -> tuple[int, int]:
        """`iommu->lock`: how often, longest hold."""
        return self.of(IOMMU_LOCK)

    def __repr__(self) -> str:
        off = f"irqs off {self.irqs_off} ns from {self.irqs_off_in}" if self.irqs_off else "irqs stay on"
        stall = (
            f"a neighbour waits {self.neighbour} ns for {self.neighbour_lock}"
            if self.neighbour
            else "no neighbour waits"
        )
        head = f"{self.operation}, {name_of(self.version)}: {self.duration} ns, {off}, {stall}"
        return "\n".join([head, *(f"  {use!r}" for use in self.locks)])


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
    first, began = len(pc.machine.trace()), pc.machine.now
    pc.machine.run(work(), name=name)
    duration, off = pc.machine.now - began, pc.machine.irq.irqsoff(name)
    flushes = sum(hardware.device_tlb_flushes for hardware in pc.hardware) - sent
    lock, waited = _neighbour(version, operation, **options)
    return OperationCost(
        version,
        name,
        duration,
        _uses(pc, first),
        off.longest,
        off.began.function if off.longest else "",
        off.total,
        flushes,
        waited,
        lock,
    )


def _computer(version: Version, operation: Operation, **options: Any) -> Computer:
    """A computer without devices: the units of the operation, and one more for the neighbour."""
    return Computer(
        driver=driver_of(version),
        devices=(),
        units=[operation.unit] * (operation.units + 1),
        **{"cpus": 2, "checkers": (), **operation.options, **options},
    )


def _uses(pc: Computer, first: int) -> tuple[LockUse, ...]:
    """The locks taken since event `first` of the record."""
    trace = pc.machine.trace()
    taken: dict[int, int] = {}
    holds: dict[str, list[int]] = {}
    places: dict[str, Counter[str]] = {}
    for time, _, _, kind, obj, place, _ in list(trace.rows())[first:]:
        if kind == ACQUIRE:
            taken[obj] = time
            places.setdefault(trace.objects[obj], Counter())[trace.sites[place].function] += 1
        elif kind == RELEASE and obj in taken:
            holds.setdefault(trace.objects[obj], []).append(time - taken.pop(obj))
    return tuple(
        LockUse(name, len(times), sum(times), max(times), tuple(sorted(places[name].items())))
        for name, times in ((name, holds[name]) for name in places)
    )


def _neighbour(version: Version, operation: Operation, **options: Any) -> tuple[str, int]:
    """The lock a CPU with nothing in common with the operation waits for longest meanwhile, and how long."""
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
    waits = [
        (trace.objects[lock], end - since)
        for who, lock, since, end in waits_of(trace)
        if trace.contexts[who] == NEIGHBOUR
    ]
    return max(waits, key=lambda pair: pair[1], default=("", 0))
