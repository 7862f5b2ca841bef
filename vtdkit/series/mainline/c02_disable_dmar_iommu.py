"""98f7b0db4976: drivers/iommu/intel/iommu.c. v1: patch 03. With a warning when domain ids are in use."""

from __future__ import annotations

from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import intel_iommu

from .c01_debugfs import Commit01


class Commit02(Commit01):
    """iommu/vt-d: Remove clearing translation data in disable_dmar_iommu()"""

    async def disable_dmar_iommu(self, iommu: intel_iommu) -> None:
        """Translation off. Domain ids still in use mean devices still attached: a warning, and
        nothing is switched off.
        """
        if not iommu.domain_ids:
            return
        in_use = iommu.domain_ids.bit_count()
        if self.machine.warn_on(
            in_use > defs.NUM_RESERVED_DID, "disable_dmar_iommu: domain ids still in use"
        ):
            return
        if iommu.gcmd & defs.DMA_GCMD_TE:
            await self.iommu_disable_translation(iommu)
