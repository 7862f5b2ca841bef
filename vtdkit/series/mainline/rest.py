"""Mainline, continued: commits 07 to 11 of 6.0-rc1, and the fixes of 6.0-rc5 (see `mainline`)."""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import EBUSY, EINVAL, ENODEV
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.domain import first_node
from vtdkit.iommu.intel.flush import find_ats_device
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page
from vtdkit.series.p07_pasid import Patch07
from vtdkit.series.p11_accurately import Patch11
from vtdkit.series.patch import as_in_v1, removed

from .commits import Commit06


class Commit07(Commit06):
    """iommu/vt-d: Acquiring lock in pasid manipulation helpers

    Without v1's helper: an entry that is in use is -EBUSY again.
    """

    title = "iommu/vt-d: Acquiring lock in pasid manipulation helpers"

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
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        async with self.device_domain_lock:
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)


class Commit08(Commit07):
    """iommu/vt-d: Check device list of domain in domain free path"""

    title = "iommu/vt-d: Check device list of domain in domain free path"

    domain_remove_dev_info = removed("79d82ce4027f: a domain that is freed has no devices")

    async def domain_exit(self, domain: dmar_domain) -> None:
        """The end of a domain: everything is unmapped; one that still has devices then
        stays, with a warning.
        """
        await self.free_domain_table(domain)
        if self.machine.warn_on(not domain.devices.empty(), "domain_exit: devices are still attached"):
            return
        await self.machine.kfree(domain)


class Commit09(Commit08):
    """iommu/vt-d: Fold __dmar_remove_one_dev_info() into its caller"""

    title = "iommu/vt-d: Fold __dmar_remove_one_dev_info() into its caller"

    _dmar_remove_one_dev_info = removed("db75c9573b08: folded into dmar_remove_one_dev_info")

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; `device_domain_lock` only around the list."""
        info = self.dev_iommu_priv_get(dev)
        assert info is not None
        domain, iommu = info.domain, info.iommu
        await self.detach_translation(info, iommu)
        async with self.device_domain_lock:
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)


class Commit10(Commit09):
    """iommu/vt-d: Use device_domain_lock accurately

    `info->domain` is set before the device is on the list.
    """

    title = "iommu/vt-d: Use device_domain_lock accurately"

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
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        info.domain = domain
        async with self.device_domain_lock:
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)


class Commit11(Commit10):
    """iommu/vt-d: Convert global spinlock into per domain lock"""

    title = "iommu/vt-d: Convert global spinlock into per domain lock"

    def init_locks(self) -> None:
        super().init_locks()
        del self.device_domain_lock

    async def alloc_domain(self, type: str) -> dmar_domain | None:
        """A domain without a table yet, with a spin lock of its own for its device list."""
        domain = await super().alloc_domain(type)
        if domain is not None:
            domain.lock = self.machine.spinlock("&domain->lock")
        return domain

    async def domain_update_device_node(self, domain: dmar_domain) -> int:
        """The NUMA node of the first device that has one."""
        async with domain.lock:
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
        async with domain.lock:
            return find_ats_device(domain, iommu, bus, devfn)

    async def domain_update_iotlb(self, domain: dmar_domain) -> None:
        """Recompute whether any attached device has ATS on."""
        async with domain.lock:
            domain.has_iotlb_device = any(info.ats_enabled for info in domain.devices.entries())

    async def iommu_flush_dev_iotlb(self, domain: dmar_domain, addr: int, mask: int) -> None:
        """Every device TLB of the domain, one wait for the hardware each, under the domain's lock."""
        if not domain.has_iotlb_device:
            return
        async with domain.lock:
            for info in domain.devices.entries():
                await self._iommu_flush_dev_iotlb(info, addr, mask)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        info.domain = domain
        async with domain.lock:
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; the domain's lock only around the list."""
        info = self.dev_iommu_priv_get(dev)
        assert info is not None
        domain, iommu = info.domain, info.iommu
        await self.detach_translation(info, iommu)
        async with domain.lock:
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)

    async def domain_support_force_snooping(self, domain: dmar_domain) -> bool:
        """Can every attached device's unit force snooping? Caller holds the domain's lock."""
        domain.lock.assert_held()
        return all(self.ecap(info.iommu, defs.ECAP_SC) for info in domain.devices.entries())

    async def domain_set_force_snooping(self, domain: dmar_domain) -> None:
        """Second level: from now on in every leaf. First level: in each device's PASID entry. Caller
        holds the domain's lock.
        """
        domain.lock.assert_held()
        if not domain.use_first_level:
            domain.set_pte_snp = True
            return
        for info in domain.devices.entries():
            await self.intel_pasid_setup_page_snoop_control(info.iommu, info.dev, defs.PASID_RID2PASID)

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if
        it cannot be done.
        """
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with dmar.lock:
            if not await self.domain_support_force_snooping(dmar):
                return False
            await self.domain_set_force_snooping(dmar)
            dmar.force_snooping = True
        return True
