"""Queued invalidation: drivers/iommu/intel/dmar.c, the part that hands descriptors to the hardware and waits.

`qi_submit_sync` is where a flush spends its time. It holds `q_lock` with interrupts off while it fills the
ring, then lets go of the lock, but not of the interrupts, while it spins for the hardware: an interrupt on
this CPU could queue more and starve it of slots. So every flush keeps its CPU's interrupts off for a round
trip to the hardware, whatever lock its caller holds.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EAGAIN, EINVAL, ENOENT, ENOMEM
from vtdkit.kernel.memory.gfp import GFP_ATOMIC

from . import defs
from .base import DriverBase
from .defs import QI_ABORT, QI_DONE, QI_FREE, QI_IN_USE
from .structs import intel_iommu, q_inval

HANGS = 10_000  # looks at a stopped queue before the watchdog speaks (own choice)
Desc = tuple[int, int, int, int]
#: `qi_type_string`: what the log calls a descriptor
TYPE_STRINGS = {
    defs.QI_CC_TYPE: "Context-cache Invalidation",
    defs.QI_IOTLB_TYPE: "IOTLB Invalidation",
    defs.QI_DIOTLB_TYPE: "Device-TLB Invalidation",
    0x4: "Interrupt Entry Cache Invalidation",
    defs.QI_IWD_TYPE: "Invalidation Wait",
    defs.QI_EIOTLB_TYPE: "PASID-based IOTLB Invalidation",
    defs.QI_PC_TYPE: "PASID-cache Invalidation",
    defs.QI_DEIOTLB_TYPE: "PASID-based Device-TLB Invalidation",
    0x9: "Page Group Response",
}


class Dmar(DriverBase):
    """The queue of each unit. Guards: `q_inval` by its `q_lock`."""

    def qi_shift(self, iommu: intel_iommu) -> int:
        """Bytes of a descriptor as a shift: 16, or 32 where the unit has scalable mode."""
        return 5 if self.ecap(iommu, defs.ECAP_SMTS) else 4

    # -- on and off ----------------------------------------------------------

    async def dmar_enable_qi(self, iommu: intel_iommu) -> int:
        """Allocate the ring and switch it on (`__dmar_enable_qi`, in line). -ENOENT where there is no queued
        invalidation, -ENOMEM without memory.
        """
        if not self.ecap(iommu, defs.ECAP_QIS):
            return -ENOENT
        if iommu.qi is not None:
            return 0
        if (qi := await self.machine.kmalloc(q_inval, iommu.name, defs.QI_LENGTH, gfp=GFP_ATOMIC)) is None:
            return -ENOMEM
        pages = 2 if self.qi_shift(iommu) == 5 else 1
        qi.desc = await self.machine.alloc_pages(
            pages, GFP_ATOMIC, node=iommu.node, name=f"{iommu.name} queue"
        )
        status = await self.alloc_pgtable_page(iommu.node, f"{iommu.name} queue status") if qi.desc else None
        if status is None:
            await self._free_queue(qi)
            return -ENOMEM
        qi.desc_status, qi.words = status, 2 * pages
        iommu.hardware.polled.append(qi.desc_status)
        # two submissions differ only in the slots they take
        self.machine.steps.swaps(qi.q_lock, qi, *qi.desc, qi.desc_status, iommu.hardware)
        iommu.qi = qi
        # where descriptors are of 32 bytes the register says so (DW), and that the ring has two pages (QS)
        wide = 1 << 11 | 1 if pages == 2 else 0
        async with iommu.register_lock.irqsave():
            await iommu.hardware.writel(defs.DMAR_IQT_REG, 0)
            await iommu.hardware.writeq(defs.DMAR_IQA_REG, qi.desc[0].address | wide)
            await self.switch(iommu, defs.DMA_GCMD_QIE, True)
        return 0

    async def _free_queue(self, qi: q_inval) -> None:
        for page in [*qi.desc, *([qi.desc_status] if qi.desc_status else [])]:
            await self.free_pgtable_page(page)
        await self.machine.kfree(qi)

    async def dmar_disable_qi(self, iommu: intel_iommu) -> None:
        """Let the ring run empty and switch it off."""
        async with iommu.register_lock.irqsave():
            if await iommu.hardware.readl(defs.DMAR_GSTS_REG) & defs.DMA_GSTS_QIES:
                while await iommu.hardware.readl(defs.DMAR_IQT_REG) != await iommu.hardware.readl(
                    defs.DMAR_IQH_REG
                ):
                    await self.machine.work(self.machine.costs.mmio)
                await self.switch(iommu, defs.DMA_GCMD_QIE, False)

    async def switch(self, iommu: intel_iommu, bit: int, on: bool) -> None:
        """A bit of the command register on or off, and wait for its answer. Caller holds `register_lock`."""
        iommu.gcmd = iommu.gcmd | bit if on else iommu.gcmd & ~bit
        await iommu.hardware.writel(defs.DMAR_GCMD_REG, iommu.gcmd)
        await self.iommu_wait_op(iommu, bit, on)

    async def iommu_wait_op(self, iommu: intel_iommu, bits: int, on: bool) -> None:
        """`IOMMU_WAIT_OP`: status bits have to become what is wanted. The model's units answer at once, or
        never; Linux looks again and again, and panics after ten seconds.
        """
        done = bool(await iommu.hardware.readl(defs.DMAR_GSTS_REG) & bits) is on
        self.machine.bug_on(not done, "DMAR hardware is malfunctioning")

    # -- the ring ------------------------------------------------------------

    async def reclaim_free_desc(self, qi: q_inval) -> None:
        """Slots at the tail whose submissions are over become free. Caller holds `q_lock`."""
        status, length, tail, freed = qi.desc_status, qi.length, qi.free_tail, 0
        while await status.load32(tail) in (QI_DONE, QI_ABORT):
            await status.store32(tail, QI_FREE)
            tail = (tail + 1) % length
            freed += 1
        qi.free_tail = tail
        qi.free_cnt = qi.free_cnt + freed

    async def qi_submit_sync(self, iommu: intel_iommu, descs: list[Desc]) -> int:
        """Put descriptors and a wait descriptor into the ring, tell the hardware, spin until
        the wait is done.

        0, -EINVAL when a descriptor was bad, -EAGAIN is retried inside. Interrupts are off from the first
        slot to the last.
        """
        if (qi := iommu.qi) is None:
            return 0
        count, result = len(descs), -EAGAIN
        while result == -EAGAIN:
            flags = self.machine.irq.local_irq_save()
            await qi.q_lock.acquire()
            while qi.free_cnt < count + 2:
                # wait for room with everything let go, so that others can finish and interrupts come in
                await qi.q_lock.release()
                await self.machine.irq.local_irq_restore(flags)
                await self.cpu_relax_for_status(iommu, qi, qi.peek("free_tail"))  # the oldest submission
                flags = self.machine.irq.local_irq_save()
                await qi.q_lock.acquire()
            index, wait_index = await self.qi_fill(qi, descs)
            await iommu.hardware.writel(
                defs.DMAR_IQT_REG, (wait_index + 1) % qi.length << self.qi_shift(iommu)
            )
            result = rounds = 0
            while not result and (status := await qi.desc_status.load32(wait_index)) != QI_DONE:
                result = (
                    await self.qi_check_fault(iommu, qi, index, wait_index) if status != QI_ABORT else -EAGAIN
                )
                if not result:
                    # Linux has no time-out here: a queue that stopped for somebody else's error would
                    # hang this CPU
                    rounds += iommu.hardware.queue_error()
                    self.machine.bug_on(
                        rounds > HANGS, "qi_submit_sync waits for a queue that has stopped (hard LOCKUP)"
                    )
                    # the lock is let go, the interrupts stay off
                    await qi.q_lock.release()
                    await self.cpu_relax_for_status(iommu, qi, wait_index)
                    await qi.q_lock.acquire()
            for i in range(count):
                await qi.desc_status.store32((index + i) % qi.length, QI_DONE)
            await self.reclaim_free_desc(qi)
            await qi.q_lock.release()
            await self.machine.irq.local_irq_restore(flags)
        return result

    async def qi_fill(self, qi: q_inval, descs: list[Desc]) -> tuple[int, int]:
        """Put descriptors and their wait descriptor into the ring: the first slot and the last.
        (In line in `qi_submit_sync`.)
        """
        first, status, words, length = qi.free_head, qi.desc_status, qi.words, qi.length
        last = (first + len(descs)) % length
        index = first
        for desc in (*descs, self.wait_desc(qi, last)):
            at = index * words
            await qi.desc[at // 512].copy_in(at % 512, desc[:words])
            await status.store32(index, QI_IN_USE)
            index = (index + 1) % length
        qi.free_head = index
        qi.free_cnt = qi.free_cnt - len(descs) - 1
        return first, last

    def wait_desc(self, qi: q_inval, index: int) -> Desc:
        """A wait descriptor that writes DONE into the status of its own slot."""
        return (
            QI_DONE << 32 | defs.QI_IWD_STATUS_WRITE | defs.QI_IWD_TYPE,
            qi.desc_status.address + 4 * index,
            0,
            0,
        )

    async def cpu_relax_for_status(self, iommu: intel_iommu, qi: q_inval, index: int) -> None:
        """Spin (`cpu_relax`) until the word with this slot's status is written, or the
        hardware reports an error.
        """
        seen = await qi.desc_status.load(index // 2)
        if seen >> 32 * (index % 2) & 0xFFFF_FFFF == QI_IN_USE:
            await qi.desc_status.relax_until_written(index // 2, seen, iommu.hardware.queue_error)

    async def qi_check_fault(self, iommu: intel_iommu, qi: q_inval, index: int, wait_index: int) -> int:
        """What the hardware says of the queue while a submission waits: 0, -EINVAL, -EAGAIN."""
        hardware, shift = iommu.hardware, self.qi_shift(iommu)
        fault = await hardware.readl(defs.DMAR_FSTS_REG)
        if fault & (defs.DMA_FSTS_IQE | defs.DMA_FSTS_ITE | defs.DMA_FSTS_ICE):
            await self.qi_dump_fault(iommu, qi, fault)
        if fault & defs.DMA_FSTS_IQE and await hardware.readl(defs.DMAR_IQH_REG) >> shift == index:
            # ours is the bad one: put the wait descriptor in its place, so that the queue can go on
            first = index * qi.words
            await qi.desc[first // 512].copy_in(first % 512, self.wait_desc(qi, wait_index)[: qi.words])
            await hardware.writel(defs.DMAR_FSTS_REG, defs.DMA_FSTS_IQE)
            self.pr("Invalidation Queue Error (IQE) cleared")
            return -EINVAL
        if fault & defs.DMA_FSTS_ITE and await self._abort_in_flight(iommu, qi, wait_index):
            return -EAGAIN
        if fault & defs.DMA_FSTS_ICE:
            await hardware.writel(defs.DMAR_FSTS_REG, defs.DMA_FSTS_ICE)
            self.pr("Invalidation Completion Error (ICE) cleared")
        return 0

    async def qi_dump_fault(self, iommu: intel_iommu, qi: q_inval, fault: int) -> None:
        """What is wrong with the queue, the descriptor at its head, and the one before."""
        details = await iommu.hardware.readq(defs.DMAR_IQER_REG)
        for bit, error, what, value in (
            (defs.DMA_FSTS_IQE, "Queue", "Reason", details & 0xF),
            (defs.DMA_FSTS_ITE, "Time-out", "SID", details >> 32 & 0xFFFF),
            (defs.DMA_FSTS_ICE, "Completion", "SID", details >> 48),
        ):
            if fault & bit:
                self.pr(f"VT-d detected Invalidation {error} Error: {what} {value:x}")
        head = await iommu.hardware.readl(defs.DMAR_IQH_REG) >> self.qi_shift(iommu)
        for name, slot in (("HEAD", head), ("PRIOR", (head - 1) % qi.length)):
            page, word = divmod(slot * qi.words, 512)
            low, high = qi.desc[page].words[word : word + 2]
            self.pr(f"QI {name}: {TYPE_STRINGS.get(low & 0xF, 'UNKNOWN')} qw0 = {low:#x}, qw1 = {high:#x}")

    async def _abort_in_flight(self, iommu: intel_iommu, qi: q_inval, wait_index: int) -> bool:
        """A device did not answer in time: every wait descriptor in flight is marked aborted.
        True if ours was.

        The arithmetic goes back from the head in steps of two and takes odd slots for wait descriptors, which
        holds for submissions of one descriptor and its wait.
        """
        hardware, shift = iommu.hardware, self.qi_shift(iommu)
        head = (((await hardware.readl(defs.DMAR_IQH_REG)) >> shift) - 1) % qi.length | 1
        tail = (((await hardware.readl(defs.DMAR_IQT_REG)) >> shift) - 1) % qi.length | 1
        await hardware.writel(defs.DMAR_FSTS_REG, defs.DMA_FSTS_ITE)
        self.pr("Invalidation Time-out Error (ITE) cleared")
        while True:
            if await qi.desc_status.load32(head) == QI_IN_USE:
                await qi.desc_status.store32(head, QI_ABORT)
            head = (head - 2) % qi.length
            if head == tail:
                break
        return await qi.desc_status.load32(wait_index) == QI_ABORT

    # -- the kinds of flush --------------------------------------------------

    async def qi_flush_context(self, iommu: intel_iommu, did: int, sid: int, fm: int, type: int) -> None:
        """Context-cache invalidation; `type` is a DMA_CCMD_*_INVL value."""
        await self.qi_submit_sync(
            iommu, [(fm << 48 | sid << 32 | did << 16 | (type >> 61 & 3) << 4 | defs.QI_CC_TYPE, 0, 0, 0)]
        )

    async def qi_flush_iotlb(
        self, iommu: intel_iommu, did: int, addr: int, size_order: int, type: int
    ) -> None:
        """IOTLB invalidation of a domain id, all of it or 2^size_order pages at `addr` (bit 6 of which
        is the hint IH).
        """
        drain = iommu.cap >> defs.CAP_WRITE_DRAIN & 3  # writes, reads: two bits side by side, there as here
        low = did << 16 | drain << 6 | (type >> 60 & 3) << 4 | defs.QI_IOTLB_TYPE
        high = addr & defs.VTD_PAGE_MASK | addr & 1 << 6 | size_order
        await self.qi_submit_sync(iommu, [(low, high, 0, 0)])

    # `iommu->flush` has function pointers of these names: here they lead to the queue's functions
    flush_context = qi_flush_context
    flush_iotlb = qi_flush_iotlb

    async def qi_flush_dev_iotlb(
        self, iommu: intel_iommu, sid: int, pfsid: int, qdep: int, addr: int, mask: int
    ) -> None:
        """Invalidate 2^mask pages at `addr` in a device's own TLB."""
        if mask:
            addr |= (1 << defs.VTD_PAGE_SHIFT + mask - 1) - 1
        high = addr & defs.VTD_PAGE_MASK | bool(mask)
        low = (
            sid << 32
            | (qdep & 0x1F) << 16  # 32 is written as 0
            | (pfsid & 0xF) << 12
            | (pfsid >> 4 & 0xFFF) << 52
            | defs.QI_DIOTLB_TYPE
        )
        await self.qi_submit_sync(iommu, [(low, high & (1 << 64) - 1, 0, 0)])

    async def qi_flush_piotlb(
        self, iommu: intel_iommu, did: int, pasid: int, addr: int, npages: int, ih: bool
    ) -> None:
        """PASID-tagged IOTLB invalidation; `npages` -1: everything of the PASID."""
        low = did << 16 | pasid << 32 | defs.QI_EIOTLB_TYPE
        if npages == -1:
            await self.qi_submit_sync(iommu, [(low | defs.QI_GRAN_NONG_PASID << 4, 0, 0, 0)])
            return
        mask = max(npages - 1, 0).bit_length()
        # an address that is not aligned to the mask is rounded down, with a warning: the end of the range is
        # then not flushed
        align = 1 << defs.VTD_PAGE_SHIFT + mask
        self.machine.warn_on(addr & align - 1, "qi_flush_piotlb: address not aligned")
        high = addr & -align | ih << 6 | mask
        await self.qi_submit_sync(iommu, [(low | defs.QI_GRAN_PSI_PASID << 4, high, 0, 0)])

    async def qi_flush_dev_iotlb_pasid(
        self,
        iommu: intel_iommu,
        sid: int,
        pfsid: int,
        pasid: int,
        qdep: int,
        addr: int,
        order: int,
    ) -> None:
        """Invalidate 2^order pages of one PASID in a device's own TLB; `order` is 1 at least."""
        low = (
            pasid << 32
            | sid << 16
            | (qdep & 0x1F) << 4
            | (pfsid & 0xF) << 12
            | (pfsid >> 4 & 0xFFF) << 52
            | defs.QI_DEIOTLB_TYPE
        )
        # the size bit, and the lowest 0 from bit 12 on, say how many pages: all bits below that one are 1
        top = 1 << defs.VTD_PAGE_SHIFT + order - 1
        high = (addr | top - 1) & defs.VTD_PAGE_MASK & ~top | 1 << 11
        await self.qi_submit_sync(iommu, [(low, high & (1 << 64) - 1, 0, 0)])

    async def qi_flush_pasid_cache(self, iommu: intel_iommu, did: int, granularity: int, pasid: int) -> None:
        """PASID-cache invalidation."""
        await self.qi_submit_sync(
            iommu, [(pasid << 32 | did << 16 | granularity << 4 | defs.QI_PC_TYPE, 0, 0, 0)]
        )
