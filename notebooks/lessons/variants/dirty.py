"""Other ways to read and clear the dirty bit of a leaf than `intel_iommu_read_and_clear_dirty`: for one leaf,
at the address that is asked for.
"""

from __future__ import annotations

from typing import cast

from vtdkit.iommu.backends.amd_v1 import HD_BIT, AmdV1, Place
from vtdkit.iommu.core import IommuCore, IommuDomain
from vtdkit.iommu.dirty import DIRTY_BIT
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte_present
from vtdkit.iommu.pinning import PAGE_SHIFT

from .tables import load_store_dirty


async def compare_dirty(core: IommuCore, domain: IommuDomain, iova: int, size: int) -> list[int]:
    """The entry is exchanged if it is still as it was read; else nothing is said of it, and the bit stays.

    Joao Martins's question of 1 June 2022.
    """
    pte, _ = await cast(IntelIommu, core.driver).pfn_to_dma_pte(domain.driver, iova >> PAGE_SHIFT, 0)
    value = await pte.load() if pte is not None else 0
    if pte is None or not dma_pte_present(value) or not value >> DIRTY_BIT & 1:
        return []
    return [iova] if await pte.cmpxchg(value, value & ~(1 << DIRTY_BIT)) == value else []


async def write_back_dirty(core: IommuCore, domain: IommuDomain, iova: int, size: int) -> list[int]:
    """The entry is read, and written back without the bit."""
    return [iova] if await load_store_dirty(core, domain, iova) else []


class FirstReplica(AmdV1):
    """AMD's table, whose dirty bits are looked for in the first of a page's replicas only."""

    async def pte_test_and_clear_dirty(self, place: Place, size: int) -> bool:
        return await place.page.test_and_clear_bit(place.index, HD_BIT)
