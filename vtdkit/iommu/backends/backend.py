"""The one interface of all page-table back-ends: what a user of the IOMMU may ask.

    Backend       what users and experiments hold: map, unmap, iova_to_phys, read_and_clear_dirty, walk
    IoPgtable     what a table offers beneath the core (`driver.py`)
    Answer        what the hardware makes of an address

A back-end is one domain with its table, the hardware that walks it, and an iommu core of its own, so that
`iommu_map`, `iommu_unmap`, VFIO and whoever else calls the core run on it unchanged. Everything is awaited.
Sizes and addresses are in bytes. Of the machine a table needs pages (`alloc_page`, `free_page`), and of the
hardware that it forgets (`TableWalker.invalidate`), before pages on its way are freed.

Rule for callers, as everywhere: no two of them at once on ranges that overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vtdkit.iommu.core import IommuCore, IommuDomain, IotlbGather
from vtdkit.kernel.machine.machine import Machine

if TYPE_CHECKING:
    from .driver import IoPgtable
    from .intel import VtdTable

Access = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Looked:
    """One entry on the hardware's way: the table's level (the leaf's level of small pages is 1), where the
    entry is, its raw value.
    """

    level: int
    address: int
    raw: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hardware answers: `address` is None for a fault, and `why` says which.

    `size` is that of the page or block as its entry tells it; `looked` the entries read from memory, none if
    the TLB knew.
    """

    address: int | None
    size: int = 0
    readable: bool = False
    writable: bool = False
    why: str = ""
    looked: tuple[Looked, ...] = ()

    def __repr__(self) -> str:
        if self.address is None:
            return f"<fault: {self.why}>"
        rights = ("r" if self.readable else "-") + ("w" if self.writable else "-")
        return f"<{self.address:#x} {rights}, page of {self.size:#x}>"


class Backend:
    """One domain on one kind of table. Made by the functions of `BACKENDS` (`vtdkit.iommu.backends.kinds`).

    `table` is an `IoPgtable`; for VT-d, whose driver has no such layer, an adapter. Guards: nothing here.
    """

    def __init__(self, table: IoPgtable | VtdTable, core: IommuCore, domain: IommuDomain) -> None:
        self.machine: Machine = core.machine
        self.table, self.core, self.domain = table, core, domain

    async def map(self, iova: int, paddr: int, size: int, prot: int = 3) -> int:
        """`iommu_map`: 0 or a negative error."""
        return await self.core.iommu_map(self.domain, iova, paddr, size, prot)

    async def unmap(self, iova: int, size: int) -> int:
        """`iommu_unmap`, flush included: the bytes unmapped."""
        return await self.core.iommu_unmap(self.domain, iova, size)

    async def iova_to_phys(self, iova: int) -> int:
        """What the software reads in the table; 0 for nothing."""
        return await self.core.iommu_iova_to_phys(self.domain, iova)

    async def read_and_clear_dirty(self, iova: int, size: int) -> list[int] | None:
        """The 4 KiB pages written to since the last look; None where the hardware cannot tell."""
        gather = IotlbGather()
        dirty = await self.table.read_and_clear_dirty(iova, size, gather)
        await self.core.iommu_iotlb_sync(self.domain, gather)
        return dirty

    async def walk(self, iova: int, kind: Access = "read") -> Answer:
        """What the hardware answers to one access of a device."""
        return await self.table.translate(iova, kind)

    def run(self, coro: Any) -> Any:
        """Run one of these alone, on CPU 0."""
        return self.machine.run(coro)

    def __repr__(self) -> str:
        return f"<back-end {self.table.title}>"
