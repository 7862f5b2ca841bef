"""Where the bits of a value stand in a picture: plain data, for the figure on paper and for tests.

The highest bits come first, 32 to a row, as the specification draws them; a field that crosses a row appears
in both. Rows of more than four that hold nothing but zeros nobody looks at become one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vtdkit.views.shared.record import Record

WORD = 32
"""Bits in a row of the picture."""
_SHORT = 128
"""Up to this width every row is drawn."""


@dataclass(frozen=True, slots=True)
class Label:
    """A field's name over the bits it has in one row: `left` boxes from the left, `span` boxes wide."""

    left: int
    span: int
    name: str
    bits: str
    state: str

    def places(self, top: int) -> range:
        """Its bits in the row that ends below bit `top`, the highest first."""
        high = top - 1 - self.left
        return range(high, high - self.span, -1)


@dataclass(frozen=True, slots=True)
class Box:
    """One bit. `wrong`: it must be 0 and is not; `changed`: it differs from the starting value."""

    bit: int
    one: bool
    state: str
    wrong: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class BitRow:
    """The bits `high` to `low`; without `boxes` they are all 0 and nobody looks at them."""

    high: int
    low: int
    labels: tuple[Label, ...] = ()
    boxes: tuple[Box, ...] = ()


def bit_rows(fields: Iterable[Mapping[str, Any]], width: int, value: int, start: int) -> list[BitRow]:
    """The rows of the picture of `value`, the highest first; `fields` are the rows of a layout record."""
    known = list(fields)
    rows = [_row(known, top, value, start) for top in range(width, 0, -WORD)]
    return rows if width <= _SHORT else list(_folded(rows))


def silent(row: BitRow) -> bool:
    """Whether a row holds nothing but zeros, now and at the start, in bits that hardware does not look at."""
    return not any(box.one or box.changed or box.state == "used" for box in row.boxes)


def _row(fields: list[Mapping[str, Any]], top: int, value: int, start: int) -> BitRow:
    low = max(0, top - WORD)
    here = [field for field in fields if field["high"] >= low and field["low"] < top]
    labels = tuple(_label(field, top, low) for field in here)
    boxes = (
        _box(field, bit, value, start)
        for field, label in zip(here, labels, strict=True)
        for bit in label.places(top)
    )
    return BitRow(top - 1, low, labels, tuple(boxes))


def _label(field: Mapping[str, Any], top: int, low: int) -> Label:
    high, last = min(field["high"], top - 1), max(field["low"], low)
    return Label(top - 1 - high, high - last + 1, field["name"], bits_text(field), field["state"])


def _box(field: Mapping[str, Any], bit: int, value: int, start: int) -> Box:
    one = bool(value >> bit & 1)
    return Box(
        bit, one, field["state"], one and field["state"] == "reserved", one is not bool(start >> bit & 1)
    )


def _folded(rows: list[BitRow]) -> Iterator[BitRow]:
    """Neighbouring silent rows as one without boxes."""
    quiet: BitRow | None = None
    for row in rows:
        if silent(row):
            quiet = BitRow(quiet.high if quiet else row.high, row.low)
            continue
        if quiet:
            yield quiet
        quiet = None
        yield row
    if quiet:
        yield quiet


def bits_text(field: Mapping[str, Any]) -> str:
    """A field's place as the specification writes it: 51:12, or 63."""
    return str(field["low"]) if field["high"] == field["low"] else f"{field['high']}:{field['low']}"


def field_value(field: Mapping[str, Any], raw: int) -> int:
    """What a field of `raw` says; an address comes back as an address, not as a page number."""
    value: int = raw >> field["low"] & (1 << field["high"] - field["low"] + 1) - 1
    return value << field["low"] % 64 if field.get("address") else value


def meaning(field: Mapping[str, Any], value: int) -> str:
    """What a field of that value means."""
    if field["state"] == "reserved":
        return (
            str(field["meaning"])
            if field["meaning"].startswith("must be 0")
            else f"must be 0: {field['meaning'] or 'reserved'}"
        )
    return ": ".join(filter(None, (field["meaning"], field.get("values", {}).get(str(value), ""))))


def worth_a_line(layout: Record, raw: int) -> list[tuple[str, str, int, str]]:
    """Bits, name, value and meaning of each field that is used or not 0, high bits first."""
    shown = [(field, field_value(field, raw)) for field in layout["rows"]]
    return [
        (bits_text(f), f["name"], value, meaning(f, value))
        for f, value in shown
        if value or f["state"] == "used"
    ]
