"""Lesson 00: what an IOMMU is for. A DMA through the tables of a real guest; the exercises: one index,
and the whole walk.

The guest is `tests/reality/legacy48_lazy-s0-busy`: Linux 6.1 in QEMU, stopped in the middle of disk and
network traffic. Its NVMe disk is 00:03.0.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.lesson.base import reality
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import sid

GUEST = "legacy48_lazy-s0-busy"
DISK = "00:03.0"
MAPPED, STALE = (
    0xBF73E000,
    0xBF73F000,
)  # two addresses of the disk: one is mapped, the other was until a moment before the stop
ADDRESS = 0xFFFFFFFFF000  # the bits of a table entry that are an address, on a machine with 48-bit addresses

#: told when a question is checked
WHY_SIX = "Two to find out who asks, four for the levels of the page table."
WHY_THE_LAST_WAITS = "It waits for the three before it: the longer the hold, the longer the queue."

Read = Callable[[int], int]


# -- exercises ----------------------------------------------------------------


@cache
def _guest() -> tuple[Image, tuple[int, ...]]:
    """The guest, and the addresses at which the disk's mapped ranges begin."""
    image = Image.load(reality(GUEST))
    space, _ = Survey(image.unit).space(sid(DISK))
    assert space is not None
    return image, tuple(part.iova for part in Survey(image.unit).ranges(space))


def read_word(address: int) -> int:
    """One 64-bit word of the guest's memory; 0 where its tables do not reach."""
    page = _guest()[0].pages.get(address >> 12)
    return page[address % 4096 // 8] if page is not None else 0


def page_table() -> int:
    """The address of the disk's top-level table."""
    space, _ = Survey(_guest()[0].unit).space(sid(DISK))
    assert space is not None
    return space.second_root


def _address(seed: int) -> int:
    """A mapped address of the disk, with an offset."""
    draw = random.Random(seed)
    return draw.choice(_guest()[1]) + draw.randrange(0x100, 0x1000)


def _wrong_index(seed: int, given: Any) -> str | None:
    iova = _address(seed)
    known = {
        iova >> 12: "that is the whole page number; an index has nine bits, so mask it with 511",
        iova >> 21 & 511: "that is the index one level higher, of the table whose entries stand for 2 MiB",
        (iova >> 12 & 511) * 8: "that is where the entry stands in bytes; the question is its number",
    }
    return known.get(given)


WHICH_ENTRY = Exercise(
    "which entry",
    lambda seed: (
        f"The disk reads at {_address(seed):#x}. Which entry of the last table (4 KiB pages) does the "
        "hardware look at?"
    ),
    lambda seed: _address(seed) >> 12 & 511,
    hints=[
        "the lowest 12 bits are the offset in the page",
        "the nine bits above them are the answer: shift, then mask",
    ],
    mistakes=[_wrong_index],
    why="Twelve bits of offset, then nine bits for each level, lowest level first.",
)


def walk(read: Read, table: int, iova: int) -> int:
    """Follow four tables; the memory address, or -1 where an entry is not present."""
    for shift in (39, 30, 21, 12):
        entry = read(table + 8 * (iova >> shift & 511))
        if not entry & 3:
            return -1
        table = entry & ADDRESS
    return table + (iova & 4095)


def read_small(address: int) -> int:
    """One word of a small memory made up for the exercise: four tables, another entry of each, of which one
    may only be read and one only be written through.
    """
    return SMALL.get(address, 0)


SMALL_TABLE = 0x7000_0000_1000
SMALL = {
    SMALL_TABLE + 8 * 0x101: 0x2003,
    0x2000 + 8 * 0x042: 0x3001,
    0x3000 + 8 * 0x1FF: 0x4002 | 1 << 62,  # bits 63:52 are no address
    0x3000 + 8 * 0x1FE: 0x4000,  # not present, though it leads to a table
    0x4000 + 8 * 0x003: 0xFFFF_FFFF_F000 | 3,
    0x4000 + 8 * 0x004: 0x5000,  # an address, and not present
}
SMALL_PAGE = 0x101 << 39 | 0x042 << 30 | 0x1FF << 21 | 0x003 << 12


def _addresses(seed: int) -> list[tuple[Any, ...]]:
    """Four mapped addresses and one that is not; then some where every level has its own index."""
    draw = random.Random(seed)
    mapped = [start + draw.randrange(4096) for start in draw.sample(_guest()[1], 4)]
    small = [SMALL_PAGE + 0xABC, SMALL_PAGE + 4096, SMALL_PAGE - (1 << 21), SMALL_PAGE + (1 << 30)]
    return [
        *((read_word, page_table(), iova) for iova in [*mapped, STALE]),
        *((read_small, SMALL_TABLE, iova) for iova in small),
    ]


def _form(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return str(getattr(value, "__name__", repr(value)))


BE_THE_HARDWARE = Exercise(
    "be the hardware",
    lambda seed: (
        "Write walk(read, table, iova): follow four tables from the top one and return the memory address, "
        "or -1 if\nan entry on the way is not present. read(address) gives the 64-bit word there."
    ),
    lambda seed: walk,
    hints=[
        "the shifts of the four levels are 39, 30, 21, 12",
        "an entry is present if bit 0 (read) or bit 1 (write) is set; its address is entry & 0xFFFFFFFFF000",
        "do not forget the offset: the lowest 12 bits of iova",
    ],
    cases=_addresses,
    form=_form,
    why="This is all that a walk is. What else the hardware checks (permissions, reserved bits, large pages) "
    "comes in between.",
)


progress, seed = of_lesson(globals())
