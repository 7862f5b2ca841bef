"""The checks of one unit in one mode, worked out beforehand: masks of reserved bits, widths, limits.

Everything here follows from `Capabilities`, the personality and the mode bit SSIRWE; nothing is stated twice.
The walk consults these numbers and never the layouts themselves, so that one check costs one AND.
"""

from __future__ import annotations

from functools import lru_cache

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.quirks import Quirks
from vtdkit.vtd.tables import entries as tables
from vtdkit.vtd.tables import pages as stages
from vtdkit.vtd.tables.entries import SM_CONTEXT_ENTRY

from .space import TOP

PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
ENTRY_ADDRESS = 0x000F_FFFF_FFFF_F000
#: the address of a page in its leaf entry, by level
PAGES = tuple(ENTRY_ADDRESS & -(8 << 9 * level) for level in range(4))
INTERRUPT_LOW, INTERRUPT_HIGH = 0xFEE0_0000, 0xFEF0_0000


class Rules:
    """Read-only after construction. Masks are of whole entries; lists of them go by level, from 1."""

    def __init__(self, caps: Capabilities, quirks: Quirks, *, ssirwe: int = 0) -> None:
        environment = caps.with_modes(SSIRWE=ssirwe)

        def by_level(second: bool, leaf: bool) -> list[int]:
            shape = stages.second_stage_entry if second else stages.first_stage_entry
            return [0] + [shape(level, leaf=leaf).reserved_mask(environment) for level in range(1, 6)]

        self.caps = caps
        self.quirks = quirks
        self.environment = environment
        self.reserved = {table: table.reserved_mask(environment) for table in tables.TABLES}
        if quirks.context_features_unchecked:
            unchecked = SM_CONTEXT_ENTRY.mask("DTE", "PASIDE", "PRE", "RID_PASID", "RID_PRIV")
            self.reserved[SM_CONTEXT_ENTRY] &= ~unchecked
        self.second_table = by_level(second=True, leaf=False)
        self.second_leaf = by_level(second=True, leaf=True)
        self.first_table = by_level(second=False, leaf=False)
        self.first_leaf = by_level(second=False, leaf=True)
        if quirks.transient_mapping and caps.DT:
            self.second_leaf = [mask & ~(1 << 62) for mask in self.second_leaf]
        if quirks.snoop_bit_accepted and caps.SMTS:
            self.second_leaf = [mask & ~stages.SS_PTE.mask("SNP") for mask in self.second_leaf]
        if quirks.huge_first_stage_accepted:
            self.first_leaf[3] &= ~stages.FS_1G.mask("PS")
        # Where the read and write permission of a second-stage entry stand.
        self.permission_shift = 61 if ssirwe else 0
        self.host_limit, self.did_mask = caps.host_limit, caps.did_mask
        self.widest = max((code for code in (1, 2, 3) if caps.SAGAW >> code & 1), default=0)

    def width_supported(self, aw: int) -> bool:
        """Whether the page-table depth with code `aw` (1 = 39 bits, 2 = 48, 3 = 57) exists."""
        return 1 <= aw <= 3 and bool(self.caps.SAGAW >> aw & 1)

    def input_limit(self, aw: int) -> int:
        """One more than the largest address a second stage of width code `aw` takes."""
        return 1 << min(self.caps.MGAW, 30 + 9 * aw)

    def beyond_host(self, label: str) -> tuple[int, int, str]:
        """What a pass-through request may not name: addresses there is no memory for."""
        return (TOP if self.quirks.pass_through_unchecked else self.host_limit), TOP, label


@lru_cache(maxsize=64)
def rules_for(caps: Capabilities, quirks: Quirks, ssirwe: int = 0) -> Rules:
    """The rules of `caps` under `quirks`, shared between units that are alike."""
    return Rules(caps, quirks, ssirwe=ssirwe)


def first_met(*conditions: tuple[str, object]) -> str:
    """The label of the first condition that holds; "" for none. The order is the specification's."""
    return next((label for label, holds in conditions if holds), "")


def in_interrupt_range(low: int, high: int) -> bool:
    """Whether any byte from `low` up to but not including `high` lies in FEE0_0000 to FEEF_FFFF."""
    return low < INTERRUPT_HIGH and high > INTERRUPT_LOW
