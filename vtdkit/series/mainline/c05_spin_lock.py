"""ffd5869d9353: drivers/iommu/intel/iommu.c, debugfs.c, svm.c. v1: patch 08, widened in v4."""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu, pasid_table
from vtdkit.iommu.pci import PciDevice
from vtdkit.series.p08_irqsave import Patch08
from vtdkit.series.patch import as_in_v1

from .c04_root_table import Commit04


class Commit05(Commit04):
    """iommu/vt-d: Replace spin_lock_irqsave() with spin_lock()

    Widened in v4: `device_domain_lock` too is taken with interrupts as they are. That half is the bug.
    """

    root_tbl_walk = as_in_v1(Patch08.root_tbl_walk)
    device_context_mapped = as_in_v1(Patch08.device_context_mapped)
    domain_context_clear_one = as_in_v1(Patch08.domain_context_clear_one)
    copy_translation_tables = as_in_v1(Patch08.copy_translation_tables)

    async def iommu_flush_dev_iotlb(self, domain: dmar_domain, addr: int, mask: int) -> None:
        """Every device TLB of the domain, one wait for the hardware each, under the global lock."""
        if not domain.has_iotlb_device:
            return
        async with self.device_domain_lock:
            for info in domain.devices.entries():
                await self._iommu_flush_dev_iotlb(info, addr, mask)

    async def domain_context_mapping_one(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        table: pasid_table | None,
        bus: int,
        devfn: int,
    ) -> int:
        """Fill in one context entry, tell the hardware, switch the device's capabilities on.
        Both locks held throughout.
        """
        self.check_mapping(domain, iommu)
        async with self.device_domain_lock, iommu.lock:
            context = await self.iommu_context_addr(iommu, bus, devfn, True)
            if context is None:
                return -ENOMEM
            if await context.lo() & defs.CONTEXT_PRESENT:
                return 0
            await self.forget_copied_entry(iommu, context, bus, devfn)
            await context.clear()
            info = await self.lookup_for_context(domain, iommu, bus, devfn)
            if not await self.fill_context(domain, iommu, context, table, info):
                return -ENOMEM
            await self.announce_context(domain, iommu, bus, devfn)
            await self.iommu_enable_dev_iotlb(info)
            return 0

    async def domain_remove_dev_info(self, domain: dmar_domain) -> None:
        """Detach every device that is still attached, under the global lock throughout."""
        async with self.device_domain_lock:
            for info in list(domain.devices.entries()):
                await self._dmar_remove_one_dev_info(info)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock:
            info.domain = domain
            async with iommu.lock:
                error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu, iommu.lock)

    async def _dmar_remove_one_dev_info(self, info: device_domain_info) -> None:
        """`__dmar_remove_one_dev_info`: the whole tear-down of one device.
        Caller holds `device_domain_lock`.
        """
        self.device_domain_lock.assert_spin_locked()
        iommu, domain = info.iommu, info.domain
        await self.detach_translation(info, iommu)
        await domain.devices.del_(info)
        async with iommu.lock:
            await self.domain_detach_iommu(domain, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain: everything under `device_domain_lock`."""
        async with self.device_domain_lock:
            info = self.dev_iommu_priv_get(dev)
            if info is not None:
                await self._dmar_remove_one_dev_info(info)

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if
        it cannot be done.
        """
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with self.device_domain_lock:
            return await self.force_snooping(dmar)

    async def intel_iommu_enable_pasid(self, iommu: intel_iommu, dev: PciDevice) -> int:
        """Allow requests with PASID from a device (for shared virtual addressing). 0 or -EINVAL."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        async with self.device_domain_lock, iommu.lock:
            return await self.allow_pasid(iommu, info)

    async def intel_svm_bind_mm(self, iommu: intel_iommu, dev: PciDevice, pasid: int) -> int:
        """The record of the binding, then the PASID entry. Caller holds `pasid_mutex`."""
        svm = self.svms.get(pasid) or await self.new_svm(pasid)
        if svm is None:
            return -ENOMEM
        async with iommu.lock:
            error = await self.intel_pasid_setup_first_level(
                iommu, dev, svm.pgd, pasid, defs.FLPT_DEFAULT_DID, 0
            )
        return await self.bound(svm, dev, error)
