"""Patch 03, v1: drivers/iommu/intel/iommu.c.

Message-Id 20220527063019.3112905-4. Jason Gunthorpe asked for a one-line warning;
mainline 98f7b0db4976 has it.
"""

from __future__ import annotations

from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import intel_iommu

from .p02_for_each_device_domain import Patch02


class Patch03(Patch02):
    """iommu/vt-d: Remove clearing translation data in disable_dmar_iommu()"""

    async def disable_dmar_iommu(self, iommu: intel_iommu) -> None:
        """Translation off. The unit's devices went before it, so there is nothing to detach."""
        if not iommu.domain_ids:
            return
        if iommu.gcmd & defs.DMA_GCMD_TE:
            await self.iommu_disable_translation(iommu)
