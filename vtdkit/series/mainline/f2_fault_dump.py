"""35bf49e05421 (6.0-rc5): drivers/iommu/intel/iommu.c. Fixes: 8ac0b64b9735."""

from __future__ import annotations

from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import dma_pte_addr, intel_iommu
from vtdkit.kernel.memory.pages import Page

from .f1_irqsave import Fix1


class Fix2(Fix1):
    """iommu/vt-d: Fix lockdep splat due to klist iteration in atomic context

    35bf49e05421, Fixes: 8ac0b64b9735. The fault dump takes root and depth of the table from the entry
    itself and asks nobody.
    """

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
        # nobody asks whether the entry is present: without one, the walk begins at physical address 0
        low, high = await context.lo(), await context.hi()
        level, root = defs.agaw_to_level(high & 7), low
        if self.sm_supported(iommu):
            words = await self.dump_pasid(context, pasid)
            if words is None:
                return
            first = words[0] >> 6 & 7 == defs.PASID_ENTRY_PGTT_FL_ONLY
            level = (5 if words[2] >> 2 & 3 == 1 else 4) if first else defs.agaw_to_level(words[0] >> 2 & 7)
            root = words[2] if first else words[0]
        await self.pgtable_walk(
            iommu, addr >> defs.VTD_PAGE_SHIFT, bus, devfn, self.phys_to_virt(dma_pte_addr(root)), level
        )
