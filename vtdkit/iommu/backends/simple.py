"""A simple driver's table: drivers/iommu/rockchip-iommu.c of v5.19, with one lock for each domain.

Two levels, a directory of 1024 entries of 32 bits and tables of 1024 pages of 4 KiB, so a device's addresses
have 32 bits; those of memory have 40 (the second form of entries, RK3568). `rk_iommu_map` and
`rk_iommu_unmap` hold `dt_lock` (irqsave) as long as they touch the tables; a map also while it flushes, an
unmap flushes afterwards. Pages for tables come from GFP_ATOMIC under it. A page that is mapped already is
refused (-EADDRINUSE), and what this call had written before is taken out again. An unmap stops at the first
page that is not there. Tables are never freed while the domain lives: none of the three cases.

Page sizes of all powers of two from 4 KiB to 4 MiB are taken, but only so that one call reaches no further
than one table: entries are of 4 KiB always. There are no dirty bits.
"""

from __future__ import annotations

from vtdkit.iommu.core import IotlbGather
from vtdkit.iommu.errno import EADDRINUSE, ENOMEM
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page

from .driver import IoPgtable
from .walker import Bad, Leaf, Next, TableWalker

VALID, READABLE, WRITABLE = 1, 2, 4
PAGE = 4096


def rk_mk_dte_v2(address: int) -> int:
    """An address in an entry: bits 35:32 stand in 11:8, bits 39:36 in 7:4."""
    return address & 0xFFFF_F000 | address >> 24 & 0xF00 | address >> 32 & 0xF0


def rk_dte_pt_address_v2(entry: int) -> int:
    """And back."""
    return entry & 0xFFFF_F000 | (entry & 0xF00) << 24 | (entry & 0xF0) << 32


class RkDomain(IoPgtable):
    """`struct rk_iommu_domain`. Guards: `dt_lock`: the directory, the tables, and that the last page of a
    range is flushed before another call begins.
    """

    title = "simple (Rockchip)"
    pgsize_bitmap = 0x7F_F000
    aperture_end = (1 << 32) - 1

    def __init__(self, machine: Machine, label: str = "rk domain") -> None:
        super().__init__(machine, label)
        self.dt_lock = machine.spinlock("dt_lock")
        self.dt: Page = machine.pages.take_run(1, -1, f"{label} directory", None)[0]
        self.walker = RkWalker(machine, self.dt.address)

    async def rk_dte_get_page_table(self, iova: int) -> Page | None:
        """The table for an address, put in if there is none; None without memory. Caller holds `dt_lock`."""
        self.dt_lock.assert_spin_locked()
        dte = await self.dt.load32(iova >> 22)
        if dte & VALID:
            return self.deref(rk_dte_pt_address_v2(dte))
        page = await self.alloc_table(1)
        if page is not None:
            await self.dt.store32(iova >> 22, rk_mk_dte_v2(page.address) | VALID)
        return page

    async def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int) -> tuple[int, int]:
        """`rk_iommu_map`: one page of this size, which lies within one table, and the core comes again for
        the next. 0, -ENOMEM, -EADDRINUSE.
        """
        async with self.dt_lock.irqsave():
            if (page := await self.rk_dte_get_page_table(iova)) is None:
                return -ENOMEM, 0
            first, bits = iova >> 12 & 1023, VALID | (prot & 1) * READABLE | (prot >> 1 & 1) * WRITABLE
            for number in range(pgsize // PAGE):
                await self.machine.work(self.machine.costs.table_word)
                if await page.load32(first + number) & VALID:
                    await self.rk_iommu_unmap_iova(page, first, number)
                    return -EADDRINUSE, 0
                await page.store32(first + number, rk_mk_dte_v2(paddr + number * PAGE) | bits)
            # the unit may still hold what these entries were before: of the ends, it fetches lines of them
            await self.walker.invalidate(iova, iova + PAGE - 1)
            if pgsize > PAGE:
                await self.walker.invalidate(iova + pgsize - PAGE, iova + pgsize - 1)
        return 0, pgsize

    async def unmap_pages(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather) -> int:
        """`rk_iommu_unmap`: one page of this size, which lies within one table, and the core comes again. The
        bytes up to the first page that was not there.
        """
        async with self.dt_lock.irqsave():
            dte = await self.dt.load32(iova >> 22)
            if not dte & VALID:
                return 0
            page, first = self.deref(rk_dte_pt_address_v2(dte)), iova >> 12 & 1023
            unmapped = PAGE * await self.rk_iommu_unmap_iova(page, first, pgsize // PAGE)
        if unmapped:
            await self.walker.invalidate(iova, iova + unmapped - 1)
        return unmapped

    async def rk_iommu_unmap_iova(self, page: Page, first: int, count: int) -> int:
        """Clear entries until one is not valid; how many were. Caller holds `dt_lock`."""
        self.dt_lock.assert_spin_locked()
        for number in range(count):
            await self.machine.work(self.machine.costs.table_word)
            pte = await page.load32(first + number)
            if not pte & VALID:
                return number
            await page.store32(first + number, pte & ~VALID)
        return count

    async def iova_to_phys(self, iova: int) -> int:
        """`rk_iommu_iova_to_phys`, under the lock as well."""
        async with self.dt_lock.irqsave():
            dte = await self.dt.load32(iova >> 22)
            pte = await self.deref(rk_dte_pt_address_v2(dte)).load32(iova >> 12 & 1023) if dte & VALID else 0
        return rk_dte_pt_address_v2(pte) | iova & PAGE - 1 if pte & VALID else 0


class RkWalker(TableWalker):
    """The unit: a directory of 1024 entries, tables of 1024; bit 0 valid, in a page's entry bit 1 readable,
    bit 2 writable (as the head of rockchip-iommu.c tells it; there is no public specification).
    """

    index_bits, entry_size = 10, 4

    def __init__(self, machine: Machine, directory: int) -> None:
        super().__init__(machine, "Rockchip IOMMU")
        self.directory = directory
        self.wait = 0  # a register per line, and no queue

    def root(self, iova: int) -> Next | Bad:
        return Next(self.directory, 2) if iova < 1 << 32 else Bad("address of more than 32 bits")

    def entry(self, level: int, raw: int, iova: int) -> Next | Leaf | Bad:
        if not raw & VALID:
            return Bad(f"entry of level {level} not valid")
        if level == 2:
            return Next(rk_dte_pt_address_v2(raw), 1)
        return Leaf(rk_dte_pt_address_v2(raw), 12, bool(raw & READABLE), bool(raw & WRITABLE))
