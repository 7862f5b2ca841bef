"""AMD's table: drivers/iommu/amd/io_pgtable.c of v5.19, the v1 (host) format.

An entry says itself of which level the next table is (its *next-level* field): 0 is a page of the level's own
size, 7 a page of another power of two, written as so many equal entries side by side (*replicas*); the size
is in the low bits of the address. So nearly every power of two is a page size. A table begins with three
levels and grows: `increase_address_space` puts a new root above the old one, under `domain->lock`. It never
shrinks.

But for flushes, nothing else takes a lock. Tables go in by compare-and-exchange; leaves are stored plainly,
whatever was there: a map over a map wins silently. Of Robin Murphy's three cases of freeing there are two:

1. `alloc_pte`: who loses the race frees its own.
2. `free_clear_pte`: a leaf takes the place of a table. The table's pages are collected, the leaf is written,
   everything is flushed under `domain->lock`, then they are freed.

There is no third: `iommu_v1_unmap_page` writes zeros over leaves and frees no table. Other facts of that
version: a hole that is found on the way is taken for unmapped, in the size of the entry that was empty; above
the top of the table there is no such size, and the address starts again from 0 (later versions stop at a
hole). `alloc_pte` takes down a large page that is in the way of a small one, all of it. Mode and root are two
words: who reads one before and one after the table grew goes astray (repaired in 2025, CVE-2025-39961).

`read_and_clear_dirty` is that of v6.7: the unit may set the dirty bit in any one of the replicas.
`seqcount=True` reads mode and root as the repair of 2025 does. Left out: levels that a walk may skip (the
unit knows them, this code, as the kernel's, makes none and refuses them), memory encryption, the v2 format.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtdkit.iommu.core import IotlbGather
from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.kernel.locks.sync import SeqCount
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import shared
from vtdkit.kernel.memory.pages import Page

from .amd_walker import AmdWalker
from .driver import IoPgtable

PR, HD_BIT, FC, IR, IW = 1, 6, 1 << 60, 1 << 61, 1 << 62
ADDR_MASK = 0x000F_FFFF_FFFF_F000
NONE, LARGE, MOST = 0, 7, 6  # PAGE_MODE_NONE, PAGE_MODE_7_LEVEL, PAGE_MODE_6_LEVEL
EVERYTHING = (1 << 64) - 1


def level_size(mode: int) -> int:
    """PM_LEVEL_SIZE: the last address under a table of so many levels."""
    return (1 << 12 + 9 * mode) - 1 if mode < MOST else EVERYTHING


def level_index(level: int, address: int) -> int:
    """PM_LEVEL_INDEX; levels count from 0 here, as in the C."""
    return address >> 12 + 9 * level & 511


def next_level(pte: int) -> int:
    """PM_PTE_LEVEL."""
    return pte >> 9 & 7


def page_size_level(size: int) -> int:
    """PAGE_SIZE_LEVEL: in tables of which level (from 0) a page of this size stands."""
    return (size.bit_length() - 13) // 9


def pte_count(size: int) -> int:
    """PAGE_SIZE_PTE_COUNT: as how many replicas."""
    return 1 << (size.bit_length() - 13) % 9


def pte_page_size(pte: int) -> int:
    """PTE_PAGE_SIZE: the size that a replica tells, by the lowest address bit that is 0."""
    bits = pte | 0xFFF
    return (~bits & bits + 1) << 1


def size_encoded(paddr: int, size: int) -> int:
    """PAGE_SIZE_PTE: an address with its page's size in it."""
    return (paddr | size - 1) & ~(size >> 1) & ADDR_MASK


@dataclass(frozen=True, slots=True)
class Place:
    """An entry: its page and index (C has a pointer)."""

    page: Page
    index: int


class AmdV1(IoPgtable):
    """`struct protection_domain` with its `amd_io_pgtable`.

    Guards: `lock`: a change of `root` and `mode`, and flushes. Readers of the two take nothing.
    """

    title = "AMD (v1)"
    pgsize_bitmap = (EVERYTHING & ~0xFFF) & ~(2 << 38)  # AMD_IOMMU_PGSIZES: all but 512 GiB
    aperture_end = EVERYTHING
    root = shared()
    mode = shared(3)

    def __init__(self, machine: Machine, label: str = "amd domain", *, seqcount: bool = False) -> None:
        super().__init__(machine, label)
        self.lock = machine.spinlock("domain->lock")
        self.sequence = machine.make(SeqCount, "seqcount") if seqcount else None
        root = machine.pages.take_run(1, -1, f"{label} root", None)[0]
        self.preset(root=root)
        self.walker: AmdWalker = AmdWalker(machine, root.address, 3)

    # -- the root ------------------------------------------------------------

    async def root_and_mode(self) -> tuple[Page, int]:
        """Both words, mode first, as `alloc_pte` and `fetch_pte` read them."""
        while True:
            count = await self.sequence.read_begin() if self.sequence else 0
            mode = await self.read_once("mode")
            root = await self.read_once("root")
            if not self.sequence or not await self.sequence.read_retry(count):
                return root, mode

    async def increase_address_space(self, address: int) -> bool:
        """One level more, unless somebody else was quicker. False without memory. (Linux warns where
        there are six levels already; but those reach every address.)
        """
        if (page := await self.alloc_table(self.peek("mode") + 1)) is None:
            return False
        async with self.lock.irqsave():
            root, mode = await self.read_once("root"), await self.read_once("mode")
            if address > level_size(mode):
                await page.store(0, self.pde(mode, root))
                if self.sequence:
                    await self.sequence.write_begin()
                await self.write_once(root=page)
                await self.write_once(mode=mode + 1)
                if self.sequence:
                    await self.sequence.write_end()
                await self.walker.set_device_table(page.address, mode + 1)
                return True
        await self.machine.free_page(page)
        return True

    @staticmethod
    def pde(level: int, table: Page) -> int:
        """PM_LEVEL_PDE: an entry that leads to a table of this many levels."""
        return table.address | level << 9 | PR | IR | IW

    # -- putting in ----------------------------------------------------------

    async def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int) -> tuple[int, int]:
        """`iommu_v1_map_page`: one page, of any power of two, and the core comes again for the next (v6.1 has
        `map_pages`). 0, -EINVAL, -ENOMEM. What was mapped there before is gone.
        """
        self.machine.bug_on((iova | paddr) & pgsize - 1 != 0, "iommu_v1_map_page: not aligned")
        if not prot & 3:
            return -EINVAL, 0
        freelist: list[Page] = []
        place, updated = await self.alloc_pte(iova, pgsize)
        if place is not None:
            count = pte_count(pgsize)
            for number in range(count):
                await self.free_clear_pte(place.page, place.index + number, freelist)
            updated = updated or bool(freelist)
            rights = (IR if prot & 1 else 0) | (IW if prot & 2 else 0)
            pte = (size_encoded(paddr, pgsize) | LARGE << 9 if count > 1 else paddr) | PR | FC | rights
            for number in range(count):
                await place.page.store(place.index + number, pte)
        if updated:
            async with self.lock.irqsave():
                await self.walker.invalidate(0, EVERYTHING)
        await self.put_pages_list(freelist)
        return (0, pgsize) if place is not None else (-ENOMEM, 0)

    async def alloc_pte(self, address: int, size: int) -> tuple[Place | None, bool]:
        """The first entry for a page of this size, tables made on the way; and whether what the unit may
        remember was changed. None without memory, or where the table is not as it should be.
        """
        while True:
            root, mode = await self.root_and_mode()
            if address <= level_size(mode):
                break
            if not await self.increase_address_space(address):
                return None, False
        level, table, updated = mode - 1, root, False
        address, last = address & -size, page_size_level(size)
        while level > last:
            await self.machine.work(self.machine.costs.table_word)
            index = level_index(level, address)
            pte = await table.load(index)
            if pte & PR and next_level(pte) == LARGE:
                await self.clear_replicas(table, index, pte)
                updated = True
            elif not pte & PR or next_level(pte) == NONE:
                if (page := await self.alloc_table(level)) is None:
                    return None, updated
                if await table.cmpxchg(index, pte, self.pde(level, page)) != pte:
                    await self.machine.free_page(page)  # case 1
                else:
                    updated = updated or bool(pte & PR)
            elif next_level(pte) != level:
                return None, updated  # no level skipping
            else:
                table, level = self.deref(pte & ADDR_MASK), level - 1
        return Place(table, level_index(level, address)), updated

    async def clear_replicas(self, table: Page, index: int, pte: int) -> None:
        """A large page is in the way: clear every replica that is still as it was."""
        count = pte_count(pte_page_size(pte))
        for number in range(count):
            await table.cmpxchg((index & -count) + number, pte, 0)

    async def free_clear_pte(self, table: Page, index: int, freelist: list[Page]) -> None:
        """Clear an entry; the tables it led to go onto the list."""
        pte = await table.load(index)
        while (found := await table.cmpxchg(index, pte, 0)) != pte:
            pte = found  # "pte changed since we read it"
        if pte & PR and next_level(pte) not in (NONE, LARGE):
            await self.free_sub_pt(self.deref(pte & ADDR_MASK), next_level(pte), freelist)

    async def free_sub_pt(self, table: Page, mode: int, freelist: list[Page]) -> None:
        """`free_sub_pt`: a table of so many levels, and every table below it, onto the list."""
        if mode > 1:
            for index in range(512):
                pte = await table.load(index)
                if pte & PR and next_level(pte) not in (NONE, LARGE):
                    await self.free_sub_pt(self.deref(pte & ADDR_MASK), mode - 1, freelist)
        freelist.append(table)

    # -- looking, taking out -------------------------------------------------

    async def fetch_pte(self, address: int) -> tuple[Place | None, int]:
        """The entry for an address and its page's size; None for a hole, with the size of the entry that was
        empty (0: the address is above the table). An entry of the last level is found even if it is empty.
        """
        root, mode = await self.root_and_mode()
        if address > level_size(mode):
            return None, 0
        level, table = mode - 1, root
        while True:
            await self.machine.work(self.machine.costs.table_word)
            index, size = level_index(level, address), 1 << 12 + 9 * level
            pte = await table.load(index)
            if level and not pte & PR:
                return None, size
            if not level or next_level(pte) in (NONE, LARGE):
                break
            if next_level(pte) != level:
                return None, size  # no level skipping
            table, level = self.deref(pte & ADDR_MASK), level - 1
        if next_level(pte) == LARGE:
            size = pte_page_size(pte)
            index &= -pte_count(size)
        return Place(table, index), size

    async def unmap_pages(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather) -> int:
        """`amd_iommu_unmap`: a page of this size, and the core comes again. It joins the gather, as large as
        asked.
        """
        unmapped = await self.iommu_v1_unmap_page(iova, pgsize)
        gather.add(iova, pgsize)
        return unmapped

    async def iommu_v1_unmap_page(self, iova: int, size: int) -> int:
        """Write zeros over leaves; no table is freed. The bytes passed over, mapped or not."""
        unmapped = 0
        while unmapped < size:
            place, step = await self.fetch_pte(iova)
            if place is not None:
                for number in range(pte_count(step)):
                    await place.page.store(place.index + number, 0)
            iova = (iova & -step & EVERYTHING) + step  # from 0 again, if there is no size
            unmapped += step
        return unmapped

    async def iova_to_phys(self, iova: int) -> int:
        """`iommu_v1_iova_to_phys`: 0 if nothing is mapped there."""
        place, size = await self.fetch_pte(iova)
        pte = await place.page.load(place.index) if place is not None else 0
        return pte & ADDR_MASK & -size | iova & size - 1 if pte & PR else 0

    async def read_and_clear_dirty(self, iova: int, size: int, gather: IotlbGather) -> list[int] | None:
        """`iommu_v1_read_and_clear_dirty` of v6.7: a page is dirty if any one of its replicas is."""
        dirty, end = list[int](), iova + size
        while iova < end:
            place, step = await self.fetch_pte(iova)
            step = step or 4096
            if (
                place is not None
                and await place.page.load(place.index) & PR
                and await self.pte_test_and_clear_dirty(place, step)
            ):
                dirty += range(iova, min(iova + step, end), 4096)
                gather.add(iova, step)
            iova += step
        return dirty

    async def pte_test_and_clear_dirty(self, place: Place, size: int) -> bool:
        """Was it set in any replica? All of them are cleared, each by one atomic operation."""
        places = range(place.index, place.index + pte_count(size))
        return any([await place.page.test_and_clear_bit(each, HD_BIT) for each in places])

    async def iotlb_sync(self, gather: IotlbGather) -> None:
        """`amd_iommu_iotlb_sync`: the range, under `domain->lock`."""
        if gather.start <= gather.end:
            async with self.lock.irqsave():
                await self.walker.invalidate(gather.start, gather.end)
