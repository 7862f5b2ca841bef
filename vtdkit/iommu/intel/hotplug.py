"""Units come and go: drivers/iommu/intel/iommu.c, `init_dmars`, `disable_dmar_iommu`, `dmar_iommu_hotplug`,
and the tables of a crashed kernel. Left out: plugging a unit in, suspend and resume; units without queued
invalidation.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.kernel.memory.pages import Page

from . import defs
from .fault import FaultHandler
from .structs import dma_pte_addr, intel_iommu


class Hotplug(FaultHandler):
    """Guards: the list of units by `dmar_global_lock`; `gcmd` and register sequences by `register_lock`."""

    # -- one unit, switched on -----------------------------------------------

    async def init_unit(self, iommu: intel_iommu) -> int:
        """Capabilities, queue, domain ids, root table, fault interrupt. 0, -ENOENT, -ENOMEM."""
        iommu.cap = await iommu.hardware.readq(defs.DMAR_CAP_REG)
        iommu.ecap = await iommu.hardware.readq(defs.DMAR_ECAP_REG)
        iommu.agaw = self.iommu_calculate_agaw(iommu, defs.DEFAULT_DOMAIN_ADDRESS_WIDTH)
        iommu.msagaw = self.iommu_calculate_agaw(iommu, defs.MAX_AGAW_WIDTH)
        status = await iommu.hardware.readl(defs.DMAR_GSTS_REG)
        iommu.gcmd = status & (defs.DMA_GSTS_TES | defs.DMA_GSTS_QIES)
        iommu.translation_pre_enabled = bool(status & defs.DMA_GSTS_TES)
        if error := await self.intel_iommu_init_qi(iommu):
            return error
        # `iommu_init_domains`: id 0 is never used (it tags absent entries), 1 is reserved in scalable mode
        iommu.domain_ids = 1 | self.sm_supported(iommu) << defs.FLPT_DEFAULT_DID
        if error := await self.iommu_alloc_root_entry(iommu):
            return error
        if iommu.translation_pre_enabled:
            await self.copy_translation_tables(iommu)
        await self.dmar_set_interrupt(iommu)
        return 0

    async def intel_iommu_init_qi(self, iommu: intel_iommu) -> int:
        """Start from a sane state, whoever used the unit before; then the queue. 0, -ENOENT, -ENOMEM."""
        if iommu.qi is None:
            # firmware, or a kernel that crashed, may have left fault records and a queue of its own
            await self.dmar_fault(iommu)
            await self.dmar_disable_qi(iommu)
        error = await self.dmar_enable_qi(iommu)
        if error:
            self.pr(f"{iommu.name}: no queued invalidation ({error}); this driver needs it")
        return error

    def iommu_calculate_agaw(self, iommu: intel_iommu, max_gaw: int) -> int:
        """`__iommu_calculate_agaw`: the widest supported agaw that is not wider than asked for."""
        widest = defs.width_to_agaw(max_gaw)
        return next((agaw for agaw in range(widest, -1, -1) if defs.cap_sagaw(iommu.cap) >> agaw & 1), -1)

    async def dmar_set_interrupt(self, iommu: intel_iommu) -> None:
        """Connect the fault event to an interrupt and unmask it."""
        iommu.hardware.fault_irq = self.machine.irq.line(
            f"{iommu.name} fault", lambda: self.dmar_fault(iommu)
        )
        async with iommu.register_lock.irqsave():
            await iommu.hardware.writel(defs.DMAR_FECTL_REG, 0)

    async def iommu_set_root_entry(self, iommu: intel_iommu) -> None:
        """Hand the root table to the hardware and flush everything."""
        addr = iommu.root_entry.address | (defs.DMA_RTADDR_SMT if self.sm_supported(iommu) else 0)
        # address, command and answer belong together; the fault handler uses registers too, so interrupts off
        async with iommu.register_lock.irqsave():
            await iommu.hardware.writeq(defs.DMAR_RTADDR_REG, addr)
            await iommu.hardware.writel(defs.DMAR_GCMD_REG, iommu.gcmd | defs.DMA_GCMD_SRTP)
            await self.iommu_wait_op(iommu, defs.DMA_GSTS_RTPS, True)
        # what came from the old root goes top down: context, then PASID entries, then translations
        await self.flush_context(iommu, 0, 0, 0, defs.DMA_CCMD_GLOBAL_INVL)
        if self.sm_supported(iommu):
            await self.qi_flush_pasid_cache(iommu, 0, defs.QI_PC_GLOBAL, 0)
        await self.flush_iotlb(iommu, 0, 0, 0, defs.DMA_TLB_GLOBAL_FLUSH)

    async def iommu_enable_translation(self, iommu: intel_iommu) -> None:
        """TE on."""
        async with iommu.register_lock.irqsave():
            await self.switch(iommu, defs.DMA_GCMD_TE, True)

    async def iommu_disable_translation(self, iommu: intel_iommu) -> None:
        """TE off."""
        async with iommu.register_lock.irqsave():
            await self.switch(iommu, defs.DMA_GCMD_TE, False)

    # -- one unit, taken away ------------------------------------------------

    async def disable_dmar_iommu(self, iommu: intel_iommu) -> None:
        """Detach every device of the unit, under the global lock; then translation off."""
        if not iommu.domain_ids:
            return
        async with self.device_domain_lock.irqsave():
            for info in list(self.device_domain_list.entries()):
                if info.iommu is iommu and info.domain is not None:
                    await self._dmar_remove_one_dev_info(info)
        if iommu.gcmd & defs.DMA_GCMD_TE:
            await self.iommu_disable_translation(iommu)

    async def free_dmar_iommu(self, iommu: intel_iommu) -> None:
        """Forget the unit and free its tables."""
        iommu.domain_ids = 0
        self.g_iommus.pop(iommu.seq_id, None)
        await self.free_context_table(iommu)

    async def free_iommu(self, iommu: intel_iommu) -> None:
        """`free_iommu` (dmar.c): the fault interrupt, and the ring, which nobody has switched off."""
        iommu.hardware.fault_irq = None
        if iommu.qi is not None:
            await self._free_queue(iommu.qi)
            iommu.qi = None

    async def dmar_hp_release_drhd(self, iommu: intel_iommu) -> None:
        """The last step of a removal. Readers of the list of units may still be at it: they go first."""
        await self.machine.rcu.synchronize()
        await self.free_iommu(iommu)

    async def dmar_iommu_hotplug(self, iommu: intel_iommu, insert: bool) -> int:
        """A unit is taken out, under `dmar_global_lock`. Devices go before their unit does."""
        async with self.dmar_global_lock.write():
            self.machine.bug_on(insert, "a unit that is plugged in: left out here")
            await self.disable_dmar_iommu(iommu)
            await self.free_dmar_iommu(iommu)
            await self.dmar_hp_release_drhd(iommu)
            return 0

    # -- after a crash -------------------------------------------------------

    async def copy_translation_tables(self, iommu: intel_iommu) -> int:
        """Take over the context tables of the kernel that crashed, so that devices still at it do not
        fault. 0 or negative.
        """
        tables = await self.copies_of_tables(iommu)
        if tables is None:
            return -EINVAL
        async with iommu.lock.irqsave():
            await self.install_copied_tables(iommu, tables)
        return 0

    async def copies_of_tables(self, iommu: intel_iommu) -> dict[int, Page] | None:
        """Copies of the tables that the unit uses now; None where they are of another mode, or nowhere."""
        rtaddr = await iommu.hardware.readq(defs.DMAR_RTADDR_REG)
        old = self.machine.pages.page(rtaddr & defs.VTD_PAGE_MASK)
        if old is None or bool(rtaddr & defs.DMA_RTADDR_SMT) != self.sm_supported(iommu):
            return None
        tables: dict[int, Page] = {}
        for bus in range(defs.ROOT_ENTRY_NR):
            if await self.copy_context_table(iommu, old, tables, bus):
                self.pr(f"{iommu.name}: Failed to copy context table for bus {bus}")
        return tables

    async def install_copied_tables(self, iommu: intel_iommu, tables: dict[int, Page]) -> None:
        """The copied context tables go into the new root table."""
        for word, page in sorted(tables.items()):
            await iommu.root_entry.store(word, page.address | 1)

    async def copy_context_table(
        self, iommu: intel_iommu, old: Page, tables: dict[int, Page], bus: int
    ) -> int:
        """One bus: every present entry is copied, marked as copied, and its domain id reserved."""
        for half in range(2 if self.sm_supported(iommu) else 1):
            entry = await old.load(2 * bus + half)
            if not entry & 1:
                continue
            source = self.phys_to_virt(dma_pte_addr(entry))
            page = await self.alloc_pgtable_page(iommu.node, f"{iommu.name} copied context table {bus:#x}")
            if page is None:
                return -ENOMEM
            for index in range(0, 512, 4 if self.sm_supported(iommu) else 2):
                low, high = await source.load(index), await source.load(index + 1)
                if not low & defs.CONTEXT_PRESENT:
                    continue
                did = high >> 8 & 0xFFFF
                if did < defs.cap_ndoms(iommu.cap):
                    # devices may still use translations of this id: nobody else gets it
                    iommu.domain_ids = iommu.domain_ids | 1 << did
                # upper word first: the present bit is in the lower one
                await page.store(index + 1, high | defs.CONTEXT_COPIED)
                await page.store(index, low)
            tables[2 * bus + half] = page
        return 0
