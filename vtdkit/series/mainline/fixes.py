"""The two fixes that reached 6.0-rc5, for bugs the series had caused (see `mainline`)."""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import ENODEV
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.domain import first_node
from vtdkit.iommu.intel.flush import find_ats_device
from vtdkit.iommu.intel.structs import device_domain_info, dma_pte_addr, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page

from .rest import Commit11


class Fix1(Commit11):
    """iommu/vt-d: Fix recursive lock issue in iommu_flush_dev_iotlb()

    a349ffcb4daf, Fixes: ffd5869d9353. Unmap may run in interrupt context, so every user of
    `domain->lock` has interrupts off.
    """

    title = "iommu/vt-d: Fix recursive lock issue in iommu_flush_dev_iotlb()"

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
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        info.domain = domain
        async with domain.lock.irqsave():
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain; the domain's lock only around the list."""
        info = self.dev_iommu_priv_get(dev)
        assert info is not None
        domain, iommu = info.domain, info.iommu
        await self.detach_translation(info, iommu)
        async with domain.lock.irqsave():
            await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if it cannot be done."""
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with dmar.lock.irqsave():
            if not await self.domain_support_force_snooping(dmar):
                return False
            await self.domain_set_force_snooping(dmar)
            dmar.force_snooping = True
        return True


class Fix2(Fix1):
    """iommu/vt-d: Fix lockdep splat due to klist iteration in atomic context

    35bf49e05421, Fixes: 8ac0b64b9735. The fault dump takes root and depth of the table from the entry
    itself and asks nobody.
    """

    title = "iommu/vt-d: Fix lockdep splat due to klist iteration in atomic context"

    async def pgtable_walk(  # type: ignore[override]
        self,
        iommu: intel_iommu,
        pfn: int,
        bus: int,
        devfn: int,
        pgtable: Page | None,
        level: int,
    ) -> None:
        """Print the page-table entries on the way to a page frame, from the table given."""
        await self.walk_and_print(pgtable, level, pfn)

    async def dmar_fault_dump_ptes(self, iommu: intel_iommu, source_id: int, addr: int, pasid: int) -> None:
        """Print root, context and PASID entry, then the page-table walk from the table they name. No lock."""
        bus, devfn = source_id >> 8, source_id & 0xFF
        self.pr(f"Dump {iommu.name} table entries for IOVA {addr:#x}")
        if iommu.root_entry is None:
            self.pr("root table entry is not present")
            return
        context = await self.dump_context(iommu, bus, devfn)
        if context is None:
            return
        low, high = await context.lo(), await context.hi()
        if not low & defs.CONTEXT_PRESENT:
            self.pr("context table entry is not present")
            return
        level, root = defs.agaw_to_level(high & 7), low
        if self.sm_supported(iommu):
            words = await self.dump_pasid(context, pasid)
            if words is None or not words[0] & 1:
                self.pr("pasid table entry is not present")
                return
            first = words[0] >> 6 & 7 == defs.PASID_ENTRY_PGTT_FL_ONLY
            level = (5 if words[2] >> 2 & 3 == 1 else 4) if first else defs.agaw_to_level(words[0] >> 2 & 7)
            root = words[2] if first else words[0]
        await self.pgtable_walk(
            iommu, addr >> defs.VTD_PAGE_SHIFT, bus, devfn, self.phys_to_virt(dma_pte_addr(root)), level
        )
