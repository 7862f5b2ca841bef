"""Patch 06, v1: drivers/iommu/intel/iommu.c.

Kevin Tian's remark: it moves the lock and changes its interrupt variant in one patch. Merged as 2c3262f9e881,
after the variant had been changed elsewhere. Note what stays: the capabilities are recomputed inside
`iommu->lock`, which patches 11 and 12 will meet again.
"""

from __future__ import annotations

from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice

from .p05_root_table import Patch05


class Patch06(Patch05):
    """iommu/vt-d: Acquiring lock in domain ID allocation helpers"""

    async def domain_attach_iommu(self, domain: dmar_domain, iommu: intel_iommu) -> int:
        """One more device of this unit; the first one gets the domain its id there. -ENOSPC."""
        async with iommu.lock:
            return await self.take_domain_id(domain, iommu)

    async def domain_detach_iommu(self, domain: dmar_domain, iommu: intel_iommu) -> None:
        """One device of this unit less; the last one gives the id back."""
        async with iommu.lock:
            await self.drop_domain_id(domain, iommu)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock.irqsave():
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        if self.sm_supported(iommu):
            error = await self.intel_pasid_alloc_table(dev)
            if error:
                return await self.undo_attach(dev, error, "PASID table allocation failed")
            async with iommu.lock.irqsave():
                error = await self.setup_rid2pasid(iommu, domain, dev)
            if error:
                return await self.undo_attach(dev, error, "Setup RID2PASID failed")
        error = await self.domain_context_mapping(domain, dev)
        return await self.undo_attach(dev, error, "Domain context map failed") if error else 0

    async def _dmar_remove_one_dev_info(self, info: device_domain_info) -> None:
        """`__dmar_remove_one_dev_info`: the whole tear-down of one device. Caller holds
        `device_domain_lock`, interrupts off.
        """
        self.device_domain_lock.assert_spin_locked()
        iommu, domain = info.iommu, info.domain
        await self.detach_translation(info, iommu)
        await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)
