"""Drivers that never were: one thing changed in a real version, to see what depends on it.

Each function takes a version of the driver and returns a class derived from it, in which what the name says
is changed and nothing else.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from vtdkit.iommu.core import IommuCore, IommuDomain
from vtdkit.iommu.dirty import DIRTY_BIT
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte, dma_pte_present, dmar_domain
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.iommu.seq_file import SeqFile
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
def free_after_grace_period(driver: type[IntelIommu]) -> type[IntelIommu]:
    """Tables taken out of a domain are freed after an RCU grace period; the dump reads
    inside a read-side section.

    Jason Gunthorpe's proposal of May 2022 for the dump; mainline never did it.
    """

    class FreeAfterGracePeriod(driver):  # type: ignore[misc, valid-type]
        async def put_pages_list(self, freelist: list[Page]) -> None:
            pages = list(freelist)

            async def free() -> None:
                for page in pages:
                    await self.free_pgtable_page(page)

            freelist.clear()
            if pages:
                self.machine.rcu.call(free, "free_pages_rcu")

        async def dump_domain(self, m: SeqFile, dev: PciDevice, domain: dmar_domain) -> None:
            async with self.machine.rcu.read():
                await super().dump_domain(m, dev, domain)

    return FreeAfterGracePeriod


@cache
def test_addresses(driver: type[IntelIommu]) -> type[IntelIommu]:
    """An address is followed only if there is memory: where there is none, an empty table is taken for it.

    Lu Baolu's proposal of 31 May 2022 for the dump (`pfn_valid`). A page that was freed is memory still.
    """

    class TestAddresses(driver):  # type: ignore[misc, valid-type]
        def phys_to_virt(self, address: int) -> Page:
            if address >> PAGE_SHIFT in self.frames:
                return super().phys_to_virt(address)  # type: ignore[no-any-return]
            return Page(self.machine, 0, -1, "no memory here", None)

    return TestAddresses


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
