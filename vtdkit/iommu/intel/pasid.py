"""PASID entries: drivers/iommu/intel/pasid.c, second half: filled in, torn down, flushed.

A table, once put into the directory, stays as long as the directory does, so putting one in is a bare
compare-and-exchange. `pasid_table` has the tables themselves.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EBUSY, EINVAL, ENODEV
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.pages import Page

from . import defs
from .pasid_table import WORDS, PasidTables, pasid_entry
from .structs import dma_pte_addr, dma_pte_present, dmar_domain, intel_iommu


class Pasid(PasidTables):
    """Guards: PASID entries by `intel_iommu::lock` while they are set up."""

    async def intel_pasid_get_entry(self, dev: PciDevice, pasid: int) -> pasid_entry | None:
        """The entry of a PASID, its table made if need be (without sleeping); None when out of bounds
        or out of memory.
        """
        table = self.intel_pasid_get_table(dev)
        if table is None or not 0 <= pasid < table.max_pasid:
            self.machine.warn_on(True, "intel_pasid_get_entry: no table, or a PASID beyond it")
            return None
        _, iommu = self.info_and_unit(dev)
        slot = table.dir_entry(pasid >> defs.PASID_PDE_SHIFT)
        entry = await slot.load()
        while not entry & 1:
            page = await self.machine.alloc_page(
                GFP_ATOMIC, node=iommu.node, name=f"PASID entries of {dev.name}"
            )
            if page is None:
                return None
            # who is quicker wins; tables are never taken out again, so the winner's may be used at once
            found = await slot.cmpxchg(0, page.address | 1)
            if found:
                await self.free_pgtable_page(page)
            entry = found or page.address | 1
        return pasid_entry(self.phys_to_virt(dma_pte_addr(entry)), WORDS * (pasid & defs.PASID_PTE_MASK))

    async def intel_pasid_clear_entry(self, dev: PciDevice, pasid: int, fault_ignore: bool) -> None:
        """Zero an entry; for a dying address space, leave it so that faults are not reported."""
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if pte is None:
            self.machine.warn_on(True, "intel_pasid_clear_entry: no entry")
            return
        await pte.store(0, 1 << 1 if fault_ignore and await pte.present() else 0)
        for word in range(1, WORDS):
            await pte.store(word, 0)

    async def devtlb_invalidation_with_pasid(self, iommu: intel_iommu, dev: PciDevice, pasid: int) -> None:
        """Everything the device itself remembers of a PASID."""
        info, _ = self.info_and_unit(dev)
        sid, everything = info.bus << 8 | info.devfn, 64 - defs.VTD_PAGE_SHIFT
        if info.ats_enabled and pasid == defs.PASID_RID2PASID:
            await self.qi_flush_dev_iotlb(iommu, sid, info.pfsid, info.ats_qdep, 0, everything)
        elif info.ats_enabled:
            await self.qi_flush_dev_iotlb_pasid(iommu, sid, info.pfsid, pasid, info.ats_qdep, 0, everything)

    async def intel_pasid_tear_down_entry(
        self, iommu: intel_iommu, dev: PciDevice, pasid: int, fault_ignore: bool
    ) -> None:
        """Take an entry out and flush: PASID cache, IOTLB, device TLB. No lock of its
        own before the series.
        """
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if self.machine.warn_on(pte is None, "intel_pasid_tear_down_entry: no entry"):
            return
        assert pte is not None
        if not await pte.present():
            return
        did, pgtt = await self.pasid_did_and_type(pte)
        await self.intel_pasid_clear_entry(dev, pasid, fault_ignore)
        await self.flush_torn_down(iommu, dev, pasid, did, pgtt)

    async def pasid_did_and_type(self, pte: pasid_entry) -> tuple[int, int]:
        """Domain id and translation type of an entry."""
        return await pte.load(1) & 0xFFFF, await pte.load(0) >> 6 & 7

    async def flush_torn_down(
        self, iommu: intel_iommu, dev: PciDevice, pasid: int, did: int, pgtt: int
    ) -> None:
        """The flushes after an entry was taken out (or, of first level, changed)."""
        if not self.ecap(iommu, defs.ECAP_COHERENT):
            await self.clflush(WORDS)
        await self.qi_flush_pasid_cache(iommu, did, defs.QI_PC_PASID_SEL, pasid)
        if pgtt in (defs.PASID_ENTRY_PGTT_PT, defs.PASID_ENTRY_PGTT_FL_ONLY):
            await self.qi_flush_piotlb(iommu, did, pasid, 0, -1, False)
        else:
            await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
        if not self.cap(iommu, defs.CAP_CACHING_MODE):
            await self.devtlb_invalidation_with_pasid(iommu, dev, pasid)

    async def pasid_flush_caches(self, iommu: intel_iommu, pasid: int, did: int) -> None:
        """A new entry is present: tell units that cache absent ones, flush the buffer of others."""
        if not self.ecap(iommu, defs.ECAP_COHERENT):
            await self.clflush(WORDS)
        if self.cap(iommu, defs.CAP_CACHING_MODE):
            await self.qi_flush_pasid_cache(iommu, did, defs.QI_PC_PASID_SEL, pasid)
            await self.qi_flush_piotlb(iommu, did, pasid, 0, -1, False)
        else:
            await self.iommu_flush_write_buffer(iommu)

    # -- the kinds of entry --------------------------------------------------

    async def pasid_enable_wpe(self, pte: pasid_entry) -> int:
        """Write protection for supervisor requests, as the CPU has it (CR0.WP is on in this
        machine). 0 or -EINVAL.
        """
        await pte.store(2, await pte.load(2) | 1 << 4)
        return 0

    async def intel_pasid_setup_first_level(
        self,
        iommu: intel_iommu,
        dev: PciDevice,
        pgd: Page,
        pasid: int,
        did: int,
        flags: int,
    ) -> int:
        """An entry that leads to first-level tables. Caller holds `iommu->lock`.

        What the unit cannot do is noticed half-way: the entry may be left partly
        written, though never present.
        """
        if not self.ecap(iommu, defs.ECAP_FLTS):
            return -EINVAL
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if self.machine.warn_on(pte is None, "intel_pasid_setup_first_level: no entry"):
            return -EINVAL
        assert pte is not None
        if await pte.present():
            return -EBUSY
        await pte.store(2, pgd.address)
        if flags & defs.PASID_FLAG_SUPERVISOR_MODE:
            if not self.ecap(iommu, defs.ECAP_SRS):
                return -EINVAL
            await pte.store(2, await pte.load(2) | 1)
            if await self.pasid_enable_wpe(pte):
                return -EINVAL
        if flags & defs.PASID_FLAG_FL5LP and not self.cap(iommu, defs.CAP_5LP):
            await pte.store(2, 0)
            return -EINVAL
        await pte.fill(self.first_level_words(iommu, pgd, did, flags))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    def pasid_words(self, iommu: intel_iommu, low: int, did: int, third: int = 0) -> list[int]:
        """The eight words of an entry: root and type, domain id and how tables are read, first-level root."""
        return [low, did | self.ecap(iommu, defs.ECAP_SMPWC) << 23, third, 0, 0, 0, 0, 0]

    def first_level_words(self, iommu: intel_iommu, pgd: Page, did: int, flags: int) -> list[int]:
        """The eight words of a first-level entry."""
        third = pgd.address
        if flags & defs.PASID_FLAG_SUPERVISOR_MODE:
            third |= 1 << 0 | 1 << 4  # supervisor requests, and write protection as the CPU has it
        if flags & defs.PASID_FLAG_FL5LP:
            third |= 1 << 2
        did |= bool(flags & defs.PASID_FLAG_PAGE_SNOOP) << 24
        return self.pasid_words(iommu, defs.PASID_ENTRY_PGTT_FL_ONLY << 6 | iommu.agaw << 2, did, third)

    async def iommu_skip_agaw(self, domain: dmar_domain, iommu: intel_iommu) -> tuple[Page | None, int]:
        """The table to start from on a unit with fewer levels than the domain, and its agaw."""
        pgd: Page = domain.pgd
        agaw: int = domain.agaw
        while agaw > iommu.agaw:
            entry = await pgd.load(0)
            if not dma_pte_present(entry):
                return None, agaw
            pgd = self.phys_to_virt(dma_pte_addr(entry))
            agaw -= 1
        return pgd, agaw

    async def intel_pasid_setup_second_level(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """An entry that leads to the domain's second-level tables. Caller holds `iommu->lock`."""
        if not self.ecap(iommu, defs.ECAP_SLTS):
            return -EINVAL
        pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
        if pgd is None:
            return -EINVAL
        did = domain.iommu_did[iommu.seq_id]
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if pte is None:
            return -ENODEV
        if await pte.present():
            return -EBUSY
        await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    def second_level_words(
        self, iommu: intel_iommu, domain: dmar_domain, pgd: Page, agaw: int, did: int
    ) -> list[int]:
        """The eight words."""
        return self.pasid_words(iommu, pgd.address | defs.PASID_ENTRY_PGTT_SL_ONLY << 6 | agaw << 2, did)

    async def intel_pasid_setup_pass_through(
        self, iommu: intel_iommu, domain: dmar_domain, dev: PciDevice, pasid: int
    ) -> int:
        """An entry that lets requests pass untranslated. Caller holds `iommu->lock`."""
        did = defs.FLPT_DEFAULT_DID
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if pte is None:
            return -ENODEV
        if await pte.present():
            return -EBUSY
        await pte.fill(self.pass_through_words(iommu, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    def pass_through_words(self, iommu: intel_iommu, did: int) -> list[int]:
        """The eight words."""
        return self.pasid_words(iommu, defs.PASID_ENTRY_PGTT_PT << 6 | iommu.agaw << 2, did)

    async def intel_pasid_setup_page_snoop_control(
        self, iommu: intel_iommu, dev: PciDevice, pasid: int
    ) -> None:
        """Switch page snooping on in a live entry; the lock is dropped before the flushes."""
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            present = pte is not None and await pte.present()
            if self.machine.warn_on(not present, "page snoop control without an entry") or pte is None:
                return
            await pte.store(1, await pte.load(1) | 1 << 24)
            did = await pte.load(1) & 0xFFFF
        # PASID cache, then the IOTLB of the PASID; the device TLB unless the unit caches absent entries
        await self.flush_torn_down(iommu, dev, pasid, did, defs.PASID_ENTRY_PGTT_FL_ONLY)
