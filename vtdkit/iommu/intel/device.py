"""Attaching and detaching devices: drivers/iommu/intel/iommu.c, `domain_add_dev_info`
and `__dmar_remove_one_dev_info`.

This is where the two locks of the series meet. Attach takes `device_domain_lock`, in it `iommu->lock`; detach
holds `device_domain_lock` with interrupts off from its first flush to its last.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import EINVAL, ENODEV, ENOMEM, EPERM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.memory.pages import Page

from . import defs
from .domain import Domains
from .structs import device_domain_info, dma_pte_addr, dma_pte_present, dmar_domain, intel_iommu

UNLOCKED = nullcontext()


class Devices(Domains):
    """Guards: `info->domain` and the device lists by `device_domain_lock`."""

    # -- attach --------------------------------------------------------------

    async def intel_iommu_attach_device(self, domain: IommuDomain, dev: PciDevice) -> int:
        """The core attaches a device (it holds `group->mutex`). 0, -EPERM, -ENODEV,
        -EINVAL, -ENOSPC, -ENOMEM, -EBUSY.
        """
        if domain.type == "unmanaged" and dev.rmrr:
            return -EPERM
        # the core does not take it out of the default domain first: the driver does
        if await self.domain_context_mapped(dev):
            info = self.dev_iommu_priv_get(dev)
            if info is not None and info.domain is not None:
                await self.dmar_remove_one_dev_info(dev)
        error = await self.prepare_domain_attach_device(domain, dev)
        return error or await self.domain_add_dev_info(domain.driver, dev)

    async def prepare_domain_attach_device(self, domain: IommuDomain, dev: PciDevice) -> int:
        """Does the domain fit the device's unit? Levels the unit does not have are taken off the top."""
        dmar: dmar_domain = domain.driver
        if (iommu := self.device_to_iommu(dev)) is None:
            return -ENODEV
        if dmar.force_snooping and not self.ecap(iommu, defs.ECAP_SC):
            return -EINVAL
        width = min(defs.agaw_to_width(iommu.agaw), defs.cap_mgaw(iommu.cap))
        if dmar.max_addr > 1 << width:
            return -EINVAL
        dmar.gaw = width
        # a table with more levels than the unit walks: as long as it is small, all of it hangs on entry 0
        while iommu.agaw < dmar.agaw:
            top: Page = dmar.pgd
            entry = await top.load(0)
            if dma_pte_present(entry):
                dmar.pgd = self.phys_to_virt(dma_pte_addr(entry))
                await self.free_pgtable_page(top)
            dmar.agaw = dmar.agaw - 1
        return 0

    async def domain_setup_first_level(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """A first-level PASID entry for the domain's table."""
        pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
        level = defs.agaw_to_level(agaw)
        if pgd is None or level not in (4, 5):
            return -EINVAL
        flags = 0
        if pasid != defs.PASID_RID2PASID:
            flags |= defs.PASID_FLAG_SUPERVISOR_MODE
        if level == 5:
            flags |= defs.PASID_FLAG_FL5LP
        if domain.force_snooping:
            flags |= defs.PASID_FLAG_PAGE_SNOOP
        return await self.intel_pasid_setup_first_level(
            iommu, dev, pgd, pasid, domain.iommu_did[iommu.seq_id], flags
        )

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info, iommu = self.info_and_unit(dev)
        async with self.device_domain_lock.irqsave():
            info.domain = domain
            async with iommu.lock:
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

    async def set_up_translation(
        self,
        domain: dmar_domain,
        dev: PciDevice,
        iommu: intel_iommu,
        locked: Any = UNLOCKED,  # a lock or a way to take one
    ) -> int:
        """The second half of `domain_add_dev_info`: PASID entry, context entries. `locked`: what is held
        around the PASID entry, where its helpers do not lock for themselves.
        """
        if self.sm_supported(iommu):
            if error := await self.intel_pasid_alloc_table(dev):
                return await self.undo_attach(dev, error, "PASID table allocation failed")
            async with locked:
                error = await self.setup_rid2pasid(iommu, domain, dev)
            if error:
                return await self.undo_attach(dev, error, "Setup RID2PASID failed")
        error = await self.domain_context_mapping(domain, dev)
        return await self.undo_attach(dev, error, "Domain context map failed") if error else 0

    async def undo_attach(self, dev: PciDevice, error: int, what: str) -> int:
        """The unwinding of `domain_add_dev_info`: say what failed, detach again, return the error."""
        self.log.append(f"pci {dev.dev_name}: {what}")  # `dev_err`
        await self.dmar_remove_one_dev_info(dev)
        return error

    async def setup_rid2pasid(self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice) -> int:
        """The PASID entry for requests without a PASID: pass-through, first level or second level."""
        if self.domain_type_is_si(domain):
            return await self.intel_pasid_setup_pass_through(iommu, domain, dev, defs.PASID_RID2PASID)
        if domain.use_first_level:
            return await self.domain_setup_first_level(iommu, domain, dev, defs.PASID_RID2PASID)
        return await self.intel_pasid_setup_second_level(iommu, domain, dev, defs.PASID_RID2PASID)

    # -- detach --------------------------------------------------------------

    async def detach_translation(self, info: device_domain_info, iommu: intel_iommu) -> None:
        """The part of the tear-down that is about tables: PASID entry, ATS, context entries, PASID table."""
        if info.domain is None:
            raise Oops(f"NULL pointer dereference: {info.dev.name} was never attached, and nobody asks")
        if self.sm_supported(iommu):
            await self.intel_pasid_tear_down_entry(iommu, info.dev, defs.PASID_RID2PASID, False)
        await self.iommu_disable_dev_iotlb(info)
        await self.domain_context_clear(info)
        await self.intel_pasid_free_table(info.dev)

    async def _dmar_remove_one_dev_info(self, info: device_domain_info) -> None:
        """`__dmar_remove_one_dev_info`: the whole tear-down of one device. Caller holds
        `device_domain_lock`, interrupts off.
        """
        self.device_domain_lock.assert_spin_locked()
        iommu, domain = info.iommu, info.domain
        await self.detach_translation(info, iommu)
        await domain.devices.del_(info)
        async with iommu.lock.irqsave():
            await self.domain_detach_iommu(domain, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain: everything under `device_domain_lock`."""
        async with self.device_domain_lock.irqsave():
            info = self.dev_iommu_priv_get(dev)
            if info is not None:
                await self._dmar_remove_one_dev_info(info)

    #: does the core block a device's DMA before it releases it? (6.9: `iommu_ops::release_domain`)
    release_domain = False

    async def device_block_translation(self, dev: PciDevice) -> None:
        """Attach to the release domain of 6.9: the device leaves its domain, if it has one."""
        info = self.dev_iommu_priv_get(dev)
        if info is not None and info.domain is not None:
            await self.dmar_remove_one_dev_info(dev)

    def intel_iommu_is_attach_deferred(self, dev: PciDevice) -> bool:
        """In a crash kernel a device keeps the dead kernel's tables until its driver sets it up."""
        info = self.dev_iommu_priv_get(dev)
        return info is not None and info.iommu.translation_pre_enabled and info.domain is None

    async def intel_iommu_detach_device(self, domain: IommuDomain, dev: PciDevice) -> None:
        """The core detaches a device (it holds `group->mutex`)."""
        await self.dmar_remove_one_dev_info(dev)

    # -- probe and release ---------------------------------------------------

    async def intel_iommu_probe_device(self, dev: PciDevice) -> intel_iommu | int:
        """A device appears: make its record. The unit that translates for it, or -ENODEV, -ENOMEM."""
        iommu = self.device_to_iommu(dev)
        if iommu is None:
            return -ENODEV
        info = await self.new_device_info(dev, iommu)
        if isinstance(info, int):
            return info
        async with self.device_domain_lock.irqsave():
            await self.device_domain_list.add(info)
            dev.iommu_priv = info
        return iommu

    async def new_device_info(self, dev: PciDevice, iommu: intel_iommu) -> device_domain_info | int:
        """The record of a device, with what it and its unit can do together; -ENOMEM."""
        if (info := await self.machine.kmalloc(device_domain_info, dev, iommu)) is None:
            return -ENOMEM
        info.ats_supported = dev.can["ats"] and self.ecap(iommu, defs.ECAP_DEV_IOTLB)
        if self.sm_supported(iommu):
            info.pasid_supported = dev.can["pasid"] and self.ecap(iommu, defs.ECAP_PASID)
            info.pri_supported = info.ats_supported and dev.can["pri"] and self.ecap(iommu, defs.ECAP_PRS)
        dev.unit = iommu.hardware
        return info

    async def intel_iommu_release_device(self, dev: PciDevice) -> None:
        """A device goes: detach it, forget it."""
        info = self.dev_iommu_priv_get(dev)
        if info is None:
            return
        await self.dmar_remove_one_dev_info(dev)
        async with self.device_domain_lock.irqsave():
            dev.iommu_priv = None
            await self.device_domain_list.del_(info)
        await self.machine.kfree(info)
