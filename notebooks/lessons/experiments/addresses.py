"""Where DMA addresses come from: the DMA API of one device, used by 1 to 64 CPUs at once.

Each CPU maps a buffer and unmaps it again, over and over, all in one domain: a disk with many queues. What is
compared is who gives the addresses out::

    >>> use("magazines", 16).ops_per_second > 3 * use("tree", 16).ops_per_second
    True

| `how` | addresses come from |
|---|---|
| "magazines" | per-CPU caches in front of the tree, as in Linux |
| "tree" | the tree alone, behind `iova_rbtree_lock`, as before Linux 4.7 |
| "one lock" | the caches, and one more lock held around every map and every unmap |

In lazy mode an unmapped address waits in its CPU's ring for a flush, one in 255 unmaps. Measuring a whole
ring's worth on 64 CPUs would take long, so a run begins `midday`: rings are as full as they would be at some
moment, caches hold what the run will want, and as many CPUs flush as would on average, but one at least.

Guards: none here; each measurement is a computer of its own. The same arguments give the same numbers.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from vtdkit.iommu.dma import DMA_BIDIRECTIONAL, SAC_LIMIT, DmaApi
from vtdkit.iommu.dma_fq import IOVA_FQ_SIZE
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.iommu.pinning import PAGE_SIZE as PAGE
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.lab.computer import Computer
from vtdkit.lab.scaling import Scaling, ScalingPoint, point

HOW = ("one lock", "tree", "magazines")
DISK = "00:03.0"
LEAST = 32  # buffers a CPU, in a measurement
MEMORY = 0x5000000  # where buffers lie


class OneLockDmaApi(DmaApi):
    """A DMA API that never was: one lock of the whole machine, held around every map and unmap."""

    def __init__(self, core: Any, **options: Any) -> None:
        super().__init__(core, **options)
        self.lock = core.machine.spinlock("dma_lock")

    async def iommu_dma_map_page(
        self, dev: PciDevice, phys: int, size: int, dir: int = DMA_BIDIRECTIONAL
    ) -> int:
        async with self.lock.irqsave():
            return await super().iommu_dma_map_page(dev, phys, size, dir)

    async def iommu_dma_unmap_page(self, dev: PciDevice, dma_handle: int, size: int) -> None:
        async with self.lock.irqsave():
            await super().iommu_dma_unmap_page(dev, dma_handle, size)


def disk(how: str = "magazines", cpus: int = 1, lazy: bool = True, **options: Any) -> tuple[Computer, DmaApi]:
    """A computer with one device, `DISK`, that uses the DMA API. `options` go to the computer.

    Raises ValueError for a `how` there is not.
    """
    if how not in HOW:
        raise ValueError(f"addresses come from {', '.join(HOW)}; there is no {how!r}")
    pc = Computer(devices=(), cpus=cpus, default_type="dma-fq" if lazy else "dma", **options)
    api = (OneLockDmaApi if how == "one lock" else DmaApi)(pc.core, caches=how != "tree")
    pc.add_device(DISK)
    return pc, api


def midday(pc: Computer, buffers: int, pages: int = 1) -> None:
    """Make a machine as it is in the middle of the day, for a run of `buffers` maps and unmaps a CPU. The
    flush queue's timer went off just now; its next time is after the run.
    """
    cookie, cpus = pc.domain_of(DISK).cookie, len(pc.machine.cpus)
    flushing = max(round(cpus * buffers / (IOVA_FQ_SIZE - 1)), 1) if cookie.fq is not None else 0

    async def fill(queued: int) -> None:
        """So many addresses wait in this CPU's ring, and enough for the run are in its cache."""
        limit = SAC_LIMIT >> PAGE_SHIFT
        taken = [await cookie.iovad.alloc_iova_fast(pages, limit) for _ in range(queued + buffers)]
        for number, pfn in enumerate(taken):
            if number < queued:
                await cookie.fq.queue_iova(pfn, pages, [])
            else:
                await cookie.iovad.free_iova_fast(pfn, pages)

    for cpu in range(cpus):
        # of those whose ring will be full, one after the other, spread over the run
        queued = IOVA_FQ_SIZE - 1 - buffers * (2 * cpu + 1) // (2 * flushing) if cpu < flushing else 0
        pc.run(fill(max(queued, 0)), cpu)
    if cookie.fq is not None:
        cookie.fq.fq_timer.delete()


def use(
    how: str,
    cpus: int,
    *,
    lazy: bool = True,
    pages: int = 1,
    elsewhere: bool = False,
    buffers: int = 0,
    **options: Any,
) -> ScalingPoint:
    """One point: `cpus` CPUs map and unmap buffers of `pages` pages; `elsewhere`: the next CPU unmaps
    what one has mapped. `buffers` for each CPU (0: as many as it takes). `options` go to the machine.
    """
    pc, api = disk(how, cpus, lazy, **{"checkers": (), "record": False, **options})
    dev, machine = pc.devices[DISK], pc.machine
    buffers = buffers or max(LEAST, (IOVA_FQ_SIZE if lazy else 0) // cpus)
    midday(pc, buffers, pages)
    mapped = [deque[int]() for _ in range(cpus)]

    async def buffer(index: int) -> None:
        address = await api.iommu_dma_map_page(dev, MEMORY, pages * PAGE)
        mapped[(index + elsewhere) % cpus].append(address)
        if mapped[index]:
            await api.iommu_dma_unmap_page(dev, mapped[index].popleft(), pages * PAGE)

    machine.advance(1)
    return point(how, pc, lambda: closed_loop(machine, buffer, threads=cpus, count=buffers))


def curves(cpus: tuple[int, ...] = (1, 4, 16, 64), how: tuple[str, ...] = HOW, **options: Any) -> Scaling:
    """The curves of several ways to give addresses out."""
    return Scaling(use(each, count, **options) for each in how for count in cpus)
