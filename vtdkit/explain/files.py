"""The driver's debugfs files: dmar_translation_struct, domain_translation_struct, iommu_regset,
invalidation_queue, ir_translation_struct, dmar_perf_latency.

Three forms of the first: that of 4.20 to 5.1 (a table for each bus, plain hex), that of 5.2 on (a row for
each device, high word first), and rows of a kernel that prints the words of PASID entries lowest first.
Which end is word 0 is told by its bits: present, and a translation type that exists. The second is one file
for all devices up to 6.6, later one for each device and PASID."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vtdkit.vtd.registers.register_map import REGISTERS
from vtdkit.vtd.requests import Request, bdf, sid
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, PASID_ENTRY, PGTT_NAMES, SM_CONTEXT_ENTRY
from vtdkit.vtd.tables.interrupts import IRTE, IRTE_POSTED
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk.rules import PAGE_MASK

from .faults import who_of
from .formats import Format, Group, Row, Text, holding, number, pattern
from .machine import Tables
from .report import Piece

_LAYOUTS = {register.name: register.layout for register in REGISTERS}
_TYPES = {"FS": "first stage", "SS": "second stage", "NEST": "nested", "PT": "pass-through"}
_BUCKETS = (
    "< 0.1 us",
    "0.1-1 us",
    "1-10 us",
    "10-100 us",
    "100 us-1 ms",
    "1-10 ms",
    ">= 10 ms",
    "min",
    "max",
    "average",
)
_STATUS = {0: "free", 1: "in use", 2: "done", 3: "aborted"}
_SHOWN = 12


def fields_of(entry: Entry) -> str:
    """The fields of a value that are not 0, by name."""
    return (
        ", ".join(f"{name}={value:#x}" if value > 9 else f"{name}={value}" for name, value in entry if value)
        or "0"
    )


def descriptor_text(raw: int) -> str:
    """An invalidation descriptor in words: its type and what it names."""
    entry = descriptors.decode(raw)
    if entry is None:
        return f"type {descriptors.type_of(raw):X}h, which there is none of"
    return ", ".join(
        [f"{entry!r}", *(f"device {bdf(value)}" for name, value in entry if name in ("SID", "RID"))]
    )


# -- dmar_translation_struct ----------------------------------------------------


def _translation(group: Group, text: Text) -> Iterator[Piece]:
    rows, unit = group.rows, group.first.get("unit")
    tables = text.of(unit or "dmar?", scalable=any(int(row.get("pasid", -1)) >= 0 for _, row in rows))
    if "root" in group.first:
        tables.root = number(group.first["root"]) & PAGE_MASK
        yield group.piece(
            f"{unit}: root table at {tables.root:#x}",
            lesson=1,
            count=1,
            notes=holding(
                {
                    "extended mode, which scalable mode replaced: its entries are not decoded": (
                        "ext" in group.first
                    )
                }
            ),
        )
    for line, row in rows:
        if "bus" in row:
            tables.root_entry(int(row["bus"]) & 255, number(row["root_low"]), number(row["root_high"]))
        elif "sid" in row:
            yield _entries(group, line, row, tables)


def _entries(group: Group, line: int, row: Row, tables: Tables) -> Piece:
    """What a row says of a device, and its entries put in their places."""
    source, pasid = sid(row["sid"]), int(row.get("pasid", -1))
    low, high = number(row["low"]), number(row["high"])
    words = tuple(number(row[name]) for name in ("w1", "w2", "w3")) if pasid >= 0 else ()
    if tables.scalable == bool(words):
        if "row_root" in row:
            tables.root_entry(source >> 8, number(row["row_root"]), number(row["row_root_high"]))
        tables.context_entry(source, low, high)
    context = decided = (SM_CONTEXT_ENTRY if words else CONTEXT_ENTRY).decode(low | high << 64)
    facts = [("context", f"{context!r}")]
    orders = [
        each for each in (words, words[::-1]) if words and each[0] & 1 and each[0] >> 6 & 7 in PGTT_NAMES
    ]
    if not words:
        says = _legacy_says(context)
        notes = holding({"translation type 01b allows a device TLB (ATS)": context.TT == 1})
    elif len(orders) != 1:
        says, notes = "which end of the PASID entry is word 0 cannot be told: both, or neither, could be", ()
    else:
        decided = PASID_ENTRY.decode(sum(word << 64 * place for place, word in enumerate(orders[0])))
        says, notes = _pasid_says(decided), _ORDERS[orders[0] == words]
        facts.append(("PASID entry", f"{decided!r}"))
        if tables.scalable:
            tables.pasid_entry(low, pasid, orders[0])
    return group.piece(
        f"{bdf(source)}{f' PASID {pasid}' if words else ''}: {says}", *facts, line=line, count=1,
        lesson=7 if words else 1, notes=(*notes, *holding({
        _EARLY.format(*names): words and context[names[0]] for names in (("HPTE", "HPTS"), ("EPTR", "PTRS"))
    })), bits=(decided.structure.name, decided.raw),
    )  # fmt: skip


_EARLY = "{} is set: rev 5.10 has it, and it is reserved in a unit without {}"
_ORDERS = ("word 0 is printed last",), ("word 0 is printed first, not last as in mainline from 5.2 on",)


def _legacy_says(entry: Entry) -> str:
    """The translation that a context entry asks for, in words."""
    table = "" if entry.TT == 2 else f", table {entry.SSPTPTR:#x}, {entry.AW + 2} levels"
    kind = entry.structure.field("TT").text(entry.TT)
    return f"legacy, translation type {entry.TT:02b}b, {kind}{table}, DID {entry.DID}"


def _pasid_says(entry: Entry) -> str:
    """The translation that a PASID entry asks for, in words."""
    name = PGTT_NAMES.get(entry.PGTT, "")
    first = f", {5 if entry.FSPM else 4} levels, table {entry.FSPTPTR:#x}" if name in ("FS", "NEST") else ""
    second = f", {entry.AW + 2} levels, table {entry.SSPTPTR:#x}" if name in ("SS", "NEST") else ""
    kind = _TYPES.get(name, f"translation type {entry.PGTT}, which is reserved")
    return f"{kind}{first}{second}, DID {entry.DID}"


# -- domain_translation_struct --------------------------------------------------


def _page_table(group: Group, text: Text) -> Iterator[Piece]:
    first = group.first
    paths = [(number(row["pfn"]), _numbers(row["path"])) for _, row in group.rows if "pfn" in row]
    levels = max((5 - next((n for n, word in enumerate(path) if word), 5) for _, path in paths), default=0)
    # every entry of a first stage has US
    user = all(word & 5 == 5 for _, path in paths for word in path if word)
    ranges = _ranges(paths, levels)
    facts = [
        *(("range", f"{a << 12:#x}-{(b << 12) + 0xFFF:#x} -> {to << 12:#x}") for a, b, to in ranges[:8]),
        *([("ranges", f"{len(ranges) - 8:,} more")] if len(ranges) > 8 else []),
    ]
    title = f"{len(paths):,} entries, {levels} levels, {'first' if user else 'second'} stage"
    if "device" not in first:  # rows whose heading is not in the text
        yield group.piece(f"device not told: {title}", *facts, count=1, lesson=1)
        return
    table, tag = number(first["table"]), first.get("pasid")
    request = Request(sid(first["device"]), 0, pasid=number(tag) if tag else None)
    yield group.piece(f"{who_of(request)}: {title}, table at {table:#x}", *facts, count=1, lesson=1)
    if levels:
        tables = _home(text, request, table & PAGE_MASK, levels, user)
        tables.iova = tables.iova or paths[0][0] << 12
        for pfn, path in paths:
            tables.path(table & PAGE_MASK, levels, pfn << 12, [word for word in path if word])


def _numbers(words: str) -> list[int]:
    return [number(word) for word in words.split()]


def _ranges(paths: list[tuple[int, list[int]]], levels: int) -> list[list[int]]:
    """Pages that follow each other on both sides as one: first and last page, and where the first leads."""
    ranges: list[list[int]] = []
    for pfn, path in paths:
        used = [word for word in path if word] or [0]
        last, target = pfn + (1 << 9 * max(levels - len(used), 0)) - 1, used[-1] >> 12 & (1 << 40) - 1
        if ranges and ranges[-1][1] + 1 == pfn and ranges[-1][2] + pfn - ranges[-1][0] == target:
            ranges[-1][1] = last
        else:
            ranges.append([pfn, last, target])
    return ranges


def _home(text: Text, request: Request, table: int, levels: int, user: bool) -> Tables:
    """The unit that has the device's context entry, or one in which entries stand in that lead to `table`."""
    source, pasid, depth = request.sid, request.pasid, levels - 2
    for tables in text.tables.values():
        if tables.words and tables.device == source:
            return tables
    tables = text.of(f"unit of {bdf(source)}", scalable=pasid is not None or user)
    tables.assumed["root, context and PASID entries are not in the text: such as fit stand in for them"] = (
        None
    )
    tables.pasid = pasid
    page = tables.free()
    tables.root_entry(source >> 8, page | 1, page | 1 if tables.scalable else 0)
    if tables.scalable:
        directory = tables.free()
        words = (
            (1 | 1 << 6, 1, table | (levels == 5) << 2) if user else (table | 1 | depth << 2 | 2 << 6, 1, 0)
        )
        tables.context_entry(source, directory | 8 | 7 << 9 | 1, 0)
        tables.pasid_entry(directory, pasid or 0, words)
    else:
        tables.context_entry(source, table | 1, 1 << 8 | depth)
    return tables


# -- state: registers, queues, interrupts, latencies ------------------------------


def _registers(group: Group, text: Text) -> Iterator[Piece]:
    unit, base = group.first["unit"], number(group.first["base"])
    rows = {row["name"]: number(row["value"]) for _, row in group.rows if "value" in row}
    latencies = {row["counter"]: row["counts"].split() for _, row in group.rows if "counter" in row}
    if "CAP" in rows and "ECAP" in rows:
        text.registers[unit] = rows["CAP"], rows["ECAP"], rows.get("VER", 0x10) & 0xFF
    if rows:
        entries = {
            name: _LAYOUTS[name].decode(value & (1 << _LAYOUTS[name].width) - 1)
            for name, value in rows.items()
            if name in _LAYOUTS
        }
        yield group.piece(
            f"{unit}: {len(rows)} registers, window at {base:#x}",
            *((name, f"{entry.raw:#x}: {fields_of(entry)}") for name, entry in entries.items()),
            count=1,
            lesson=0,
            notes=holding(
                {
                    **{
                        f"{name} is not in the text: unknown": name not in rows
                        for name in ("CAP", "ECAP", "GSTS", "RTADDR")
                    },
                    "FSTS is not 0: a fault or a queue error waits to be handled": rows.get("FSTS", 0) & 0x73,
                }
            ),
            bits=("GSTS", rows["GSTS"] & 0xFFFF_FFFF) if "GSTS" in rows else None,
        )
    if latencies:
        yield group.piece(
            f"{unit}: {', '.join(latencies)}",
            *((name, _latency(counts)) for name, counts in latencies.items()),
            kind="latencies",
            count=1,
            means="How long invalidations (inv_) and page requests (svm_prq) took, counted by duration (us).",
            lesson=12,
        )


def _latency(counts: list[str]) -> str:
    """A row of counts. Kernels that print fewer leave out some of the middle: only full rows have names."""
    if len(counts) != len(_BUCKETS):
        return ", ".join(counts)
    said = (f"{bucket}: {n}" for bucket, n in zip(_BUCKETS, counts, strict=True) if n != "0")
    return ", ".join(said) or "nothing yet"


def _queue(group: Group, text: Text) -> Iterator[Piece]:
    slots = {int(row["slot"]): _numbers(row["words"]) for _, row in group.rows if "slot" in row}
    raw = {
        slot: sum(word << 64 * place for place, word in enumerate(words[:-1]))
        for slot, words in slots.items()
    }
    entries = (descriptors.decode(value) for value in raw.values())
    kinds = Counter(entry.structure.name if entry else "unknown" for entry in entries).most_common(8)
    facts = [("holds", ", ".join(f"{count} x {name}" for name, count in kinds) or "no slots in the text")]
    waiting: list[int] = []
    says = "no head and tail in the text"
    base = next((row for _, row in group.rows if "head" in row), None)
    if base:
        facts.insert(0, ("base", base["base"]))
        head, tail, end = int(base["head"]), int(base["tail"]), max(slots, default=0) + 1
        waiting = [*range(head, tail)] if head <= tail else [*range(head, end), *range(tail)]
        what = f"{len(waiting)} descriptors are" if waiting else "nothing is"
        says = f"head {head}, tail {tail}, {what} waiting"
    for slot in [slot for slot in waiting or slots if slot in slots][:_SHOWN]:
        status = _STATUS.get(slots[slot][-1], f"status {slots[slot][-1]}")
        facts.append((f"slot {slot}", f"{descriptor_text(raw[slot])}; {status}"))
    yield group.piece(
        f"{group.first['unit']}: {says}",
        *facts,
        count=1,
        means="Descriptors from head to tail are still to be executed; "
        "slots behind keep what they held last.",
        lesson=12,
    )


def _interrupts(group: Group, text: Text) -> Iterator[Piece]:
    rows = {row["n"]: number(row["low"]) | number(row["high"]) << 64 for _, row in group.rows if "n" in row}
    facts = [("table", f"{number(row['base']):#x}") for _, row in group.rows if "base" in row][:1]
    for n, raw in list(rows.items())[:_SHOWN]:
        entry = (IRTE_POSTED if raw >> 15 & 1 else IRTE).decode(raw)
        what = f"vector {entry.VV:#x}, posted" if raw >> 15 & 1 else f"vector {entry.V:#x} to {entry.DST:#x}"
        check = entry.structure.field("SVT").text(entry.SVT)
        facts.append((f"entry {n}", f"{bdf(entry.SID)}: {what}; requester checked: {check}"))
    free = sum(not raw >> 82 & 3 for raw in rows.values())
    yield group.piece(
        f"{group.first['unit']}: {len(rows):,} {group.first['which'].lower()} interrupts",
        *facts,
        count=1,
        lesson=4,
        notes=holding({f"{free} entries let any device send their interrupt (SVT=0)": free}),
        bits=("IRTE", next(iter(rows.values()))) if rows else None,
    )


_W = r"0x[\da-fA-F]{16}"
FORMATS = (
    Format(
        "registers",
        "Register Base Address",
        pattern(r"IOMMU: (?P<unit>[\w-]{1,24}) Register Base Address: (?P<base>HEX)"),
        _registers,
        row=pattern(
            r"^(?P<name>[A-Z][A-Z0-9_]{1,20}) 0x[\da-fA-F]{2,4} (?P<value>0x[\da-fA-F]{8,16})$"
            r"|^(?P<counter>inv_iotlb|inv_devtlb|inv_iec|svm_prq) (?P<counts>\d{1,18}(?: \d{1,18}){3,9})$|^"
            r"(?P<title>Name Offset Contents|<0\.1us)"
        ),
    ),
    Format(
        "debugfs entry",
        "Root Table Addr",
        pattern(r"IOMMU (?P<unit>[\w-]{1,24}): (?P<ext>Extended )?Root Table Addr(?:ess)?: ?(?P<root>HEX)"),
        _translation,
        row=pattern(
            rf"(?P<sid>BDF) (?P<row_root_high>{_W}):(?P<row_root>{_W}) (?P<high>{_W}):(?P<low>{_W})"
            rf"(?: (?P<pasid>-?\d{{1,7}}) (?P<w1>{_W}):(?P<w2>{_W}):(?P<w3>{_W}))?"
            r"|^Bus: (?P<bus>\d{1,3}) H: (?P<root_high>HEX) L: (?P<root_low>HEX)"
            r"|^\d{1,3} (?P<sid_>BDF) (?P<high_>[\da-fA-F]{1,16}) (?P<low_>[\da-fA-F]{1,16})$"
            r"|(?P<title>^B\.D\.F Root_entry|Context Table Entries for Bus|^Entry B:D\.F|^Root Table Entries)"
        ),
        loose=":0x",
    ),
    Format(
        "debugfs page table",
        "@0x",
        pattern(
            r"Device (?P<device>(?:[\da-fA-F]{4}:)?BDF)(?: with pasid (?P<pasid>[\da-fA-F]{1,5}))? @"
            r"(?P<table>HEX)"
        ),
        _page_table,
        row=pattern(
            rf"(?P<pfn>0x[\da-fA-F]{{1,13}}) \| (?P<path>{_W} {_W} {_W} {_W} {_W})|(?P<title>IOVA_PFN PML5E)"
        ),
        loose=r" \||\t\|",
    ),
    Format(
        "invalidation queue",
        "Invalidation queue on",
        pattern(r"Invalidation queue on IOMMU: (?P<unit>[\w-]{1,24})"),
        _queue,
        row=pattern(
            r"Base: (?P<base>HEX) Head: (?P<head>\d{1,6}) Tail: (?P<tail>\d{1,6})|^(?P<title>Index qw0)"
            r"|^(?P<slot>\d{1,6}) (?P<words>[\da-fA-F]{16}(?: [\da-fA-F]{16}){2,4})$"
        ),
    ),
    Format(
        "interrupt table",
        "Interrupt supported on",
        pattern(r"(?P<which>Remapped|Posted) Interrupt supported on IOMMU: (?P<unit>[\w-]{1,24})"),
        _interrupts,
        row=pattern(
            r"IR table address: ?(?P<base>HEX)|^(?P<title>Entry SrcID)|^(?P<n>\d{1,6}) BDF [\da-fA-F]{8} "
            r"(?:[\da-fA-F]{8} )?"
            r"[\da-fA-F]{2} (?P<high>[\da-fA-F]{16}) (?P<low>[\da-fA-F]{16})$"
        ),
    ),
)
