"""What Linux says of its units outside of faults: at boot, of firmware, of the invalidation queue.

`messages.py` has the texts and what they mean. What a line carries besides (widths, features, descriptors) is
taken apart here. Lines that say the same are one piece, with what else they say.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtdkit.vtd.requests import bdf
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry

from .files import descriptor_text
from .formats import Format, Group, Row, Text, either, number, pattern
from .lines import echo
from .messages import ALL_ONES, CONSEQUENCES, FEATURES, GONE, IQEI, MESSAGES, NAMELESS, SOURCES
from .report import Piece

_LITERALS = either(MESSAGES)
_UNIT = pattern(r"(?:dmar\d{1,4}|[\da-f]{4}:BDF): (?=(?:DMAR: )?$)")


def _message(group: Group, text: Text) -> Iterator[Piece]:
    kind, lesson, means = MESSAGES[group.first["literal"]]
    said = list(
        dict.fromkeys(echo(_unit(row) + row["literal"] + row.get("rest", "")) for _, row in group.rows)
    )
    yield group.piece(said[0], *(("and", each) for each in said[1:]), kind=kind, means=means, lesson=lesson)


def _unit(row: Row) -> str:
    """The unit or device that the line names before its message."""
    named = _UNIT.search(row.get("before", ""))
    return named[0] if named else ""


def _width(group: Group, text: Text) -> Iterator[Piece]:
    if 12 <= int(group.first["bits"]) <= 64:
        text.width = min(int(group.first["bits"]), 52)
    return _message(group, text)


def _feature(group: Group, text: Text) -> Iterator[Piece]:
    name = FEATURES.get(group.first["name"], "")
    title = f"feature {group.first['name']}{f' ({name})' if name else ''} is not the same in all units"
    yield group.piece(title, means=CONSEQUENCES.get(name, "Each unit uses what it has."), lesson=6)


def _reason(group: Group, text: Text) -> Iterator[Piece]:
    reason = number(group.first["reason"])
    says = IQEI[reason] if reason < len(IQEI) else "no such reason in rev 5.10"
    means = "The unit found a descriptor it cannot execute, left the head on it and stopped (IQE)."
    notes = (ALL_ONES,) if reason == 0xF else ()
    yield group.piece(
        f"invalidation queue error, reason {reason:X}h: {says}", means=means, lesson=12, notes=notes
    )


def _source(group: Group, text: Text) -> Iterator[Piece]:
    source, what = number(group.first["sid"]), group.first["what"]
    who = bdf(source) if source not in (0, 0xFFFF) else "the unit does not say of which device"
    says, means, cause, lesson = SOURCES[what]
    yield group.piece(
        f"invalidation {says}: {who}", means=means, cause=cause, lesson=lesson, notes=NAMELESS.get(source, ())
    )


def _descriptor(group: Group, text: Text) -> Iterator[Piece]:
    row = group.first
    raw = number(row["low"]) | number(row.get("high", "0")) << 64
    entry = descriptors.decode(raw)
    place = "at the head of the queue" if row["place"] == "HEAD" else "before the head"
    device = bdf(entry.SID) if entry and entry.structure.name.endswith("dev_tlb_inv_dsc") else ""
    notes = list(oddities(entry)) if entry is not None else []
    notes += ["all zero: an empty slot, or a head that reads as all ones"] if not raw else []
    notes += ["the upper word is not in the text: unknown"] if "high" not in row else []
    means = f"An invalidation of the TLB of device {device}" if device else ""
    device = device if row["place"] == "PRIOR" else ""
    means += ": after a time-out, it is the one that did not answer." if device else ""
    bits = (entry.structure.name, raw) if entry is not None else None
    cause, lesson = (GONE, 20) if device else ("", 12)
    title = f"{place}: {descriptor_text(raw)}"
    yield group.piece(title, means=means, cause=cause, lesson=lesson, notes=tuple(notes), bits=bits)


def oddities(entry: Entry) -> Iterator[str]:
    """What is odd about a descriptor, whatever unit it is for."""
    reserved = entry.raw & sum(part.mask for part in entry.structure.fields if part.role == "reserved")
    if reserved:
        yield f"reserved bits {reserved:#x} are set: a unit stops with IQE, reason 4"
    if "AM" in entry.structure.names and entry.ADDR & (4096 << entry.AM) - 1 & ~0xFFF:
        yield (
            f"the address is not aligned to its mask (AM={entry.AM}: 2^{entry.AM} pages): the unit ignores "
            f"its low bits, "
            "so pages above the aligned range stay cached"
        )


FORMATS = (
    Format(
        "width",
        "Host address width",
        pattern(r"(?P<literal>Host address width)(?P<rest> (?P<bits>\d{1,3}))"),
        _width,
    ),
    Format(
        "boot",
        "IOMMU feature",
        pattern(r"IOMMU feature (?P<name>\w{1,32}) inconsistent"),
        _feature,
        same=("name",),
    ),
    Format(
        "queue error",
        "Queue Error: Reason",
        pattern(r"Invalidation Queue Error: Reason (?P<reason>[\da-fA-F]{1,4})"),
        _reason,
        same=("reason",),
    ),
    Format(
        "queue error",
        "Error: SID",
        pattern(r"Invalidation (?P<what>Time-out|Completion) Error: SID (?P<sid>[\da-fA-F]{1,4})\b"),
        _source,
        same=("what", "sid"),
    ),
    Format(
        "queue error",
        "QI ",
        pattern(r"QI (?P<place>HEAD|PRIOR): [\w -]{1,48}?qw0 = (?P<low>HEX)(?:, qw1 = (?P<high>HEX))?"),
        _descriptor,
        whole="qw1 = 0x",
        same=("place", "low", "high"),
    ),
    Format(
        "boot",
        "",
        pattern(rf"(?P<literal>{_LITERALS})(?=(?P<rest>.{{0,80}}))"),
        _message,
        same=("literal",),
        gate=_LITERALS,
    ),
)
