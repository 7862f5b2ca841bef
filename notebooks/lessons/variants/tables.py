"""Drivers that never were: how entries and tables are put in and taken out."""

from __future__ import annotations

from functools import cache
from typing import cast

from vtdkit.iommu.core import IommuCore, IommuDomain
from vtdkit.iommu.dirty import DIRTY_BIT
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte, dma_pte_present, dmar_domain
from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.kernel.memory.pages import Page


@cache
def load_store_insert(driver: type[IntelIommu]) -> type[IntelIommu]:
    """A new table is put in by looking first and writing then, instead of by one compare-and-exchange."""

    class LoadStoreInsert(driver):  # type: ignore[misc, valid-type]
        async def insert_table(self, domain: dmar_domain, pte: dma_pte, level: int) -> int:
            page = await self.alloc_pgtable_page(domain.nid, f"{domain.label} level {level - 1} table")
            if page is None:
                return 0
            value: int = page.address | defs.DMA_PTE_READ | defs.DMA_PTE_WRITE
            found = await pte.load()
            if found:
                await self.free_pgtable_page(page)
                return found
            await pte.store(value)
            return value

    return LoadStoreInsert


@cache
def flush_before_free(driver: type[IntelIommu]) -> type[IntelIommu]:
    """Making room for a large page, the old table is unlinked first, then flushed out of the
    IOTLB, and freed last.
    """

    class FlushBeforeFree(driver):  # type: ignore[misc, valid-type]
        async def dma_pte_free_pagetable(
            self, domain: dmar_domain, start_pfn: int, last_pfn: int, retain_level: int
        ) -> None:
            freelist: list[Page] = []
            await self.domain_unmap(domain, start_pfn, last_pfn, freelist)
            for iommu in self.for_each_domain_iommu(domain):
                await self.iommu_flush_iotlb_psi(
                    iommu, domain, start_pfn, last_pfn - start_pfn + 1, False, False
                )
            await self.put_pages_list(freelist)

    return FlushBeforeFree


async def load_store_dirty(core: IommuCore, domain: IommuDomain, iova: int) -> bool:
    """`intel_iommu_read_and_clear_dirty` for one page, wrongly: the entry is read, and written
    back without the bit.
    """
    pte, _ = await cast(IntelIommu, core.driver).pfn_to_dma_pte(domain.driver, iova >> PAGE_SHIFT, 0)
    if pte is None:
        return False
    value = await pte.load()
    if not dma_pte_present(value) or not value >> DIRTY_BIT & 1:
        return False
    await pte.store(value & ~(1 << DIRTY_BIT))
    return True
