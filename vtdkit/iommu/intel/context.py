"""Root and context tables: drivers/iommu/intel/iommu.c, the functions that say which table a
device's requests go through.

A context entry is 16 bytes (32 in scalable mode, of which this driver writes the lower 16). It is filled
under `intel_iommu::lock`, present bit last. Clearing one drops the lock before the flushes.
"""

from __future__ import annotations

from collections.abc import Awaitable

from vtdkit.iommu.errno import ENODEV, ENOMEM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.memory.pages import Page

from . import defs
from .pasid import Pasid
from .structs import (
    device_domain_info,
    dma_pte_addr,
    dmar_domain,
    entry_pointer,
    intel_iommu,
    pasid_table,
)


class context_entry(entry_pointer):
    """`struct context_entry *`: the lower two words of an entry."""

    __slots__ = ()

    def lo(self) -> Awaitable[int]:
        """Read the low word: present bit, type, root."""
        return self.page.load(self.index)

    def hi(self) -> Awaitable[int]:
        """Read the high word: width, domain id."""
        return self.page.load(self.index + 1)

    def store(self, word: int, value: int) -> Awaitable[None]:
        """Write the low word (0) or the high one (1)."""
        return self.page.store(self.index + word, value)

    async def clear(self) -> None:
        """`context_clear_entry`."""
        await self.store(0, 0)
        await self.store(1, 0)


class ContextTables(Pasid):
    """Guards.

    entries by `intel_iommu::lock`; who fills them in also holds `device_domain_lock`, which only
    the device lookup needs.
    """

    async def iommu_context_addr(
        self, iommu: intel_iommu, bus: int, devfn: int, alloc: bool
    ) -> context_entry | None:
        """The context entry of a source id; its table is made if `alloc`. Caller holds `iommu->lock` (the
        fault dump does not).
        """
        root: Page = iommu.root_entry
        word, index = 2 * bus, 2 * devfn
        if self.sm_supported(iommu):
            word, index = word + devfn // 0x80, 4 * (devfn % 0x80)
        entry = await root.load(word)
        if entry & 1:
            return context_entry(self.phys_to_virt(dma_pte_addr(entry)), index)
        if not alloc:
            return None
        page = await self.alloc_pgtable_page(iommu.node, f"{iommu.name} context table {bus:#x}")
        if page is None:
            return None
        await root.store(word, page.address | 1)
        return context_entry(page, index)

    async def device_context_mapped(self, iommu: intel_iommu, bus: int, devfn: int) -> bool:
        """Is the context entry of this source id present?"""
        async with iommu.lock.irqsave():
            context = await self.iommu_context_addr(iommu, bus, devfn, False)
            return context is not None and bool(await context.lo() & defs.CONTEXT_PRESENT)

    async def domain_context_mapped(self, dev: PciDevice) -> bool | int:
        """Are the entries of all the device's aliases present? -ENODEV for a device without a unit."""
        if (iommu := self.device_to_iommu(dev)) is None:
            return -ENODEV

        async def visit(_: PciDevice, bus: int, devfn: int) -> int:
            return int(not await self.device_context_mapped(iommu, bus, devfn))

        return not await self.bus.for_each_dma_alias(dev, visit)

    # -- filling in ----------------------------------------------------------

    async def domain_context_mapping_one(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        table: pasid_table | None,
        bus: int,
        devfn: int,
    ) -> int:
        """Fill in one context entry, tell the hardware, switch the device's capabilities on.
        Both locks held throughout.
        """
        self.check_mapping(domain, iommu)
        async with self.device_domain_lock.irqsave(), iommu.lock:
            context = await self.iommu_context_addr(iommu, bus, devfn, True)
            if context is None:
                return -ENOMEM
            if await context.lo() & defs.CONTEXT_PRESENT:
                return 0
            await self.forget_copied_entry(iommu, context, bus, devfn)
            await context.clear()
            info = await self.lookup_for_context(domain, iommu, bus, devfn)
            if not await self.fill_context(domain, iommu, context, table, info):
                return -ENOMEM
            await self.announce_context(domain, iommu, bus, devfn)
            await self.iommu_enable_dev_iotlb(info)
            return 0

    def check_mapping(self, domain: dmar_domain, iommu: intel_iommu) -> None:
        """What must hold before: the domain has an id here and a table."""
        self.machine.warn_on(not domain.iommu_did.get(iommu.seq_id), "context mapping without a domain id")
        self.machine.bug_on(domain.pgd is None, "context mapping without a page directory")

    async def lookup_for_context(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        bus: int,
        devfn: int,
    ) -> device_domain_info | None:
        """The device record that decides about ATS: not looked up for legacy pass-through, so
        ATS stays off there.
        """
        if not self.sm_supported(iommu) and self.domain_type_is_si(domain):
            return None
        return await self.iommu_support_dev_iotlb(domain, iommu, bus, devfn)

    async def forget_copied_entry(
        self, iommu: intel_iommu, context: context_entry, bus: int, devfn: int
    ) -> None:
        """An entry taken over from a crashed kernel may be cached: flush what it stood for."""
        hi = await context.hi()
        did = hi >> 8 & 0xFFFF
        if hi & defs.CONTEXT_COPIED and did < defs.cap_ndoms(iommu.cap):
            await self.flush_context(
                iommu, did, bus << 8 | devfn, defs.DMA_CCMD_MASK_NOBIT, defs.DMA_CCMD_DEVICE_INVL
            )
            await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)

    async def fill_context(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        context: context_entry,
        table: pasid_table | None,
        info: device_domain_info | None,
    ) -> bool:
        """Write the entry, present bit last. False if the domain's table is too deep for the unit and
        empty at the top.
        """
        scalable = self.sm_supported(iommu)
        words = self.scalable_words(table, info) if scalable else await self.legacy_words(domain, iommu, info)
        if words is None:
            return False
        lo, hi = words
        # the unit may look at any time: the word with the present bit comes last
        await context.store(1, hi)
        await context.store(0, lo | defs.CONTEXT_PRESENT)
        if not self.ecap(iommu, defs.ECAP_COHERENT):
            await self.clflush(2)
        return True

    def scalable_words(self, table: pasid_table | None, info: device_domain_info | None) -> tuple[int, int]:
        """Low and high word in scalable mode: the PASID directory, its size, what the device may do."""
        self.machine.warn_on(table is None, "scalable mode without a PASID table")
        assert table is not None
        entries = table.max_pasid >> defs.PASID_PDE_SHIFT
        size = max((entries & -entries).bit_length() - 1 - 7, 0) & 7
        lo = table.table[0].address | size << 9
        if info is not None and info.ats_supported:
            lo |= defs.CONTEXT_DTE
        if info is not None and info.pri_supported:
            lo |= defs.CONTEXT_PRE
        return lo, defs.PASID_RID2PASID

    async def legacy_words(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        info: device_domain_info | None,
    ) -> tuple[int, int] | None:
        """Low and high word in legacy mode: root, width, domain id, translation type."""
        did = domain.iommu_did[iommu.seq_id]
        if self.domain_type_is_si(domain):
            # pass-through: the width must be the largest there is, the root is ignored
            return defs.CONTEXT_TT_PASS_THROUGH << 2, did << 8 | iommu.msagaw
        # a unit with fewer levels than the table starts further down
        pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
        if pgd is None:
            return None
        ats = info is not None and info.ats_supported
        kind = defs.CONTEXT_TT_DEV_IOTLB if ats else defs.CONTEXT_TT_MULTI_LEVEL
        return pgd.address | kind << 2, did << 8 | agaw

    async def announce_context(self, domain: dmar_domain, iommu: intel_iommu, bus: int, devfn: int) -> None:
        """A new entry is present. Units that cache absent entries (tag: domain 0) are told; others
        have their buffer flushed.
        """
        if self.cap(iommu, defs.CAP_CACHING_MODE):
            did = domain.iommu_did[iommu.seq_id]
            await self.flush_context(
                iommu, 0, bus << 8 | devfn, defs.DMA_CCMD_MASK_NOBIT, defs.DMA_CCMD_DEVICE_INVL
            )
            await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
        else:
            await self.iommu_flush_write_buffer(iommu)

    async def domain_context_mapping(self, domain: dmar_domain, dev: PciDevice) -> int:
        """The entries of all the device's aliases."""
        if (iommu := self.device_to_iommu(dev)) is None:
            return -ENODEV
        table = self.intel_pasid_get_table(dev)
        return await self.bus.for_each_dma_alias(
            dev, lambda _, bus, devfn: self.domain_context_mapping_one(domain, iommu, table, bus, devfn)
        )

    # -- clearing ------------------------------------------------------------

    async def domain_context_clear_one(self, info: device_domain_info, bus: int, devfn: int) -> None:
        """Clear one entry under `iommu->lock`; then, the lock let go, flush everything that came from it."""
        iommu = info.iommu
        async with iommu.lock.irqsave():
            did = await self.clear_context_entry(info, bus, devfn)
        if did is not None:
            await self.flush_cleared_context(info, bus, devfn, did)

    async def clear_context_entry(self, info: device_domain_info, bus: int, devfn: int) -> int | None:
        """Under `iommu->lock`: clear the entry; the domain id it had, None if there is no table for it."""
        iommu = info.iommu
        if (context := await self.iommu_context_addr(iommu, bus, devfn, False)) is None:
            return None
        if not self.sm_supported(iommu):
            did = (await context.hi()) >> 8 & 0xFFFF
        elif self.domain_type_is_si(info.domain):
            did = defs.FLPT_DEFAULT_DID
        else:
            did = info.domain.iommu_did.get(iommu.seq_id, 0)
        # from here on new requests are refused; those under way may still end with what the caches know
        await context.clear()
        if not self.ecap(iommu, defs.ECAP_COHERENT):
            await self.clflush(2)
        return did

    async def flush_cleared_context(self, info: device_domain_info, bus: int, devfn: int, did: int) -> None:
        """Context cache, PASID cache, IOTLB, device TLB: in this order."""
        iommu = info.iommu
        await self.flush_context(
            iommu, did, bus << 8 | devfn, defs.DMA_CCMD_MASK_NOBIT, defs.DMA_CCMD_DEVICE_INVL
        )
        if self.sm_supported(iommu):
            await self.qi_flush_pasid_cache(iommu, did, defs.QI_PC_ALL_PASIDS, 0)
        await self.flush_iotlb(iommu, did, 0, 0, defs.DMA_TLB_DSI_FLUSH)
        await self._iommu_flush_dev_iotlb(info, 0, defs.MAX_AGAW_PFN_WIDTH)

    async def domain_context_clear(self, info: device_domain_info) -> None:
        """The entries of all the device's aliases."""
        await self.bus.for_each_dma_alias(
            info.dev, lambda _, bus, devfn: self.domain_context_clear_one(info, bus, devfn)
        )

    # -- whole tables --------------------------------------------------------

    async def iommu_alloc_root_entry(self, iommu: intel_iommu) -> int:
        """Give a unit its root table."""
        root = await self.alloc_pgtable_page(iommu.node, f"{iommu.name} root table")
        if root is None:
            return -ENOMEM
        async with iommu.lock.irqsave():
            iommu.root_entry = root
        return 0

    async def free_context_table(self, iommu: intel_iommu) -> None:
        """Free a unit's context tables and root table."""
        async with iommu.lock.irqsave():
            await self.free_tables_of(iommu)

    async def free_tables_of(self, iommu: intel_iommu) -> None:
        """The body of `free_context_table`."""
        root: Page | None = iommu.root_entry
        if root is None:
            return
        for word in range(2 * defs.ROOT_ENTRY_NR):
            entry = await root.load(word)
            if entry & 1:
                await self.free_pgtable_page(self.phys_to_virt(dma_pte_addr(entry)))
        await self.free_pgtable_page(root)
        iommu.root_entry = None
