"""PASID tables, and who has which: drivers/iommu/intel/pasid.c, first half. In scalable mode every PCI
device has one, if only for requests without a PASID.

A directory leads to tables of 64 entries of 64 bytes. Before 5.19, devices that share an alias shared a
directory; to find it, the driver walked the list of every probed device under `device_domain_lock`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.gfp import GFP_KERNEL

from . import defs
from .pgtable import PageTables
from .structs import device_domain_info, dma_pte_addr, entry_pointer, pasid_table

WORDS = 8  # of a PASID entry


class pasid_entry(entry_pointer):
    """`struct pasid_entry *`: eight words."""

    __slots__ = ()

    async def store(self, word: int, value: int) -> None:
        """Write one word."""
        await self.page.store(self.index + word, value)

    async def present(self) -> bool:
        """`pasid_pte_is_present`."""
        return bool(await self.load(0) & 1)

    async def fill(self, words: list[int]) -> None:
        """Write the entry, upper words first, then the low one with the present bit."""
        for word in range(1, WORDS):
            if words[word]:
                await self.store(word, words[word])
        await self.store(0, words[0])
        await self.store(0, words[0] | 1)


@dataclass(slots=True)
class pasid_table_opaque:
    """`struct pasid_table_opaque`: what the search for a table carries along."""

    pasid_table: pasid_table | None = None
    segment: int = 0
    bus: int = 0
    devfn: int = 0


class PasidTables(PageTables):
    """Guards: PASID entries by `intel_iommu::lock` while they are set up;
    `pasid_table->dev` by `device_domain_lock`.
    """

    def intel_pasid_get_table(self, dev: PciDevice) -> pasid_table | None:
        """The device's PASID table, if it has one."""
        info = self.dev_iommu_priv_get(dev)
        return info.pasid_table if info is not None else None

    async def for_each_device_domain(self, visit: Callable[[device_domain_info], Awaitable[int]]) -> int:
        """Call `visit` on every probed device of the machine, under the global lock, until it returns
        something other than 0.
        """
        async with self.device_domain_lock.irqsave():
            for info in self.device_domain_list.entries():
                result = await visit(info)
                if result:
                    return result
        return 0

    async def search_pasid_table(self, info: device_domain_info, data: pasid_table_opaque) -> int:
        """Is `info` the device at the address we look for, and has it a table? Then that is it."""
        await self.machine.work(self.machine.costs.line_near)
        if (info.segment, info.bus, info.devfn) != (
            data.segment,
            data.bus,
            data.devfn,
        ) or info.pasid_table is None:
            return 0
        data.pasid_table = info.pasid_table
        return 1

    async def get_alias_pasid_table(
        self, pdev: PciDevice, bus: int, devfn: int, data: pasid_table_opaque
    ) -> int:
        """The table of the device that has this alias as its address: every probed device of the
        machine is looked at.
        """
        data.segment, data.bus, data.devfn = pdev.segment, bus, devfn
        return await self.for_each_device_domain(lambda info: self.search_pasid_table(info, data))

    async def device_attach_pasid_table(self, info: device_domain_info, table: pasid_table) -> None:
        """The device uses this table from now on."""
        info.pasid_table = table
        await table.dev.add(info)

    async def device_detach_pasid_table(self, info: device_domain_info, table: pasid_table) -> None:
        """The device no longer uses it."""
        info.pasid_table = None
        await table.dev.del_(info)

    async def intel_pasid_alloc_table(self, dev: PciDevice) -> int:
        """Give the device a PASID table: the one of an alias, or a new one. 0, -EINVAL, -ENOMEM. Sleeps."""
        self.machine.might_sleep()
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is not None:
            self.machine.warn_on(True, "intel_pasid_alloc_table: no device record, or a table already")
            return -EINVAL
        data = pasid_table_opaque()
        await self.bus.for_each_dma_alias(
            dev, lambda pdev, bus, devfn: self.get_alias_pasid_table(pdev, bus, devfn, data)
        )
        table = data.pasid_table or await self.new_pasid_table(info)
        if table is None:
            return -ENOMEM
        await self.device_attach_pasid_table(info, table)
        return 0

    async def new_pasid_table(self, info: device_domain_info) -> pasid_table | None:
        """A directory large enough for the device's PASIDs."""
        own = defs.PASID_TBL_ENTRIES
        if info.pasid_supported:
            own = min(info.dev.max_pasids, self.intel_pasid_max_id)
        # a directory entry of eight bytes for each 64 PASIDs, in whole pages, their number a power of two
        order = (max(own >> defs.PASID_PDE_SHIFT - 3, 1) - 1 >> defs.VTD_PAGE_SHIFT).bit_length()
        max_pasid = 1 << order + defs.VTD_PAGE_SHIFT + defs.PASID_PDE_SHIFT - 3
        table = await self.machine.kmalloc(pasid_table, f"PASID table of {info.dev.name}", max_pasid)
        if table is None:
            return None
        table.table = await self.machine.alloc_pages(
            1 << order, GFP_KERNEL, node=info.iommu.node, name=f"PASID directory of {info.dev.name}"
        )
        if not table.table:
            await self.machine.kfree(table)
            return None
        return table

    async def intel_pasid_free_table(self, dev: PciDevice) -> None:
        """The device gives its table up; the last user frees it with everything under it."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is None:
            return
        table: pasid_table = info.pasid_table
        await self.device_detach_pasid_table(info, table)
        if not table.dev.empty():
            return
        # no lock: the last device is gone, so nobody fills in entries any more
        for directory in table.table:
            for index in range(512):
                entry = await directory.load(index)
                if entry & 1:
                    await self.free_pgtable_page(self.phys_to_virt(dma_pte_addr(entry)))
        for page in table.table:
            await self.free_pgtable_page(page)
        await self.machine.kfree(table)
