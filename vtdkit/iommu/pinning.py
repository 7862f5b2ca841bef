"""User memory, as far as whoever maps it for a device sees it: pages that can be pinned, and the
limit on how many.

A page that a device may write must not be swapped out or moved, so VFIO and iommufd pin it first. Looking the
pages up takes the address space's `mmap_lock` for reading; charging them against the owner's limit takes it
for writing, once for each piece of memory that is contiguous: that is what parallel pinning runs into.

Mirrors mm/gup.c (`pin_user_pages_remote`, `unpin_user_pages`), mm/util.c (`__account_locked_vm`). Addresses
in bytes, lengths in pages. The content of user pages is not modelled, only where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

from .errno import EFAULT, ENOMEM

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT


class mm_struct(KObject):
    """`struct mm_struct`: one user address space.

    `extents`: pieces of user memory, (virtual address, first page frame, pages).
    `limit`: RLIMIT_MEMLOCK in pages.

    Guards: `mmap_lock` (rwsem), for writing: `locked_vm`. Written once: the extents. `pins` is kept by
    atomics in Linux, one count in each `struct page`.
    """

    locked_vm = shared(0)

    def __init__(
        self, machine: Machine, extents: Sequence[tuple[int, int, int]], limit: int = 1 << 40
    ) -> None:
        super().__init__(machine, "mm")
        self.mmap_lock = machine.rwsem("&mm->mmap_lock")
        self.extents = tuple(extents)
        self.limit = limit
        self.pins: Counter[int] = Counter()  # page frame -> how often it is pinned

    def frame_of(self, vaddr: int) -> int | None:
        """The page frame behind an address; None where the process has no memory."""
        page = vaddr >> PAGE_SHIFT
        for start, pfn, pages in self.extents:
            if 0 <= page - (start >> PAGE_SHIFT) < pages:
                return pfn + page - (start >> PAGE_SHIFT)
        return None

    async def pin_user_pages_remote(self, vaddr: int, npages: int) -> list[int] | int:
        """Pin up to `npages` pages; their frames, fewer than asked for where memory ends, or -EFAULT
        if it begins nowhere.
        """
        async with self.mmap_lock.read():
            frames: list[int] = []
            for i in range(npages):
                frame = self.frame_of(vaddr + (i << PAGE_SHIFT))
                if frame is None:
                    break
                frames.append(frame)
            # a walk of the process's own tables and an atomic on the page, for each
            await self.machine.work(len(frames) * (self.machine.costs.walk_read + self.machine.costs.atomic))
            self.pins.update(frames)
        return frames or -EFAULT

    async def unpin_user_pages(self, frames: Sequence[int]) -> None:
        """Let go of pages. Raises ValueError for one that is not pinned."""
        for frame in frames:
            if self.pins[frame] <= 0:
                raise ValueError(f"page frame {frame:#x} is not pinned")
            self.pins[frame] -= 1
        await self.machine.work(len(frames) * self.machine.costs.atomic)

    async def account_locked_vm(self, pages: int) -> int:
        """Charge pages against the limit (negative: give back). 0 or -ENOMEM."""
        if not pages:
            return 0
        async with self.mmap_lock.write():
            if pages > 0 and self.locked_vm + pages > self.limit:
                return -ENOMEM
            self.locked_vm = self.locked_vm + pages
        return 0

    def pinned(self) -> int:
        """How many pins are held: for observers."""
        return self.pins.total()

    def __repr__(self) -> str:
        return f"<mm: {sum(pages for _, _, pages in self.extents)} pages, {self.pinned()} pinned>"
