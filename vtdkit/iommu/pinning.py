"""User memory, as far as whoever maps it for a device sees it: pages that can be pinned, and the
limit on how many.

A page that a device may write must not be swapped out or moved, so VFIO and iommufd pin it first. Looking the
pages up takes the address space's `mmap_lock` for reading, but for the fast way, which needs no lock where
the page is there. Pins are charged against the owner's limit: VFIO counts in the address space, under
`mmap_lock` for writing; iommufd counts for the user, with one atomic.

A page that nobody touched so far is not there: who pins it first has it allocated and cleared. Clearing is
bounded by what memory can take: at most `LANES` CPUs clear at full speed, more of them share.

Mirrors mm/gup.c (`pin_user_pages_remote`, `pin_user_pages_fast`, `unpin_user_pages`), mm/util.c
(`__account_locked_vm`) and `incr_user_locked_vm` of iommufd. Addresses in bytes, lengths in pages. The
content of user pages is not modelled, only where they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

from .errno import EFAULT, ENOMEM

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
#: ns to fault in and clear a page of 4 KiB. Jordan, RFC 08/16 of 5 January 2022: 26.6 s for 128 GiB
FRESH = 793
#: how many CPUs together fill memory's bandwidth. The same table: 13.1 times one thread, with however many
LANES = 13


class mm_struct(KObject):
    """`struct mm_struct`: one user address space.

    `extents`: pieces of user memory, (virtual address, first page frame, pages). `fresh`: what the first
    touch of a page costs, in ns (0: they are all there). `limit`: RLIMIT_MEMLOCK in pages.

    Guards: `mmap_lock` (rwsem), for writing: `locked_vm`. Nothing: `user_locked_vm`, an atomic (of the user,
    in Linux). Written once: the extents. `pins` is kept by atomics in Linux, one count in each `struct page`;
    which pages are there the process's own tables say.
    """

    locked_vm = shared(0)

    def __init__(
        self,
        machine: Machine,
        extents: Sequence[tuple[int, int, int]],
        limit: int = 1 << 40,
        fresh: int = 0,
    ) -> None:
        super().__init__(machine, "mm")
        self.mmap_lock = machine.rwsem("&mm->mmap_lock")
        self.user_locked_vm = machine.atomic("user->locked_vm")
        self.extents = tuple(sorted(extents))
        self.starts = [start >> PAGE_SHIFT for start, _, _ in self.extents]
        self.limit = limit
        self.fresh = fresh
        self.touched: set[int] = set()  # page frames that are there, where `fresh`
        self.clearing = 0  # CPUs that clear a page at the moment
        self.pins: Counter[int] = Counter()  # page frame -> how often it is pinned

    def frames_at(self, vaddr: int, npages: int) -> list[int]:
        """The page frames behind addresses, as far as the process has memory there."""
        frames: list[int] = []
        page, end = vaddr >> PAGE_SHIFT, (vaddr >> PAGE_SHIFT) + npages
        for number in range(max(bisect_right(self.starts, page) - 1, 0), len(self.extents)):
            first, (_, pfn, pages) = self.starts[number], self.extents[number]
            if not first <= page < min(end, first + pages):
                break
            stop = min(end, first + pages)
            frames += range(pfn + page - first, pfn + stop - first)
            page = stop
        return frames

    async def pin_user_pages_remote(self, vaddr: int, npages: int) -> list[int] | int:
        """Pin up to `npages` pages; their frames, fewer than asked for where memory ends, or -EFAULT
        if it begins nowhere.
        """
        async with self.mmap_lock.read():
            return await self._pin(self.frames_at(vaddr, npages))

    async def pin_user_pages_fast(self, vaddr: int, npages: int) -> list[int] | int:
        """The same by a process that pins its own memory: no lock, as long as the pages are there."""
        frames = self.frames_at(vaddr, npages)
        if self.fresh and not self.touched.issuperset(frames):
            return await self.pin_user_pages_remote(vaddr, npages)
        return await self._pin(frames)

    async def _pin(self, frames: list[int]) -> list[int] | int:
        costs = self.machine.costs
        if self.fresh and not self.touched.issuperset(frames):
            await self._clear(set(frames) - self.touched)
        # a walk of the process's own tables and an atomic on the page, for each
        await self.machine.work(len(frames) * (costs.walk_read + costs.atomic))
        self.pins.update(frames)
        return frames or -EFAULT

    async def _clear(self, absent: set[int]) -> None:
        """Fault pages in; the more CPUs do so at once, the less of memory's bandwidth each has."""
        self.touched |= absent
        self.clearing += 1
        share = max(LANES, self.clearing) / LANES
        await self.machine.work(int(len(absent) * self.fresh * share))
        self.clearing -= 1

    async def unpin_user_pages(self, frames: Sequence[int]) -> None:
        """Let go of pages. Raises ValueError for one that is not pinned."""
        for frame in frames:
            if self.pins[frame] <= 0:
                raise ValueError(f"page frame {frame:#x} is not pinned")
            self.pins[frame] -= 1
        await self.machine.work(len(frames) * self.machine.costs.atomic)

    async def account_locked_vm(self, pages: int) -> int:
        """Charge pages against the address space's limit (negative: give back). 0 or -ENOMEM."""
        if not pages:
            return 0
        async with self.mmap_lock.write():
            if pages > 0 and self.locked_vm + pages > self.limit:
                return -ENOMEM
            self.locked_vm = self.locked_vm + pages
        return 0

    async def incr_user_locked_vm(self, pages: int) -> int:
        """Charge pages to the user, by compare-and-exchange (negative: give back). 0 or -ENOMEM."""
        limit = self.limit if pages > 0 else 1 << 62
        before, after = await self.user_locked_vm.modify(
            lambda charged: charged + pages if charged + pages <= limit else charged
        )
        return 0 if after != before or not pages else -ENOMEM
