"""PASID tables: drivers/iommu/intel/pasid.c. In scalable mode every PCI device has one, if only for
requests without a PASID.

A directory leads to tables of 64 entries of 64 bytes. A table, once put into the directory, stays
as long as the directory does, so putting one in is a bare compare-and-exchange. Before 5.19,
devices that share an alias shared a directory; to find it, the driver walked the list of every
probed device under `device_domain_lock`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vtdkit.iommu.errno import EBUSY, EINVAL, ENODEV, ENOMEM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.gfp import GFP_ATOMIC, GFP_KERNEL
from vtdkit.kernel.memory.pages import Page

from . import defs
from .pgtable import PageTables
from .structs import device_domain_info, dma_pte_addr, dma_pte_present, dmar_domain, intel_iommu, pasid_table

WORDS = 8  # of a PASID entry


class pasid_entry:
    """`struct pasid_entry *`: eight words."""

    __slots__ = ("index", "page")

    def __init__(self, page: Page, index: int) -> None:
        self.page = page
        self.index = index

    async def load(self, word: int) -> int:
        """Read one word."""
        value: int = await self.page.load(self.index + word)
        return value

    async def store(self, word: int, value: int) -> None:
        """Write one word."""
        await self.page.store(self.index + word, value)

    async def present(self) -> bool:
        """`pasid_pte_is_present`."""
        return bool(await self.load(0) & 1)

    async def fill(self, words: list[int]) -> None:
        """Write the entry, upper words first, then the low one with the present bit."""
        for word in range(1, WORDS):
            if words[word]:
                await self.store(word, words[word])
        await self.store(0, words[0])
        await self.store(0, words[0] | 1)

    def __repr__(self) -> str:
        return "<pasid entry " + " ".join(f"{self.page.words[self.index + i]:#x}" for i in range(WORDS)) + ">"


@dataclass(slots=True)
class pasid_table_opaque:
    """`struct pasid_table_opaque`: what the search for a table carries along."""

    pasid_table: pasid_table | None = None
    segment: int = 0
    bus: int = 0
    devfn: int = 0


class Pasid(PageTables):
    """Guards: PASID entries by `intel_iommu::lock` while they are set up;
    `pasid_table->dev` by `device_domain_lock`.
    """

    # -- tables --------------------------------------------------------------

    def intel_pasid_get_table(self, dev: PciDevice) -> pasid_table | None:
        """The device's PASID table, if it has one."""
        info = self.dev_iommu_priv_get(dev)
        table: pasid_table | None = info.pasid_table if info is not None else None
        return table

    def intel_pasid_get_dev_max_id(self, dev: PciDevice) -> int:
        """One more than the largest PASID of the device's table."""
        table = self.intel_pasid_get_table(dev)
        return table.max_pasid if table is not None else 0

    async def for_each_device_domain(self, visit: Callable[[device_domain_info], Awaitable[int]]) -> int:
        """Call `visit` on every probed device of the machine, under the global lock, until it returns
        something other than 0.
        """
        async with self.device_domain_lock.irqsave():
            for info in self.device_domain_list.entries():
                result = await visit(info)
                if result:
                    return result
        return 0

    async def search_pasid_table(self, info: device_domain_info, data: pasid_table_opaque) -> int:
        """Is `info` the device at the address we look for, and has it a table? Then that is it."""
        await self.machine.work(self.machine.costs.line_near)
        if (info.segment, info.bus, info.devfn) != (
            data.segment,
            data.bus,
            data.devfn,
        ) or info.pasid_table is None:
            return 0
        data.pasid_table = info.pasid_table
        return 1

    async def get_alias_pasid_table(
        self, pdev: PciDevice, bus: int, devfn: int, data: pasid_table_opaque
    ) -> int:
        """The table of the device that has this alias as its address: every probed device of the
        machine is looked at.
        """
        data.segment, data.bus, data.devfn = pdev.segment, bus, devfn
        return await self.for_each_device_domain(lambda info: self.search_pasid_table(info, data))

    async def device_attach_pasid_table(self, info: device_domain_info, table: pasid_table) -> None:
        """The device uses this table from now on."""
        info.pasid_table = table
        await table.dev.add(info)

    async def device_detach_pasid_table(self, info: device_domain_info, table: pasid_table) -> None:
        """The device no longer uses it."""
        info.pasid_table = None
        await table.dev.del_(info)

    async def intel_pasid_alloc_table(self, dev: PciDevice) -> int:
        """Give the device a PASID table: the one of an alias, or a new one. 0, -EINVAL, -ENOMEM. Sleeps."""
        self.machine.might_sleep()
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is not None:
            self.machine.warn_on(True, "intel_pasid_alloc_table: no device record, or a table already")
            return -EINVAL
        data = pasid_table_opaque()
        await self.bus.for_each_dma_alias(
            dev, lambda pdev, bus, devfn: self.get_alias_pasid_table(pdev, bus, devfn, data)
        )
        table = data.pasid_table or await self.new_pasid_table(info)
        if table is None:
            return -ENOMEM
        await self.device_attach_pasid_table(info, table)
        return 0

    async def new_pasid_table(self, info: device_domain_info) -> pasid_table | None:
        """A directory large enough for the device's PASIDs."""
        max_pasid = defs.PASID_TBL_ENTRIES
        if info.pasid_supported:
            max_pasid = min(info.dev.max_pasids, self.intel_pasid_max_id)
        table = await self.machine.kmalloc(
            pasid_table, f"PASID table of {info.dev.name}", max_pasid, gfp=GFP_KERNEL
        )
        if table is None:
            return None
        size = max_pasid >> defs.PASID_PDE_SHIFT - 3
        pages = 1 << max(size - 1 >> defs.VTD_PAGE_SHIFT, 0).bit_length()
        name = f"PASID directory of {info.dev.name}"
        table.table = await self.machine.alloc_pages(pages, GFP_KERNEL, node=info.iommu.node, name=name)
        if not table.table:
            await self.machine.kfree(table)
            return None
        table.max_pasid = 1 << defs.VTD_PAGE_SHIFT + pages.bit_length() - 1 + defs.PASID_PDE_SHIFT - 3
        return table

    async def intel_pasid_free_table(self, dev: PciDevice) -> None:
        """The device gives its table up; the last user frees it with everything under it."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is None:
            return
        table: pasid_table = info.pasid_table
        await self.device_detach_pasid_table(info, table)
        if not table.dev.empty():
            return
        for index in range(table.max_pasid >> defs.PASID_PDE_SHIFT):
            entry = await table.dir_entry(index).load()
            if entry & 1:
                await self.free_pgtable_page(self.phys_to_virt(dma_pte_addr(entry)))
        for page in table.table:
            await self.free_pgtable_page(page)
        await self.machine.kfree(table)

    # -- entries -------------------------------------------------------------

    async def intel_pasid_get_entry(self, dev: PciDevice, pasid: int) -> pasid_entry | None:
        """The entry of a PASID, its table made if need be (without sleeping); None when out of bounds
        or out of memory.
        """
        table = self.intel_pasid_get_table(dev)
        if table is None or not 0 <= pasid < table.max_pasid:
            self.machine.warn_on(True, "intel_pasid_get_entry: no table, or a PASID beyond it")
            return None
        info = self.dev_iommu_priv_get(dev)
        assert info is not None
        slot = table.dir_entry(pasid >> defs.PASID_PDE_SHIFT)
        entry = await slot.load()
        while not entry & 1:
            page = await self.machine.alloc_page(
                GFP_ATOMIC, node=info.iommu.node, name=f"PASID entries of {dev.name}"
            )
            if page is None:
                return None
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
        keep = 1 << 1 if fault_ignore and await pte.present() else 0
        await pte.store(0, keep)
        for word in range(1, WORDS):
            await pte.store(word, 0)

    async def devtlb_invalidation_with_pasid(self, iommu: intel_iommu, dev: PciDevice, pasid: int) -> None:
        """Everything the device itself remembers of a PASID."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or not info.ats_enabled:
            return
        args = (info.pfsid, info.ats_qdep) if pasid == defs.PASID_RID2PASID else ()
        if args:
            await self.qi_flush_dev_iotlb(
                iommu, info.bus << 8 | info.devfn, *args, 0, 64 - defs.VTD_PAGE_SHIFT
            )
        else:
            await self.qi_flush_dev_iotlb_pasid(
                iommu,
                info.bus << 8 | info.devfn,
                info.pfsid,
                pasid,
                info.ats_qdep,
                0,
                64 - defs.VTD_PAGE_SHIFT,
            )

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
        """The flushes after an entry was taken out."""
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

    def first_level_words(self, iommu: intel_iommu, pgd: Page, did: int, flags: int) -> list[int]:
        """The eight words of a first-level entry."""
        words = [0] * WORDS
        words[2] = pgd.address
        if flags & defs.PASID_FLAG_SUPERVISOR_MODE:
            words[2] |= 1 << 0 | 1 << 4  # supervisor requests, and write protection as the CPU has it
        if flags & defs.PASID_FLAG_FL5LP:
            words[2] |= 1 << 2
        words[1] = did
        if flags & defs.PASID_FLAG_PAGE_SNOOP:
            words[1] |= 1 << 24
        if self.ecap(iommu, defs.ECAP_SMPWC):
            words[1] |= 1 << 23
        words[0] = defs.PASID_ENTRY_PGTT_FL_ONLY << 6 | iommu.agaw << 2
        return words

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
        words = [0] * WORDS
        words[0] = pgd.address | defs.PASID_ENTRY_PGTT_SL_ONLY << 6 | agaw << 2
        words[1] = did
        if self.ecap(iommu, defs.ECAP_SMPWC):
            words[1] |= 1 << 23
        return words

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
        words = [0] * WORDS
        words[0] = defs.PASID_ENTRY_PGTT_PT << 6 | iommu.agaw << 2
        words[1] = did | (1 << 23 if self.ecap(iommu, defs.ECAP_SMPWC) else 0)
        return words

    async def intel_pasid_setup_page_snoop_control(
        self, iommu: intel_iommu, dev: PciDevice, pasid: int
    ) -> None:
        """Switch page snooping on in a live entry; the lock is dropped before the flushes."""
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if self.machine.warn_on(pte is None, "page snoop control without an entry"):
                return
            assert pte is not None
            if not await pte.present():
                return
            await pte.store(1, await pte.load(1) | 1 << 24)
            did = await pte.load(1) & 0xFFFF
        if not self.ecap(iommu, defs.ECAP_COHERENT):
            await self.clflush(WORDS)
        # PASID cache, then the IOTLB of the PASID; the device TLB unless the unit caches absent entries
        await self.qi_flush_pasid_cache(iommu, did, defs.QI_PC_PASID_SEL, pasid)
        await self.qi_flush_piotlb(iommu, did, pasid, 0, -1, False)
        if not self.cap(iommu, defs.CAP_CACHING_MODE):
            await self.devtlb_invalidation_with_pasid(iommu, dev, pasid)
