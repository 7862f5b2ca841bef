"""The page-table explorer on other makers' tables: Arm's and AMD's, as their own hardware reads them.

    BackendExplorer(back, iova=0x5000)      of `vtdkit.iommu.backends`

The browser gets a record of the same form as for VT-d and follows it with the same code. What an entry says
is asked of the walker (`entry`); no rule of a format is known here but the names of its bits. What the unit
remembers, of translations and of upper entries, is in the record too, so that what is stale shows. Looking
changes nothing.
"""

from __future__ import annotations

from typing import Any, cast

from vtdkit.iommu.backends.amd_walker import AmdWalker
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.driver import IoPgtable
from vtdkit.iommu.backends.walker import Bad, Leaf, Next, TableWalker
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture
from vtdkit.vtd.requests import NEEDS, READ, WRITE, Fault, Request, Translation
from vtdkit.vtd.tables.layout import Field, Structure, flag, ignored, reserved
from vtdkit.vtd.walk.trace import Step, Walk

from .cells import KINDS, LOOKS, equal_runs, numbered
from .explorer import Explorer
from .pages import runs
from .still import Shown, answer_text, page_table_still

SID, ANY = 0x18, 0x000F_FFFF_FFFF_F000
NOTHING, DENIED = "not there", "not allowed"
WHY = {
    NOTHING: "The entry does not lead on: nothing is mapped here.",
    DENIED: "An entry on the way does not allow this kind of access.",
}


_OUT = Field("ADDR", 47, 12, "next table or page", address=True)
_ENDS = (flag("VALID", 0, "present"), flag("TYPE", 1, "1: a table, or at the last level a page; 0: a block"))
ARM = Structure(
    "FS-descriptor",
    64,
    (
        *_ENDS,
        Field("AttrIndx", 4, 2, "memory type"),
        ignored(5),
        flag("AP[1]", 6, "also for the unprivileged"),
        flag("AP[2]", 7, "read-only"),
        Field("SH", 9, 8, "shareability"),
        flag("AF", 10, "accessed; 0: a fault"),
        flag("nG", 11, "of this address space alone"),
        _OUT,
        reserved(50, 48),
        flag("DBM", 51, "a write clears AP[2]: it marks the page"),
        flag("Contiguous", 52, "16 neighbours map one range"),
        Field("XN", 54, 53, "no execution"),
        ignored(63, 55),
    ),
    "Arm ARM, D8 (VMSAv8-64)",
)
ARM_TABLE = Structure(
    "FS-table descriptor",
    64,
    (*_ENDS, ignored(11, 2), _OUT, ignored(63, 48)),
    "Arm ARM, D8 (VMSAv8-64)",
)
AMD = Structure(
    "FS-PTE or PDE",
    64,
    (
        flag("PR", 0, "present"),
        ignored(4, 1),
        flag("A", 5, "accessed"),
        flag("D", 6, "dirty"),
        ignored(8, 7),
        Field(
            "NextLevel", 11, 9, "level of the next table; 0: a page, 7: a page whose address tells its size"
        ),
        Field("ADDR", 51, 12, "next table or page", address=True),
        ignored(59, 52),
        flag("FC", 60, "force coherent"),
        flag("IR", 61, "read"),
        flag("IW", 62, "write"),
        ignored(63),
    ),
    "AMD IOMMU specification 48882, 2.2.3",
)


def rights_of(found: Next | Leaf | Bad) -> int:
    """READ and WRITE that an entry allows."""
    return 0 if isinstance(found, Bad) else READ * found.readable | WRITE * found.writable


class Reading:
    """All tables of a back-end, read once. `walker` says what entries mean; `words` are copies."""

    def __init__(self, back: Backend) -> None:
        self.walker = cast(IoPgtable, back.table).walker
        self.frames = back.machine.pages
        self.made, self.known = list[dict[str, Any]](), dict[tuple[int, int], int]()
        self.pages, self.words = dict[str, Any](), dict[int, list[int]]()
        self.parts = list[tuple[int, int, int, str]]()
        """What is mapped: address, bytes, where it leads, rights as text."""
        self.top = cast(Next, self.walker.root(0))
        self.mapped(self.top, 0)

    def shape(self, level: int, raw: int) -> int:
        """The number of the shape that `pagewalk.js` follows for such an entry."""
        if (level, raw) not in self.known:
            found = self.walker.entry(level, raw, 0)
            rights, refused = rights_of(found), NOTHING if isinstance(found, Bad) else DENIED
            leaf = isinstance(found, Leaf) or level == 1
            made: dict[str, Any] = {
                "leaf": leaf,
                "to": f"{ANY & -(1 << found.shift) if isinstance(found, Leaf) else ANY:#x}",
                "look": "" if refused == NOTHING else LOOKS[rights] if leaf else "table",
                **({"shift": found.shift} if isinstance(found, Leaf) else {}),
                "says": {
                    f"now {kind}": ["" if rights & NEEDS[kind] else refused, refused, rights]
                    for kind in KINDS
                },
            }
            self.known[level, raw] = numbered(self.made, made)
        return self.known[level, raw]

    def mapped(self, table: Next, base: int) -> int:
        """Read a table and all below it; how many 4 KiB pages it maps."""
        page = self.frames.page(table.table)
        words = self.words[table.table] = list(page.words) if page else [0] * 512
        under, pages = dict[str, int](), 0
        for index, raw in enumerate(words):
            at = base + (index << self.walker.shift(table.level))
            found = self.walker.entry(table.level, raw, at) if raw else None
            if isinstance(found, Next):
                under[str(index)] = self.mapped(found, at)
            elif isinstance(found, Leaf) and at & (1 << found.shift) - 1 == 0:
                self.add(found, at)
                pages += 1 << found.shift - 12
        cells = equal_runs(self.shape(table.level, raw) for raw in words)
        self.pages[f"{table.table:#x}"] = {
            "runs": runs(words),
            "under": under,
            "cells": {f"first {table.level}": cells},
            **({"freed": True} if page is not None and page.freed is not None else {}),
        }
        return pages + sum(under.values())

    def add(self, leaf: Leaf, at: int) -> None:
        """A page more; with the one before it, if they are neighbours in both spaces."""
        rights = ("r" if leaf.readable else "-") + ("w" if leaf.writable else "-")
        low, size, to, before = self.parts[-1] if self.parts else (0, 0, 0, "")
        if (low + size, to + size, before) == (at, leaf.base, rights):
            self.parts[-1] = low, size + (1 << leaf.shift), to, rights
        else:
            self.parts.append((at, 1 << leaf.shift, leaf.base, rights))

    def walk(self, iova: int, kind: str) -> Walk:
        """The walk of one address from these copies, as the still shows it."""
        request, steps = Request(SID, iova, kind), list[Step]()  # type: ignore[arg-type]
        table: Next | Leaf | Bad = self.walker.root(iova)
        rights = READ | WRITE
        while isinstance(table, Next):
            index, level = iova >> self.walker.shift(table.level) & 511, table.level
            at, raw = table.table + 8 * index, self.words[table.table][index]
            table = self.walker.entry(level, raw, iova)
            why = "the way ends here" if raw else "empty"
            if isinstance(table, Leaf):
                why = f"maps {1 << table.shift:#x} bytes at {table.base:#x}"
            elif isinstance(table, Next):
                why = f"next table at {table.table:#x}"
            rights &= rights_of(table)
            label = NOTHING if isinstance(table, Bad) else ""
            layout = structure_of(self.walker, leaf=not isinstance(table, Next))
            steps.append(Step(layout, at, index, raw, level, label=label, why=why))
        if isinstance(table, Bad) or not rights & NEEDS[kind]:
            label = NOTHING if isinstance(table, Bad) else DENIED
            return Walk(request, tuple(steps), Fault(label, None, WHY[label], "UR", False, request))
        size, allowed = 1 << table.shift, (bool(rights & READ), bool(rights & WRITE))
        to = table.base | iova & size - 1
        return Walk(
            request, tuple(steps), Translation(request, to, size, *allowed, "first stage", None, 1, 0)
        )


def structure_of(walker: TableWalker, *, leaf: bool) -> Structure:
    """The names of an entry's bits."""
    return AMD if isinstance(walker, AmdWalker) else ARM if leaf else ARM_TABLE


def _layout(walker: TableWalker, leaf: bool) -> Record:
    structure = structure_of(walker, leaf=leaf)
    rows = [
        {"name": part.name, "high": part.high, "low": part.low, "state": part.role, "meaning": part.meaning}
        | ({"address": True} if part.address else {})
        for part in reversed(structure.fields)
    ]
    name = structure.name.removeprefix("FS-")
    return {"name": name, "title": name, "width": 64, "source": structure.source, "rows": rows}


def _held(read: Reading) -> dict[str, Any]:
    """What the unit remembers, and whether the tables still say so."""
    return {
        "more": 0,
        "iotlb": [
            {
                "low": f"{page << shift:#x}",
                "shift": shift,
                "refusal": "",
                "base": f"{leaf.base:#x}",
                "space": {"path": "FS", "fpd": False, "interrupt": ""},
                "refuse": {kind: "" if rights_of(leaf) & NEEDS[kind] else DENIED for kind in KINDS},
                "rights": rights_of(leaf),
                "marks": leaf.marked is not None,
                "stale": not _same(read.walk(page << shift, "read").answer, leaf),
            }
            for (shift, page), leaf in sorted(read.walker.translations.items())
        ],
        "structures": [
            {
                "stage": "first",
                "did": 0,
                "tag": None,
                "level": level + 1,
                "prefix": f"{prefix:#x}",
                "raw": "0x0",
                "table": f"{found.table:#x}",
                "stale": f"{found.table:#x}" not in read.pages,
                "refuse": {f"now {kind}": "" for kind in KINDS},
                "rights": READ | WRITE,
            }
            for (level, prefix), found in sorted(read.walker.uppers.items())
            if f"{found.table:#x}" in read.pages
        ],
    }


def _same(now: Translation | Fault, leaf: Leaf) -> bool:
    told = isinstance(now, Translation) and (now.address, now.writable)
    return told == (leaf.base, leaf.writable)


def backend_record(read: Reading) -> Record:
    """Everything that `pagewalk.js` needs to follow any address."""
    way = {
        "steps": [],
        "refused": "",
        "off": False,
        "fpd": False,
        "name": "now",
        "space": {
            "path": "FS",
            "legacy": False,
            "did": 0,
            "tag": None,
            "second_levels": 0,
            "first_levels": read.top.level,
            "second_root": "0x0",
            "first_root": f"{read.top.table:#x}",
            "outside": [f"{min(1 << 12 + 9 * read.top.level, 1 << 64):#x}", f"{1 << 64:#x}", NOTHING],
            "interrupt": "",
        },
    }
    asks = {f"now {kind}": (NOTHING, NOTHING) for kind in KINDS}
    return {
        "device": "the device",
        "sid": SID,
        "pasid": None,
        "driver": "",
        "mode": "scalable",
        "now": way,
        "then": way,
        "held": _held(read),
        "ranges_out": {"interrupt": ["0x0", "0x0"], "whole_page": False, "protected": []},
        "window": None,
        "faults": {
            label: {"says": says, "name": label, "read": "", "write": "", "silenced": True}
            for label, says in WHY.items()
        },
        "layouts": {
            f"first {level} {'leaf' if leaf else 'table'}": _layout(read.walker, leaf)
            for level in range(1, 7)
            for leaf in (True, False)
        },
        "glossary": {},
        "pages": read.pages,
        "absent": [],
        "left_out": 0,
        "shapes": read.made,
        "unreadable": {"first": asks, "second": asks},
        "ranges": [[f"{low:#x}", f"{size:#x}", f"{to:#x}", rights] for low, size, to, rights in read.parts],
        "ranges_more": False,
    }


class BackendExplorer(Explorer):
    """One back-end's page tables, explored by address.

    - `back`: a back-end of Arm or AMD (`vtdkit.iommu.backends.BACKENDS`); Intel's have `PageTableExplorer`
    - `iova`: the address to begin with, without it the first mapped one

    Position: `iova`, `kind`, `row`, as for `PageTableExplorer`. Raises TypeError for another kind of table.
    """

    def __init__(self, back: Backend, *, iova: int | str | None = None, kind: str = "read") -> None:
        if not isinstance(back.table, IoPgtable) or back.table.walker.index_bits != 9:
            raise TypeError(f"cannot explore {back.table.title}; give a back-end of Arm or AMD")
        self._read = Reading(back)
        first = self._read.parts[0][0] if self._read.parts else 0
        super().__init__(
            f"{back.table.title}: page tables of {self._read.top.level} levels",
            "the device",
            [backend_record(self._read)],
            iova=first if iova is None else iova,
            kind=kind,
        )

    def summary(self) -> str:
        return answer_text(self._walk().answer).replace("00:03.0", "the device")

    def _walk(self) -> Walk:
        return self._read.walk(int(self.iova, 16), self.kind)

    def still(self) -> Picture:
        walk, side = self._walk(), self.record["sides"][0]
        return page_table_still(
            str(self.record["title"]), self.summary(), [Shown("", walk, walk.answer, side)]
        )
