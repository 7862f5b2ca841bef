"""How the memory manager does it: a process's page tables, with a lock for each level, on x86-64.

    fault   `handle_mm_fault`: `mmap_lock` as a reader, the area looked up; a missing table is put in under
            the lock of its level, the leaf under the lock of its own table
    unmap   `munmap`: `mmap_lock` as a writer, the area taken out; leaves are zapped under the lock of their
            table; tables are unhooked, gathered (`struct mmu_gather`), and freed after the TLBs were flushed
    look    `get_user_pages_fast`: no lock, interrupts off

So who faults in an area and who frees its tables keep each other out by `mmap_lock`; a walk without a lock is
kept safe by how tables are freed. Where a flush is an interrupt to every CPU (x86 without PARAVIRT), nobody
who has them off lets it finish. Where it is an instruction that hardware sees to (arm64, powerpc), the tables
of an unmap wait for an RCU grace period (`MMU_GATHER_RCU_TABLE_FREE`; in Linux in batches of 509).

Mirrors mm/memory.c, mm/mmap.c, mm/gup.c, mm/mmu_gather.c of v5.18. Not modelled: large pages, swap, reverse
mappings, `mmap_lock` made a read lock on the way, what is in the TLBs.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Literal

from vtdkit.iommu.errno import EFAULT, ENOMEM
from vtdkit.kernel.locks.spinlock import SpinLock
from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_KERNEL
from vtdkit.kernel.memory.objects import shared
from vtdkit.kernel.memory.pages import Page

from .driver import PgtableBase

PGD, PUD, PMD, PTE = 4, 3, 2, 1
PRESENT, RW, USER, ACCESSED, DIRTY = 1, 1 << 1, 1 << 2, 1 << 5, 1 << 6
TABLE = PRESENT | RW | USER | ACCESSED | DIRTY
ADDRESS = 0x000F_FFFF_FFFF_F000
NAMES = {PGD: "pgd", PUD: "pud", PMD: "pmd", PTE: "pte"}


def span(level: int) -> int:
    """How many bytes one entry of a table of this level covers."""
    return 1 << 3 + 9 * level


class Mm(PgtableBase):
    """`struct mm_struct` with its tables.

    `flush`: what a TLB flush is, an interrupt to each CPU or an instruction. `rcu`: are tables freed after a
    grace period? `area_lock`: False leaves `mmap_lock` out of the fault.

    Guards: `mmap_lock`: `areas`, and that the tables of an area stay. `page_table_lock`: entries of the two
    upper levels that become present. The lock of a lower table (`ptl`): its entries. Reading needs none.
    """

    title = "the mm's way"
    areas = shared(())

    def __init__(
        self,
        machine: Machine,
        label: str = "mm",
        *,
        flush: Literal["interrupt", "instruction"] = "interrupt",
        rcu: bool = False,
        area_lock: bool = True,
    ) -> None:
        super().__init__(machine, label)
        self.flush, self.rcu, self.area_lock = flush, rcu, area_lock
        self.mmap_lock = machine.rwsem("mm->mmap_lock")
        self.page_table_lock = machine.spinlock("mm->page_table_lock")
        self.locks: dict[int, SpinLock] = {}
        self.pgd: Page = machine.pages.take_run(1, -1, f"{label} pgd", None)[0]

    def ptl(self, table: Page, level: int) -> SpinLock:
        """The lock under which entries of a table become present."""
        if level > PMD:
            return self.page_table_lock
        if table.pfn not in self.locks:
            self.locks[table.pfn] = self.machine.spinlock(f"ptlock of a {NAMES[level]} table")
        return self.locks[table.pfn]

    # -- a process uses its memory -------------------------------------------

    def mmap(self, start: int, size: int) -> None:
        """An area, before anything runs; its tables come with the faults."""
        self.preset(areas=(*self.peek("areas"), (start, start + size)))

    async def handle_mm_fault(self, address: int, page: int) -> int:
        """Map one page there. 0, -EFAULT outside of all areas, -ENOMEM."""
        async with self.mmap_lock.read() if self.area_lock else nullcontext():
            if not any(start <= address < end for start, end in await self.read("areas")):
                return -EFAULT
            table = self.pgd
            for level in (PGD, PUD, PMD):  # `__handle_mm_fault`
                index = address // span(level) % 512
                if not await table.load(index) & PRESENT and not await self.alloc(table, index, level):
                    return -ENOMEM
                table = self.deref(await table.load(index) & ADDRESS)
            async with self.ptl(table, PTE):  # `do_anonymous_page`
                index = address // span(PTE) % 512
                if not await table.load(index):  # else another thread has had the same fault
                    await table.store(index, page | PRESENT | RW | USER | ACCESSED)
        return 0

    async def alloc(self, table: Page, index: int, level: int) -> bool:
        """`__pud_alloc`, `__pmd_alloc`, `__pte_alloc`: put a table in, unless somebody was quicker."""
        new = await self.machine.alloc_page(GFP_KERNEL, name=f"{self.label} {NAMES[level - 1]} table")
        if new is None:
            return False
        async with self.ptl(table, level):
            taken = await table.load(index)
            if not taken:
                await table.store(index, new.address | TABLE)
        if taken:
            await self.machine.free_page(new)
        return True

    # -- areas go ------------------------------------------------------------

    async def munmap(self, start: int, size: int) -> None:
        """Take a whole area out: `unmap_vmas`, `free_pgtables`, `tlb_finish_mmu`."""
        gather: list[Page] = []
        async with self.mmap_lock.write():
            gone = (start, start + size)
            await self.write(areas=tuple(area for area in await self.read("areas") if area != gone))
            await self.zap_page_range(self.pgd, PGD, 0, start, start + size)
            await self.free_pgd_range(self.pgd, PGD, 0, start, start + size, gather)
            await self.tlb_finish_mmu(start, start + size, gather)

    async def madvise_dontneed(self, start: int, size: int) -> None:
        """MADV_DONTNEED: the pages go; the area and its tables stay. `mmap_lock` as a reader will do."""
        async with self.mmap_lock.read():
            await self.zap_page_range(self.pgd, PGD, 0, start, start + size)
            await self.flush_tlb_range(start, start + size)

    async def zap_page_range(self, table: Page, level: int, base: int, start: int, end: int) -> None:
        """Clear the leaves, each table's under its lock. The tables stay."""
        for index in self.indices(level, base, start, end):
            entry = await table.load(index)
            if entry & PRESENT and level > PTE:
                below = self.deref(entry & ADDRESS)
                await self.zap_page_range(below, level - 1, base + index * span(level), start, end)
            elif entry & PRESENT:
                async with self.ptl(table, PTE):
                    await table.store(index, 0)

    async def free_pgd_range(
        self, table: Page, level: int, base: int, start: int, end: int, gather: list[Page]
    ) -> None:
        """Unhook tables that lie wholly in the range, lowest first. No lock: nobody can fault here."""
        for index in self.indices(level, base, start, end):
            first, entry = base + index * span(level), await table.load(index)
            if entry & PRESENT and level > PTE:
                below = self.deref(entry & ADDRESS)
                if level > PMD:
                    await self.free_pgd_range(below, level - 1, first, start, end, gather)
                if start <= first and first + span(level) <= end:
                    await table.store(index, 0)
                    gather.append(below)  # `pte_free_tlb` and so on

    @staticmethod
    def indices(level: int, base: int, start: int, end: int) -> range:
        """The entries of a table, beginning at `base`, that a range touches."""
        return range(max(0, (start - base) // span(level)), min(512, -(-(end - base) // span(level))))

    async def tlb_finish_mmu(self, start: int, end: int, gather: list[Page]) -> None:
        """Flush, then free what was gathered: at once, or after a grace period."""
        await self.flush_tlb_range(start, end)
        if self.rcu:
            self.machine.rcu.call(partial(self.put_pages_list, gather), "tlb_remove_table_rcu")
        else:
            await self.put_pages_list(gather)

    async def flush_tlb_range(self, start: int, end: int) -> None:
        """Every CPU forgets. By interrupt: when each has taken it. By instruction: no software takes part."""
        machine = self.machine
        await machine.steps.register(self, 0, True)  # INVLPG, or an instruction that reaches all
        if self.flush == "interrupt":
            done, here = machine.make(Completion, "TLB flush"), machine.sched.current.cpu
            others = [cpu for cpu in machine.cpus if cpu is not here]
            for cpu in others:
                machine.irq.interrupt(cpu, "TLB flush", done.complete)
            for _ in others:
                await done.wait()

    # -- a walk without a lock -----------------------------------------------

    async def get_user_pages_fast(self, address: int, irqs_off: bool = True) -> int:
        """`lockless_pages_from_mm`: the page behind an address, 0 if it must be had the slow way.

        With interrupts off, which a grace period waits for as for a reader (since v4.20).
        """
        if not irqs_off:
            return await self.gup_pgd_range(address)
        flags = self.machine.irq.local_irq_save()
        async with self.machine.rcu.read():
            page = await self.gup_pgd_range(address)
        await self.machine.irq.local_irq_restore(flags)
        return page

    async def gup_pgd_range(self, address: int) -> int:
        """Level by level; what was found is looked at once more at the end."""
        table = self.pgd
        for level in (PGD, PUD, PMD):
            entry = await table.load(address // span(level) % 512)
            if not entry & PRESENT:
                return 0
            table = self.deref(entry & ADDRESS)
        index = address // span(PTE) % 512
        pte = await table.load(index)
        return pte & ADDRESS if pte & PRESENT and await table.load(index) == pte else 0
