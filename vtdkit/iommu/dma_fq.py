"""Flush queues: how the DMA API puts off IOTLB flushes (drivers/iommu/dma-iommu.c around v5.19, "lazy" mode).

Unmapping takes the entries out of the tables at once, but the flush and the re-use of the address wait: they
stand in a ring of 256, one ring for each CPU, until one flush of the whole domain serves them all. That flush
comes when a ring is full, or from a timer 10 ms after the first entry. Until then a device can still reach
the page through the IOTLB: that is the price.

Each entry carries the number of flushes that had been started when it was put in; it may go once a later one
has finished. Under `fq->lock`, with interrupts off, a full ring waits for the hardware; so does the timer, in
softirq context, for every CPU. Whatever `flush_iotlb_all` does must therefore be fit for an interrupt.

Rules: any context may call `queue_iova`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.kernel.memory.pages import Page

if TYPE_CHECKING:
    from .core import IommuCore, IommuDomain
    from .iova import iova_domain

IOVA_FQ_SIZE = 256
IOVA_FQ_TIMEOUT = 10_000_000  # ns

#: first page frame, pages, tables to free, flushes started when it was put in
Entry = tuple[int, int, list[Page], int]
NO_ENTRY: Entry = (0, 0, [], 0)


class iova_fq(KObject):
    """`struct iova_fq`: one CPU's ring; entries from `head` up to, not including,
    `tail`. Guards: `lock`: everything.
    """

    head = shared(0)
    tail = shared(0)

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iova_fq")
        self.lock = machine.spinlock("&fq->lock")
        self.entries: list[Entry] = [NO_ENTRY] * IOVA_FQ_SIZE

    def fq_full(self) -> bool:
        """One slot always stays empty, so that a full ring can be told from an empty one."""
        self.lock.assert_spin_locked()
        return bool((self.tail + 1) % IOVA_FQ_SIZE == self.head)

    def fq_ring_add(self, entry: Entry) -> None:
        """Put an entry at the tail."""
        self.lock.assert_spin_locked()
        tail: int = self.tail
        self.entries[tail] = entry
        self.tail = (tail + 1) % IOVA_FQ_SIZE

    def queued(self) -> list[Entry]:
        """The entries, oldest first: for observers."""
        head, tail = self.peek("head"), self.peek("tail")
        slots = range(head, tail if tail >= head else tail + IOVA_FQ_SIZE)
        return [self.entries[slot % IOVA_FQ_SIZE] for slot in slots]


class percpu_fq(KObject):
    """What `alloc_percpu` gives: a ring for each CPU. Written once."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iova_fq (per CPU)")
        self.of_cpu = [iova_fq(machine) for _ in machine.cpus]


class FlushQueue:
    """The lazy half of `struct iommu_dma_cookie`: the rings, the flush counters, the timer.

    Guards: each ring by its `fq->lock`. Atomics: `fq_flush_start_cnt`, `fq_flush_finish_cnt`, `fq_timer_on`.
    Written once: the rest.
    """

    def __init__(self, core: IommuCore, domain: IommuDomain, iovad: iova_domain, rings: percpu_fq) -> None:
        self.machine = machine = core.machine
        self.core = core
        self.domain = domain
        self.iovad = iovad
        self.rings = rings
        self.fq_flush_start_cnt = machine.atomic("fq_flush_start_cnt")
        self.fq_flush_finish_cnt = machine.atomic("fq_flush_finish_cnt")
        self.fq_timer_on = machine.atomic("fq_timer_on")
        self.fq_timer = machine.irq.timer("fq_timer", self.fq_flush_timeout)
        self._stopped = False
        self._running = machine.atomic("fq_timer running")

    async def fq_ring_free(self, fq: iova_fq) -> None:
        """Free what a finished flush covers, oldest first: tables, then the address."""
        fq.lock.assert_spin_locked()
        counter = await self.fq_flush_finish_cnt.load()
        head: int = fq.head
        tail: int = fq.tail
        while head != tail:
            pfn, pages, freelist, started = fq.entries[head]
            if started >= counter:
                break
            await self.core.driver.put_pages_list(freelist)
            await self.iovad.free_iova_fast(pfn, pages)
            fq.entries[head] = NO_ENTRY
            head = (head + 1) % IOVA_FQ_SIZE
            fq.head = head

    async def fq_flush_iotlb(self) -> None:
        """Flush the whole domain; what was queued before it began is covered by it."""
        await self.fq_flush_start_cnt.add_return(1)
        await self.core.iommu_flush_iotlb_all(self.domain)
        await self.fq_flush_finish_cnt.add_return(1)

    async def fq_flush_timeout(self) -> None:
        """The timer, in softirq context: one flush, then every CPU's ring."""
        if self._stopped:
            return
        await self._running.store(1)
        await self.fq_timer_on.store(0)
        await self.fq_flush_iotlb()
        for fq in self.rings.of_cpu:
            async with fq.lock.irqsave():
                await self.fq_ring_free(fq)
        await self._running.store(0)

    async def queue_iova(self, pfn: int, pages: int, freelist: list[Page]) -> None:
        """Put off the flush of a range just unmapped, and what waits for it."""
        fq = self.rings.of_cpu[self.machine.cpu()]
        async with fq.lock.irqsave():
            # first what another CPU's flush has covered meanwhile: then the ring is less likely to be full
            await self.fq_ring_free(fq)
            if fq.fq_full():
                await self.fq_flush_iotlb()
                await self.fq_ring_free(fq)
            fq.fq_ring_add((pfn, pages, freelist, await self.fq_flush_start_cnt.load()))
        # looked at before it is written: the line stays shared while the timer is on
        if not await self.fq_timer_on.load() and not await self.fq_timer_on.xchg(1):
            self.fq_timer.mod(IOVA_FQ_TIMEOUT)

    async def iommu_dma_free_fq(self) -> None:
        """The end: the timer stops for good, queued tables are freed. The addresses go with their domain."""
        self._stopped = True
        self.fq_timer.delete()
        await self._running.relax_while(1)  # `del_timer_sync`: it may run on another CPU just now
        for fq in self.rings.of_cpu:
            for _, _, freelist, _ in fq.queued():
                await self.core.driver.put_pages_list(freelist)
        await self.machine.kfree(self.rings)

    def __repr__(self) -> str:
        waiting = sum(len(fq.queued()) for fq in self.rings.of_cpu)
        return f"<flush queue: {waiting} entries on {len(self.rings.of_cpu)} CPUs>"
