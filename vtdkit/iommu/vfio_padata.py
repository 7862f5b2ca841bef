"""VFIO that pins and maps with several CPUs at once: Daniel Jordan's RFC "padata, vfio, sched: Multithreaded
VFIO page pinning" of 5 January 2022 (20220106004656.126790-1), patches 3, 7 and 8. It was never merged.

One map request is cut into chunks; the thread that asked and some helpers each take the next chunk, pin its
pages and map them, until there are none. Their ranges are disjoint, so the container's mutex, which the
thread that asked holds meanwhile, is all the protection the table gets: several CPUs are in `iommu_map` of
one domain at once. If a chunk fails, no more are begun, and those that are done are undone.

Each thread charges pages in advance (`lock_cache`), because charging takes `mmap_lock` for writing, while all
the others need it for reading. 0 means no such cache, as in patch 7 alone.

Mirrors kernel/padata.c (`padata_do_multithreaded`) of v5.14. Left out: workqueues, niceness, CPU limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.machine import Machine

from .core import IommuCore
from .vfio import VfioType1
from .vfio_dma import vfio_batch, vfio_dma, vfio_iommu

PMD_SIZE = 2 << 20
VFIO_MIN_CHUNK = 1 << 27
VFIO_MAX_THREADS = 16
LOCKED_VM_CACHE_PAGES = 65536
LOAD_BALANCE = 4  # chunks for each thread, if they are long enough
Chunk = Callable[[int, int], Awaitable[int]]


class PadataState:
    """A job (`struct padata_mt_job`: `size` bytes to be cut up) under way.

    Guards: `lock` (spin): `at`, `error`, `running`, `done`.
    """

    def __init__(
        self, machine: Machine, size: int, align: int, min_chunk: int, max_threads: int, thread_fn: Chunk
    ) -> None:
        self.thread_fn = thread_fn
        self.lock = machine.spinlock("&ps->lock")
        self.at, self.end = 0, size
        self.threads = self.running = min(max(size // max(min_chunk, align), 1), max_threads)
        self.chunk = -(-max(size // (self.threads * LOAD_BALANCE), min_chunk) // align) * align
        self.error = 0
        self.done: list[tuple[int, int]] = []
        self.completion = machine.make(Completion, "padata")

    async def padata_mt_helper(self) -> None:
        """One thread: chunk after chunk; whoever is last says so."""
        while chunk := await self.next_chunk():
            error = await self.thread_fn(*chunk)
            async with self.lock:
                if error:
                    self.error = self.error or error
                else:
                    self.done.append(chunk)
        async with self.lock:
            self.running -= 1
            last = not self.running
        if last:
            await self.completion.complete()

    async def next_chunk(self) -> tuple[int, int] | None:
        """What to do next: up to the next border of a chunk. None if there is nothing left, or no point in
        it.
        """
        async with self.lock:
            start = self.at
            if start >= self.end or self.error:
                return None
            self.at = min(start - start % self.chunk + self.chunk, self.end)
            return start, self.at


async def padata_do_multithreaded(machine: Machine, state: PadataState) -> None:
    """Do a job with some helpers. What a job that failed leaves behind is the caller's to undo."""
    here = machine.cpu()
    for helper in range(1, state.threads):
        machine.spawn(state.padata_mt_helper(), (here + helper) % len(machine.cpus), f"padata {helper}")
    await state.padata_mt_helper()
    await state.completion.wait()


class VfioPadata(VfioType1):
    """Type 1 with helpers. Guards: as its parent; `iommu->lock` is held by the thread that asked, while
    helpers work on its behalf.
    """

    def __init__(
        self,
        core: IommuCore,
        max_threads: int = VFIO_MAX_THREADS,
        min_chunk: int = VFIO_MIN_CHUNK,
        lock_cache: int = LOCKED_VM_CACHE_PAGES,
        align: int = PMD_SIZE,
    ) -> None:
        super().__init__(core)
        self.max_threads, self.min_chunk, self.align = max_threads, min_chunk, align
        self.lock_cache = lock_cache

    async def vfio_pin_map_dma(self, iommu: vfio_iommu, dma: vfio_dma, size: int) -> int:
        """Pin and map in chunks, several at once. 0, or an error, and nothing of it is mapped."""
        chunk = partial(self.vfio_pin_map_dma_chunk, iommu, dma)
        job = PadataState(self.machine, size, self.align, self.min_chunk, self.max_threads, chunk)
        await padata_do_multithreaded(self.machine, job)
        if not job.error:
            dma.size += size
            return 0
        for start, end in job.done:
            await self.vfio_unmap_unpin(iommu, dma, dma.iova + start, dma.iova + end)
        return job.error

    async def vfio_pin_map_dma_chunk(self, iommu: vfio_iommu, dma: vfio_dma, start: int, end: int) -> int:
        """One chunk, by offsets in the mapping."""
        batch = vfio_batch()
        error, at = await self.pin_map_pieces(iommu, dma, start, end, batch)
        await dma.mm.account_locked_vm(-batch.lock_cache)
        if error:
            await self.vfio_unmap_unpin(iommu, dma, dma.iova + start, dma.iova + at)
        return error

    async def refill(self, dma: vfio_dma, batch: vfio_batch, npage: int) -> None:
        """Charge pages in advance, once those before are used up. More may be charged than is needed, so a
        limit that is reached is no error here.
        """
        wanted = min(npage, self.lock_cache)
        if not batch.lock_cache and wanted and not await dma.mm.account_locked_vm(wanted):
            batch.lock_cache = wanted
