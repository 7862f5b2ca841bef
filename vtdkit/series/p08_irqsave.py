"""Patch 08, v1: drivers/iommu/intel/iommu.c and debugfs.c, the remaining users of
`intel_iommu::lock` with interrupts off.

The text of v1 was not found in the archives; it is reconstructed from v2, which the cover letter's line
counts confirm. In v4 it was widened to the device lock as well, and that half was the bug a349ffcb4daf had to
repair. Merged as ffd5869d9353.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import device_domain_info, intel_iommu
from vtdkit.iommu.seq_file import SeqFile

from .p07_pasid import Patch07


class Patch08(Patch07):
    """iommu/vt-d: Replace spin_lock_irqsave() with spin_lock()"""

    async def root_tbl_walk(self, m: SeqFile, iommu: intel_iommu) -> None:
        """One unit, under `iommu->lock`, interrupts as they are."""
        async with iommu.lock:
            await self.print_root_table(m, iommu)

    async def device_context_mapped(self, iommu: intel_iommu, bus: int, devfn: int) -> bool:
        """Is the context entry of this source id present?"""
        async with iommu.lock:
            context = await self.iommu_context_addr(iommu, bus, devfn, False)
            return context is not None and bool(await context.lo() & defs.CONTEXT_PRESENT)

    async def domain_context_clear_one(self, info: device_domain_info, bus: int, devfn: int) -> None:
        """Clear one entry under `iommu->lock`; then, the lock let go, flush everything that came from it."""
        iommu = info.iommu
        async with iommu.lock:
            did = await self.clear_context_entry(info, bus, devfn)
        if did is not None:
            await self.flush_cleared_context(info, bus, devfn, did)

    async def copy_translation_tables(self, iommu: intel_iommu) -> int:
        """Take over the context tables of the kernel that crashed, so that devices still at it do not
        fault. 0 or negative.
        """
        tables = await self.copies_of_tables(iommu)
        if tables is None:
            return -EINVAL
        async with iommu.lock:
            await self.install_copied_tables(iommu, tables)
        return 0
