"""Page-table entries of both stages, and of the host permission table.

Each stage has four or five shapes of entry: the top levels (PML5E, PML4E) that can never be a leaf, the
middle levels (PDPE, PDE) that point to a table or, with PS=1, map 1G or 2M, and the PTE. Mirrors the
structure formats of the VT-d specification, rev 5.10. `FIRST_STAGE` and `SECOND_STAGE` find the shape by
level and leaf.

Reserved bits count only in an entry that is present: R or W set (second stage), P set (first stage).
"""

from __future__ import annotations

from .layout import Field, Structure, flag, ignored, reserved

_IR_IW = (
    flag("IR", 61, "read, with SSIRWE", needs=(), role="used"),
    flag("IW", 62, "write, with SSIRWE", needs=("SSIRWE",)),
)
_EMT_VALUES = ((0, "UC"), (1, "WC"), (4, "WT"), (5, "WP"), (6, "WB"))


def _address(low: int) -> tuple[Field, ...]:
    """The address of an entry whose page or table is aligned to bit `low`, and what lies below it."""
    field = Field("ADDR", 51, low, "next table or page", limit="HAW", address=True)
    return (field,) if low == 12 else (field, reserved(low - 1, 12))


# Second stage   63 62 61 60  52 51            12 11  10 9 8  7  6    5 3  2 1 0
#                |-|IW|IR| soft | table or page  |SNP|- |D|A|PS|IPAT|EMT |-|W|R|
# Under SSIRWE it is IR and IW, not R and W, that say what a request may do.
def _second(name: str, *middle: Field, low: int = 12) -> Structure:
    ends = (flag("R", 0, "read"), flag("W", 1, "write"), ignored(2, note="was X"), *middle, *_address(low))
    return Structure(name, 64, (*ends, ignored(60, 52), *_IR_IW, ignored(63)), "rev 5.10 (second stage)")


def _accessed(*, dirty: bool) -> tuple[Field, ...]:
    return (
        flag("A", 8, "accessed, with SSADE"),
        flag("D", 9, "dirty, with SSADE") if dirty else ignored(9),
        ignored(10),
    )


_SNP = flag("SNP", 11, "snoop the page", needs=("SC",))
_TYPE = (Field("EMT", 5, 3, "extended memory type", values=_EMT_VALUES), flag("IPAT", 6, "ignore PAT"))

SS_TOP = _second("SS-PML5E/PML4E", ignored(6, 3), reserved(7), *_accessed(dirty=False), reserved(11))
SS_TABLE = _second(
    "SS-PDPE/PDE", ignored(6, 3), flag("PS", 7, "0: points to a table"), *_accessed(dirty=False), reserved(11)
)
SS_1G = _second(
    "SS-PDPE 1G", *_TYPE, flag("PS", 7, "1: maps 1G", needs=("ONE_GB",)), *_accessed(dirty=True), _SNP, low=30
)
SS_2M = _second(
    "SS-PDE 2M", *_TYPE, flag("PS", 7, "1: maps 2M", needs=("TWO_MB",)), *_accessed(dirty=True), _SNP, low=21
)
SS_PTE = _second("SS-PTE", *_TYPE, ignored(7), *_accessed(dirty=True), _SNP)


# First stage    63   52 51            12 11 10 9 8 7  6 5  4   3   2  1  0
#                | soft | table or page  |- |EA|-|G|PS|D|A|PCD|PWT|US|RW|P|
# In a leaf of 2M or 1G the PAT bit moves to bit 12, as bit 7 is taken by PS.
def _first(name: str, *middle: Field, low: int = 12, pat: bool = False) -> Structure:
    ends = (flag("P", 0, "present"), flag("RW", 1, "write"), flag("US", 2, "user"))
    flags = (
        flag("A", 5, "accessed"),
        ignored(9),
        flag("EA", 10, "extended accessed, with EAFE"),
        ignored(11),
    )
    address: tuple[Field, ...] = _address(low)
    if pat:
        address = (address[0], reserved(low - 1, 13), flag("PAT", 12, "page attribute"))
    return Structure(name, 64, (*ends, *middle, *flags, *address, ignored(63, 52)), "rev 5.10 (first stage)")


_CACHING = (flag("PWT", 3, "write-through"), flag("PCD", 4, "cache disable"))
_DIRTY = flag("D", 6, "dirty")
_GLOBAL = ignored(8, note="G; hardware acts as if 0")

FS_TOP = _first("FS-PML5E/PML4E", ignored(4, 3), ignored(6), reserved(7), ignored(8))
FS_TABLE = _first("FS-PDPE/PDE", ignored(4, 3), ignored(6), flag("PS", 7, "0: points to a table"), ignored(8))
FS_1G = _first(
    "FS-PDPE 1G", *_CACHING, _DIRTY, flag("PS", 7, "1: maps 1G", needs=("FS1GP",)), _GLOBAL, low=30, pat=True
)
FS_2M = _first("FS-PDE 2M", *_CACHING, _DIRTY, flag("PS", 7, "1: maps 2M"), _GLOBAL, low=21, pat=True)
FS_PTE = _first("FS-PTE", *_CACHING, _DIRTY, flag("PAT", 7, "page attribute"), _GLOBAL)


def _shape(shapes: tuple[Structure, ...], level: int, leaf: bool) -> Structure:
    # in the order of `shapes`: top levels, pointer to a table, 1G, 2M, PTE
    return shapes[0 if level > 3 else 5 - level if leaf or level == 1 else 1]


_SECOND_SHAPES = (SS_TOP, SS_TABLE, SS_1G, SS_2M, SS_PTE)
_FIRST_SHAPES = (FS_TOP, FS_TABLE, FS_1G, FS_2M, FS_PTE)


def second_stage_entry(level: int, *, leaf: bool) -> Structure:
    """The layout of a second-stage entry at `level` (1 = PTE)."""
    return _shape(_SECOND_SHAPES, level, leaf)


def first_stage_entry(level: int, *, leaf: bool) -> Structure:
    """The layout of a first-stage entry at `level` (1 = PTE)."""
    return _shape(_FIRST_SHAPES, level, leaf)


PAGE_ENTRIES = _SECOND_SHAPES + _FIRST_SHAPES


def _permission(name: str, slots: int, *more: Field) -> Structure:
    """An entry of the host permission table: `slots` of four bits from bit 0 on, and what follows them."""
    low = (Field(f"PP{n}", 4 * n + 1, 4 * n, "1 read, 2 write, 3 both") for n in range(slots))
    return Structure(name, 128, (*low, *more), "rev 5.10 (host permission table)")


_NEXT = (
    flag("AV", 64, "ADDR is valid"),
    Field("ADDR", 115, 76, "next table", limit="HAW", address=True),
    ignored(127, 116),
)
PERMISSION_ENTRIES = (
    _permission("HPT-L4E", 0, *_NEXT),
    _permission("HPT-L3E", 8, *_NEXT),
    _permission("HPT-L2E", 16, *_NEXT),
    _permission("HPT-L1E", 32),
)
