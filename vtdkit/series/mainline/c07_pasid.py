"""8430fd3f3287: drivers/iommu/intel/pasid.c, iommu.c, svm.c. v1: patch 07, without its new helper."""

from __future__ import annotations

from vtdkit.iommu.errno import EBUSY, EINVAL, ENODEV
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page
from vtdkit.series.p07_pasid import Patch07
from vtdkit.series.patch import as_in_v1, removed

from .c06_domain_ids import Commit06


class Commit07(Commit06):
    """iommu/vt-d: Acquiring lock in pasid manipulation helpers

    Without v1's helper: an entry that is in use is -EBUSY again.
    """

    pasid_enable_wpe = removed("8430fd3f3287: checked before anything is written")
    intel_pasid_tear_down_entry = as_in_v1(Patch07.intel_pasid_tear_down_entry)
    intel_svm_bind_mm = as_in_v1(Patch07.intel_svm_bind_mm)

    async def intel_pasid_setup_first_level(
        self,
        iommu: intel_iommu,
        dev: PciDevice,
        pgd: Page,
        pasid: int,
        did: int,
        flags: int,
    ) -> int:
        """An entry that leads to first-level tables: check first, then lock and fill, then flush."""
        if not self.ecap(iommu, defs.ECAP_FLTS):
            return -EINVAL
        if flags & defs.PASID_FLAG_SUPERVISOR_MODE and not self.ecap(iommu, defs.ECAP_SRS):
            return -EINVAL
        if flags & defs.PASID_FLAG_FL5LP and not self.cap(iommu, defs.CAP_5LP):
            return -EINVAL
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if pte is None:
                return -ENODEV
            if await pte.present():
                return -EBUSY
            await pte.fill(self.first_level_words(iommu, pgd, did, flags))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    async def intel_pasid_setup_second_level(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """An entry that leads to the domain's second-level tables; the flush comes after the lock."""
        if not self.ecap(iommu, defs.ECAP_SLTS):
            return -EINVAL
        pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
        if pgd is None:
            return -EINVAL
        did = domain.iommu_did[iommu.seq_id]
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if pte is None:
                return -ENODEV
            if await pte.present():
                return -EBUSY
            await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    async def intel_pasid_setup_pass_through(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """An entry that lets requests pass untranslated; the flush comes after the lock."""
        did = defs.FLPT_DEFAULT_DID
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if pte is None:
                return -ENODEV
            if await pte.present():
                return -EBUSY
            await pte.fill(self.pass_through_words(iommu, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock:
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)
