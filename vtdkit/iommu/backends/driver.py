"""What lies between the core and an `IoPgtable`: the thin driver that passes calls on.

The drivers of Arm and AMD do little more in these calls (`arm_smmu_map_pages`, `amd_iommu_map`). Attaching
devices, domain types and probing are left out: a back-end is one domain, and its device is its `walker`.
"""

from __future__ import annotations

from typing import Any

from vtdkit.iommu.core import IommuCore, IommuDomain, IotlbGather
from vtdkit.iommu.pci import PciBus
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page

from .backend import Backend, IoPgtable


class PgtableBase(KObject):
    """What every software table needs of its machine. Guards: nothing; subclasses say for their fields."""

    title = ""
    pgsize_bitmap = 0

    async def alloc_table(self, level: int) -> Page | None:
        """One cleared page for a table; it may be asked for in atomic context."""
        return await self.machine.alloc_page(  # type: ignore[no-any-return]
            GFP_ATOMIC, name=f"{self.label} level {level} table"
        )

    def deref(self, address: int) -> Page:
        """The table at a physical address. Raises Oops where no page ever was, as the kernel would."""
        page: Page | None = self.machine.pages.page(address)
        if page is None:
            raise Oops(f"unable to handle page fault: {address:#x} is not memory that was ever a table")
        return page

    async def put_pages_list(self, freelist: list[Page]) -> None:
        """Free the pages that were collected."""
        for page in freelist:
            await self.machine.free_page(page)
        freelist.clear()


class TableDriver:
    """`iommu_ops`, as far as one domain on an `IoPgtable` needs them (see `vtdkit.iommu.ops`)."""

    release_domain = False
    core: IommuCore

    def __init__(self, title: str) -> None:
        self.title = title
        self.log: list[str] = []

    async def intel_iommu_domain_free(self, domain: IommuDomain) -> None:
        """The table goes, and every page of it."""
        await domain.driver.free()

    async def intel_iommu_map_pages(
        self, domain: IommuDomain, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]:
        """`map_pages` of the table."""
        return await domain.driver.map_pages(iova, paddr, pgsize, pgcount, prot)  # type: ignore[no-any-return]

    async def intel_iommu_unmap_pages(
        self, domain: IommuDomain, iova: int, pgsize: int, pgcount: int, gather: IotlbGather
    ) -> int:
        """`unmap_pages` of the table."""
        return await domain.driver.unmap_pages(iova, pgsize, pgcount, gather)  # type: ignore[no-any-return]

    async def intel_iommu_iotlb_sync_map(self, domain: IommuDomain, iova: int, size: int) -> None:
        """None of these units remembers that something was *not* there."""

    async def intel_iommu_tlb_sync(self, domain: IommuDomain, gather: IotlbGather) -> None:
        """Flush, and free what was collected."""
        await domain.driver.iotlb_sync(gather)

    async def intel_flush_iotlb_all(self, domain: IommuDomain) -> None:
        """Flush the whole domain."""
        await domain.driver.walker.invalidate(0, (1 << 64) - 1)

    async def intel_iommu_iova_to_phys(self, domain: IommuDomain, iova: int) -> int:
        """`iova_to_phys` of the table."""
        return await domain.driver.iova_to_phys(iova)  # type: ignore[no-any-return]


def on_core(machine: Machine, table: IoPgtable, type: str = "unmanaged") -> Backend:
    """A back-end of this table, with a core of its own."""
    driver: Any = TableDriver(table.title)
    core = IommuCore(machine, PciBus(machine), driver)
    domain = IommuDomain(machine, type, table)
    domain.preset(pgsize_bitmap=table.pgsize_bitmap, aperture_end=table.aperture_end)
    return Backend(table, core, domain)
