"""The driver's face to the iommu core, and its start-up: drivers/iommu/intel/iommu.c,
`intel_iommu_ops` and `intel_iommu_init`.
"""

from __future__ import annotations

from vtdkit.iommu.core import IOMMU_READ, IOMMU_WRITE, IommuDomain, IotlbGather
from vtdkit.iommu.errno import EFAULT, EINVAL
from vtdkit.iommu.ops import iommu_ops
from vtdkit.iommu.pci import PciDevice

from . import defs
from .hotplug import Hotplug
from .structs import device_domain_info, dma_pte_addr, dma_pte_present, dmar_domain, intel_iommu


class IommuOps(Hotplug):
    """The operations the core calls. Guards: none here; map and unmap take no lock."""

    @property
    def ops(self) -> iommu_ops:
        """`intel_iommu_ops`, as the core gets it."""
        return iommu_ops(
            map_pages=self.intel_iommu_map_pages,
            unmap_pages=self.intel_iommu_unmap_pages,
            iotlb_sync_map=self.intel_iommu_iotlb_sync_map,
            iotlb_sync=self.intel_iommu_tlb_sync,
            flush_iotlb_all=self.intel_flush_iotlb_all,
            iova_to_phys=self.intel_iommu_iova_to_phys,
            free=self.intel_iommu_domain_free,
            domain_alloc=self.intel_iommu_domain_alloc,
            attach_dev=self.intel_iommu_attach_device,
            detach_dev=self.intel_iommu_detach_device,
            enforce_cache_coherency=self.intel_iommu_enforce_cache_coherency,
            probe_device=self.intel_iommu_probe_device,
            release_device=self.intel_iommu_release_device,
            is_attach_deferred=self.intel_iommu_is_attach_deferred,
            release_domain=self.device_block_translation if self.release_domain else None,
        )

    async def intel_iommu_domain_alloc(self, type: str) -> IommuDomain | None:
        """A domain of this type ("dma", "dma-fq", "unmanaged", "identity"), or None. Identity
        is one shared domain.
        """
        if type == "identity":
            return self.si_domain.domain if self.si_domain is not None else None
        if type not in ("dma", "dma-fq", "unmanaged"):
            return None
        dmar = await self.new_domain(type)
        return dmar.domain if dmar is not None else None

    async def intel_iommu_domain_free(self, domain: IommuDomain) -> None:
        """Free a domain; the shared identity domain stays."""
        if domain.driver is not self.si_domain:
            await self.domain_exit(domain.driver)

    async def intel_iommu_map(self, domain: IommuDomain, iova: int, hpa: int, size: int, prot: int) -> int:
        """Map, after a look at the width. 0, -EFAULT beyond it, or what `__domain_mapping` says."""
        dmar: dmar_domain = domain.driver
        bits = (defs.DMA_PTE_READ if prot & IOMMU_READ else 0) | (
            defs.DMA_PTE_WRITE if prot & IOMMU_WRITE else 0
        )
        if dmar.set_pte_snp:
            bits |= defs.DMA_PTE_SNP
        end = iova + size
        # no lock: two maps may both raise it, and the lower one may win; it is a hint
        if dmar.max_addr < end:
            if defs.domain_max_addr(dmar.gaw) + 1 < end:
                self.pr(
                    f"intel_iommu_map: iommu width ({dmar.gaw}) is not sufficient for the mapped address "
                    f"({end:x})"
                )
                return -EFAULT
            dmar.max_addr = end
        return await self._domain_mapping(
            dmar,
            iova >> defs.VTD_PAGE_SHIFT,
            hpa >> defs.VTD_PAGE_SHIFT,
            defs.aligned_nrpages(hpa, size),
            bits,
        )

    async def intel_iommu_map_pages(
        self,
        domain: IommuDomain,
        iova: int,
        paddr: int,
        pgsize: int,
        pgcount: int,
        prot: int,
    ) -> tuple[int, int]:
        """`map_pages`: error (0 or negative) and bytes mapped."""
        if pgsize not in (1 << 12, 1 << 21, 1 << 30) or (iova | paddr) & pgsize - 1:
            return -EINVAL, 0
        size = pgsize * pgcount
        error = await self.intel_iommu_map(domain, iova, paddr, size, prot)
        return error, 0 if error else size

    async def intel_iommu_unmap(self, domain: IommuDomain, iova: int, size: int, gather: IotlbGather) -> int:
        """Unmap; the size is rounded up to that of the leaf found at `iova`. Bytes unmapped."""
        dmar: dmar_domain = domain.driver
        pte, level = await self.pfn_to_dma_pte(dmar, iova >> defs.VTD_PAGE_SHIFT, 0)
        self.machine.bug_on(pte is None, "unmap beyond the domain's width")
        # callers may ask for less than the leaf they mapped: the whole leaf goes. The start stays as it is
        size = max(size, defs.VTD_PAGE_SIZE * defs.level_size(level))
        start, last = iova >> defs.VTD_PAGE_SHIFT, iova + size - 1 >> defs.VTD_PAGE_SHIFT
        await self.domain_unmap(dmar, start, last, gather.freelist)
        if dmar.max_addr == iova + size:
            dmar.max_addr = iova
        await self.iommu_iotlb_gather_add_page(domain, gather, iova, size)
        return size

    async def iommu_iotlb_gather_add_page(
        self, domain: IommuDomain, gather: IotlbGather, iova: int, size: int
    ) -> None:
        """Add a range to what is to be flushed; flush first if it does not join on, or is of another size."""
        if not gather.takes(iova, size):
            await self.core.iommu_iotlb_sync(domain, gather)
        gather.add(iova, size)

    async def intel_iommu_unmap_pages(
        self,
        domain: IommuDomain,
        iova: int,
        pgsize: int,
        pgcount: int,
        gather: IotlbGather,
    ) -> int:
        """`unmap_pages`: bytes unmapped."""
        return await self.intel_iommu_unmap(domain, iova, pgsize * pgcount, gather)

    async def intel_iommu_iova_to_phys(self, domain: IommuDomain, iova: int) -> int:
        """The physical address behind `iova`, 0 if there is none. No lock."""
        pte, level = await self.pfn_to_dma_pte(domain.driver, iova >> defs.VTD_PAGE_SHIFT, 0)
        value = await pte.load() if pte is not None else 0
        if not dma_pte_present(value):
            return 0
        return dma_pte_addr(value) + (iova & defs.VTD_PAGE_SIZE * defs.level_size(level) - 1)

    # -- cache coherency -----------------------------------------------------

    async def domain_support_force_snooping(self, domain: dmar_domain) -> bool:
        """Can every attached device's unit force snooping? Caller holds `device_domain_lock`."""
        self.device_domain_lock.assert_spin_locked()
        return all(self.ecap(info.iommu, defs.ECAP_SC) for info in domain.devices.entries())

    async def domain_set_force_snooping(self, domain: dmar_domain) -> None:
        """Second level: from now on in every leaf. First level: in each device's PASID entry.
        Caller holds `device_domain_lock`.
        """
        self.device_domain_lock.assert_spin_locked()
        await self.mark_snooping(domain)

    async def mark_snooping(self, domain: dmar_domain) -> None:
        """The body of `domain_set_force_snooping`."""
        if not domain.use_first_level:
            domain.set_pte_snp = True
            return
        for info in domain.devices.entries():
            await self.intel_pasid_setup_page_snoop_control(info.iommu, info.dev, defs.PASID_RID2PASID)

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if it cannot be done."""
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with self.device_domain_lock.irqsave():
            return await self.force_snooping(dmar)

    async def force_snooping(self, domain: dmar_domain) -> bool:
        """The body of `intel_iommu_enforce_cache_coherency`."""
        if not await self.domain_support_force_snooping(domain):
            return False
        await self.domain_set_force_snooping(domain)
        domain.force_snooping = True
        return True

    async def intel_iommu_enable_pasid(self, iommu: intel_iommu, dev: PciDevice) -> int:
        """Allow requests with PASID from a device (for shared virtual addressing). 0 or -EINVAL."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        async with self.device_domain_lock.irqsave(), iommu.lock:
            return await self.allow_pasid(iommu, info)

    async def allow_pasid(self, iommu: intel_iommu, info: device_domain_info) -> int:
        """The body of `intel_iommu_enable_pasid`: set PASIDE, flush the context cache, switch
        the device's capabilities on.
        """
        if not info.pasid_supported:
            return -EINVAL
        context = await self.iommu_context_addr(iommu, info.bus, info.devfn, False)
        if self.machine.warn_on(context is None, "enable_pasid without a context entry") or context is None:
            return -EINVAL
        low = await context.lo()
        if not low & defs.CONTEXT_PASIDE:
            # the entry is in use: the unit must look at it again before a request with a PASID comes
            await context.store(0, low | defs.CONTEXT_PASIDE)
            did, sid = info.domain.iommu_did.get(iommu.seq_id, 0), info.bus << 8 | info.devfn
            await self.flush_context(iommu, did, sid, defs.DMA_CCMD_MASK_NOBIT, defs.DMA_CCMD_DEVICE_INVL)
        if not info.pasid_enabled:
            await self.iommu_enable_dev_iotlb(info)
        return 0
