"""How virtual time is written for people. Mirrors nothing in a kernel."""

from __future__ import annotations

from collections.abc import Sequence

UNITS = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000))


def duration(ns: int, units: Sequence[tuple[str, int]] = UNITS) -> str:
    """A length of time with its unit: whole ns below 10 µs, tenths above, halves rounded up.

    `units`: name and size in ns, smallest first; the last one is used for whatever is longer.
    """
    unit, size = next((each for each in units if ns < 10_000 * each[1]), units[-1])
    if size == 1:
        return f"{ns:,} {unit}"
    tenths = (ns * 10 + size // 2) // size
    return f"{tenths // 10:,}.{tenths % 10} {unit}"
