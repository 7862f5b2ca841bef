"""The page allocator, with failures on purpose.

A freed page is filled with `POISON` and kept out of circulation for a while, so that a late reader is caught
whatever the interleaving; the checker's name for it is the kernel's, KASAN. `GFP_KERNEL` may sleep (asking
for it in atomic context is a bug that is reported), `GFP_ATOMIC` may not. Any allocation can be made to fail:
`allocator.faults.nth = 3`, or with a probability drawn from the machine's seed.

Mirrors mm/page_alloc.c, mm/kasan, lib/fault-inject.c. Guards: the free list and the counts belong to the
allocator (in Linux: its own locks and per-CPU lists, which are not modelled).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from types import coroutine
from typing import Any

from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.record import ALLOC, FREE
from vtdkit.kernel.record.sites import Spot

from .gfp import GFP, GFP_KERNEL
from .injection import Faults
from .pages import PAGE_SHIFT, POISON, WORDS, Page


class PageAllocator:
    """Hands out page frames, node by node, lowest first; a freed one comes back after `QUARANTINE`
    others of its node.

    Guards: everything here is the allocator's own.
    """

    QUARANTINE = 256
    FIRST_PFN = 0x1000
    page_class: type[Page] = Page

    def __init__(self, machine: Host, frames: int, nodes: int) -> None:
        self.machine = machine
        self.per_node = frames // nodes
        self.next = [0] * nodes
        self.freed: list[deque[int]] = [deque() for _ in range(nodes)]
        self.frames: dict[int, Page] = {}
        self.faults = Faults(machine)
        self.allocated = 0  # ever

    @coroutine
    def alloc(
        self, count: int, gfp: GFP = GFP_KERNEL, *, node: int, name: str, place: Spot
    ) -> Generator[int | None, None, list[Page]]:
        """Cleared pages in a row, or an empty list when there is no such row to be had."""
        machine = self.machine
        if count < 1:
            raise ValueError(f"an allocation is of 1 page or more, not {count}, at {place.site}")
        if gfp & GFP_KERNEL:
            machine.check.might_sleep(place)
        yield from machine.sched.work(machine.costs.page * count)
        return [] if self.faults.should_fail(place) else self.take_run(count, node, name, place)

    def take_run(self, count: int, node: int, name: str, place: Spot | None) -> list[Page]:
        """The bookkeeping of an allocation, at once and free of charge: `count` frames in a row, or none."""
        if node < 0:  # NUMA_NO_NODE: the running CPU's
            cpu = self.machine.sched.current.cpu
            node = cpu.socket if cpu is not None else 0
        if count == 1:
            return self._take(node, name, place)
        if self.next[node] + count > self.per_node:
            return []
        quarantined, self.freed[node] = self.freed[node], deque()  # freed ones would be out of the row
        pages = [page for _ in range(count) for page in self._take(node, name, place)]
        self.freed[node] = quarantined
        return pages

    def _take(self, node: int, name: str, place: Spot | None) -> list[Page]:
        """One page, or none."""
        pfn = self._frame(node)
        if pfn is None:
            return []
        machine = self.machine
        page = self.frames[pfn] = self.page_class(machine, pfn, self.node_of(pfn), name, place)
        self.allocated += 1
        page.serial = self.allocated
        machine.stat.note(machine.sched.current, ALLOC, 0, place, pfn)
        return [page]

    def _frame(self, node: int) -> int | None:
        """A page frame of this node if there is one, else of another."""
        nodes = sorted(range(len(self.next)), key=lambda candidate: (candidate != node, candidate))
        for candidate in nodes:
            if len(self.freed[candidate]) > self.QUARANTINE:
                return self.freed[candidate].popleft()
            if self.next[candidate] < self.per_node:
                self.next[candidate] += 1
                return self.FIRST_PFN + candidate * self.per_node + self.next[candidate] - 1
        return next((self.freed[candidate].popleft() for candidate in nodes if self.freed[candidate]), None)

    def node_of(self, pfn: int) -> int:
        """The NUMA node a page frame belongs to."""
        return (pfn - self.FIRST_PFN) // self.per_node

    def free(self, page: Page, place: Spot) -> Any:
        """Give a page back; freeing it twice is reported. Await it at once."""
        machine = self.machine
        if page.freed is not None:
            machine.check.double_free(page, place)
            return DONE
        page.freed = place
        page.words = [POISON] * WORDS
        page.nudge()  # who spins on a word finds it so
        self.freed[page.node].append(page.pfn)
        machine.stat.note(machine.sched.current, FREE, 0, place, page.pfn)
        return DONE

    def reuse(self, page: Page, name: str) -> Any:
        """A freed page gets its next owner at once, as on a machine without KASAN: whoever still has
        its address reads what is written now. Await it at once. Raises ValueError if it is in use.
        """
        if page.pfn not in self.freed[page.node]:
            raise ValueError(f"page {page.name} is not free: free it before somebody else gets it")
        self.freed[page.node].remove(page.pfn)
        page.freed, page.name, page.words = None, name, [0] * WORDS
        return DONE

    def page(self, address: int) -> Page | None:
        """The page frame that holds this physical address, live or freed; None where no page
        was ever handed out.
        """
        return self.frames.get(address >> PAGE_SHIFT)

    def live(self) -> Iterator[Page]:
        """Pages handed out and not given back, by frame number."""
        return (page for _, page in sorted(self.frames.items()) if page.freed is None)

    def __len__(self) -> int:
        return sum(page.freed is None for page in self.frames.values())

    def __repr__(self) -> str:
        return f"<{len(self)} pages in use, {self.allocated} ever>"
