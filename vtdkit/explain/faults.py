"""Fault lines: who asked for what, which check said no.

Every form Linux has printed since 2.6: two lines or one, the reason in decimal (up to 5.12) or in hex with
0x, PASIDs as `PASID ffffffff` or `NO_PASID`, interrupts with an index instead of an address; Xen's, with the
reason in hex without 0x; QEMU's own messages. Which base a number has is told by the text beside it, where
there is one. Lines that differ in their address alone are counted as one piece."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtdkit.views.pagetables.words import sentence
from vtdkit.vtd.faults.reasons import LINUX_REASONS, REASONS, linux_reason
from vtdkit.vtd.registers.register_map import FSTS
from vtdkit.vtd.requests import BadRequest, Kind, Request, bdf, sid
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.tables.pages import second_stage_entry

from .causes import ALSO, CAUSES, labels
from .formats import Format, Group, Row, Text, holding, number, pattern
from .report import Piece

KIND = "fault"
_VALUE = re.compile(
    r"(iova|level|slpte|sspte|fspte|flpte|dev|pasid|write)=(0x[\da-fA-F]{1,16}|\d{1,3}:\d\d:\d\d|\d{1,3})"
)
#: words of a complaint of QEMU's, the condition it is about
_QEMU = (
    ("reserve", "LSS.2"),
    ("permission error", "LGN.3"),
    ("overflow", "LGN.1.1"),
    ("non-canonical", "SGN.1"),
)


def reason_code(row: Row) -> int | None:
    """The fault reason. Kernels up to 5.12 print it in decimal, later ones in hex with 0x, Xen in hex; the
    text beside it says which, where the two differ.
    """
    printed, says = row.get("xen") or row.get("reason", ""), row.get("says", "").strip(" $")
    readings = [number(printed)] if printed else []
    if printed.isdecimal() and "xen" not in row:
        readings.insert(0, int(printed))
    fits = (code for code in readings if _agrees(linux_reason(code), says))
    return next(fits, readings[0] if readings else None)


def _agrees(text: str, says: str) -> bool:
    """Whether what stands beside a reason is this text, perhaps cut off, perhaps with more behind it."""
    return len(says) > 7 and (text.startswith(says) or says.startswith(text))


def request_of(row: Row) -> Request | None:
    """What a fault line says the device asked for; None for a device there cannot be."""
    source = ":".join(part.removeprefix("0x") for part in row["sid"].replace(".0x", ".").split(":")[-2:])
    tag = number(row.get("pasid") or row.get("old") or "ffffffff")
    address = number(row["where"]) & ~0xFFF & (1 << 64) - 1
    try:
        kind: Kind = "write" if row.get("kind") == "Write" else "read"
        return Request(sid(source), address, kind, pasid=None if tag == 0xFFFF_FFFF else tag)
    except BadRequest:
        return None


def who_of(request: Request) -> str:
    """The device of a request, and its PASID."""
    return bdf(request.sid) + ("" if request.pasid is None else f" PASID {request.pasid:#x}")


def _fault(group: Group, text: Text) -> Iterator[Piece]:
    row, code, request = group.first, reason_code(group.first), request_of(group.first)
    interrupt = row["what"] == "INTR-REMAP"
    who = who_of(request) if request else row["sid"]
    places = list(dict.fromkeys(f"{number(each['where']):#x}" for _, each in group.rows))
    where = ", ".join(places[:4]) + (", …" if group.count > 4 and len(places) > 1 else "")
    verb = "interrupt with index" if interrupt else "reads" if row["kind"] == "Read" else "writes"
    kind = "interrupt fault" if interrupt else "DMA fault"
    if code is None:
        yield group.piece(f"{who} {verb} {where}; the reason is not in the text", kind=kind)
        return
    printed = row.get("reason") or row.get("xen")
    lesson, cause = CAUSES.get(code, (4, ""))
    means = " ".join(dict.fromkeys(map(sentence, labels(code))))
    yield group.piece(
        f"{who} {verb} {where}; reason {code:02X}h",
        ("device", who),
        ("index" if interrupt else "address", where),
        ("reason", f"{code:02X}h (printed {printed}, {code} in decimal): {linux_reason(code)}"),
        kind=kind, checks=labels(code), cause=cause, lesson=lesson, notes=_notes(row, code),
        means=means or "No condition has this code in rev 5.10.",
    )  # fmt: skip


def _notes(row: Row, code: int) -> tuple[str, ...]:
    says, interrupt = row.get("says", "").strip(" $"), row["what"] == "INTR-REMAP"
    return holding({
        "the number is an index into the interrupt remapping table, no address": interrupt,
        "address 0: often a device that was never told where its buffer is": (
            not interrupt and number(row["where"]) == 0
        ),
        "for this reason the specification leaves the index undefined": code in (0x20, 0x25, 0x29),
        f"the text beside the reason is not the one Linux has for {code:02X}h": (
            len(says) > 7 and code in LINUX_REASONS and not _agrees(LINUX_REASONS[code], says)
        ),
        **{
            f"in scalable mode QEMU reports {ALSO[each]} with this code, too": True
            for each in labels(code)
            if each in ALSO
        },
        "Linux's text is of an older revision; in rev 5.10 79h is: second-stage entry not present": (
            code == 0x79
        ),
    })  # fmt: skip


def _status(group: Group, text: Text) -> Iterator[Piece]:
    value = number(group.first["status"])
    entry = Entry(FSTS, value)
    says = [f"{name} ({FSTS.field(name).meaning})" for name in FSTS.names if name != "FRI" and entry[name]]
    says += ["PRO (page request overflow, before rev 5.10)"] if value & 0x80 else []
    yield group.piece(
        f"FSTS = {value:#x}: {', '.join(says) or 'nothing'}",
        *([("first record", str(entry.FRI))] if entry.PPF else []),
        means="The fault interrupt came; these bits of FSTS said why.",
        lesson=4,
        bits=("FSTS", value & 0xFFFF_FFFF),
    )


def _value(text: str) -> int:
    """A number as QEMU prints it; -1 for what is none."""
    return number(text) if text.startswith("0x") else int(text) if text.isdecimal() else -1


def _qemu(group: Group, text: Text) -> Iterator[Piece]:
    """A message of QEMU's own about what it emulates."""
    says = group.first["says"]
    values: dict[str, str] = dict(_VALUE.findall(says))
    label = next((label for words, label in _QEMU if words in says), "")
    label = "LGN.2" if label == "LGN.3" and values.get("write") == "1" else label
    facts, notes, bits = list(values.items()), [], None
    raw, level = _value(values.get("slpte") or values.get("sspte") or ""), _value(values.get("level", "1"))
    if raw >= 0 and 1 <= level <= 5:
        layout = second_stage_entry(level, leaf=level == 1 or bool(raw & 0x80 and level < 4))
        marked = [f for f in layout.fields if raw & f.mask and f.name != "ADDR" and f.role != "ignored"]
        bits = layout.name, raw
        names = ", ".join(f.name for f in marked)
        facts.append(("entry", f"{layout.name}: {names or 'all zero: nothing is mapped'}"))
        notes = [
            f"{f.name} (bit {f.bits}) is reserved in a unit without {' and '.join(f.needs)}"
            for f in marked
            if f.needs and label == "LSS.2"
        ]
    notes += [f"in scalable mode this is {ALSO[label]}"] if label in ALSO else []
    lesson, cause = CAUSES.get(REASONS[label].code or 0 if label else 0, (4, ""))
    yield group.piece(
        f"{group.first['who']}: {says.split(' (')[0].split(' iova=')[0][:60].strip()}", *facts,
        means=sentence(label) if label else "QEMU says why it refused a request.",
        checks=(label,) if label else (), cause=cause, lesson=lesson, notes=tuple(notes), bits=bits,
    )  # fmt: skip


FORMATS = (
    Format(
        KIND,
        "Request device",
        pattern(
            r"(?P<what>DMA (?P<kind>Read|Write)|INTR-REMAP)(?: NO_PASID| PASID (?P<pasid>HEX))?\]?:? ?"
            r"Request device \[{1,2}(?P<sid>[\da-fA-Fx:.]{7,20})\] ?(?:PASID (?P<old>[\da-fA-F]{1,8}) )?"
            r"fault (?:addr|index) (?P<where>HEX)(?:, iommu reg = HEX)?"
            r"(?: ?(?:\(XEN\) ?)?(?:\[VT-D\])?(?:DMAR|INTR-REMAP)?:? ?"
            r"(?:\[fault reason (?P<reason>HEX)\]|(?:fault )?reason (?P<xen>[\da-fA-F]{2})\b)"
            r"(?=[ :-]{0,4}(?P<says>[^\[]{0,90})))?"
        ),
        _fault,
        whole="reason",
        same=("what", "sid", "pasid", "old", "reason", "xen"),
    ),
    Format(
        "fault status",
        "fault status reg",
        pattern(r"DRHD: handling fault status reg (?P<status>[\da-fA-F]{1,8})"),
        _status,
        same=("status",),
    ),
    Format(
        "QEMU", "vtd_", pattern(r"(?P<who>vtd_\w{1,40}): (?P<says>.{1,160})"), _qemu, same=("who", "says")
    ),
)
