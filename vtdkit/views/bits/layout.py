"""Where the bits of a value stand in a picture, and what its fields say: plain data, for stills and tests.

The highest bits come first, 32 to a row, as the specification draws them; a field that crosses a row appears
in both. Rows of more than four that hold nothing but zeros nobody looks at become one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vtdkit.views.shared.record import Record

WORD = 32
"""Bits in a row of the picture."""
_SHORT = 128
"""Up to this width every row is drawn."""


Part = Mapping[str, Any]
"""What one row has of a field: the field, with `high` and `low` of its bits there, `bits` of all of it."""


@dataclass(frozen=True, slots=True)
class BitRow:
    """The bits `high` to `low`; without `parts` they are all 0 and nobody looks at them."""

    high: int
    low: int
    parts: tuple[Part, ...] = ()


def bit_rows(fields: Iterable[Mapping[str, Any]], width: int, value: int, start: int) -> list[BitRow]:
    """The rows of the picture of `value`, the highest first; `fields` are the rows of a layout record."""
    known, rows = list(fields), list[BitRow]()
    for high in range(width - 1, 0, -WORD):
        low = high - WORD + 1
        here = [field for field in known if field["high"] >= low and field["low"] <= high]
        set_in_it = (value | start) >> low & (1 << WORD) - 1
        if width <= _SHORT or set_in_it or any(field["state"] == "used" for field in here):
            rows.append(BitRow(high, low, tuple(_part(field, high, low) for field in here)))
        elif rows and not rows[-1].parts:
            rows[-1] = BitRow(rows[-1].high, low)
        else:
            rows.append(BitRow(high, low))
    return rows


def _part(field: Mapping[str, Any], high: int, low: int) -> Part:
    inside = {"high": min(field["high"], high), "low": max(field["low"], low)}
    return {**field, **inside, "bits": bits_text(field)}


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
        return f"must be 0: {field['meaning'].removeprefix('must be 0: ') or 'reserved'}"
    return ": ".join(filter(None, (field["meaning"], field.get("values", {}).get(str(value), ""))))


def worth_a_line(layout: Record, raw: int) -> list[tuple[str, str, int, str]]:
    """Bits, name, value and meaning of each field that is used or not 0, high bits first."""
    return [
        (bits_text(field), field["name"], value, meaning(field, value))
        for field in layout["rows"]
        if (value := field_value(field, raw)) or field["state"] == "used"
    ]
