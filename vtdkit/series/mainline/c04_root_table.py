"""2e1c8dafb8c2: drivers/iommu/intel/iommu.c. v1: patch 05."""

from __future__ import annotations

from vtdkit.series.p05_root_table import Patch05
from vtdkit.series.patch import as_in_v1

from .c03_pgtable_walk import Commit03


class Commit04(Commit03):
    """iommu/vt-d: Unnecessary spinlock for root table alloc and free"""

    iommu_alloc_root_entry = as_in_v1(Patch05.iommu_alloc_root_entry)
    free_context_table = as_in_v1(Patch05.free_context_table)
