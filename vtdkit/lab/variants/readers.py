"""Drivers that never were: those who read tables, and when tables are freed under them."""

from __future__ import annotations

from functools import cache

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.iommu.seq_file import SeqFile
from vtdkit.kernel.memory.pages import Page


@cache
def free_after_grace_period(driver: type[IntelIommu]) -> type[IntelIommu]:
    """Tables taken out of a domain are freed after an RCU grace period; the dump reads
    inside a read-side section.

    Jason Gunthorpe's proposal of May 2022 for the dump; mainline never did it.
    """

    class FreeAfterGracePeriod(driver):  # type: ignore[misc, valid-type]
        async def put_pages_list(self, freelist: list[Page]) -> None:
            pages = list(freelist)

            async def free() -> None:
                for page in pages:
                    await self.free_pgtable_page(page)

            freelist.clear()
            if pages:
                self.machine.rcu.call(free, "free_pages_rcu")

        async def dump_domain(self, m: SeqFile, dev: PciDevice, domain: dmar_domain) -> None:
            async with self.machine.rcu.read():
                await super().dump_domain(m, dev, domain)

    return FreeAfterGracePeriod


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
