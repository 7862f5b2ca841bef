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
from .formats import Format, Group, Row, Text, either, holding, number, pattern
from .lines import echo
from .messages import ALL_ONES, CONSEQUENCES, FEATURES, GONE, IQEI, MESSAGES, NAMELESS, SOURCES
from .report import Piece

_LITERALS = either(MESSAGES)
_UNIT = pattern(r"(?:dmar\d{1,4}|[\da-f]{4}:BDF): (?=(?:DMAR: )?$)")


def _message(group: Group, text: Text) -> Iterator[Piece]:
    kind, lesson, means = MESSAGES[group.first["literal"]]
    first, *others = dict.fromkeys(_said(row) for _, row in group.rows)
    yield group.piece(first, *(("and", each) for each in others), kind=kind, means=means, lesson=lesson)


def _said(row: Row) -> str:
    """A message, with the unit or device that its line names before it."""
    named = _UNIT.search(row.get("before", ""))
    return echo((named[0] if named else "") + row["literal"] + row.get("rest", ""))


def _width(group: Group, text: Text) -> Iterator[Piece]:
    if 12 <= int(group.first["bits"]) <= 64:
        text.width = min(int(group.first["bits"]), 52)
    return _message(group, text)


def _feature(group: Group, text: Text) -> Iterator[Piece]:
    short = group.first["name"]
    name = FEATURES.get(short, "")
    yield group.piece(
        f"feature {short}{f' ({name})' if name else ''} is not the same in all units",
        means=CONSEQUENCES.get(name, "Each unit uses what it has."),
        lesson=6,
    )


def _reason(group: Group, text: Text) -> Iterator[Piece]:
    reason = number(group.first["reason"])
    says = IQEI[reason] if reason < len(IQEI) else "no such reason in rev 5.10"
    yield group.piece(
        f"invalidation queue error, reason {reason:X}h: {says}",
        means="The unit found a descriptor it cannot execute, left the head on it and stopped (IQE).",
        lesson=12,
        notes=(ALL_ONES,) if reason == 0xF else (),
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
    prior = row["place"] == "PRIOR"
    asks_device = entry is not None and entry.structure.name.endswith("dev_tlb_inv_dsc")
    means = f"An invalidation of the TLB of device {bdf(entry.SID)}" if entry and asks_device else ""
    means += ": after a time-out, it is the one that did not answer." if asks_device and prior else ""
    cause, lesson = (GONE, 20) if asks_device and prior else ("", 12)
    yield group.piece(
        f"{'before the head' if prior else 'at the head of the queue'}: {descriptor_text(raw)}",
        means=means, cause=cause, lesson=lesson,
        notes=(*(_oddities(entry) if entry else ()), *holding({
            "all zero: an empty slot, or a head that reads as all ones": not raw,
            "the upper word is not in the text: unknown": "high" not in row,
        })),
        bits=(entry.structure.name, raw) if entry else None,
    )  # fmt: skip


def _oddities(entry: Entry) -> tuple[str, ...]:
    """What is odd about a descriptor, whatever unit it is for."""
    reserved = entry.raw & sum(part.mask for part in entry.structure.fields if part.role == "reserved")
    mask = entry.AM if "AM" in entry.structure.names else 0
    return holding({
        f"reserved bits {reserved:#x} are set: a unit stops with IQE, reason 4": reserved,
        f"the address is not aligned to its mask (AM={mask}: 2^{mask} pages): the unit ignores its low bits, "
        "so pages above the aligned range stay cached": mask and entry.ADDR & (4096 << mask) - 1 & ~0xFFF,
    })  # fmt: skip


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
