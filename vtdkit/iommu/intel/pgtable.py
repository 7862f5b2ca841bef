"""Page tables: drivers/iommu/intel/iommu.c, from `pfn_to_dma_pte` to `__domain_mapping`.

No lock anywhere here. The callers promise that no two of them work on the same range of addresses at
once; what they do share, the upper levels, is edited by compare-and-exchange: who loses the race to put
in a table frees its own and uses the winner's. Tables are taken out by writing zero over the one entry
that leads to them; their pages go on a list and are freed after the flush, except by
`switch_to_super_page`, which frees first and flushes then.
"""

from __future__ import annotations

from collections.abc import Awaitable

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.memory.pages import Page

from . import defs
from .defs import (
    DMA_PTE_LARGE_PAGE,
    DMA_PTE_READ,
    DMA_PTE_WRITE,
    LEVEL_STRIDE,
    PTE_ADDRESS,
    level_size,
    pfn_level_offset,
)
from .flush import Flush
from .structs import dma_pte, dma_pte_addr, dma_pte_present, dma_pte_superpage, dmar_domain

PRESENT = DMA_PTE_READ | DMA_PTE_WRITE


class PageTables(Flush):
    """The lock-free part."""

    async def pfn_to_dma_pte(
        self, domain: dmar_domain, pfn: int, target_level: int
    ) -> tuple[dma_pte | None, int]:
        """The entry for a page frame at `target_level`, tables made on the way; and the level it is at.

        Level 0 means just look: stop at a leaf or a hole, allocate nothing. (None, level) when the
        address is too wide or memory is out.
        """
        machine, parent, agaw = self.machine, domain.pgd, domain.agaw
        machine.bug_on(parent is None, "pfn_to_dma_pte without a page directory")
        if not defs.pfn_supported(agaw, pfn):
            return None, target_level
        level, last, cost = defs.agaw_to_level(agaw), target_level or 1, machine.costs.table_word
        while True:
            await machine.work(cost)
            index = pfn >> LEVEL_STRIDE * (level - 1) & 511
            value = await parent.load(index)
            if level == last:
                break
            if not value & PRESENT:
                if not target_level:
                    break
                if not (value := await self.insert_table(domain, dma_pte(parent, index), level)):
                    return None, target_level
            elif value & DMA_PTE_LARGE_PAGE and not target_level:
                break
            parent = self.phys_to_virt(value & PTE_ADDRESS)
            level -= 1
        return dma_pte(parent, index), level

    async def insert_table(self, domain: dmar_domain, pte: dma_pte, level: int) -> int:
        """Put a new table under an empty entry; the entry's value then, whoever wrote it. 0
        when memory is out.
        """
        page = await self.alloc_pgtable_page(domain.nid, f"{domain.label} level {level - 1} table")
        if page is None:
            return 0
        await self.domain_flush_cache(domain, 512)
        value = page.address | defs.DMA_PTE_READ | defs.DMA_PTE_WRITE
        if domain.use_first_level:
            value |= defs.DMA_FL_PTE_XD | defs.DMA_FL_PTE_US
            if domain.domain is not None and domain.domain.is_dma:
                value |= defs.DMA_FL_PTE_ACCESS
        found = await pte.cmpxchg(0, value)
        if found:
            # somebody else was quicker: theirs it is
            await self.free_pgtable_page(page)
            return found
        await self.domain_flush_cache(domain, 1)
        return value

    def domain_flush_cache(self, domain: dmar_domain, entries: int) -> Awaitable[None]:
        """Write entries back to memory, unless every unit of the domain snoops."""
        return DONE if domain.iommu_coherency else self.clflush(entries)

    async def dma_pfn_level_pte(
        self, domain: dmar_domain, pfn: int, level: int
    ) -> tuple[dma_pte | None, int]:
        """The entry at `level`, and the level of the large page or hole found above it (1 if none)."""
        parent: Page = domain.pgd
        for above in range(defs.agaw_to_level(domain.agaw), level, -1):
            pte = dma_pte(parent, pfn_level_offset(pfn, above))
            value = await pte.load()
            if not dma_pte_present(value):
                return None, above
            if dma_pte_superpage(value):
                return pte, above
            parent = self.phys_to_virt(dma_pte_addr(value))
        return dma_pte(parent, pfn_level_offset(pfn, level)), 1

    # -- taking out, the way of switch_to_super_page: leaves first, tables freed at once ---

    async def dma_pte_clear_range(self, domain: dmar_domain, start_pfn: int, last_pfn: int) -> None:
        """Zero the leaves of a range; a flush must follow."""
        self.machine.bug_on(
            not defs.pfn_supported(domain.agaw, last_pfn) or start_pfn > last_pfn, "dma_pte_clear_range"
        )
        while start_pfn <= last_pfn:
            pte, large_page = await self.dma_pfn_level_pte(domain, start_pfn, 1)
            if pte is None:
                start_pfn = defs.align_to_level(start_pfn + 1, large_page + 1)
                continue
            # as many as the range has, to the end of this table
            size = level_size(large_page)
            count = min(-(-(last_pfn + 1 - start_pfn) // size), 512 - pte.index)
            for index in range(pte.index, pte.index + count):
                await pte.page.store(index, 0)
            start_pfn += count * size
            await self.domain_flush_cache(domain, count)

    async def dma_pte_free_level(
        self,
        domain: dmar_domain,
        level: int,
        retain_level: int,
        table: Page,
        pfn: int,
        start_pfn: int,
        last_pfn: int,
    ) -> None:
        """Unlink and free, at once, every table below `retain_level` that lies wholly in the range."""
        pfn = max(start_pfn, pfn)
        for index in range(pfn_level_offset(pfn, level), 512):
            value = await table.load(index)
            if dma_pte_present(value) and not dma_pte_superpage(value):
                level_pfn = pfn & -level_size(level)
                below = self.phys_to_virt(dma_pte_addr(value))
                if level > 2:
                    await self.dma_pte_free_level(
                        domain, level - 1, retain_level, below, level_pfn, start_pfn, last_pfn
                    )
                if (
                    level < retain_level
                    and start_pfn <= level_pfn
                    and last_pfn >= level_pfn + level_size(level) - 1
                ):
                    await table.store(index, 0)
                    await self.domain_flush_cache(domain, 1)
                    await self.free_pgtable_page(below)
            pfn += level_size(level)
            if pfn > last_pfn:
                return

    async def dma_pte_free_pagetable(
        self, domain: dmar_domain, start_pfn: int, last_pfn: int, retain_level: int
    ) -> None:
        """Clear the leaves of a range and free the tables below `retain_level`. (C frees the top table too
        where a range is the whole domain, which no caller has.)
        """
        await self.dma_pte_clear_range(domain, start_pfn, last_pfn)
        await self.dma_pte_free_level(
            domain,
            defs.agaw_to_level(domain.agaw),
            retain_level,
            domain.pgd,
            0,
            start_pfn,
            last_pfn,
        )

    # -- taking out, the way of unmap: one entry cleared, tables collected ---

    async def dma_pte_list_pagetables(
        self, domain: dmar_domain, level: int, value: int, freelist: list[Page]
    ) -> None:
        """Put a table and every table below it on the list. Their entries are left as they are."""
        page = self.phys_to_virt(dma_pte_addr(value))
        freelist.append(page)
        if level == 1:
            return
        for index in range(512):
            entry = await page.load(index)
            if dma_pte_present(entry) and not dma_pte_superpage(entry):
                await self.dma_pte_list_pagetables(domain, level - 1, entry, freelist)

    async def dma_pte_clear_level(
        self,
        domain: dmar_domain,
        level: int,
        table: Page,
        pfn: int,
        start_pfn: int,
        last_pfn: int,
        freelist: list[Page],
    ) -> None:
        """Clear what a range covers in one table, and below: an entry wholly inside goes,
        with all under it.
        """
        size, cleared = level_size(level), 0
        pfn = max(start_pfn, pfn)
        for index in range(pfn_level_offset(pfn, level), 512):
            level_pfn = pfn & -size
            value = await table.load(index)
            if value & PRESENT:
                if start_pfn <= level_pfn and last_pfn >= level_pfn + size - 1:
                    # wholly inside: one store cuts off everything below; the pages are freed after the flush
                    if level > 1 and not value & DMA_PTE_LARGE_PAGE:
                        await self.dma_pte_list_pagetables(domain, level - 1, value, freelist)
                    await table.store(index, 0)
                    cleared += 1
                elif level > 1:  # partly: look into the table (a large page that is cut is taken for one)
                    below = self.phys_to_virt(value & PTE_ADDRESS)
                    await self.dma_pte_clear_level(
                        domain, level - 1, below, level_pfn, start_pfn, last_pfn, freelist
                    )
            pfn = level_pfn + size
            if pfn > last_pfn:
                break
        if cleared:
            await self.domain_flush_cache(domain, cleared)

    async def domain_unmap(
        self, domain: dmar_domain, start_pfn: int, last_pfn: int, freelist: list[Page]
    ) -> None:
        """Take a range out of the tables. The pages on `freelist` may be freed only after the
        IOTLB has been flushed.
        """
        agaw, pgd = domain.agaw, domain.pgd
        self.machine.bug_on(
            not (defs.pfn_supported(agaw, start_pfn) and defs.pfn_supported(agaw, last_pfn))
            or start_pfn > last_pfn,
            "domain_unmap beyond the domain's width",
        )
        await self.dma_pte_clear_level(
            domain, defs.agaw_to_level(agaw), pgd, 0, start_pfn, last_pfn, freelist
        )
        if start_pfn == 0 and last_pfn == defs.domain_max_pfn(domain.gaw):
            freelist.append(pgd)
            domain.pgd = None

    # -- putting in ----------------------------------------------------------

    def hardware_largepage_caps(self, domain: dmar_domain, iov_pfn: int, phy_pfn: int, pages: int) -> int:
        """The highest level a leaf may have here: both addresses aligned, enough left, the hardware able."""
        support: int = domain.iommu_superpage
        level, merged = 1, iov_pfn | phy_pfn
        while level <= support and not merged & 511 and pages >= 512:
            pages >>= LEVEL_STRIDE
            merged >>= LEVEL_STRIDE
            level += 1
        return level

    async def switch_to_super_page(
        self, domain: dmar_domain, start_pfn: int, end_pfn: int, level: int
    ) -> None:
        """Make room for large leaves: tables in the way are unlinked and freed, and then
        the IOTLB is flushed.
        """
        pages = level_size(level)
        pte: dma_pte | None = None
        while start_pfn <= end_pfn:
            if pte is None:
                pte, level = await self.pfn_to_dma_pte(domain, start_pfn, level)
                assert pte is not None
            if dma_pte_present(await pte.load()):
                await self.dma_pte_free_pagetable(domain, start_pfn, start_pfn + pages - 1, level + 1)
                for iommu in self.for_each_domain_iommu(domain):
                    await self.iommu_flush_iotlb_psi(iommu, domain, start_pfn, pages, False, False)
            pte = dma_pte(pte.page, pte.index + 1) if pte.index < 511 else None
            start_pfn += pages

    async def _domain_mapping(
        self, domain: dmar_domain, iov_pfn: int, phys_pfn: int, nr_pages: int, prot: int
    ) -> int:
        """`__domain_mapping`: write the leaves for a range, the largest the addresses
        allow. 0, -EINVAL, -ENOMEM.
        """
        self.machine.bug_on(
            not defs.pfn_supported(domain.agaw, iov_pfn + nr_pages - 1), "mapping beyond the domain's width"
        )
        if not prot & (defs.DMA_PTE_READ | defs.DMA_PTE_WRITE):
            return -EINVAL
        pteval = phys_pfn << defs.VTD_PAGE_SHIFT | self.leaf_attributes(domain, prot)
        pte: dma_pte | None = None
        level, pages, written, index = 0, 0, 0, 0
        while nr_pages > 0:
            if pte is None:
                level = self.hardware_largepage_caps(domain, iov_pfn, phys_pfn, nr_pages)
                pte, level = await self.pfn_to_dma_pte(domain, iov_pfn, level)
                if pte is None:
                    return -ENOMEM
                pages, index = level_size(level), pte.index
                if level > 1:
                    pteval |= defs.DMA_PTE_LARGE_PAGE
                    # the end is not rounded to whole large pages: harmless as long as callers ask for
                    # whole ones (dce043c07ca1)
                    last = iov_pfn + min(nr_pages, (512 - index) * pages) - 1
                    await self.switch_to_super_page(domain, iov_pfn, last, level)
                else:
                    pteval &= ~defs.DMA_PTE_LARGE_PAGE
            found = await pte.page.cmpxchg_local(index, 0, pteval)
            if found:
                self.pr(f"ERROR: DMA PTE for vPFN {iov_pfn:#x} already set (to {found:x} not {pteval:x})")
                self.machine.warn_on(True, "DMA PTE already set")
            nr_pages -= pages
            iov_pfn += pages
            phys_pfn += pages
            pteval += pages * defs.VTD_PAGE_SIZE
            written += 1
            index += 1
            if not nr_pages or index == 512 or (level > 1 and nr_pages < pages):
                await self.domain_flush_cache(domain, written)
                pte, written = None, 0
        return 0

    def leaf_attributes(self, domain: dmar_domain, prot: int) -> int:
        """The bits of a leaf beside its address: for both kinds of table bit 0, then what the kind wants."""
        attr = prot & (defs.DMA_PTE_READ | defs.DMA_PTE_WRITE | defs.DMA_PTE_SNP) | defs.DMA_FL_PTE_PRESENT
        if domain.use_first_level:
            attr |= defs.DMA_FL_PTE_XD | defs.DMA_FL_PTE_US | defs.DMA_FL_PTE_ACCESS
            if prot & defs.DMA_PTE_WRITE:
                attr |= defs.DMA_FL_PTE_DIRTY
        return attr
