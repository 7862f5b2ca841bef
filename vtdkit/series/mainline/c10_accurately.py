"""969aaefbaaf2: drivers/iommu/intel/iommu.c. v1: patch 11, with `info->domain` set before the list_add."""

from __future__ import annotations

from vtdkit.iommu.intel.domain import first_node
from vtdkit.iommu.intel.flush import find_ats_device
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.series.p11_accurately import Patch11
from vtdkit.series.patch import as_in_v1

from .c09_fold import Commit09


class Commit10(Commit09):
    """iommu/vt-d: Use device_domain_lock accurately

    `info->domain` is set before the device is on the list.
    """

    iommu_enable_dev_iotlb = as_in_v1(Patch11.iommu_enable_dev_iotlb)
    iommu_disable_dev_iotlb = as_in_v1(Patch11.iommu_disable_dev_iotlb)
    domain_context_mapping_one = as_in_v1(Patch11.domain_context_mapping_one)
    intel_iommu_enable_pasid = as_in_v1(Patch11.intel_iommu_enable_pasid)

    async def domain_update_device_node(self, domain: dmar_domain) -> int:
        """The NUMA node of the first device that has one."""
        async with self.device_domain_lock:
            return first_node(domain)

    async def iommu_support_dev_iotlb(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        bus: int,
        devfn: int,
    ) -> device_domain_info | None:
        """The record of the attached device at this address, if it can do ATS."""
        if iommu.qi is None:
            return None
        async with self.device_domain_lock:
            return find_ats_device(domain, iommu, bus, devfn)

    async def domain_update_iotlb(self, domain: dmar_domain) -> None:
        """Recompute whether any attached device has ATS on."""
        async with self.device_domain_lock:
            domain.has_iotlb_device = any(info.ats_enabled for info in domain.devices.entries())

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        info.domain = domain
        async with self.device_domain_lock:
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)
