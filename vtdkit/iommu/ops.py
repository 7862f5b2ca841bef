"""`struct iommu_ops` and `iommu_domain_ops`: what the core and its users ask of a driver.

Linux keeps them in tables of function pointers. Here the driver is the table, so an operation has the name
of the function behind it; what each does and returns says the driver (`intel/iommu.py`, `intel/device.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from .pci import PciDevice

if TYPE_CHECKING:
    from .core import IommuCore, IommuDomain, IotlbGather


class iommu_ops(Protocol):
    """A driver, as the core sees it. It is told of its core when it gets one."""

    title: str
    core: IommuCore
    log: list[str]  # what the kernel would print
    #: has the core to block a device's DMA before it releases it? (`release_domain`, from 6.9 on)
    release_domain: bool

    # devices
    async def intel_iommu_probe_device(self, dev: PciDevice) -> Any: ...
    async def intel_iommu_release_device(self, dev: PciDevice) -> None: ...
    def intel_iommu_is_attach_deferred(self, dev: PciDevice) -> bool: ...
    async def device_block_translation(self, dev: PciDevice) -> None: ...

    # domains
    async def intel_iommu_domain_alloc(self, type: str) -> IommuDomain | None: ...
    async def intel_iommu_domain_free(self, domain: IommuDomain) -> None: ...
    async def intel_iommu_attach_device(self, domain: IommuDomain, dev: PciDevice) -> int: ...
    async def intel_iommu_detach_device(self, domain: IommuDomain, dev: PciDevice) -> None: ...
    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool: ...

    # mappings: no lock, any context
    async def intel_iommu_map_pages(
        self, domain: IommuDomain, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int
    ) -> tuple[int, int]: ...
    async def intel_iommu_unmap_pages(
        self, domain: IommuDomain, iova: int, pgsize: int, pgcount: int, gather: IotlbGather
    ) -> int: ...
    async def intel_iommu_iotlb_sync_map(self, domain: IommuDomain, iova: int, size: int) -> None: ...
    async def intel_iommu_tlb_sync(self, domain: IommuDomain, gather: IotlbGather) -> None: ...
    async def intel_flush_iotlb_all(self, domain: IommuDomain) -> None: ...
    async def intel_iommu_iova_to_phys(self, domain: IommuDomain, iova: int) -> int: ...

    def put_pages_list(self, freelist: list[Any]) -> Awaitable[None]:
        """Free the tables an unmap took out, once they are flushed."""
        ...
