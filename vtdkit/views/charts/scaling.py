"""Throughput and waiting against the number of CPUs: `scaling_figure(points)`.

Each line has its name at its end, its own marker and its own colour. Both axes of throughput double from tick
to tick: a line along the dashed one is perfect scaling, a level one means that more CPUs bring nothing, a
falling one that they harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import wide

from .chart import Area, Chart, Line, Shape, Text
from .scaling_lines import Line as Measurements
from .scaling_lines import Measured, ScalingPoint, doublings, ideal, rate_text, scaling_lines
from .spread import spread

__all__ = ["ScalingPoint", "scaling_figure"]
ORDER = ("red", "blue", "green", "orange", "purple", "sky", "yellow")
TALL = 259.0  # points
TYPE = 8.5
#: the corners of a marker, for one 6 points wide; a line's number chooses
MARKERS: tuple[tuple[tuple[float, float], ...], ...] = (
    tuple((2.9 * math.cos(i * math.pi / 8), 2.9 * math.sin(i * math.pi / 8)) for i in range(16)),
    ((-2.6, -2.6), (2.6, -2.6), (2.6, 2.6), (-2.6, 2.6)),
    ((0, -3.6), (3.6, 0), (0, 3.6), (-3.6, 0)),
    ((0, -3.2), (3.2, 2.8), (-3.2, 2.8)),
    ((0, 3.2), (3.2, -2.8), (-3.2, -2.8)),
)


def scaling_figure(
    points: Iterable[Measured],
    *,
    names: Mapping[Any, str] | None = None,
    what: str = "operations",
    title: str = "",
    width: float = 9.0,
) -> Chart:
    """A chart `width` inches wide: throughput on the left, the share of time spent waiting for locks on the
    right.

    `points` are `ScalingPoint` records or others with the same fields; `names` what versions are called;
    `what` is counted. Raises ValueError for points that cannot be drawn.
    """
    lines = scaling_lines(points, names)
    top = 44.0 if title else 24.0
    across, label = width * 72, max(wide(line.name, TYPE) for line in lines) + 14
    half = across * 0.53
    left = _Panel(lines, (62.0, half - label), (top, top + TALL - 58))
    right = _Panel(lines, (half + 40, across - label), (top, top + TALL - 58))
    shapes = [*_throughput(left, what), *_waiting(right)]
    if title:
        shapes.append(Text(6, 11, title, 11, bold=True))
    return Chart(spoken(lines, what, title), across, top + TALL - 24, tuple(shapes))


def spoken(lines: Sequence[Measurements], what: str, title: str) -> str:
    """The lines in words: where each begins and ends."""
    parts = [
        f"{line.name}: {rate_text(line.rates[0])} with {line.cpus[0]} CPUs, {rate_text(line.rates[-1])} with "
        f"{line.cpus[-1]}, "
        f"where {line.waits[-1]:.0%} of the time is waiting"
        for line in lines
    ]
    return f"{f'{title}: ' if title else ''}{what} per second. {'; '.join(parts)}."


@dataclass(frozen=True)
class _Panel:
    """One of the two drawings: its lines, and where its corners are."""

    lines: Sequence[Measurements]
    across: tuple[float, float]
    down: tuple[float, float]

    @property
    def counts(self) -> list[int]:
        """The numbers of CPUs that were measured."""
        return sorted({cpus for line in self.lines for cpus in line.cpus})

    def x(self, cpus: int) -> float:
        """Where a number of CPUs stands: each doubling is as wide as the next."""
        first, last = self.counts[0], self.counts[-1]
        share = math.log2(cpus / first) / math.log2(last / first) if last > first else 0.5
        return self.across[0] + 8 + share * (self.across[1] - self.across[0] - 16)

    def y(self, share: float) -> float:
        """Where a height stands, 0 at the bottom and 1 at the top."""
        return self.down[1] - share * (self.down[1] - self.down[0])

    def frame(self, heading: str, ticks: Iterable[tuple[float, str]]) -> Iterator[Shape]:
        """Heading, scales and the lines that go across."""
        (left, right), bottom = self.across, self.down[1]
        yield Text(left - 4, self.down[0] - 13, heading, 10)
        for share, words in ticks:
            yield Line(((left, self.y(share)), (right, self.y(share))), PAPER["faint"], 0.6)
            yield Text(left - 5, self.y(share), words, TYPE, anchor="end")
        yield Line(((left, bottom), (right, bottom)), PAPER["ink"], 0.8)
        yield from (
            Text(self.x(count), bottom + 9, str(count), TYPE, anchor="middle") for count in self.counts
        )
        yield Text((left + right) / 2, bottom + 23, "CPUs", TYPE + 0.5, anchor="middle")

    def curves(self, shares: Sequence[Sequence[float]]) -> Iterator[Shape]:
        """Each line with its markers, and its name at its end, moved up or down where two would overlap."""
        ends = [self.y(line[-1]) for line in shares]
        order = sorted(range(len(ends)), key=lambda i: ends[i])
        places = dict(zip(order, spread([ends[i] for i in order], [TYPE + 4.0] * len(order)), strict=True))
        for number, (line, heights) in enumerate(zip(self.lines, shares, strict=True)):
            hue = HUES[ORDER[number % len(ORDER)]].light
            points = tuple(
                (self.x(cpus), self.y(share)) for cpus, share in zip(line.cpus, heights, strict=True)
            )
            yield Line(points, hue, 1.8)
            marker = MARKERS[number % len(MARKERS)]
            yield from (Area(tuple((x + dx, y + dy) for dx, dy in marker), hue) for x, y in points)
            (x, y), name_at = points[-1], (self.across[1] + 6, places[number])
            yield Line(((x + 3, y), (name_at[0] - 1, name_at[1])), hue, 0.8)
            yield Text(*name_at, line.name, TYPE)


def _throughput(panel: _Panel, what: str) -> Iterator[Shape]:
    best = ideal(panel.lines)
    first, last = panel.counts[0], panel.counts[-1]
    rates = [rate for line in panel.lines for rate in line.rates]
    most = max(*rates, best(last))
    ticks = doublings(min(rates), most)
    share = _logarithmic(ticks[0] / 1.1, most * 1.35)
    yield from panel.frame(f"{what} per second", [(share(tick), rate_text(tick)) for tick in ticks])
    ends = (panel.x(first), panel.y(share(best(first)))), (panel.x(last), panel.y(share(best(last))))
    yield Line(ends, PAPER["line"], 1, (4, 2))
    words = "ideal: each CPU as fast as one alone"
    yield Text(panel.across[1], ends[1][1] - 8, words, TYPE - 1, PAPER["soft"], "end")
    yield from panel.curves([[share(rate) for rate in line.rates] for line in panel.lines])


def _logarithmic(low: float, high: float) -> Callable[[float], float]:
    return lambda value: math.log(value / low) / math.log(high / low)


def _waiting(panel: _Panel) -> Iterator[Shape]:
    ticks = [(part / 4, f"{part * 25} %") for part in range(5)]
    yield from panel.frame("CPU time spent waiting for locks", ticks)
    yield from panel.curves([line.waits for line in panel.lines])
