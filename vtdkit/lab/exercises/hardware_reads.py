"""What the tables of a remapping unit say, in a form to be compared."""

from __future__ import annotations

from typing import Any

from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.kernel.memory.pages import Page

TABLE_ADDRESS = 0xF_FFFF_FFFF_F000  # where an entry keeps an address: that of a table is not compared
NOTHING_BEHIND = (1, ())  # a root entry that leads to an empty context table: no device has an entry there


def tables(hardware: RemappingHardware) -> Any:
    """All that a unit reads from its context tables on: each word that is not 0, with its number. Instead of
    where another table lies there is what that one says.
    """
    known: dict[Page, Any] = {}

    def read(word: int) -> Any:
        page = hardware.memory.frames.get((word & TABLE_ADDRESS) >> 12)
        if page is None:
            return word
        if page not in known:
            known[page] = len(known)  # what a loop leads back to
            words = enumerate(page.words) if page.freed is None else ()
            known[page] = tuple((number, read(each)) for number, each in words if each)
        return word & ~TABLE_ADDRESS, known[page]

    if not hardware.unit.root_table:
        return "no root table"
    _, roots = read(hardware.unit.root_table)
    return [each for each in roots if each[1] != NOTHING_BEHIND]
