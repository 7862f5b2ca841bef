"""Scaling curves: how much unmapping a version of the driver gets done on 1 to 64 CPUs, and which
lock it waits for.

The load is the hot path the series was about: each CPU maps a page and unmaps it again, over and over, in the
domain of a device with ATS. Every unmap waits for its unit twice, for the IOTLB and for the device's own TLB;
before patch 12 the second wait happens under a lock of the whole machine. CPUs share neither addresses nor,
unless there are fewer domains than CPUs, domains::

    >>> curves = scaling([0, 12], cpus=[1, 8])
    >>> curves.at(0, 8).bottleneck
    'device_domain_lock'

What limits a curve in the end is the units: each executes one invalidation after the other, so `queue_share`,
the part of the time the busiest unit was at work, says how near to that limit a point is. With `units=1` no
version gets past it.

Guards: none here; each point is a computer of its own. The same arguments give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pinning import PAGE_SIZE as PAGE
from vtdkit.kernel.machine.workload import Load, closed_loop
from vtdkit.series import catalogue
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.capabilities import Capabilities

from .computer import Computer

Version = int | str | type[IntelIommu]
#: after which of the twelve patches (0: before), and the releases that came of them
RELEASES: dict[str, type[IntelIommu]] = {
    "v5.19": mainline.driver_at(0),
    "6.0-rc1": mainline.RC1,
    "6.0-rc5": mainline.RC5,
}
VERSIONS: tuple[Version, ...] = (*range(len(SERIES)), *RELEASES)
CPUS = (1, 2, 4, 8, 16, 32, 64)
MOST = 256  # CPUs, devices have numbers on one bus
APART = 1 << 21  # each CPU has a table of its own at the lowest level


@dataclass(frozen=True, slots=True)
class LockWait:
    """One lock's part of the waiting: `share` (0 to 1) of all the time CPUs waited for locks, `contentions`
    how often, `function` where most often."""

    lock: str
    function: str
    contentions: int
    share: float


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """One measurement.

    - `version`: 0 to 12 the driver after that patch of v1, or a release, see `VERSIONS`
    - `ops_per_second`: unmaps (each with its map) in a second of virtual time, all CPUs together
    - `wait_share`: the part of all CPU time spent waiting for locks, 0 to 1
    - `queue_share`: the part of the time in which the busiest unit executed invalidations, 0 to 1
    - `locks`: the locks waited for, the longest first
    """

    version: Version
    cpus: int
    ops_per_second: float
    wait_share: float
    queue_share: float
    locks: tuple[LockWait, ...]

    @property
    def bottleneck(self) -> str:
        """The lock waited for longest, empty if no CPU ever waited."""
        return self.locks[0].lock if self.locks else ""

    @property
    def explanation(self) -> str:
        """In words: where the time went."""
        if not self.locks or self.wait_share < 0.005:
            return f"no waiting for locks; the busiest unit is at work {self.queue_share:.0%} of the time"
        first = self.locks[0]
        return (
            f"CPUs wait for locks {self.wait_share:.0%} of their time, {first.share:.0%} of that for "
            f"{first.lock} in "
            f"{first.function}; the busiest unit is at work {self.queue_share:.0%} of the time"
        )

    def __repr__(self) -> str:
        return (
            f"{name_of(self.version)} on {self.cpus} CPUs: {self.ops_per_second / 1e3:.0f} thousand "
            f"unmaps/s; {self.explanation}"
        )


class Scaling(tuple[ScalingPoint, ...]):
    """Points; prints as a table, a line for each version, with the lock that the most CPUs wait for."""

    __slots__ = ()

    def at(self, version: Version, cpus: int) -> ScalingPoint:
        """One point. Raises KeyError with those there are."""
        for point in self:
            if (point.version, point.cpus) == (version, cpus):
                return point
        there = ", ".join(sorted({f"{point.version!r} on {point.cpus}" for point in self}))
        raise KeyError(f"no point for version {version!r} on {cpus!r} CPUs; there are {there}")

    def curve(self, version: Version) -> tuple[ScalingPoint, ...]:
        """The points of one version, by CPUs."""
        return tuple(
            sorted((point for point in self if point.version == version), key=lambda point: point.cpus)
        )

    def __repr__(self) -> str:
        counts = sorted({point.cpus for point in self})
        head = "".join(f"{cpus:>7}" for cpus in counts)
        lines = [f"{'thousand unmaps/s on':<22}{head}  CPUs, which wait most for"]
        for version in dict.fromkeys(point.version for point in self):
            curve = {point.cpus: f"{point.ops_per_second / 1e3:>7.0f}" for point in self.curve(version)}
            last = self.curve(version)[-1]
            share = f"{last.bottleneck} ({last.wait_share:.0%} of the time)"
            lock = share if last.wait_share >= 0.005 else "nothing"
            cells = "".join(curve.get(cpus, f"{'':>7}") for cpus in counts)
            lines.append(f"{name_of(version):<22}{cells}  {lock}")
        return "\n".join(lines)


def driver_of(version: Version) -> type[IntelIommu]:
    """The driver of a version; a class is one. Raises ValueError for one there is not."""
    if isinstance(version, str) and version not in RELEASES:
        raise ValueError(f"there is no release {version!r} here; there are {', '.join(RELEASES)}")
    if isinstance(version, int):
        return driver_at(version)
    return RELEASES[version] if isinstance(version, str) else version


def name_of(version: Version) -> str:
    """What a version is called in tables and figures."""
    return version if isinstance(version, str) else catalogue.name_of(driver_of(version))


def scaling(
    versions: Iterable[Version] = VERSIONS,
    cpus: Iterable[int] = CPUS,
    **workload: Any,
) -> Scaling:
    """The curves of some versions: each on each number of CPUs. `workload`: see `measure`."""
    return Scaling(measure(version, count, **workload) for version, count in product(versions, cpus))


def measure(
    version: Version,
    cpus: int,
    *,
    domains: int | None = None,
    units: int = 4,
    ats: bool = True,
    lasting: int = 200_000,
    think: int = 0,
    seed: int = 0,
    **options: Any,
) -> ScalingPoint:
    """One point: `cpus` CPUs unmap for `lasting` ns of virtual time, in a closed loop with
    pauses of `think` ns.

    `domains`, each with a device of its own, are shared out among the CPUs (None: one for each CPU) and among
    the `units`; `ats` False takes the device TLBs away. `options` go to the machine, costs for instance.
    Raises ValueError for a load that makes no sense.
    """
    domains = cpus if domains is None else domains
    if not 1 <= cpus <= MOST or not 1 <= domains <= MOST or units < 1 or lasting < 1:
        raise ValueError(
            f"1 to {MOST} CPUs and domains, a unit or more, some time; not {cpus}, "
            f"{domains}, {units}, {lasting} ns"
        )
    options = {"checkers": (), "record": False, **options}
    pc = Computer(
        driver=driver_of(version),
        devices=(),
        units=[Capabilities()] * min(units, domains),
        cpus=cpus,
        seed=seed,
        **options,
    )
    spaces = []
    for number in range(domains):  # a device behind one of the units, and a domain of its own
        address = f"{number // 32 + 1:02x}:{number % 32:02x}.0"
        pc.add_device(address, unit=number % min(units, domains), ats=ats)
        spaces.append(pc.new_domain(attach=address))
    machine, core = pc.machine, pc.core

    async def unmap(index: int) -> None:
        domain, iova = spaces[index % domains], (index + 1) * APART
        await core.iommu_map(domain, iova, iova, PAGE, 3)
        await core.iommu_unmap(domain, iova, PAGE)

    for index in range(cpus):
        pc.run(unmap(index), cpu=index)  # the tables are there when the clock starts
    return point(
        version,
        pc,
        lambda: closed_loop(machine, unmap, threads=cpus, think=think, until=machine.now + lasting),
    )


def point(version: Version, pc: Computer, start: Callable[[], Load]) -> ScalingPoint:
    """What a load comes to that `start` begins and that ends by itself."""
    machine, busy = pc.machine, [hardware.busy for hardware in pc.hardware]
    _, before = waits(pc)
    load = start()
    machine.simulate()
    elapsed, cpus = load.elapsed, len(machine.cpus)
    locks, waited = waits(pc)
    queue = max(hardware.busy - earlier for hardware, earlier in zip(pc.hardware, busy, strict=True))
    return ScalingPoint(
        version,
        cpus,
        load.throughput,
        min(1.0, (waited - before) / (elapsed * cpus)),
        min(1.0, queue / elapsed),
        locks,
    )


def waits(pc: Computer) -> tuple[tuple[LockWait, ...], int]:
    """The locks waited for, and the nanoseconds all together. (Setting up waits for none.)"""
    rows = [(row.write.wait_total + row.read.wait_total, row) for row in pc.machine.lock_stat()]
    total, found = sum(waited for waited, _ in rows), []
    for waited, row in sorted(rows, key=lambda pair: (-pair[0], pair[1].name)):
        if waited:
            place: Any = max(row.points, key=lambda point: (point[1], str(point[0])))[0]  # a Site
            found.append(LockWait(row.name, place.function, row.contentions, waited / total))
    return tuple(found), total
