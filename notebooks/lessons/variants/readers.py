"""Drivers that never were: those who read tables, and when tables are freed under them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from vtdkit.iommu.errno import EPERM
from vtdkit.iommu.intel.defs import level_size
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte, dma_pte_addr, dma_pte_present, dma_pte_superpage, dmar_domain
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.iommu.seq_file import SeqFile
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.memory.sections import MemoryMap
from vtdkit.vtd.walk.rules import Rules

ONES = (1 << 64) - 1  #: what is printed for an entry that cannot be right


# -- when tables are freed ----------------------------------------------------


@cache
def read_under_rcu(driver: type[IntelIommu]) -> type[IntelIommu]:
    """The dump reads each domain's tables inside a read-side section."""

    class ReadUnderRcu(driver):  # type: ignore[misc, valid-type]
        async def dump_domain(self, m: SeqFile, dev: PciDevice, domain: dmar_domain) -> None:
            async with self.machine.rcu.read():
                await super().dump_domain(m, dev, domain)

    return ReadUnderRcu


@cache
def free_after_grace_period(driver: type[IntelIommu]) -> type[IntelIommu]:
    """Tables that an unmap took out are freed after an RCU grace period, all by one callback; the dump reads
    inside a read-side section.

    Jason Gunthorpe's proposal of May 2022 for the dump; mainline never did it.
    """

    class FreeAfterGracePeriod(read_under_rcu(driver)):  # type: ignore[misc]
        async def put_pages_list(self, freelist: list[Page]) -> None:
            pages = list(freelist)

            async def free() -> None:
                for page in pages:
                    await self.free_pgtable_page(page)

            freelist.clear()
            if pages:
                self.machine.rcu.call(free, "free_pages_rcu")

    return FreeAfterGracePeriod


@cache
def concurrent_traversal(driver: type[IntelIommu], flag: bool = True) -> type[IntelIommu]:
    """`iommu_free_pgtbl_pages`: where a domain's flag is set, one callback for each table that an unmap took
    out.

    Lu Baolu's RFC of 9 June 2022 (20220609070811.902868); all domains have the same flag here. As posted,
    nobody sets it, and the dump is left as it was.
    """

    class ConcurrentTraversal(driver):  # type: ignore[misc, valid-type]
        async def put_pages_list(self, freelist: list[Page]) -> None:
            if not flag:
                await super().put_pages_list(freelist)
                return
            for page in freelist:
                self.machine.rcu.call(lambda page=page: self.free_pgtable_page(page), "pgtble_page_free_rcu")
            freelist.clear()

    return ConcurrentTraversal


# -- what the reader does -----------------------------------------------------


@cache
def test_addresses(driver: type[IntelIommu]) -> type[IntelIommu]:
    """An address is followed only if there is memory: where there is none, an empty table is taken for it.

    Lu Baolu's proposal of 31 May 2022 for the dump (`pfn_valid`). A page that was freed is memory still.
    """

    class TestAddresses(driver):  # type: ignore[misc, valid-type]
        def phys_to_virt(self, address: int) -> Page:
            if address >> PAGE_SHIFT in self.frames:
                return super().phys_to_virt(address)  # type: ignore[no-any-return]
            return Page(self.machine, 0, -1, "no memory here", None)

    return TestAddresses


@cache
def ask_memory_map(driver: type[IntelIommu], memory: MemoryMap, mapped: bool = False) -> type[IntelIommu]:
    """The same on a machine with this memory. The test is `pfn_valid`, or with `mapped` whether the kernel
    can read there. RAM that the driver never had is empty; what passes and cannot be read is an oops.
    """

    class AskMemoryMap(test_addresses(driver)):  # type: ignore[misc]
        def phys_to_virt(self, address: int) -> Page:
            pfn = address >> PAGE_SHIFT
            if not mapped and memory.pfn_valid(pfn) and not memory.mapped(pfn) and pfn not in self.frames:
                raise Oops(f"unable to handle page fault: {address:#x} has a struct page and no mapping")
            return super().phys_to_virt(address)  # type: ignore[no-any-return]

    return AskMemoryMap


def looks_bad(rules: Rules, entry: int, level: int) -> bool:
    """Would the hardware refuse this second-level entry? Present, with a bit set that is reserved there."""
    leaf = level == 1 or bool(level <= 3 and dma_pte_superpage(entry))
    masks = rules.second_leaf if leaf else rules.second_table
    return dma_pte_present(entry) and bool(entry & masks[level])


@cache
def all_ones(driver: type[IntelIommu]) -> type[IntelIommu]:
    """An entry that the hardware would refuse is printed as all ones and not followed.

    A question of Lu Baolu's, 1 June 2022.
    """

    class AllOnes(test_addresses(driver)):  # type: ignore[misc]
        async def pgtable_walk_level(
            self, m: SeqFile, table: Page, level: int, start: int, path: list[int]
        ) -> None:
            rules = self.units[0].unit.rules
            for index in range(512):
                entry = await dma_pte(table, index).load()
                if not dma_pte_present(entry):
                    continue
                pfn = start + index * level_size(level)
                path[level] = entry
                if looks_bad(rules, entry, level):
                    await m.printf(f"{pfn:#015x} |\t{ONES:#018x}")
                elif level == 1 or dma_pte_superpage(entry):
                    await m.printf(
                        f"{pfn:#015x} |" + "".join(f"\t{path[at]:#018x}" for at in (5, 4, 3, 2, 1))
                    )
                else:
                    await self.pgtable_walk_level(
                        m, self.phys_to_virt(dma_pte_addr(entry)), level - 1, pfn, path
                    )
                path[level] = 0

    return AllOnes


@cache
def require_capability(driver: type[IntelIommu], capable: bool) -> type[IntelIommu]:
    """The file can be read with CAP_SYS_RAWIO only; its reader has it or not. Jason Gunthorpe, 31 May."""

    class RequireCapability(driver):  # type: ignore[misc, valid-type]
        async def domain_translation_struct_show(self) -> SeqFile | int:
            return await super().domain_translation_struct_show() if capable else -EPERM

    return RequireCapability


@cache
def rwsem(driver: type[IntelIommu], until_written: bool = False) -> type[IntelIommu]:
    """Map and unmap take a semaphore as readers, the dump as a writer: while it makes its text, or until that
    is written. Lu Baolu's trial of May 2022.
    """

    class Exclusive(driver):  # type: ignore[misc, valid-type]
        def init_locks(self) -> None:
            super().init_locks()
            self.table_rwsem = self.machine.rwsem("table_rwsem")

        async def intel_iommu_map_pages(self, *args: Any) -> tuple[int, int]:
            async with self.table_rwsem.read():
                return await super().intel_iommu_map_pages(*args)  # type: ignore[no-any-return]

        async def intel_iommu_unmap_pages(self, *args: Any) -> int:
            async with self.table_rwsem.read():
                return await super().intel_iommu_unmap_pages(*args)  # type: ignore[no-any-return]

        async def domain_translation_struct_show(self) -> SeqFile:
            async with self.table_rwsem.write():
                return await super().domain_translation_struct_show()  # type: ignore[no-any-return]

        async def cat(self, write: Callable[[], Awaitable[None]]) -> None:
            """Read the file and write what it says to another one."""
            if not until_written:
                await self.domain_translation_struct_show()
                await write()
                return
            async with self.table_rwsem.write():
                await super().domain_translation_struct_show()
                await write()

    return Exclusive
