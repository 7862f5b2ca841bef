"""Flushes: drivers/iommu/intel/iommu.c, the functions that tell hardware to forget.

Everything goes through the queue (`dmar`); Linux can use registers where a unit has none. A device with ATS
keeps translations of its own: after an unmap the driver walks the domain's devices, under
`device_domain_lock` with interrupts off, and for each such device waits for the hardware.
`iommu_flush_dev_iotlb` is called once for each unit of the domain and walks all its devices each time.
"""

from __future__ import annotations

from collections.abc import Awaitable

from vtdkit.iommu.core import IommuDomain, IotlbGather

from . import defs
from .dmar import Dmar
from .structs import device_domain_info, dmar_domain, intel_iommu


class Flush(Dmar):
    """Guards: `domain->devices` by `device_domain_lock`; register sequences by `register_lock`."""

    async def iommu_flush_write_buffer(self, iommu: intel_iommu) -> None:
        """Old units buffer table writes (RWBF): have them written out. Nothing to do on others."""
        if self.cap(iommu, defs.CAP_RWBF):
            async with iommu.register_lock.irqsave():  # the command register is read, changed, written
                await iommu.hardware.writel(defs.DMAR_GCMD_REG, iommu.gcmd | defs.DMA_GCMD_WBF)
                await self.iommu_wait_op(iommu, defs.DMA_GSTS_WBFS, False)

    # -- device TLBs ---------------------------------------------------------

    async def iommu_support_dev_iotlb(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        bus: int,
        devfn: int,
    ) -> device_domain_info | None:
        """The record of the attached device at this address, if it can do ATS.
        Caller holds `device_domain_lock`.
        """
        self.device_domain_lock.assert_spin_locked()
        if iommu.qi is None:
            return None
        return find_ats_device(domain, iommu, bus, devfn)

    async def domain_update_iotlb(self, domain: dmar_domain) -> None:
        """Recompute whether any attached device has ATS on. Caller holds `device_domain_lock`."""
        self.device_domain_lock.assert_spin_locked()
        domain.has_iotlb_device = any(info.ats_enabled for info in domain.devices.entries())

    async def iommu_enable_dev_iotlb(self, info: device_domain_info | None) -> None:
        """Switch on PASID, PRI and ATS, in this order, as far as they are supported.
        Caller holds `device_domain_lock`.
        """
        self.device_domain_lock.assert_spin_locked()
        await self.enable_pci_caps(info)

    async def enable_pci_caps(self, info: device_domain_info | None) -> None:
        """The body of `iommu_enable_dev_iotlb`: configuration-space accesses, one
        capability after the other.
        """
        if info is None:
            return
        info.pfsid = info.dev.sid if self.ecap(info.iommu, defs.ECAP_DIT) else 0
        if info.pasid_supported and not await info.dev.enable("pasid"):
            info.pasid_enabled = True
        if info.pri_supported and not await info.dev.enable("pri"):
            info.pri_enabled = True
        if info.ats_supported and not await info.dev.enable("ats"):
            info.ats_enabled = True
            await self.domain_update_iotlb(info.domain)
            info.ats_qdep = 32

    async def iommu_disable_dev_iotlb(self, info: device_domain_info) -> None:
        """Switch ATS, PRI and PASID off again. Caller holds `device_domain_lock`."""
        self.device_domain_lock.assert_spin_locked()
        await self.disable_pci_caps(info)

    async def disable_pci_caps(self, info: device_domain_info) -> None:
        """The body of `iommu_disable_dev_iotlb`."""
        if info.ats_enabled:
            await info.dev.disable("ats")
            info.ats_enabled = False
            await self.domain_update_iotlb(info.domain)
        if info.pri_enabled:
            await info.dev.disable("pri")
            info.pri_enabled = False
        if info.pasid_enabled:
            await info.dev.disable("pasid")
            info.pasid_enabled = False

    async def _iommu_flush_dev_iotlb(self, info: device_domain_info, addr: int, mask: int) -> None:
        """`__iommu_flush_dev_iotlb`: one device, if it has ATS on."""
        if info.ats_enabled:
            await self.qi_flush_dev_iotlb(
                info.iommu, info.bus << 8 | info.devfn, info.pfsid, info.ats_qdep, addr, mask
            )

    async def iommu_flush_dev_iotlb(self, domain: dmar_domain, addr: int, mask: int) -> None:
        """Every device TLB of the domain, one wait for the hardware each, under the global
        lock with interrupts off.
        """
        if not domain.has_iotlb_device:
            return
        async with self.device_domain_lock.irqsave():
            for info in domain.devices.entries():
                await self._iommu_flush_dev_iotlb(info, addr, mask)

    # -- the IOTLB of a domain -----------------------------------------------

    async def iommu_flush_iotlb_psi(
        self,
        iommu: intel_iommu,
        domain: dmar_domain,
        pfn: int,
        pages: int,
        ih: bool,
        map: bool,
    ) -> None:
        """Pages of a domain in one unit, then the device TLBs. `ih`: upper levels did not change;
        `map`: entries became present.
        """
        self.machine.bug_on(pages == 0, "iommu_flush_iotlb_psi of nothing")
        aligned = 1 << (pages - 1).bit_length()
        mask = aligned.bit_length() - 1
        addr = pfn << defs.VTD_PAGE_SHIFT
        did = domain.iommu_did.get(iommu.seq_id, 0)
        if domain.use_first_level:
            await self.qi_flush_piotlb(iommu, did, defs.PASID_RID2PASID, addr, pages, ih)
        else:
            if aligned - 1 & pfn:
                # not aligned to its own size: the smallest mask whose aligned block holds both ends
                shared = ~(pfn ^ (pfn + pages - 1)) & ~(aligned - 1) & (1 << 64) - 1
                mask = (shared & -shared).bit_length() - 1 if shared else 64
            if not self.cap(iommu, defs.CAP_PGSEL_INV) or mask > defs.cap_max_amask_val(iommu.cap):
                await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
            else:
                await self.flush_iotlb(iommu, did, addr | ih << 6, mask, defs.DMA_TLB_PSI_FLUSH)
        # a device keeps no absent entries: after a map there is nothing in it to forget
        if not (self.cap(iommu, defs.CAP_CACHING_MODE) and map):
            await self.iommu_flush_dev_iotlb(domain, addr, mask)

    def _mapping_notify_one(
        self, iommu: intel_iommu, domain: dmar_domain, pfn: int, pages: int
    ) -> Awaitable[None]:
        """`__mapping_notify_one`: new entries are there. Only a unit that caches what is not present
        has to be told.
        """
        if self.cap(iommu, defs.CAP_CACHING_MODE) and not domain.use_first_level:
            return self.iommu_flush_iotlb_psi(iommu, domain, pfn, pages, False, True)
        return self.iommu_flush_write_buffer(iommu)

    async def intel_flush_iotlb_all(self, domain: IommuDomain) -> None:
        """`flush_iotlb_all`: the whole domain, in every unit it is attached to."""
        dmar: dmar_domain = domain.driver
        for iommu in self.for_each_domain_iommu(dmar):
            did = dmar.iommu_did.get(iommu.seq_id, 0)
            if dmar.use_first_level:
                await self.qi_flush_piotlb(iommu, did, defs.PASID_RID2PASID, 0, -1, False)
            else:
                await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
            if not self.cap(iommu, defs.CAP_CACHING_MODE):
                await self.iommu_flush_dev_iotlb(dmar, 0, defs.MAX_AGAW_PFN_WIDTH)

    async def intel_iommu_iotlb_sync_map(self, domain: IommuDomain, iova: int, size: int) -> None:
        """`iotlb_sync_map`: after a map."""
        dmar: dmar_domain = domain.driver
        pages = defs.aligned_nrpages(iova, size)
        for iommu in self.for_each_domain_iommu(dmar):
            await self._mapping_notify_one(iommu, dmar, iova >> defs.VTD_PAGE_SHIFT, pages)

    async def intel_iommu_tlb_sync(self, domain: IommuDomain, gather: IotlbGather) -> None:
        """`iotlb_sync`: after an unmap, flush what was gathered; then the tables that were taken
        out may be freed.
        """
        dmar: dmar_domain = domain.driver
        # the last byte is gather.end, so the size comes out one short; rounding up to pages makes
        # up for it
        nrpages = defs.aligned_nrpages(gather.start, gather.end - gather.start)
        for iommu in self.for_each_domain_iommu(dmar):
            await self.iommu_flush_iotlb_psi(
                iommu,
                dmar,
                gather.start >> defs.VTD_PAGE_SHIFT,
                nrpages,
                not gather.freelist,
                False,
            )
        await self.put_pages_list(gather.freelist)


def find_ats_device(
    domain: dmar_domain, iommu: intel_iommu, bus: int, devfn: int
) -> device_domain_info | None:
    """The attached device at this address if it can do ATS: one walk of the domain's list, in one step."""
    at = (iommu, bus, devfn)
    infos = (info for info in domain.devices.entries() if (info.iommu, info.bus, info.devfn) == at)
    return next((info for info in infos if info.ats_supported), None)
