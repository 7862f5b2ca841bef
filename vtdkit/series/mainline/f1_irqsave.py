"""a349ffcb4daf (6.0-rc5): drivers/iommu/intel/iommu.c. Fixes: ffd5869d9353."""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.domain import first_node
from vtdkit.iommu.intel.flush import find_ats_device
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice

from .c11_per_domain_lock import Commit11


class Fix1(Commit11):
    """iommu/vt-d: Fix recursive lock issue in iommu_flush_dev_iotlb()

    a349ffcb4daf, Fixes: ffd5869d9353. Unmap may run in interrupt context, so every user of
    `domain->lock` has interrupts off.
    """

    async def domain_update_device_node(self, domain: dmar_domain) -> int:
        """The NUMA node of the first device that has one."""
        async with domain.lock.irqsave():
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
        async with domain.lock.irqsave():
            return find_ats_device(domain, iommu, bus, devfn)

    async def domain_update_iotlb(self, domain: dmar_domain) -> None:
        """Recompute whether any attached device has ATS on."""
        async with domain.lock.irqsave():
            domain.has_iotlb_device = any(info.ats_enabled for info in domain.devices.entries())

    async def iommu_flush_dev_iotlb(self, domain: dmar_domain, addr: int, mask: int) -> None:
        """Every device TLB of the domain, one wait for the hardware each, under the
        domain's lock, interrupts off.
        """
        if not domain.has_iotlb_device:
            return
        async with domain.lock.irqsave():
            for info in domain.devices.entries():
                await self._iommu_flush_dev_iotlb(info, addr, mask)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        info.domain = domain
        async with domain.lock.irqsave():
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; the domain's lock only around the list."""
        info, iommu = self.info_and_unit(dev)
        domain = info.domain
        await self.detach_translation(info, iommu)
        async with domain.lock.irqsave():
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)
        info.domain = None

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if it cannot be done."""
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with dmar.lock.irqsave():
            return await self.force_snooping(dmar)
