"""Dirty tracking: which pages did devices write? drivers/iommu/intel/iommu.c of v6.7, after the series.

In scalable mode a unit can set a bit in every second-level leaf through which a device writes. Software
finds the pages that changed by testing and clearing the bits; a leaf that goes away takes its bit with it,
so what unmaps must read first. The walk takes no lock: its caller keeps the range from being unmapped
(`iommufd` by holding `iova_rwsem`).
"""

from __future__ import annotations

from typing import cast

from .core import IommuCore, IommuDomain
from .intel import defs
from .intel.base import DriverBase
from .intel.structs import dma_pte_present
from .pinning import PAGE_SHIFT, PAGE_SIZE

DIRTY_BIT = 9  # of a second-level leaf
SSADE = 1 << 9  # of a PASID entry


async def intel_iommu_read_and_clear_dirty(
    core: IommuCore, domain: IommuDomain, iova: int, size: int, clear: bool = True
) -> list[int]:
    """Test and clear the dirty bit of every second-level leaf of a range; the dirty pages of 4 KiB. No lock.
    Without `clear` (IOMMU_DIRTY_NO_CLEAR) the bits stay: for who unmaps next.

    The unit sets the bits if the device's PASID entry says so (`intel_iommu_set_dirty_tracking`).
    """
    dirty, end, driver = list[int](), iova + size, cast(DriverBase, core.driver)
    while iova < end:
        pte, level = await driver.pfn_to_dma_pte(domain.driver, iova >> PAGE_SHIFT, 0)
        span = PAGE_SIZE << 9 * (level - 1)
        value = await pte.load() if pte is not None else 0
        found = bool(value >> DIRTY_BIT & 1)
        if pte is None or not dma_pte_present(value):
            found = False
        elif clear:
            found = await pte.page.test_and_clear_bit(pte.index, DIRTY_BIT)
        if found:
            dirty += range(iova, min((iova & -span) + span, end), PAGE_SIZE)
        iova = (iova & -span) + span
    return dirty


async def intel_iommu_set_dirty_tracking(core: IommuCore, domain: IommuDomain, enable: bool) -> None:
    """Have the units set dirty bits for a domain's devices, or stop it.

    In scalable mode with second-level tables only. No device may come or go
    meanwhile (`domain->lock` in Linux).
    """
    driver = cast(DriverBase, core.driver)
    for info in domain.driver.devices.entries():
        async with info.iommu.lock.irqsave():
            pte = await driver.intel_pasid_get_entry(info.dev, defs.PASID_RID2PASID)
            if driver.machine.warn_on(pte is None, "dirty tracking without a PASID entry") or pte is None:
                continue
            low = await pte.load(0)
            await pte.store(0, low | SSADE if enable else low & ~SSADE)
        did = domain.driver.iommu_did[info.iommu.seq_id]
        await driver.qi_flush_pasid_cache(info.iommu, did, defs.QI_PC_PASID_SEL, defs.PASID_RID2PASID)
        await driver.flush_iotlb(info.iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
