"""How records of this room show themselves in a notebook cell: by name, numbers as
hardware people read them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def number(value: Any) -> str:
    """A value for people: numbers from 10 up in hex, everything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 9:
        return f"{value:#x}"
    return repr(value)


def shown(record: Any) -> str:
    """The `repr` of a dataclass: fields that still have their default are left out."""
    parts = (
        f"{f.name}={number(getattr(record, f.name))}"
        for f in fields(record)
        if f.repr and getattr(record, f.name) != f.default
    )
    return f"{type(record).__name__}({', '.join(parts)})"
