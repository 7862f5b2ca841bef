"""What the tables of a remapping unit say, as the hardware reads them, in a form to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.kernel.memory.pages import Page
from vtdkit.vtd.image.image import BadImage
from vtdkit.vtd.image.survey import Survey

TABLE_ADDRESS = 0xF_FFFF_FFFF_F000  # where an entry keeps an address: that of a table is not compared


def tables(hardware: RemappingHardware) -> Any:
    """All that a unit's tables say, as the hardware reads them, but not where the tables themselves lie."""
    unit, frames = hardware.unit, hardware.memory.frames
    if not unit.root_table:
        return "no root table"
    survey, found = Survey(unit), []
    for sid, pasid, words in _entries(frames, unit.root_table, scalable=unit.mode != 0):
        space, refusal = survey.space(sid, pasid)
        try:
            ranges = tuple(map(repr, survey.ranges(space))) if space is not None else ()
        except BadImage:
            ranges = ("the tables loop",)
        # a word with an odd number has no address of a table in it
        told = tuple(word if number % 2 else word & ~TABLE_ADDRESS for number, word in enumerate(words))
        found.append((sid, pasid, told, refusal, ranges))
    return tuple(found)


def _entries(
    frames: dict[int, Page], root: int, *, scalable: bool
) -> Iterator[tuple[int, int | None, list[int]]]:
    """Every context entry that is not all zero and, in scalable mode, every such PASID entry behind it:
    source id, PASID, words.
    """
    size = 4 if scalable else 2
    for word, pointer in _set(frames, root):
        if not pointer & 1 or (word % 2 and not scalable):
            continue
        first = word // 2 << 8 | (0x80 if word % 2 else 0)
        context = _page(frames, pointer)
        for number in sorted({index // size for index, _ in _set(frames, pointer)}):
            entry = context[number * size : (number + 1) * size]
            yield first | number, None, entry
            if scalable and entry[0] & 1:
                for index, directory in _set(frames, entry[0], pages=1 << max((entry[0] >> 9 & 7) - 2, 0)):
                    table = _page(frames, directory) if directory & 1 else []
                    for slot in sorted({place // 8 for place, word in enumerate(table) if word}):
                        yield first | number, index * 64 + slot, table[slot * 8 : slot * 8 + 8]


def _page(frames: dict[int, Page], pointer: int) -> list[int]:
    page = frames.get((pointer & TABLE_ADDRESS) >> 12)
    return page.words if page is not None and page.freed is None else []


def _set(frames: dict[int, Page], pointer: int, pages: int = 1) -> Iterator[tuple[int, int]]:
    """The words of a table that are not 0, with their numbers."""
    for number in range(pages):
        for index, word in enumerate(_page(frames, pointer + (number << 12))):
            if word:
                yield number * 512 + index, word
