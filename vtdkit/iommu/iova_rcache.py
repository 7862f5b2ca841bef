"""Per-CPU caches of free IOVA ranges: the magazines of drivers/iommu/iova.c, after Bonwick
and Adams (USENIX 2001).

For each size class (1, 2, 4 … 32 pages) every CPU has two magazines, stacks of range starts: one `loaded`,
one to swap with (`prev`). Only when both are full or both are empty does a CPU go to the depot, which all
CPUs share and which holds up to 32 full magazines behind a lock. A range in a magazine is free for the next
user and still allocated as far as the tree knows.

The point of it: the tree's one lock is not taken on the usual way. Each CPU takes a lock of its own instead,
with interrupts off, since interrupt handlers map and unmap too.

Numbers are those of v5.19: 128 entries a magazine (127 from July 2022 on, so that one fits 1024 bytes). The
depot's limit went in 6.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.objects import KObject, shared

if TYPE_CHECKING:
    from .iova import iova_domain

IOVA_MAG_SIZE = 128
MAX_GLOBAL_MAGS = 32
IOVA_RANGE_CACHE_MAX_SIZE = 6  # size classes: 1 to 32 pages


class iova_magazine(KObject):
    """`struct iova_magazine`: a stack of the first page frames of free ranges.

    Guards: `pfns` by the lock of what holds the magazine, a CPU's cache or the depot.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iova_magazine")
        self.pfns: list[int] = []


class iova_cpu_rcache(KObject):
    """`struct iova_cpu_rcache`: one CPU's two magazines of one size class. Guards: `lock`: `loaded`, `prev`
    and what is in them.
    """

    loaded = shared()
    prev = shared()

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iova_cpu_rcache")
        self.lock = machine.spinlock("&cpu_rcache->lock")


class iova_rcache(KObject):
    """`struct iova_rcache`: one size class. Guards: `lock`: `depot`. Written once: `of_cpu`."""

    depot = shared(())  # full magazines; replaced, never changed in place

    def __init__(self, machine: Machine, order: int) -> None:
        super().__init__(machine, f"iova_rcache of {1 << order} pages")
        self.lock = machine.spinlock("&rcache->lock")
        self.of_cpu = [iova_cpu_rcache(machine) for _ in machine.cpus]  # `__percpu *cpu_rcaches`


class iova_rcaches(KObject):
    """All size classes with what each CPU has of them: one allocation here, one for each class more in Linux.
    Written once.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iova_rcaches")
        self.of_order = [iova_rcache(machine, order) for order in range(IOVA_RANGE_CACHE_MAX_SIZE)]

    def magazines(self) -> list[iova_magazine]:
        """Those in depots, then those of the CPUs."""
        found = [mag for rcache in self.of_order for mag in rcache.peek("depot")]
        for cpu_rcache in [cpu_rcache for rcache in self.of_order for cpu_rcache in rcache.of_cpu]:
            found += [cpu_rcache.peek("loaded"), cpu_rcache.peek("prev")]
        return [mag for mag in found if mag is not None]


def order_base_2(size: int) -> int:
    """The power of two that is enough for `size`: 0 for 1, 2 for 3 and 4."""
    return (size - 1).bit_length()


def iova_magazine_pop(mag: iova_magazine, limit_pfn: int) -> int:
    """The latest entry that does not lie above `limit_pfn`; 0 if all do. The last entry takes its place."""
    pfns = mag.pfns
    for index in range(len(pfns) - 1, -1, -1):
        if pfns[index] <= limit_pfn:
            pfns[index], pfns[-1] = pfns[-1], pfns[index]
            return pfns.pop()
    return 0


# -- one range ----------------------------------------------------------------


async def iova_rcache_insert(iovad: iova_domain, pfn: int, size: int) -> bool:
    """Keep a freed range for the next user on this CPU. False: too large, or no memory for a
    magazine; free it properly.
    """
    order = order_base_2(size)
    if order >= IOVA_RANGE_CACHE_MAX_SIZE or iovad.rcaches is None:
        return False
    rcache, machine = iovad.rcaches.of_order[order], iovad.machine
    cpu_rcache = rcache.of_cpu[machine.cpu()]
    mag_to_free: iova_magazine | None = None
    can_insert = True
    async with cpu_rcache.lock.irqsave():
        loaded: iova_magazine = cpu_rcache.loaded
        if len(loaded.pfns) >= iovad.mag_size:
            prev: iova_magazine = cpu_rcache.prev
            if len(prev.pfns) < iovad.mag_size:
                cpu_rcache.prev, cpu_rcache.loaded = loaded, prev
                loaded = prev
            else:
                new_mag = await machine.kmalloc(iova_magazine, gfp=GFP_ATOMIC)
                can_insert = new_mag is not None
                if new_mag is not None:
                    mag_to_free = await depot_push(rcache, loaded)
                    cpu_rcache.loaded = loaded = new_mag
        if can_insert:
            loaded.pfns.append(pfn)
    if mag_to_free is not None:
        await iovad.iova_magazine_free_pfns(mag_to_free)
        await machine.kfree(mag_to_free)
    return can_insert


async def depot_push(rcache: iova_rcache, full: iova_magazine) -> iova_magazine | None:
    """Hand a full magazine to the depot; given back if the depot is full too. (In
    line in `__iova_rcache_insert`.)
    """
    async with rcache.lock:
        depot: tuple[iova_magazine, ...] = rcache.depot
        if len(depot) < MAX_GLOBAL_MAGS:
            rcache.depot = (*depot, full)
            return None
        return full


async def iova_rcache_get(iovad: iova_domain, size: int, limit_pfn: int) -> int:
    """A free range of `size` pages below `limit_pfn` from this CPU's cache: its first page frame, 0
    if there is none.
    """
    order = order_base_2(size)
    if order >= IOVA_RANGE_CACHE_MAX_SIZE or iovad.rcaches is None:
        return 0
    rcache = iovad.rcaches.of_order[order]
    cpu_rcache = rcache.of_cpu[iovad.machine.cpu()]
    async with cpu_rcache.lock.irqsave():
        loaded: iova_magazine = cpu_rcache.loaded
        if not loaded.pfns:
            prev: iova_magazine = cpu_rcache.prev
            if prev.pfns:
                cpu_rcache.prev, cpu_rcache.loaded = loaded, prev
                loaded = prev
            else:
                full = await depot_pop(rcache)
                if full is None:
                    return 0
                await iovad.machine.kfree(loaded)
                cpu_rcache.loaded = loaded = full
        return iova_magazine_pop(loaded, limit_pfn - size)


async def depot_pop(rcache: iova_rcache) -> iova_magazine | None:
    """Take the latest full magazine out of the depot, if there is one. (In line in `__iova_rcache_get`.)"""
    async with rcache.lock:
        depot: tuple[iova_magazine, ...] = rcache.depot
        if not depot:
            return None
        rcache.depot = depot[:-1]
        return depot[-1]


# -- when the space runs out --------------------------------------------------


async def free_cpu_cached_iovas(iovad: iova_domain, cpu: int) -> None:
    """Give the tree back every range that one CPU has cached."""
    for rcache in iovad.rcaches.of_order:
        cpu_rcache = rcache.of_cpu[cpu]
        async with cpu_rcache.lock.irqsave():
            await iovad.iova_magazine_free_pfns(cpu_rcache.loaded)
            await iovad.iova_magazine_free_pfns(cpu_rcache.prev)


async def free_global_cached_iovas(iovad: iova_domain) -> None:
    """Give the tree back every range that lies in a depot."""
    for rcache in iovad.rcaches.of_order:
        async with rcache.lock.irqsave():
            for mag in rcache.depot:
                await iovad.iova_magazine_free_pfns(mag)
                await iovad.machine.kfree(mag)
            rcache.depot = ()


# -- the end ------------------------------------------------------------------


async def free_iova_rcaches(iovad: iova_domain) -> None:
    """Free every magazine; what they hold is the tree's to free. Nobody may use the domain any more."""
    if iovad.rcaches is not None:
        for mag in iovad.rcaches.magazines():
            await iovad.machine.kfree(mag)
        await iovad.machine.kfree(iovad.rcaches)
        iovad.rcaches = None  # type: ignore[assignment]
