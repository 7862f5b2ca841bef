"""Patch 11, v1: drivers/iommu/intel/iommu.c. Merged as 969aaefbaaf2.

Kevin Tian on v2: `info->domain` must be set before `info` is on the list. Two more things came with it, found
by nobody then: the order of the two locks at attach is turned round, and the lookup, hoisted out of the mode
test, switches ATS on for legacy pass-through too.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.domain import first_node
from vtdkit.iommu.intel.flush import find_ats_device
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu, pasid_table
from vtdkit.iommu.pci import PciDevice

from .p10_fold import Patch10


class Patch11(Patch10):
    """iommu/vt-d: Use device_domain_lock accurately"""

    async def domain_update_device_node(self, domain: dmar_domain) -> int:
        """The NUMA node of the first device that has one."""
        async with self.device_domain_lock.irqsave():
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
        async with self.device_domain_lock.irqsave():
            return find_ats_device(domain, iommu, bus, devfn)

    async def domain_update_iotlb(self, domain: dmar_domain) -> None:
        """Recompute whether any attached device has ATS on."""
        async with self.device_domain_lock.irqsave():
            domain.has_iotlb_device = any(info.ats_enabled for info in domain.devices.entries())

    async def iommu_enable_dev_iotlb(self, info: device_domain_info | None) -> None:
        """Switch on PASID, PRI and ATS, in this order, as far as they are supported."""
        await self.enable_pci_caps(info)

    async def iommu_disable_dev_iotlb(self, info: device_domain_info) -> None:
        """Switch ATS, PRI and PASID off again."""
        await self.disable_pci_caps(info)

    async def domain_context_mapping_one(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        table: pasid_table | None,
        bus: int,
        devfn: int,
    ) -> int:
        """Fill in one context entry under `iommu->lock`; the device is looked up first."""
        self.check_mapping(domain, iommu)
        info = await self.iommu_support_dev_iotlb(domain, iommu, bus, devfn)
        async with iommu.lock:
            context = await self.iommu_context_addr(iommu, bus, devfn, True)
            if context is None:
                return -ENOMEM
            if await context.lo() & defs.CONTEXT_PRESENT:
                return 0
            await self.forget_copied_entry(iommu, context, bus, devfn)
            await context.clear()
            if not await self.fill_context(domain, iommu, context, table, info):
                return -ENOMEM
            await self.announce_context(domain, iommu, bus, devfn)
            await self.iommu_enable_dev_iotlb(info)
            return 0

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        async with self.device_domain_lock.irqsave():
            await domain.devices.add(info)
        await info.write(domain=domain)
        return await self.set_up_translation(domain, dev, iommu)

    async def intel_iommu_enable_pasid(self, iommu: intel_iommu, dev: PciDevice) -> int:
        """Allow requests with PASID from a device (for shared virtual addressing). 0 or -EINVAL."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        async with iommu.lock:
            return await self.allow_pasid(iommu, info)
