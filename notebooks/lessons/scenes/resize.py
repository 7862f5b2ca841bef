"""Changing the size of pages under a live mapping: a large page becomes a table of small ones (demote), and
the other way round (promote).

What dirty tracking wants: small pages while it runs, because a large one is dirty as a whole, and large ones
again after it. Linux's VT-d driver has neither; this is what the thread of 2022 talked about as something
that might come. Addresses keep leading where they led throughout, so devices notice nothing.

Rules: the caller has the range of the large page for itself, as for map and unmap: nothing is locked here.
Tables go away after a flush, by `put_pages_list` like those of an unmap. Process context, second level or
first.
"""

from __future__ import annotations

from typing import cast

from vtdkit.iommu.core import IommuCore, IommuDomain
from vtdkit.iommu.errno import EAGAIN, EINVAL, ENOMEM
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.iommu.pinning import PAGE_SHIFT

ENTRIES = 512
TABLE = defs.DMA_PTE_READ | defs.DMA_PTE_WRITE


async def demote(core: IommuCore, domain: IommuDomain, iova: int) -> int:
    """The large page at an address becomes a table of pages of the next smaller size. 0; -EINVAL if there is
    no large page, -ENOMEM, -EAGAIN if the entry changed meanwhile.
    """
    driver, dmar = cast(IntelIommu, core.driver), cast(dmar_domain, domain.driver)
    pte, level = await driver.pfn_to_dma_pte(dmar, iova >> PAGE_SHIFT, 0)
    value = await pte.load() if pte else 0
    if pte is None or level < 2 or not value & defs.DMA_PTE_LARGE_PAGE:
        return -EINVAL
    if (page := await driver.alloc_pgtable_page(dmar.nid, f"{dmar.label} level {level - 1} table")) is None:
        return -ENOMEM
    small = value if level > 2 else value & ~defs.DMA_PTE_LARGE_PAGE
    step = defs.level_size(level - 1) << PAGE_SHIFT
    for index in range(ENTRIES):
        await page.store(index, small + index * step)
    await driver.domain_flush_cache(dmar, ENTRIES)
    attributes = 0 if not dmar.use_first_level else value & (defs.DMA_FL_PTE_US | defs.DMA_FL_PTE_XD)
    if await pte.cmpxchg(value, page.address | TABLE | attributes) != value:
        await driver.free_pgtable_page(page)
        return -EAGAIN
    await _flush(driver, dmar, iova, level)
    return 0


async def promote(core: IommuCore, domain: IommuDomain, iova: int) -> int:
    """The lowest table for an address becomes one page of 2 MiB. 0; -EINVAL unless all its pages are there,
    side by side in memory and alike, -EAGAIN if the entry above changed meanwhile.
    """
    driver, dmar = cast(IntelIommu, core.driver), cast(dmar_domain, domain.driver)
    upper, level = await driver.dma_pfn_level_pte(dmar, iova >> PAGE_SHIFT, 2)
    value = await upper.load() if upper is not None else 0
    if upper is None or level > 1 or not value & TABLE or value & defs.DMA_PTE_LARGE_PAGE:
        return -EINVAL
    table = driver.phys_to_virt(value & defs.PTE_ADDRESS)
    first = await table.load(0)
    if first & defs.PTE_ADDRESS & (ENTRIES << PAGE_SHIFT) - 1 or not first & TABLE:
        return -EINVAL
    for index in range(1, ENTRIES):
        if await table.load(index) != first + (index << PAGE_SHIFT):
            return -EINVAL
    if await upper.cmpxchg(value, first | defs.DMA_PTE_LARGE_PAGE) != value:
        return -EAGAIN
    await _flush(driver, dmar, iova, 2)
    await driver.put_pages_list([table])
    return 0


async def _flush(driver: IntelIommu, dmar: dmar_domain, iova: int, level: int) -> None:
    """What was cached of the range, translations and tables, goes."""
    pages = defs.level_size(level)
    for iommu in driver.for_each_domain_iommu(dmar):
        await driver.iommu_flush_iotlb_psi(iommu, dmar, iova >> PAGE_SHIFT & -pages, pages, False, False)
