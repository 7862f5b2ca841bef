"""A remapping unit as it stands, copied so that looking at it changes nothing: no access is logged, no freed
page is reported, no cache entry moves, and what software does afterwards does not show.

`twin(unit)` is a second unit with the same registers in force, the same caches, and a copy of
every page it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from vtdkit.vtd.memory import AccessError, MemoryPort, read_page
from vtdkit.vtd.unit.unit import RemappingUnit

Words = Sequence[int | None]


class Snapshot:
    """Pages of a memory, copied when first looked at (a `MemoryPort`). A word that cannot be read is None.
    No locks: one reader.
    """

    def __init__(self, memory: MemoryPort) -> None:
        self.memory = memory
        self._pages: dict[int, Words | None] = {}
        self.freed: set[int] = set()
        """Frames that were read although their owner had freed them."""

    def page(self, pfn: int) -> Words | None:
        """The 512 words of a page frame, or None where there is no memory."""
        if pfn not in self._pages:
            machine = getattr(self.memory, "machine", None)
            # of a simulated machine, without its checkers hearing of it
            page = machine.pages.page(pfn << 12) if machine else None
            words = (page and page.words) if machine else read_page(self.memory, pfn)
            self._pages[pfn] = None if words is None else tuple(words)
            self.freed |= {pfn} if page and page.freed is not None else set()
        return self._pages[pfn]

    def put(self, address: int, value: int) -> None:
        """Change one word of the copy: what if it were so?"""
        words = list(self.page(address >> 12) or [None] * 512)
        words[address >> 3 & 511] = value
        self._pages[address >> 12] = words

    def read_page(self, pfn: int) -> Words | None:
        """The bulk door of `Survey`: a page without holes."""
        words = self.page(pfn)
        return None if words is None or None in words else words

    def read64(self, address: int) -> int:
        words = self.page(address >> 12)
        word = None if words is None else words[address >> 3 & 511]
        if word is None:
            raise AccessError(address)
        return word

    def write64(self, address: int, *values: int) -> NoReturn:
        raise AccessError(address, "a snapshot is read-only")

    cmpxchg64 = write64


def twin(unit: RemappingUnit) -> RemappingUnit:
    """A unit over a `Snapshot` that answers as `unit` would now."""
    second = RemappingUnit(
        Snapshot(unit.memory), unit.capabilities, quirks=unit.quirks, cached=unit.caches is not None
    )
    second.restore(unit.registers)
    second.queue.base = unit.queue.base
    second.translating = unit.translating
    second.interrupts_remapped = unit.interrupts_remapped
    second.latch_root(unit.root_table, unit.mode, unit.ssirwe)
    second.latch_interrupts(unit.interrupt_table, unit.interrupt_table_size, unit.extended_interrupts)
    if unit.caches is not None:
        second.caches = unit.caches.copy()
    return second
