"""Where DMA addresses come from, and who waits for them.

Claims 29 to 31. The scenes are in `lessons.experiments.addresses` and `lessons.scenes.addresses`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lessons.experiments.addresses import DISK, MEMORY, disk, midday, use
from lessons.scenes import QUESTIONS
from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pinning import PAGE_SIZE
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.series.catalogue import driver_at

from .claim import Claim, Measured

MANY = 16


def _grows(how: str) -> Measured:
    """Do `MANY` CPUs of one domain get at least half of `MANY` times as much done as one?"""
    one, many = use(how, 1), use(how, MANY)
    times = many.ops_per_second / one.ops_per_second
    return Measured(
        times > MANY / 2,
        f"{MANY} CPUs in one domain unmap {times:.1f} times as much as one, and wait for locks "
        f"{many.wait_share:.0%} of their time",
    )


def _locked_out(scenario: str) -> Measured:
    """Does a CPU's cache keep an interrupt on that CPU out, in every order?"""
    found = explore(QUESTIONS[scenario].on(driver_at(0)), cpus=2)
    orders = found.executions + found.deadlocks
    bad = found.deadlocks + sum(times for end, times in found.outcomes.items() if end == "an address is lost")
    kinds = sorted({str(getattr(one.finding, "kind", "deadlock")) for one in found.findings})
    return Measured(
        not found.findings,
        f"{bad} of {orders} orders go wrong" + (f" ({', '.join(kinds)})" if kinds else ""),
        found.complete,
    )


class Entrances(IntelIommu):
    """The driver, counting the CPUs that are inside its map at once. Guards: observers' figures only."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.inside: list[range] = []
        self.most = self.overlaps = 0

    async def intel_iommu_map_pages(
        self, domain: IommuDomain, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        mine = range(iova, iova + pgsize * pgcount)
        self.overlaps += any(mine.start < other.stop and other.start < mine.stop for other in self.inside)
        self.inside.append(mine)
        self.most = max(self.most, len(self.inside))
        result = await super().intel_iommu_map_pages(domain, iova, paddr, pgsize, pgcount, prot)
        self.inside.remove(mine)
        return result


class OneAtATime(Entrances):
    """The same as a simple driver has it: one lock around every change of the tables."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.table_lock = self.machine.spinlock("domain->table_lock")

    async def intel_iommu_map_pages(self, *args: Any) -> tuple[int, int]:
        async with self.table_lock.irqsave():
            return await super().intel_iommu_map_pages(*args)


def _together(driver: type[Entrances]) -> Measured:
    """Are several CPUs inside `iommu_map` at once, and does none wait there?"""
    pc, api = disk(cpus=8, driver=driver, checkers=(), record=False)
    midday(pc, 32)
    dev, counted = pc.devices[DISK], pc.driver
    assert isinstance(counted, Entrances)
    counted.most = counted.overlaps = 0

    async def work(index: int) -> None:
        await api.iommu_dma_map_page(dev, MEMORY, PAGE_SIZE)

    closed_loop(pc.machine, work, threads=8, count=8)
    pc.machine.simulate()
    waited = sum(row.write.wait_total for row in pc.machine.lock_stat())
    return Measured(
        counted.most > 1 and not waited,
        f"up to {counted.most} of 8 CPUs are inside iommu_map at once, {counted.overlaps} times two of them "
        f"for one page; waiting for locks: {waited:,} ns",
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        29,
        "Robin Murphy, 31 May",
        "the DMA API needs no lock: it trusts itself, and its speed and serialising do not go together; that "
        "is why each CPU has a cache of addresses",
        "18",
        partial(_grows, "magazines"),
        partial(_grows, "one lock"),
    ),
    Claim(
        30,
        "Jason Gunthorpe, 31 May",
        "per-CPU is a form of locking",
        "18",
        partial(_locked_out, "cache-irq"),
        partial(_locked_out, "cache-irq-unlocked"),
    ),
    Claim(
        31,
        "Robin Murphy, 31 May",
        "only getting an address is per-CPU; with addresses of their own CPUs enter iommu_map unhindered",
        "18",
        partial(_together, Entrances),
        partial(_together, OneAtATime),
    ),
)
