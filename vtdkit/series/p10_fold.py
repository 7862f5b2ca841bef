"""Patch 10, v1: drivers/iommu/intel/iommu.c. Merged as db75c9573b08.

Applied without patch 11 it trips over its own assertions: the functions that switch ATS off still insist on
`device_domain_lock`, which nobody holds any more.
"""

from __future__ import annotations

from vtdkit.iommu.pci import PciDevice

from .p09_domain_exit import Patch09
from .patch import removed


class Patch10(Patch09):
    """iommu/vt-d: Fold __dmar_remove_one_dev_info() into its caller"""

    _dmar_remove_one_dev_info = removed("patch 10: folded into dmar_remove_one_dev_info")

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; `device_domain_lock` only around the list."""
        info, iommu = self.info_and_unit(dev)
        domain = info.domain
        await self.detach_translation(info, iommu)
        async with self.device_domain_lock.irqsave():
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)
