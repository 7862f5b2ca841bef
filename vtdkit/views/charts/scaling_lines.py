"""What a scaling figure shows, as plain data: for each version a line of throughput and of waiting against
the number of CPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

from vtdkit.lab.scaling import ScalingPoint


@dataclass(frozen=True, slots=True)
class Line:
    """The measurements of one version, by CPUs."""

    name: str
    cpus: tuple[int, ...]
    rates: tuple[float, ...]
    waits: tuple[float, ...]


def scaling_lines(points: Iterable[ScalingPoint], names: Mapping[Any, str] | None = None) -> tuple[Line, ...]:
    """One line a version, in the order in which the versions come. `names` says what a version is called.

    Raises ValueError for no points, or two measurements of the same.
    """
    versions: dict[Any, dict[int, ScalingPoint]] = {}
    for point in points:
        known = versions.setdefault(point.version, {})
        if point.cpus in known:
            raise ValueError(
                f"version {point.version!r} has two measurements with {point.cpus} CPUs; give one"
            )
        known[point.cpus] = point
    if not versions:
        raise ValueError("there are no measurements to draw")
    return tuple(
        Line(
            (names or {}).get(version, str(version)),
            tuple(sorted(known)),
            tuple(float(known[cpus].ops_per_second) for cpus in sorted(known)),
            tuple(float(known[cpus].wait_share) for cpus in sorted(known)),
        )
        for version, known in versions.items()
    )


def ideal(lines: Iterable[Line]) -> Callable[[int], float]:
    """What so many CPUs would do if each did as much as one does in the best version (of
    the smallest number measured).
    """
    fewest = min(line.cpus[0] for line in lines)
    each = max(line.rates[0] / fewest for line in lines if line.cpus[0] == fewest)
    return lambda cpus: each * cpus


def rate_text(rate: float) -> str:
    """Operations a second, in words: 2.5 million, 400 thousand, 12."""
    units = ((1e9, " billion"), (1e6, " million"), (1e3, " thousand"))
    return next((f"{rate / unit:.3g}{name}" for unit, name in units if rate >= unit), f"{rate:.3g}")


def doublings(low: float, high: float, most: int = 8) -> list[float]:
    """Ticks from a round number at or below `low` up to `high`, each twice the one before; four times, and so
    on, if that were more than `most`."""
    power = 10.0 ** math.floor(math.log10(low))
    first = max((step * power for step in (1, 2, 5) if step * power <= low), default=power)
    factor = next(2**n for n in count(1) if first * (2**n) ** most >= high)
    return [first, *takewhile(lambda tick: tick <= high, (first * factor**n for n in count(1)))]
