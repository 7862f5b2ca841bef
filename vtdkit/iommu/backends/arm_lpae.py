"""Arm's table: drivers/iommu/io-pgtable-arm.c of v5.19, stage 1, granule 4 KiB, addresses of 48 bits.

Four levels, 0 to 3 as Arm counts them; pages at level 3, *blocks* of 2 MiB at level 2 and of 1 GiB at level
1. No lock: a table is put in by compare-and-exchange. A table of a living domain is freed in three cases, as
Robin Murphy told on 31 May 2022:

1. `_arm_lpae_map`: who loses the race to put a table in frees its own; nobody else has seen it.
2. `arm_lpae_init_pte`: a block is mapped where a table is. It is taken to be empty: its entry is cleared,
   walk caches are invalidated, the table is freed, and the block is written into the entry. (He tells the
   last two the other way round; this is what the C does, by way of `_arm_lpae_unmap`. The entry is 0
   meanwhile.)
3. `_arm_lpae_unmap`: an unmap of a block's size finds a table. It is taken to be full: the entry is cleared,
   walk caches are invalidated, the table is freed.

Neither assumption is tested. An unmap of less than a block splits it: a new table maps what is to stay, and
takes the block's place (`arm_lpae_split_blk_unmap`; 33729a5fc0ca of November 2024 took that out and refuses).
Freed pages go at once, not onto the gather's list. Unmapping what is not mapped is a WARN, and 0.

Not there in that version: the contiguous hint is never set (the C names the bit only to ignore it when a
block is split), and dirty bits are not kept; with `hd=True` leaves are written and read as v6.12 does
(IO_PGTABLE_QUIRK_ARM_HD). Left out here: granules of 16 and 64 KiB, stage 2, concatenated tables, units that
do not snoop, addresses of the upper half (TTBR1). A map that allows neither reading nor writing is refused,
as later versions do; v5.19 says 0 and maps nothing.
"""

from __future__ import annotations

from vtdkit.iommu.core import IotlbGather
from vtdkit.iommu.errno import EEXIST, EINVAL, ENOMEM, ERANGE
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page

from .arm_walker import SmmuWalker
from .driver import IoPgtable

START_LEVEL, MAX_LEVELS, ENTRIES = 0, 4, 512
TYPE, TYPE_BLOCK, TYPE_TABLE, TYPE_PAGE = 3, 1, 3, 3
ADDR_MASK = 0xFFFF_FFFF_F000
ATTRINDX_CACHE, AP_UNPRIV, AP_RDONLY = 1 << 2, 1 << 6, 1 << 7
SH_IS, AF, NG, DBM, XN = 3 << 8, 1 << 10, 1 << 11, 1 << 51, 3 << 53
ATTRIBUTES = 0xFFC | XN | DBM  # what a split hands on; not the contiguous hint
IAS = OAS = 48


def block_size(level: int) -> int:
    """ARM_LPAE_BLOCK_SIZE: what an entry of this level covers, in bytes."""
    return 1 << 9 * (MAX_LEVELS - level) + 3


def level_index(iova: int, level: int) -> int:
    """ARM_LPAE_LVL_IDX."""
    return iova // block_size(level) & ENTRIES - 1


def iopte_leaf(pte: int, level: int) -> bool:
    """Is it a page (level 3) or a block?"""
    return pte & TYPE == (TYPE_PAGE if level == MAX_LEVELS - 1 else TYPE_BLOCK)


class ArmLpae(IoPgtable):
    """`struct arm_lpae_io_pgtable`. Guards: nothing; entries are exchanged atomically, and callers keep
    their ranges apart.
    """

    title = "Arm (io-pgtable-arm)"
    pgsize_bitmap = 1 << 12 | 1 << 21 | 1 << 30
    aperture_end = (1 << IAS) - 1

    def __init__(self, machine: Machine, label: str = "arm domain", *, hd: bool = False) -> None:
        super().__init__(machine, label)
        self.hd = hd
        self.pgd: Page = machine.pages.take_run(1, -1, f"{label} pgd", None)[0]
        self.walker = SmmuWalker(machine, self.pgd.address, hd=hd)

    # -- putting in ----------------------------------------------------------

    async def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int) -> tuple[int, int]:
        """`arm_lpae_map_pages`. -EINVAL, -ERANGE, -EEXIST, -ENOMEM; one call fills one table at most."""
        if self.machine.warn_on(pgsize & self.pgsize_bitmap != pgsize or not pgsize, "arm_lpae: page size"):
            return -EINVAL, 0
        if self.machine.warn_on(iova >> IAS or paddr >> OAS, "arm_lpae: address too wide"):
            return -ERANGE, 0
        if not prot & 3:
            return -EINVAL, 0
        pte = self.arm_lpae_prot_to_pte(prot)
        return await self._arm_lpae_map(iova, paddr, pgsize, pgcount, pte, START_LEVEL, self.pgd)

    def arm_lpae_prot_to_pte(self, prot: int) -> int:
        """A leaf's attributes: cacheable, not for the privileged alone, and whether it may be written."""
        pte = NG | AP_UNPRIV | ATTRINDX_CACHE | SH_IS | AF
        return pte | (AP_RDONLY if not prot & 2 else DBM if self.hd else 0)

    async def _arm_lpae_map(
        self, iova: int, paddr: int, size: int, count: int, prot: int, level: int, table: Page
    ) -> tuple[int, int]:
        """`__arm_lpae_map`: leaves if this is their level, else a table further, put in if there is none."""
        await self.machine.work(self.machine.costs.table_word)
        index = level_index(iova, level)
        if size == block_size(level):
            entries = min(count, ENTRIES - index)
            error = await self.arm_lpae_init_pte(iova, paddr, prot, level, entries, table)
            return error, 0 if error else entries * size
        pte = await table.load(index)
        if not pte:
            if (below := await self.alloc_table(level + 1)) is None:
                return -ENOMEM, 0
            pte = await table.cmpxchg(index, 0, below.address | TYPE_TABLE)  # `arm_lpae_install_table`
            if pte:
                await self.machine.free_page(below)  # case 1: somebody was quicker
            else:
                pte = below.address | TYPE_TABLE
        if self.machine.warn_on(iopte_leaf(pte, level), "arm_lpae: unmap first"):
            return -EEXIST, 0
        return await self._arm_lpae_map(
            iova, paddr, size, count, prot, level + 1, self.deref(pte & ADDR_MASK)
        )

    async def arm_lpae_init_pte(
        self, iova: int, paddr: int, prot: int, level: int, entries: int, table: Page
    ) -> int:
        """Look at what the leaves are to replace, then write them. 0, -EEXIST, -EINVAL."""
        size, index = block_size(level), level_index(iova, level)
        for number in range(entries):
            pte = await table.load(index + number)
            if self.machine.warn_on(iopte_leaf(pte, level), "arm_lpae: unmap first"):
                return -EEXIST
            if pte & TYPE == TYPE_TABLE:  # case 2
                gone = await self._arm_lpae_unmap(IotlbGather(), iova + number * size, size, 1, level, table)
                if self.machine.warn_on(gone != size, "arm_lpae: table in the way"):
                    return -EINVAL
        await self._arm_lpae_init_pte(paddr, prot, level, entries, table, index)
        return 0

    async def _arm_lpae_init_pte(
        self, paddr: int, prot: int, level: int, entries: int, table: Page, index: int
    ) -> None:
        """`__arm_lpae_init_pte`: write leaves side by side, whatever was there."""
        pte = prot | (TYPE_PAGE if level == MAX_LEVELS - 1 else TYPE_BLOCK)
        for number in range(entries):
            await table.store(index + number, pte | paddr + number * block_size(level))

    # -- taking out ----------------------------------------------------------

    async def unmap_pages(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather) -> int:
        """`arm_lpae_unmap_pages`: the bytes unmapped; one call empties one table at most."""
        pages = pgsize & self.pgsize_bitmap == pgsize and pgsize and pgcount
        if self.machine.warn_on(not pages or iova >> IAS, "arm_lpae: unmap of no range of pages"):
            return 0
        return await self._arm_lpae_unmap(gather, iova, pgsize, pgcount, START_LEVEL, self.pgd)

    async def _arm_lpae_unmap(
        self, gather: IotlbGather, iova: int, size: int, count: int, level: int, table: Page
    ) -> int:
        """`__arm_lpae_unmap`: clear entries of this size, tables below them freed; 0 for a hole."""
        if self.machine.warn_on(level == MAX_LEVELS, "arm_lpae: ran out of page table"):
            return 0
        await self.machine.work(self.machine.costs.table_word)
        index = level_index(iova, level)
        pte = await table.load(index)
        if self.machine.warn_on(not pte, "arm_lpae: unmap of what is not mapped"):
            return 0
        if size == block_size(level):
            return await self._clear(gather, iova, min(count, ENTRIES - index), level, table)
        if iopte_leaf(pte, level):
            return await self.arm_lpae_split_blk_unmap(
                gather, iova, size, count, pte, level + 1, table, level_index(iova, level)
            )
        return await self._arm_lpae_unmap(gather, iova, size, count, level + 1, self.deref(pte & ADDR_MASK))

    async def _clear(self, gather: IotlbGather, iova: int, entries: int, level: int, table: Page) -> int:
        """The entries of an unmap, one after another, until one is not there: the bytes unmapped."""
        size, index = block_size(level), level_index(iova, level)
        for number in range(entries):
            pte = await table.load(index + number)
            if self.machine.warn_on(not pte, "arm_lpae: unmap of what is not mapped"):
                return number * size
            below = None if iopte_leaf(pte, level) else self.deref(pte & ADDR_MASK)
            await self.clear_entry(gather, table, index + number, level, below, iova + number * size)
        return entries * size

    async def clear_entry(
        self, gather: IotlbGather, table: Page, index: int, level: int, below: Page | None, iova: int
    ) -> None:
        """Take one entry out. `below`: the table it leads to (case 3, and case 2 by way of
        `arm_lpae_init_pte`), None for a leaf. (Part of `__arm_lpae_unmap`.)
        """
        size = block_size(level)
        await table.store(index, 0)
        if below is None:
            if not gather.queued:
                await self.tlb_add_page(gather, iova, size)  # flushed later, with others
        else:
            await self.walker.invalidate(iova, iova + size - 1)
            await self._arm_lpae_free_pgtable(level + 1, below)

    async def arm_lpae_split_blk_unmap(
        self,
        gather: IotlbGather,
        iova: int,
        size: int,
        count: int,
        block: int,
        level: int,
        table: Page,
        index: int,
    ) -> int:
        """Unmap a part of a block: a table of `level` maps the rest, and takes the block's place. 0
        without memory.
        """
        if (below := await self.alloc_table(level)) is None:
            return 0
        split, base = block_size(level), block & ADDR_MASK
        first = level_index(iova, level) if size == split else ENTRIES
        entries = min(count, ENTRIES - first)
        for number in range(ENTRIES):
            if not first <= number < first + entries:
                await self._arm_lpae_init_pte(
                    base + number * split, block & ATTRIBUTES, level, 1, below, number
                )
        pte = await table.cmpxchg(index, block, below.address | TYPE_TABLE)  # `arm_lpae_install_table`
        if pte != block:
            # somebody unmaps another part of this block, and was quicker; anything else breaks the rule
            await self.machine.free_page(below)
            if pte & TYPE != TYPE_TABLE:
                return 0
            below = self.deref(pte & ADDR_MASK)
        elif entries:
            for number in range(entries):
                await self.tlb_add_page(gather, iova + number * size, size)
            return entries * size
        return await self._arm_lpae_unmap(gather, iova, size, count, level, below)

    async def _arm_lpae_free_pgtable(self, level: int, table: Page) -> None:
        """`__arm_lpae_free_pgtable`: a table, and every table below it."""
        if level < MAX_LEVELS - 1:
            for index in range(ENTRIES):
                pte = await table.load(index)
                if pte and not iopte_leaf(pte, level):
                    await self._arm_lpae_free_pgtable(level + 1, self.deref(pte & ADDR_MASK))
        await self.machine.free_page(table)

    async def tlb_add_page(self, gather: IotlbGather, iova: int, size: int) -> None:
        """`arm_smmu_tlb_inv_page_nosync`, that is `iommu_iotlb_gather_add_page`: what does not join on, or is
        of another size, is flushed first.
        """
        if not gather.takes(iova, size):
            await self.iotlb_sync(gather)
            gather.start, gather.end = (1 << 64) - 1, 0
        gather.add(iova, size)

    async def iotlb_sync(self, gather: IotlbGather) -> None:
        """`arm_smmu_iotlb_sync`: leaves only; walk caches were dealt with when a table went."""
        if gather.pgsize and gather.start <= gather.end:
            await self.walker.invalidate(gather.start, gather.end, leaf=True)

    # -- looking -------------------------------------------------------------

    async def _leaf(self, iova: int) -> tuple[Page, int, int, int] | None:
        """The leaf for an address: table, index, value, level. No lock."""
        table = self.pgd
        for level in range(START_LEVEL, MAX_LEVELS):
            index = level_index(iova, level)
            if not (pte := await table.load(index)):
                return None
            if iopte_leaf(pte, level):
                return table, index, pte, level
            table = self.deref(pte & ADDR_MASK)
        return None

    async def iova_to_phys(self, iova: int) -> int:
        """`arm_lpae_iova_to_phys`: 0 if nothing is mapped there."""
        found = await self._leaf(iova) if not iova >> IAS else None
        if found is None:
            return 0
        _, _, pte, level = found
        return pte & ADDR_MASK & -block_size(level) | iova & block_size(level) - 1

    async def read_and_clear_dirty(self, iova: int, size: int, gather: IotlbGather) -> list[int] | None:
        """`arm_lpae_read_and_clear_dirty` of v6.12: a leaf that may be written (DBM) and is not read-only was
        written to; it is made read-only again.
        """
        if not self.hd:
            return None
        dirty, end = list[int](), iova + size
        while iova < end:
            found = await self._leaf(iova)
            if found is None:
                iova += 4096  # the kernel's visitor goes from entry to entry; with the same result
                continue
            table, index, pte, level = found
            stop = (iova & -block_size(level)) + block_size(level)
            if pte & (DBM | AP_RDONLY) == DBM:
                await table.test_and_set_bit(index, 7)
                dirty += range(iova, min(stop, end), 4096)
                gather.start, gather.end = min(gather.start, iova), max(gather.end, min(stop, end) - 1)
                gather.pgsize = gather.pgsize or 4096
            iova = stop
        return dirty
