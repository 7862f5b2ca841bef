"""Tables that never were: Arm's, freeing every table that has become empty."""

from __future__ import annotations

from vtdkit.iommu.backends.arm_lpae import ADDR_MASK, ENTRIES, TYPE, TYPE_TABLE, ArmLpae, level_index
from vtdkit.iommu.core import IotlbGather
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page


class FreeWhenEmpty(ArmLpae):
    """After an unmap of pages their table is searched; if nothing is left in it, it is taken out and freed.

    `locked`: one lock a domain is held around each map and unmap, as simple drivers do. Guards: that lock, if
    there is one: the whole table.
    """

    def __init__(self, machine: Machine, label: str = "arm domain", *, locked: bool = False) -> None:
        super().__init__(machine, label)
        self.lock = machine.spinlock("pgtable lock") if locked else None
        self.looked_at = 0

    async def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int) -> tuple[int, int]:
        if self.lock is None:
            return await super().map_pages(iova, paddr, pgsize, pgcount, prot)
        async with self.lock.irqsave():
            return await super().map_pages(iova, paddr, pgsize, pgcount, prot)

    async def unmap_pages(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather) -> int:
        if self.lock is None:
            return await super().unmap_pages(iova, pgsize, pgcount, gather)
        async with self.lock.irqsave():
            return await super().unmap_pages(iova, pgsize, pgcount, gather)

    async def _arm_lpae_unmap(
        self, gather: IotlbGather, iova: int, size: int, count: int, level: int, table: Page
    ) -> int:
        done = await super()._arm_lpae_unmap(gather, iova, size, count, level, table)
        if level == 2 and size == 4096:
            index = level_index(iova, level)
            pte = await table.load(index)
            if pte & TYPE == TYPE_TABLE and await self.is_empty(self.deref(pte & ADDR_MASK)):
                await table.store(index, 0)
                await self.walker.invalidate(iova & -(1 << 21), iova | (1 << 21) - 1)
                await self.machine.free_page(self.deref(pte & ADDR_MASK))
        return done

    async def is_empty(self, table: Page) -> bool:
        """Is no entry left? It may have changed by the time one knows."""
        for index in range(ENTRIES):
            self.looked_at += 1
            if await table.load(index):
                return False
        return True
