"""Drivers that never were: who may be in a table at once, and what an unmap frees."""

from __future__ import annotations

from functools import cache

from vtdkit.iommu.core import IommuDomain, IotlbGather
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.kernel.memory.pages import Page


@cache
def domain_locked(driver: type[IntelIommu]) -> type[IntelIommu]:
    """Map and unmap hold a spin lock of the domain, as the simpler drivers do (`dt_lock` of Rockchip's)."""

    class DomainLocked(driver):  # type: ignore[misc, valid-type]
        async def alloc_domain(self, type: str) -> dmar_domain | None:
            domain = await super().alloc_domain(type)
            if domain is not None:
                domain.table_lock = self.machine.spinlock("domain->table_lock")
            return domain  # type: ignore[no-any-return]

        async def intel_iommu_map_pages(
            self, domain: IommuDomain, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
        ) -> tuple[int, int]:
            async with domain.driver.table_lock.irqsave():
                return await super().intel_iommu_map_pages(  # type: ignore[no-any-return]
                    domain, iova, paddr, pgsize, pgcount, prot
                )

        async def intel_iommu_unmap_pages(
            self, domain: IommuDomain, iova: int, pgsize: int, pgcount: int, gather: IotlbGather
        ) -> int:
            async with domain.driver.table_lock.irqsave():
                return await super().intel_iommu_unmap_pages(  # type: ignore[no-any-return]
                    domain, iova, pgsize, pgcount, gather
                )

    return DomainLocked


@cache
def free_touched_tables(driver: type[IntelIommu]) -> type[IntelIommu]:
    """An unmap takes out, and frees, every last-level table it touches, also one that maps a neighbour."""

    class FreeTouchedTables(driver):  # type: ignore[misc, valid-type]
        async def domain_unmap(
            self, domain: dmar_domain, start_pfn: int, last_pfn: int, freelist: list[Page]
        ) -> None:
            await super().domain_unmap(domain, start_pfn & -512, last_pfn | 511, freelist)

    return FreeTouchedTables
