"""The driver's windows: drivers/iommu/intel/debugfs.c. Reading one dumps tables, line by line, into a
`seq_file`. The texts are those of v5.19 and v6.0 to the letter; from 6.7 on there is a file for
each device and PASID instead of `domain_translation_struct`. Left out: `iommu_regset`, `invalidation_queue`.

`domain_translation_struct` prints every page table of every device. Before the series it does so under
`device_domain_lock`, interrupts off from the first line to the last; yet map and unmap take no lock, so
the tables may change, and be freed, under the reader's feet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.seq_file import SeqFile, seq_file
from vtdkit.kernel.memory.pages import Page

from . import defs
from .structs import dma_pte, dma_pte_addr, dma_pte_present, dma_pte_superpage, dmar_domain, intel_iommu
from .svm import Svm

HEADER = "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE"
COLUMNS = "B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry"
NO_PASID = "-1    \t" + ":".join([f"{0:#018x}"] * 3)  # what legacy mode prints in the PASID columns


class Debugfs(Svm):
    """Guards: what each dump takes says its docstring; none protects the page tables."""

    # -- domain_translation_struct -------------------------------------------

    async def pgtable_walk_level(
        self, m: SeqFile, table: Page, level: int, start: int, path: list[int]
    ) -> None:
        """Print every leaf below a table: its page frame, and the entries that lead to it, from level 5 down.

        `path[level]` is the entry of that level; 0 where there is none.
        """
        for index in range(512):
            entry = await dma_pte(table, index).load()
            if not dma_pte_present(entry):
                continue
            pfn = start + index * defs.level_size(level)
            path[level] = entry
            if level == 1 or dma_pte_superpage(entry):
                await m.printf(f"{pfn:#015x} |" + "".join(f"\t{path[at]:#018x}" for at in (5, 4, 3, 2, 1)))
            else:
                await self.pgtable_walk_level(m, self.phys_to_virt(dma_pte_addr(entry)), level - 1, pfn, path)
            path[level] = 0

    async def dump_domain(self, m: SeqFile, dev: PciDevice, domain: dmar_domain) -> None:
        """Heading, then the whole table of one domain (the part every version shares)."""
        pgd: Page = domain.pgd
        await m.printf(f"Device {dev.dev_name} @{pgd.address:#x}")
        await m.printf(HEADER)
        await self.pgtable_walk_level(m, pgd, defs.agaw_to_level(domain.agaw), 0, [0] * 6)
        await m.printf()

    async def show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """One device of the bus: the table of the domain it is attached to."""
        info, _ = self.info_and_unit(dev)  # C asks nobody whether there is a record, and follows the pointer
        if info.domain is not None:
            await self.dump_domain(m, dev, info.domain)
        return 0

    @seq_file
    async def domain_translation_struct_show(self, m: SeqFile) -> None:
        """Read the file: every device of the PCI bus, all of it under
        `device_domain_lock` with interrupts off.
        """
        async with self.device_domain_lock.irqsave():
            await self.bus.for_each_dev(self.shower(m))

    def shower(self, m: SeqFile) -> Callable[[PciDevice], Awaitable[int]]:
        """`show_device_domain_translation` with its seq_file, as `bus_for_each_dev` wants it."""
        return partial(self.show_device_domain_translation, m)

    # -- dmar_translation_struct ---------------------------------------------

    @seq_file
    async def dmar_translation_struct_show(self, m: SeqFile) -> None:
        """Read the file: root, context and PASID entries of every unit, each
        unit under its `iommu->lock`.
        """
        async with self.machine.rcu.read():
            for iommu in self.for_each_iommu():
                if not await iommu.hardware.readl(defs.DMAR_GSTS_REG) & defs.DMA_GSTS_TES:
                    await m.printf(f"DMA Remapping is not enabled on {iommu.name}")
                    continue
                await self.root_tbl_walk(m, iommu)
                await m.printf()

    async def root_tbl_walk(self, m: SeqFile, iommu: intel_iommu) -> None:
        """One unit, interrupts off throughout."""
        async with iommu.lock.irqsave():
            await self.print_root_table(m, iommu)

    async def print_root_table(self, m: SeqFile, iommu: intel_iommu) -> None:
        """The body of `root_tbl_walk`."""
        await m.printf(f"IOMMU {iommu.name}: Root Table Address: {iommu.root_entry.address:#x}")
        await m.printf(COLUMNS)
        for bus in range(defs.ROOT_ENTRY_NR):
            await self.ctx_tbl_walk(m, iommu, bus)

    async def ctx_tbl_walk(self, m: SeqFile, iommu: intel_iommu, bus: int) -> None:
        """One bus: every present context entry.

        It ends at the first missing table: a bus whose lower half has none is left out, upper half and all.
        """
        root: Page = iommu.root_entry
        for devfn in range(256):
            if (context := await self.iommu_context_addr(iommu, bus, devfn, False)) is None:
                return
            low, high = await context.lo(), await context.hi()
            if not low & defs.CONTEXT_PRESENT:
                continue
            row = (
                f"{bus:02x}:{devfn >> 3:02x}.{devfn & 7}\t"
                f"{root.words[2 * bus + 1]:#018x}:{root.words[2 * bus]:#018x}\t{high:#018x}:{low:#018x}\t"
            )
            if await iommu.hardware.readq(defs.DMAR_RTADDR_REG) & defs.DMA_RTADDR_SMT:
                await self.pasid_dir_walk(m, row, dma_pte_addr(low), 1 << (low >> 9 & 7) + 7)
            else:
                await m.printf(row + NO_PASID)

    async def pasid_dir_walk(self, m: SeqFile, row: str, address: int, size: int) -> None:
        """One PASID directory: every present entry of every table."""
        for index in range(size):
            entry = await self.phys_to_virt(address + 8 * index).load(index % 512)
            if entry & 1:
                await self.pasid_tbl_walk(m, row, self.phys_to_virt(dma_pte_addr(entry)), index)

    async def pasid_tbl_walk(self, m: SeqFile, row: str, table: Page, dir_index: int) -> None:
        """One PASID table: words 2, 1 and 0 of every present entry, behind what leads to it."""
        for index in range(defs.PASID_TBL_ENTRIES):
            words = [await table.load(8 * index)]
            if words[0] & 1:
                words += [await table.load(8 * index + word) for word in (1, 2)]
                number = (dir_index << defs.PASID_PDE_SHIFT) + index
                await m.printf(row + f"{number:<6}\t" + ":".join(f"{word:#018x}" for word in reversed(words)))
