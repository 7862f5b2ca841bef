"""Domains: drivers/iommu/intel/iommu.c, from `alloc_domain` to `domain_exit`.

A domain is a table plus, for each unit it is attached to, a reference count and a 16-bit id that tags the
hardware's caches. What it can do (large pages, coherency, width) is what all its units can do, recomputed
when it gains or loses one.
"""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import ENOMEM, ENOSPC
from vtdkit.kernel.memory.pages import Page

from . import defs
from .context import ContextTables
from .structs import dmar_domain, intel_iommu


class Domains(ContextTables):
    """Guards: `device_domain_lock` and `intel_iommu::lock`, both, for counts, ids and capabilities."""

    # -- what a domain can do ------------------------------------------------

    def iommu_paging_structure_coherency(self, iommu: intel_iommu) -> bool:
        """Does the unit snoop page-table reads?"""
        return self.ecap(iommu, defs.ECAP_SMPWC if self.sm_supported(iommu) else defs.ECAP_COHERENT)

    def domain_update_iommu_coherency(self, domain: dmar_domain) -> None:
        """All attached units snoop; with none attached, all units of the machine."""
        units = [*self.for_each_domain_iommu(domain)] or self.for_each_iommu()
        domain.iommu_coherency = all(map(self.iommu_paging_structure_coherency, units))

    def domain_update_iommu_superpage(self, domain: dmar_domain) -> int:
        """The largest leaf every active unit of the machine can do: 0 4 KiB, 1 2 MiB, 2 1 GiB."""
        mask = 3
        for iommu in self.for_each_iommu():
            if not domain.use_first_level:
                mask &= defs.cap_super_page_val(iommu.cap)
            elif not self.cap(iommu, defs.CAP_FL1GP):
                mask = 1
        return mask.bit_length()

    async def domain_update_device_node(self, domain: dmar_domain) -> int:
        """The NUMA node of the first device that has one. Caller holds `device_domain_lock`."""
        self.device_domain_lock.assert_spin_locked()
        return first_node(domain)

    async def domain_update_iommu_cap(self, domain: dmar_domain) -> None:
        """Recompute everything that depends on the attached units and devices."""
        self.domain_update_iommu_coherency(domain)
        domain.iommu_superpage = self.domain_update_iommu_superpage(domain)
        if domain.nid == -1:
            domain.nid = await self.domain_update_device_node(domain)
        width = domain.gaw - 1 if domain.use_first_level else domain.gaw
        domain.domain.aperture_end = defs.domain_max_addr(width)
        domain.domain.pgsize_bitmap |= (0, 1 << 21, 1 << 21 | 1 << 30)[domain.iommu_superpage]
        await self.domain_update_iotlb(domain)

    # -- ids -----------------------------------------------------------------

    async def domain_attach_iommu(self, domain: dmar_domain, iommu: intel_iommu) -> int:
        """One more device of this unit; the first one gets the domain its id there. -ENOSPC.
        Caller holds both locks.
        """
        self.device_domain_lock.assert_spin_locked()
        iommu.lock.assert_spin_locked()
        return await self.take_domain_id(domain, iommu)

    async def take_domain_id(self, domain: dmar_domain, iommu: intel_iommu) -> int:
        """The body of `domain_attach_iommu`."""
        counts = dict(domain.iommu_refcnt)
        counts[iommu.seq_id] = counts.get(iommu.seq_id, 0) + 1
        if counts[iommu.seq_id] > 1:
            domain.iommu_refcnt = counts
            return 0
        ids: int = iommu.domain_ids
        number = (~ids & ids + 1).bit_length() - 1  # find_first_zero_bit
        if number >= defs.cap_ndoms(iommu.cap):
            self.pr(f"{iommu.name}: No free domain ids")
            return -ENOSPC
        domain.iommu_refcnt = counts
        iommu.domain_ids = ids | 1 << number
        domain.iommu_did = {**domain.iommu_did, iommu.seq_id: number}
        domain.nid = iommu.node
        await self.domain_update_iommu_cap(domain)
        return 0

    async def domain_detach_iommu(self, domain: dmar_domain, iommu: intel_iommu) -> None:
        """One device of this unit less; the last one gives the id back. Caller holds both locks."""
        self.device_domain_lock.assert_spin_locked()
        iommu.lock.assert_spin_locked()
        await self.drop_domain_id(domain, iommu)

    async def drop_domain_id(self, domain: dmar_domain, iommu: intel_iommu) -> None:
        """The body of `domain_detach_iommu`."""
        counts = dict(domain.iommu_refcnt)
        counts[iommu.seq_id] = counts.get(iommu.seq_id, 0) - 1
        domain.iommu_refcnt = counts
        if counts[iommu.seq_id]:
            return  # below zero too: nobody asks whether there was a reference to give back
        iommu.domain_ids = iommu.domain_ids & ~(1 << domain.iommu_did[iommu.seq_id])
        await self.domain_update_iommu_cap(domain)
        domain.iommu_did = {**domain.iommu_did, iommu.seq_id: 0}

    # -- life ----------------------------------------------------------------

    async def alloc_domain(self, type: str) -> dmar_domain | None:
        """A domain without a table yet; None when memory is out. `type`: "dma",
        "dma-fq", "unmanaged" or "identity".
        """
        self.domains_made += 1
        domain = await self.machine.kmalloc(dmar_domain, f"domain {self.domains_made}")
        if domain is None:
            return None
        domain.use_first_level = self.first_level_by_default(type)
        domain.has_iotlb_device = False
        return domain

    async def md_domain_init(self, domain: dmar_domain, guest_width: int) -> int:
        """Widths, and the top table. 0 or -ENOMEM."""
        domain.gaw = guest_width
        domain.agaw = defs.width_to_agaw(guest_width)
        domain.pgd = await self.alloc_pgtable_page(domain.nid, f"{domain.label} page directory")
        if domain.pgd is None:
            return -ENOMEM
        await self.domain_flush_cache(domain, 512)
        return 0

    async def new_domain(self, type: str) -> dmar_domain | None:
        """A domain with its top table and the generic domain inside it; None when memory is out. (In line in
        `intel_iommu_domain_alloc` and `si_domain_init`.)
        """
        if (dmar := await self.alloc_domain(type)) is None:
            return None
        if await self.md_domain_init(dmar, defs.DEFAULT_DOMAIN_ADDRESS_WIDTH):
            await self.domain_exit(dmar)
            return None
        dmar.domain = IommuDomain(self.machine, type, dmar)
        dmar.domain.aperture_end = defs.domain_max_addr(dmar.gaw)
        return dmar

    async def domain_remove_dev_info(self, domain: dmar_domain) -> None:
        """Detach every device that is still attached, under the global lock throughout."""
        async with self.device_domain_lock.irqsave():
            for info in list(domain.devices.entries()):
                await self._dmar_remove_one_dev_info(info)

    async def domain_exit(self, domain: dmar_domain) -> None:
        """The end of a domain: leftover devices are detached, the whole table is freed.
        No IOTLB flush here.
        """
        await self.domain_remove_dev_info(domain)
        await self.free_domain_table(domain)
        await self.machine.kfree(domain)

    async def free_domain_table(self, domain: dmar_domain) -> None:
        """Unmap everything and free every table page, the top one included."""
        if domain.pgd is not None:
            freelist: list[Page] = []
            await self.domain_unmap(domain, 0, defs.domain_max_pfn(domain.gaw), freelist)
            await self.put_pages_list(freelist)

    async def si_domain_init(self) -> int:
        """The shared identity domain; its table stays empty, since the units let requests pass. Where one
        cannot, there is none (Linux makes a table that maps all memory to itself). 0 or a negative error.
        """
        if not all(self.ecap(iommu, defs.ECAP_PASS_THROUGH) for iommu in self.for_each_iommu()):
            return 0
        self.si_domain = await self.new_domain("identity")
        return -ENOMEM if self.si_domain is None else 0


def first_node(domain: dmar_domain) -> int:
    """First come, first served: the node of the first attached device that has one."""
    return next((info.dev.node for info in domain.devices.entries() if info.dev.node != -1), -1)
