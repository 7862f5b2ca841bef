"""db75c9573b08: drivers/iommu/intel/iommu.c. v1: patch 10, which leaves `info->domain` as it is."""

from __future__ import annotations

from vtdkit.iommu.pci import PciDevice
from vtdkit.series.patch import removed

from .c08_domain_exit import Commit08


class Commit09(Commit08):
    """iommu/vt-d: Fold __dmar_remove_one_dev_info() into its caller"""

    _dmar_remove_one_dev_info = removed("db75c9573b08: folded into dmar_remove_one_dev_info")

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; `device_domain_lock` only around the list."""
        info, iommu = self.info_and_unit(dev)
        domain = info.domain
        await self.detach_translation(info, iommu)
        async with self.device_domain_lock:
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)
        # v1 leaves the pointer to the domain the device was in
        info.domain = None
