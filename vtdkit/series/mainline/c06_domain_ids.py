"""2c3262f9e881: drivers/iommu/intel/iommu.c. v1: patch 06."""

from __future__ import annotations

from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.iommu.pci import PciDevice
from vtdkit.series.p06_domain_ids import Patch06
from vtdkit.series.patch import as_in_v1

from .c05_spin_lock import Commit05


class Commit06(Commit05):
    """iommu/vt-d: Acquiring lock in domain ID allocation helpers"""

    domain_attach_iommu = as_in_v1(Patch06.domain_attach_iommu)
    domain_detach_iommu = as_in_v1(Patch06.domain_detach_iommu)
    _dmar_remove_one_dev_info = as_in_v1(Patch06._dmar_remove_one_dev_info)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock:
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu, iommu.lock)
