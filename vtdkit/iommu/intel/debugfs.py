"""The driver's windows: drivers/iommu/intel/debugfs.c. Reading one dumps tables, line by
line, into a `seq_file`.

`domain_translation_struct` prints every page table of every device. Before the series it does so under
`device_domain_lock`, interrupts off from the first line to the last; yet map and unmap take no lock, so
the tables may change, and be freed, under the reader's feet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page

from . import defs
from .base import DriverBase
from .structs import (
    device_domain_info,
    dma_pte,
    dma_pte_addr,
    dma_pte_present,
    dma_pte_superpage,
    dmar_domain,
    intel_iommu,
)
from .svm import Svm

HEADER = "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE"


class SeqFile:
    """`struct seq_file`: the text so far. Printing a line costs the printer time."""

    def __init__(self, driver: DriverBase) -> None:
        self.driver = driver
        self.lines: list[str] = []

    async def printf(self, line: str) -> None:
        """`seq_printf`: one line."""
        await self.driver.machine.work(self.driver.machine.costs.seq_printf)
        self.lines.append(line)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Debugfs(Svm):
    """Guards: what each dump takes says its docstring; none protects the page tables."""

    # -- domain_translation_struct -------------------------------------------

    async def pgtable_walk_level(
        self, m: SeqFile, table: Page, level: int, start: int, path: list[int]
    ) -> None:
        """Print every leaf below a table: its page frame, and the entries of all levels that lead to it."""
        for index in range(512):
            entry = await dma_pte(table, index).load()
            if not dma_pte_present(entry):
                continue
            pfn = start + index * defs.level_size(level)
            here = [*path, entry]
            if level == 1 or dma_pte_superpage(entry):
                await m.printf(f"{pfn:#018x} |" + "".join(f"\t{value:#018x}" for value in here))
            else:
                await self.pgtable_walk_level(m, self.phys_to_virt(dma_pte_addr(entry)), level - 1, pfn, here)

    async def dump_domain(self, m: SeqFile, dev: PciDevice, domain: dmar_domain) -> None:
        """Heading, then the whole table of one domain (the part every version shares)."""
        pgd: Page = domain.pgd
        await m.printf(f"Device {dev.name} @{pgd.address:#x}")
        await m.printf(HEADER)
        await self.pgtable_walk_level(m, pgd, defs.agaw_to_level(domain.agaw), 0, [])
        await m.printf("")

    async def show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """One device of the bus: the table of the domain it is attached to."""
        info: device_domain_info | None = self.dev_iommu_priv_get(dev)
        domain: dmar_domain | None = info.domain if info is not None else None
        if domain is not None:
            await self.dump_domain(m, dev, domain)
        return 0

    async def domain_translation_struct_show(self) -> SeqFile:
        """Read the file: every device of the PCI bus, all of it under
        `device_domain_lock` with interrupts off.
        """
        m = SeqFile(self)
        async with self.device_domain_lock.irqsave():
            await self.bus.for_each_dev(self.shower(m))
        return m

    def shower(self, m: SeqFile) -> Callable[[PciDevice], Awaitable[int]]:
        """`show_device_domain_translation` with its seq_file, as `bus_for_each_dev` wants it."""

        async def show(dev: PciDevice) -> int:
            return await self.show_device_domain_translation(m, dev)

        return show

    # -- dmar_translation_struct ---------------------------------------------

    async def dmar_translation_struct_show(self) -> SeqFile:
        """Read the file: root, context and PASID entries of every unit, each
        unit under its `iommu->lock`.
        """
        m = SeqFile(self)
        async with self.machine.rcu.read():
            for iommu in self.for_each_iommu():
                await self.root_tbl_walk(m, iommu)
        return m

    async def root_tbl_walk(self, m: SeqFile, iommu: intel_iommu) -> None:
        """One unit, interrupts off throughout."""
        async with iommu.lock.irqsave():
            await self.print_root_table(m, iommu)

    async def print_root_table(self, m: SeqFile, iommu: intel_iommu) -> None:
        """The body of `root_tbl_walk`."""
        await m.printf(f"IOMMU {iommu.name}: Root Table Address: {iommu.root_entry.address:#x}")
        columns = "B.D.F\tRoot_entry\t\t\t\tContext_entry"
        await m.printf(columns + ("\t\t\t\tPASID\tPASID_table_entry" if self.sm_supported(iommu) else ""))
        for bus in range(defs.ROOT_ENTRY_NR):
            await self.ctx_tbl_walk(m, iommu, bus)

    async def ctx_tbl_walk(self, m: SeqFile, iommu: intel_iommu, bus: int) -> None:
        """One bus: every present context entry."""
        root: Page = iommu.root_entry
        for devfn in range(256):
            context = await self.iommu_context_addr(iommu, bus, devfn, False)
            if context is None:
                # nothing for this half of the bus: in legacy mode that is the whole bus
                if not self.sm_supported(iommu):
                    return
                continue
            low, high = await context.lo(), await context.hi()
            if not low & defs.CONTEXT_PRESENT:
                continue
            heading = f"{bus:02x}:{devfn >> 3:02x}.{devfn & 7}\t{root.words[2 * bus + 1]:#018x}:{root.words[2 * bus]:#018x}"
            await m.printf(f"{heading}\t{high:#018x}:{low:#018x}")
            if self.sm_supported(iommu):
                await self.pasid_dir_walk(m, dma_pte_addr(low), 1 << (low >> 9 & 7) + 7)

    async def pasid_dir_walk(self, m: SeqFile, address: int, size: int) -> None:
        """One PASID directory: every present entry of every table."""
        for index in range(size):
            page = self.machine.pages.page(address + 8 * index)
            entry = await page.load(index % 512) if page is not None else 0
            if entry & 1:
                await self.pasid_tbl_walk(m, self.phys_to_virt(dma_pte_addr(entry)), index)

    async def pasid_tbl_walk(self, m: SeqFile, table: Page, dir_index: int) -> None:
        """One PASID table."""
        for index in range(defs.PASID_TBL_ENTRIES):
            words = [await table.load(8 * index)]
            if not words[0] & 1:
                continue
            words += [await table.load(8 * index + i) for i in (1, 2)]
            number = (dir_index << defs.PASID_PDE_SHIFT) + index
            await m.printf(f"\t\t{number:#x}\t" + ":".join(f"{word:#018x}" for word in reversed(words)))

    # -- invalidation_queue --------------------------------------------------

    async def invalidation_queue_show(self) -> SeqFile:
        """Read the file: head, tail and every slot of each ring, under its `q_lock`."""
        m = SeqFile(self)
        for iommu in self.for_each_iommu():
            qi = iommu.qi
            if qi is None:
                continue
            shift = self.qi_shift(iommu)
            async with qi.q_lock.irqsave():
                head = await iommu.hardware.readl(defs.DMAR_IQH_REG) >> shift
                tail = await iommu.hardware.readl(defs.DMAR_IQT_REG) >> shift
                await m.printf(
                    f"Invalidation queue on {iommu.name}: Base: {qi.desc[0].address:#x}\tHead: {head}\tTail: "
                    f"{tail}"
                )
                words = 1 << shift - 3
                for index in range(qi.length):
                    first = words * index
                    low, high = qi.desc[first // 512].words[first % 512 : first % 512 + 2]
                    await m.printf(
                        f"{index:5}\t{low:#018x}\t{high:#018x}\t{await qi.desc_status.load32(index)}"
                    )
        return m
