"""What may go to a browser as a record: plain data, of bounded size, that JavaScript reads
as Python meant it.

A record is made of dicts with text keys, lists, texts, truth values, None, finite floats, and whole numbers
of at most 53 bits. Addresses and table entries have 64 bits and more: they travel as hex text. A
record goes over once, as JSON, and is stored in every page that shows it, so it has a limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
EXACT = 1 << 53
"""JavaScript's numbers are exact below this."""
LIMIT = 2 << 20
"""The largest record, in bytes of JSON, unless a widget says otherwise."""


class BadRecord(ValueError):
    """Something a browser could not be given. The text says where in the record it is and
    what would do instead.
    """


def checked(record: Mapping[str, Any], limit: int = LIMIT) -> Record:
    """The record as plain dicts and lists (tuples become lists). Raises BadRecord."""
    plain: Record = _plain(record, "record")
    size = len(json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode())
    if size > limit:
        largest = max(plain, key=lambda key: len(json.dumps(plain[key])))
        raise BadRecord(
            f"the record takes {size:,} bytes and may take {limit:,}; most is in "
            f"{largest!r}: show less, or a part"
        )
    return plain


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        if other := [key for key in value if not isinstance(key, str)]:
            raise BadRecord(f"{where} has the key {other[0]!r}; keys are text")
        return {key: _plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_plain(each, f"{where}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, int) and abs(value) >= EXACT:
        raise BadRecord(
            f"{where} is {value:#x}: JavaScript is exact only up to 53 bits; give it as text, '{value:#x}'"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRecord(f"{where} is {value}: JSON has no such number")
    if not isinstance(value, str | int | float | None):
        raise BadRecord(
            f"{where} is a {type(value).__name__}; a record holds dicts, lists, text, "
            "numbers, True, False and None"
        )
    return value
