"""Faults: drivers/iommu/intel/dmar.c `dmar_fault` and iommu.c `dmar_fault_dump_ptes`.

The handler runs in hard interrupt context, never in a thread. With CONFIG_DMAR_DEBUG it also prints every
entry on the way to the address that faulted. It takes no lock for that, and before patch 04 it finds the
device by walking the list of all probed devices, unlocked too.

The texts are those of v5.19, v6.0 and every release up to v6.12. From v6.13 on (f1645676f25d, 6ceb93f952f6;
stable kernels of 6.6, 6.11 and 6.12 have them since December 2024) each entry is asked whether it is present,
"table entry is not present" has become "table is not present", page tables that are not there have lines of
their own, and a large page is no longer called absent. They are not modelled; `vtdkit explain` reads both.
"""

from __future__ import annotations

from vtdkit.kernel.memory.pages import Page
from vtdkit.vtd.faults.reasons import linux_reason

from . import defs
from .context import context_entry
from .device import Devices
from .pasid_table import WORDS
from .structs import (
    device_domain_info,
    dma_pte_addr,
    dma_pte_present,
    dma_pte_superpage,
    dmar_domain,
    intel_iommu,
)

INTR_REMAP = range(0x20, 0x27)  # reason codes of interrupt remapping that the kernel has a text for


class FaultHandler(Devices):
    """Guards: the fault records by `register_lock`, dropped while each one is printed."""

    async def dmar_fault(self, iommu: intel_iommu) -> None:
        """The interrupt handler: read and clear every fault record; print as many as the rate limit lets."""
        async with iommu.register_lock.irqsave():
            status = await iommu.hardware.readl(defs.DMAR_FSTS_REG)
            if status and self.ratelimit("dmar_fault"):
                self.pr(f"DRHD: handling fault status reg {status:x}")
            if status & defs.DMA_FSTS_PPF:
                await self.dmar_fault_records(iommu, status >> 8 & 0xFF)

    async def dmar_fault_records(self, iommu: intel_iommu, index: int) -> None:
        """The loop of `dmar_fault`: from the first record on, until one is empty. `register_lock` is held."""
        offset = defs.cap_fault_reg_offset(iommu.cap)
        while True:
            # every look takes one of the ten, the last one, that finds nothing, too
            limited = not self.ratelimit("dmar_fault")
            record = offset + 16 * index
            top = await iommu.hardware.readl(record + 12)
            if not top & defs.DMA_FRCD_F:
                break
            if not limited:
                sid, guest = await iommu.hardware.readl(record + 8), await iommu.hardware.readq(record)
            await iommu.hardware.writel(record + 12, defs.DMA_FRCD_F)
            # the record is ours and cleared: let others at the registers while it is printed
            await iommu.register_lock.release()
            if not limited:
                await self.dmar_fault_do_one(iommu, guest, sid, top)
            await iommu.register_lock.acquire()
            index = (index + 1) % defs.cap_num_fault_regs(iommu.cap)
        await iommu.hardware.writel(
            defs.DMAR_FSTS_REG, defs.DMA_FSTS_PFO | defs.DMA_FSTS_PPF | defs.DMA_FSTS_PRO
        )

    async def dmar_fault_do_one(self, iommu: intel_iommu, guest: int, sid: int, top: int) -> None:
        """One fault record: a line in the log, and, but for interrupts, the entries on the way."""
        reason, source, kind = top & 0xFF, sid & 0xFFFF, "Read" if top & 1 << 30 else "Write"
        pasid = top >> 8 & 0xFFFFF if sid & 1 << 31 else defs.INVALID_IOASID
        addr = guest & defs.VTD_PAGE_MASK
        where = f"Request device [{source >> 8:02x}:{source >> 3 & 31:02x}.{source & 7}]"
        what = f"[fault reason {reason:#04x}] {linux_reason(reason)}"
        if reason in INTR_REMAP:
            self.pr(f"[INTR-REMAP] {where} fault index {addr >> 48:#x} {what}")
            return
        tag = "NO_PASID" if pasid == defs.INVALID_IOASID else f"PASID {pasid:#x}"
        self.pr(f"[DMA {kind} {tag}] {where} fault addr {addr:#x} {what}")
        if self.dmar_debug:
            await self.dmar_fault_dump_ptes(iommu, source, addr, pasid)

    async def dmar_fault_dump_ptes(self, iommu: intel_iommu, source_id: int, addr: int, pasid: int) -> None:
        """Print root, context and PASID entry, then the page-table walk. No lock."""
        bus, devfn = source_id >> 8, source_id & 0xFF
        self.pr(f"Dump {iommu.name} table entries for IOVA {addr:#x}")
        if iommu.root_entry is None:
            self.pr("root table entry is not present")
            return
        context = await self.dump_context(iommu, bus, devfn)
        if context is None:
            return
        if self.sm_supported(iommu) and await self.dump_pasid(context, pasid) is None:
            return
        await self.pgtable_walk(iommu, addr >> defs.VTD_PAGE_SHIFT, bus, devfn)

    async def dump_context(self, iommu: intel_iommu, bus: int, devfn: int) -> context_entry | None:
        """Print the root and the context entry; None where there is no context table."""
        root: Page = iommu.root_entry
        low = await root.load(2 * bus)
        if self.sm_supported(iommu):
            self.pr(f"scalable mode root entry: hi {await root.load(2 * bus + 1):#018x}, low {low:#018x}")
        else:
            self.pr(f"root entry: {low:#018x}")
        context = await self.iommu_context_addr(iommu, bus, devfn, False)
        if context is None:
            self.pr("context table entry is not present")
            return None
        self.pr(f"context entry: hi {await context.hi():#018x}, low {await context.lo():#018x}")
        return context

    async def dump_pasid(self, context: context_entry, pasid: int) -> list[int] | None:
        """Print directory entry and PASID entry; the entry's words, None where there is no table.

        Nobody asks whether the context entry is present: without one, the directory is at physical address 0.
        """
        pasid = defs.PASID_RID2PASID if pasid == defs.INVALID_IOASID else pasid
        index = pasid >> defs.PASID_PDE_SHIFT
        entry = await self.phys_to_virt(dma_pte_addr(await context.lo()) + 8 * index).load(index % 512)
        self.pr(f"pasid dir entry: {entry:#018x}")
        if not entry & 1:
            self.pr("pasid table entry is not present")
            return None
        table = self.phys_to_virt(dma_pte_addr(entry))
        first = WORDS * (pasid & defs.PASID_PTE_MASK)
        words = [await table.load(first + i) for i in range(WORDS)]
        for i, word in enumerate(words):
            self.pr(f"pasid table entry[{i}]: {word:#018x}")
        return words

    def dmar_search_domain_by_dev_info(self, segment: int, bus: int, devfn: int) -> device_domain_info | None:
        """The record of the device at this address, by walking the global list."""
        for info in self.device_domain_list.entries():
            if (info.segment, info.bus, info.devfn) == (segment, bus, devfn):
                found: device_domain_info = info
                return found
        return None

    async def pgtable_walk(self, iommu: intel_iommu, pfn: int, bus: int, devfn: int) -> None:
        """Print the page-table entries on the way to a page frame, from the top of the device's domain."""
        info = self.dmar_search_domain_by_dev_info(iommu.segment, bus, devfn)
        if info is None or info.domain is None:
            self.pr(f"device [{bus:02x}:{devfn >> 3:02x}.{devfn & 7}] not probed")
            return
        domain: dmar_domain = info.domain
        await self.walk_and_print(domain.pgd, defs.agaw_to_level(domain.agaw), pfn)

    async def walk_and_print(self, parent: Page | None, level: int, pfn: int) -> None:
        """The loop of `pgtable_walk`: stop at a hole, a large page, or the last level."""
        if parent is None:
            self.pr("no page table setup")
            return
        for at in range(level, 0, -1):
            value = await parent.load(defs.pfn_level_offset(pfn, at))
            if dma_pte_superpage(value) or not dma_pte_present(value):
                self.pr(f"PTE not present at level {at}")  # said of a large page as well
                return
            self.pr(f"pte level: {at}, pte value: {value:#018x}")
            if at > 1:
                parent = self.phys_to_virt(dma_pte_addr(value))
