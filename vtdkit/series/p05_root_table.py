"""Patch 05, v1: drivers/iommu/intel/iommu.c.

Quoted whole in Kevin Tian's reply. The title's first word is the patch's own spelling. Merged
as 2e1c8dafb8c2, spelt right.
"""

from __future__ import annotations

from vtdkit.iommu.errno import ENOMEM
from vtdkit.iommu.intel.structs import intel_iommu

from .p04_pgtable_walk import Patch04


class Patch05(Patch04):
    """iommu/vt-d: Unncessary spinlock for root table alloc and free"""

    async def iommu_alloc_root_entry(self, iommu: intel_iommu) -> int:
        """Give a unit its root table. Nobody else knows the unit yet."""
        root = await self.alloc_pgtable_page(iommu.node, f"{iommu.name} root table")
        if root is None:
            return -ENOMEM
        iommu.root_entry = root
        return 0

    async def free_context_table(self, iommu: intel_iommu) -> None:
        """Free a unit's context tables and root table. Nobody else uses the unit any more."""
        if iommu.root_entry is None:
            return
        await self.free_tables_of(iommu)
