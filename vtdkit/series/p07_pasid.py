"""Patch 07, v1: drivers/iommu/intel/pasid.c, iommu.c, svm.c.

Reviewed by Kevin Tian with a remark: the new helper turns "already present" from -EBUSY into -ENODEV. Merged
as 8430fd3f3287, without the helper.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENODEV, ENOMEM
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.pasid_table import pasid_entry
from vtdkit.iommu.intel.structs import dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page

from .p06_domain_ids import Patch06
from .patch import removed


class Patch07(Patch06):
    """iommu/vt-d: Acquiring lock in pasid manipulation helpers"""

    pasid_enable_wpe = removed("patch 07: checked before anything is written")

    async def intel_pasid_tear_down_entry(
        self, iommu: intel_iommu, dev: PciDevice, pasid: int, fault_ignore: bool
    ) -> None:
        """Take an entry out under `iommu->lock`; then, the lock let go, flush."""
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if self.machine.warn_on(pte is None, "intel_pasid_tear_down_entry: no entry"):
                return
            assert pte is not None
            if not await pte.present():
                return
            did, pgtt = await self.pasid_did_and_type(pte)
            await self.intel_pasid_clear_entry(dev, pasid, fault_ignore)
        await self.flush_torn_down(iommu, dev, pasid, did, pgtt)

    async def get_non_present_pasid_entry(self, dev: PciDevice, pasid: int) -> pasid_entry | None:
        """The entry of a PASID if nobody uses it; None otherwise."""
        pte = await self.intel_pasid_get_entry(dev, pasid)
        return None if pte is None or await pte.present() else pte

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
            pte = await self.get_non_present_pasid_entry(dev, pasid)
            if pte is None:
                return -ENODEV
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
            pte = await self.get_non_present_pasid_entry(dev, pasid)
            if pte is None:
                return -ENODEV
            await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    async def intel_pasid_setup_pass_through(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """An entry that lets requests pass untranslated; the flush comes after the lock."""
        did = defs.FLPT_DEFAULT_DID
        async with iommu.lock:
            pte = await self.get_non_present_pasid_entry(dev, pasid)
            if pte is None:
                return -ENODEV
            await pte.fill(self.pass_through_words(iommu, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock.irqsave():
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)

    async def intel_svm_bind_mm(self, iommu: intel_iommu, dev: PciDevice, pasid: int) -> int:
        """The record of the binding, then the PASID entry. Caller holds `pasid_mutex`."""
        svm = self.svms.get(pasid) or await self.new_svm(pasid)
        if svm is None:
            return -ENOMEM
        error = await self.intel_pasid_setup_first_level(iommu, dev, svm.pgd, pasid, defs.FLPT_DEFAULT_DID, 0)
        return await self.bound(svm, dev, error)
