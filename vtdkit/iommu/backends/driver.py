"""What lies between the core and an `IoPgtable`: the thin driver that passes calls on.

The drivers of Arm and AMD do little more in these calls (`arm_smmu_map_pages`, `amd_iommu_map`). Attaching
devices, domain types and probing are left out: a back-end is one domain, and its device is its `walker`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from vtdkit.iommu.core import IommuCore, IommuDomain, IotlbGather
from vtdkit.iommu.ops import iommu_ops
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page

from .backend import Access, Answer, Backend
from .walker import TableWalker


class PgtableBase(KObject):
    """What every software table needs of its machine. Guards: nothing; subclasses say for their fields."""

    async def alloc_table(self, level: int) -> Page | None:
        """One cleared page for a table; it may be asked for in atomic context."""
        return await self.machine.alloc_page(  # type: ignore[no-any-return]
            GFP_ATOMIC, name=f"{self.label} level {level} table"
        )

    def deref(self, address: int) -> Page:
        """The table at a physical address. Raises Oops where no page ever was, as the kernel would."""
        page: Page | None = self.machine.pages.page(address)
        if page is None:
            raise Oops(f"unable to handle page fault: {address:#x} is not memory that was ever a table")
        return page

    async def put_pages_list(self, freelist: list[Page]) -> None:
        """Free the pages that were collected."""
        for page in freelist:
            await self.machine.free_page(page)


class IoPgtable(PgtableBase, ABC):
    """What a table offers to the core, by the names of `struct io_pgtable_ops`, and its hardware. It lives as
    long as its machine: a back-end is one domain, and nobody frees it.
    """

    title: str
    walker: TableWalker  #: the hardware in front of it
    pgsize_bitmap: int  #: page sizes it takes, a bit each
    aperture_end: int  #: the last address it takes

    async def translate(self, iova: int, kind: Access = "read") -> Answer:
        """One access of a device: the hardware's caches first, then memory."""
        return await self.walker.translate(iova, kind)

    @abstractmethod
    async def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: int) -> tuple[int, int]:
        """0 or a negative error, and the bytes mapped."""

    @abstractmethod
    async def unmap_pages(self, iova: int, pgsize: int, pgcount: int, gather: IotlbGather) -> int:
        """The bytes it calls unmapped. What is to be flushed goes into `gather`."""

    @abstractmethod
    async def iova_to_phys(self, iova: int) -> int:
        """The physical address, as the software reads the table; 0 if there is none."""

    async def iotlb_sync(self, gather: IotlbGather) -> None:
        """Flush what an unmap gathered. Nothing to do where every unmap has flushed already."""

    async def read_and_clear_dirty(self, iova: int, size: int, gather: IotlbGather) -> list[int] | None:
        """The 4 KiB pages of a range that were written to since the last look; None where the hardware
        keeps no such bits. What must be flushed for the bits to be set again goes into `gather`.
        """
        return None


def on_core(machine: Machine, table: IoPgtable) -> Backend:
    """A back-end of this table, with a core of its own. The driver between them has one domain, so its
    operations are those of the table, which is not told which domain is meant.
    """

    def of_table(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda domain, *arguments: function(*arguments)

    ops = iommu_ops(
        map_pages=of_table(table.map_pages),
        unmap_pages=of_table(table.unmap_pages),
        iotlb_sync_map=lambda domain, iova, size: (
            DONE
        ),  # no unit here remembers that something was *not* there
        iotlb_sync=of_table(table.iotlb_sync),
        flush_iotlb_all=lambda domain: table.walker.invalidate(0, (1 << 64) - 1),
        iova_to_phys=of_table(table.iova_to_phys),
    )
    driver: Any = SimpleNamespace(title=table.title, ops=ops, log=[])
    domain = IommuDomain(machine, "unmanaged", table)
    domain.preset(pgsize_bitmap=table.pgsize_bitmap, aperture_end=table.aperture_end)
    return Backend(table, IommuCore(machine, driver), domain)
