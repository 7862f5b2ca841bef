"""The tables between a requester and its page tables: root, context, PASID directory, PASID table.

Legacy mode uses root and context entries; scalable mode uses root entries with two halves, wider context
entries, and a two-level table indexed by PASID. Mirrors the translation structure formats of the VT-d
specification, rev 5.10. Pointers are always host physical addresses. A reserved field counts only in an entry
that is present.

`ignored_for` speaks of translation types: FS, SS, NEST, PT (a PASID entry's PGTT, or a legacy context entry's
TT).
"""

from __future__ import annotations

from .layout import Field, Structure, flag, ignored, reserved


def pointer(
    name: str, low: int, meaning: str, *, needs: tuple[str, ...] = (), unused: tuple[str, ...] = ()
) -> Field:
    """An address field that runs to the top of its 64-bit word: bits HAW and up are reserved."""
    return Field(name, low | 63, low, meaning, needs, unused, limit="HAW", address=True)


# word 0   63                       12 11         1 0
#          | context table            |  reserved  |P|
# word 1   reserved
ROOT_ENTRY = Structure(
    "root entry",
    128,
    (
        flag("P", 0, "present"),
        reserved(11, 1),
        pointer("CTP", 12, "context table"),
        reserved(127, 64),
    ),
    "rev 5.10 (legacy mode; one per bus)",
)

# Two words of that kind: word 0 for devfn 00 to 7F, word 1 for 80 to FF. A scalable-mode context entry is
# twice as wide, so a table of one page holds only half a bus.
SM_ROOT_ENTRY = Structure(
    "scalable-mode root entry",
    128,
    (
        flag("LP", 0, "lower half present: devfn 00 to 7F"),
        reserved(11, 1),
        pointer("LCTP", 12, "context table of devfn 00 to 7F"),
        flag("UP", 64, "upper half present: devfn 80 to FF"),
        reserved(75, 65),
        pointer("UCTP", 76, "context table of devfn 80 to FF"),
    ),
    "rev 5.10 (one per bus)",
)

AW_VALUES = ((1, "39 bits, 3 levels"), (2, "48 bits, 4 levels"), (3, "57 bits, 5 levels"))

# word 0   63                       12 11      4 3  2  1   0
#          | second-stage page table  | reserved | TT |FPD| P|
# word 1   63       24 23           8 7  6   3 2   0
#          | reserved |  domain id   |0|  soft| AW  |
CONTEXT_ENTRY = Structure(
    "context entry",
    128,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        Field(
            "TT",
            3,
            2,
            "translation type",
            values=(
                (0, "second stage; untranslated requests only"),
                (1, "second stage; translation and translated requests too"),
                (2, "pass-through; untranslated requests only"),
                (3, "reserved"),
            ),
        ),
        reserved(11, 4),
        pointer("SSPTPTR", 12, "second-stage page table", unused=("PT",)),
        Field("AW", 66, 64, "address width", values=AW_VALUES),
        ignored(70, 67, "left to software"),
        reserved(71),
        Field("DID", 87, 72, "domain id", limit="DID"),
        reserved(127, 88),
    ),
    "rev 5.10 (legacy mode; one per function)",
)

# word 0   63                12 11  9 8 7   6    5    4     3     2   1  0
#          | PASID directory   | PDTS| 0 |EPTR|HPTE|PRE|PASIDE|DTE|FPD|P|
# word 1   RID_PRIV (20), RID_PASID (19:0); words 2 and 3 are reserved. No domain id: that is per PASID.
SM_CONTEXT_ENTRY = Structure(
    "scalable-mode context entry",
    256,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        flag("DTE", 2, "translation and translated requests allowed", needs=("DT",)),
        flag("PASIDE", 3, "requests with PASID allowed", needs=("PASID",)),
        flag("PRE", 4, "page requests allowed", needs=("PRS",)),
        flag("HPTE", 5, "translated requests are checked against the host permission table", needs=("HPTS",)),
        flag("EPTR", 6, "translated requests with PASID allowed", needs=("PTRS",)),
        reserved(8, 7),
        Field("PDTS", 11, 9, "the PASID directory has 2^(PDTS+7) entries"),
        pointer("PASIDDIRPTR", 12, "PASID directory"),
        Field("RID_PASID", 83, 64, "PASID of requests that carry none", needs=("RPS",)),
        flag("RID_PRIV", 84, "requests without PASID are supervisor requests", needs=("RPRIVS",)),
        reserved(255, 85),
    ),
    "rev 5.10 (one per function)",
)

# PASID     19             6 5        0
#           | directory index| table   |   two levels; the directory may be shorter (PDTS)
PASID_DIR_ENTRY = Structure(
    "PASID directory entry",
    64,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        reserved(11, 2),
        pointer("SMPTBLPTR", 12, "PASID table of 64 entries"),
    ),
    "rev 5.10 (index: PASID bits 19:6)",
)

PGTT_NAMES = {1: "FS", 2: "SS", 3: "NEST", 4: "PT"}
_PGTT_VALUES = ((1, "first stage"), (2, "second stage"), (3, "nested"), (4, "pass-through"))
_FIRST = ("FSTS",)
_SECOND = ("SSTS",)
_NO_SECOND = ("FS", "PT")
_NO_FIRST = ("SS", "PT")

# Eight words. PGTT says which of the two page-table pointers count: FS word 2, SS word 0, NEST both, PT none.
# word 0   second stage: pointer, SSADE, PGTT, AW      word 1   domain id, snooping, memory types
# word 2   first stage: pointer, EAFE, WPE, FSPM, SRE  words 4 and 5   host permission table
PASID_ENTRY = Structure(
    "PASID table entry",
    512,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        Field("AW", 4, 2, "second-stage address width", _SECOND, _NO_SECOND, values=AW_VALUES),
        reserved(5),
        Field("PGTT", 8, 6, "translation type", values=_PGTT_VALUES),
        flag(
            "SSADE",
            9,
            "second-stage accessed and dirty flags",
            needs=("SSTS", "SSADS"),
            ignored_for=_NO_SECOND,
        ),
        reserved(11, 10),
        pointer("SSPTPTR", 12, "second-stage page table", needs=_SECOND, unused=_NO_SECOND),
        Field("DID", 79, 64, "domain id", limit="DID"),
        reserved(86, 80),
        flag("PWSNP", 87, "page walks are snooped", needs=("SMPWC",)),
        flag("PGSNP", 88, "accesses to the page are snooped", needs=("SC",)),
        flag("CD", 89, "cache disable", needs=("MTS",)),
        flag("EMTE", 90, "extended memory type", needs=("MTS",), ignored_for=("FS", "PT")),
        reserved(95, 91),
        Field("PAT", 127, 96, "page attribute table", ("MTS",)),
        flag("SRE", 128, "supervisor requests allowed", needs=("SRS",)),
        reserved(129),
        Field(
            "FSPM",
            131,
            130,
            "first-stage depth",
            _FIRST,
            _NO_FIRST,
            values=((0, "4 levels"), (1, "5 levels")),
        ),
        flag("WPE", 132, "write protect: supervisor writes obey R/W", needs=_FIRST, ignored_for=_NO_FIRST),
        ignored(134, 133, "were NXE and SMEP"),
        flag("EAFE", 135, "extended-accessed flag", needs=("EAFS",), ignored_for=_NO_FIRST),
        reserved(139, 136),
        pointer(
            "FSPTPTR",
            140,
            "first-stage page table; guest physical when nested",
            needs=_FIRST,
            unused=_NO_FIRST,
        ),
        reserved(255, 192),
        Field("HPTSZ", 257, 256, "size of the host permission table", ("HPTS",)),
        flag("HPTPFD", 258, "defined in rev 5.10 only; not modelled", needs=("HPTS",)),
        reserved(267, 259),
        pointer("HPTPTR", 268, "host permission table", needs=("HPTS",)),
        Field("HPTDID", 335, 320, "domain id of the host permission table", ("HPTS",)),
        reserved(511, 336),
    ),
    "rev 5.10 (index: PASID bits 5:0)",
)

TABLES = (ROOT_ENTRY, SM_ROOT_ENTRY, CONTEXT_ENTRY, SM_CONTEXT_ENTRY, PASID_DIR_ENTRY, PASID_ENTRY)
