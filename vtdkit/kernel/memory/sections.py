"""Physical memory as the kernel finds it at boot: what is RAM, what has a `struct page`, what is mapped.

`struct page`s are made for whole sections of 128 MiB (x86-64), and `pfn_valid` says that there is one. A
section that was there at boot is taken whole, holes and all; of one that was plugged in later each
sub-section of 2 MiB counts by itself. The direct map, through which the kernel follows a physical address,
is made of RAM, and of the first MiB.

Mirrors `pfn_valid` in include/linux/mmzone.h and `init_mem_mapping` in arch/x86/mm/init.c, v5.18, with
SPARSEMEM_VMEMMAP. Addresses in bytes, ends excluded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SECTION_SIZE = 1 << 27
ISA_END = 1 << 20
PAGE = 4096
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """`ram`: ranges of usable memory at boot, in order; `plugged`: what came later, whole sub-sections."""

    ram: tuple[Range, ...]
    plugged: tuple[Range, ...] = ()

    def sections(self) -> list[int]:
        """Numbers of the sections that were there at boot."""
        return sorted(
            {n for first, end in self.ram for n in range(first // SECTION_SIZE, -(-end // SECTION_SIZE))}
        )

    def pfn_valid(self, pfn: int) -> bool:
        """Is there a `struct page`?"""
        address = pfn * PAGE
        return address // SECTION_SIZE in self.sections() or _within(address, self.plugged)

    def mapped(self, pfn: int) -> bool:
        """Is it in the direct map, so that the kernel can read it?"""
        address = pfn * PAGE
        return address < ISA_END or _within(address, self.ram) or _within(address, self.plugged)

    def traps(self) -> Iterator[Range]:
        """Ranges that `pfn_valid` is content with, and where nothing is mapped."""
        for number in self.sections():
            start = max(number * SECTION_SIZE, ISA_END)
            stop = (number + 1) * SECTION_SIZE
            for first, end in sorted((*self.ram, *self.plugged, (stop, stop))):
                if start < min(first, stop):
                    yield start, min(first, stop)
                start = max(start, min(end, stop))

    def __repr__(self) -> str:
        ram, traps = (
            sum(end - first for first, end in ranges) for ranges in (self.ram + self.plugged, self.traps())
        )
        return f"<memory map: {ram >> 20} MiB of RAM; {traps >> 10} KiB have a struct page and no mapping>"


def _within(address: int, ranges: tuple[Range, ...]) -> bool:
    return any(first <= address < end for first, end in ranges)
