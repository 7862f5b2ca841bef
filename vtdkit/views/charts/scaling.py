"""Throughput and waiting against the number of CPUs, as a picture: `scaling_figure(points)`.

Each line has its name at its end, its own marker and its own colour. Both axes of throughput double from tick
to tick: a line along the dashed one is perfect scaling, a level one means that more CPUs bring nothing, a
falling one that they harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from vtdkit.lab.scaling import ScalingPoint
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, wide, written

from .scaling_lines import Line, doublings, ideal, rate_text, scaling_lines
from .spread import spread

ORDER = ("red", "blue", "green", "orange", "purple", "sky", "yellow")
MARKERS = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "m-4 -4h8v8h-8z",
    "m0 -6l6 6l-6 6l-6-6z",
    "m-5 -4h10l-5 9z",
    "m-5 4h10l-5 -9z",
    "m-2 -5h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "m-5 -5l5 3l5-3l-3 5l3 5l-5-3l-5 3l3-5z",
)
TALL, HEAD, FOOT, TYPE = 280, 26, 38, 12  # pixels: the curves, above them, below them; type


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the two charts: where it is, what it is called, its scale (a value's part of the height, from
    below), and the ticks of that.
    """

    left: float
    right: float
    title: str
    part: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]

    def x(self, cpus: int, counts: Sequence[int]) -> float:
        """CPUs double from tick to tick."""
        span = math.log2(counts[-1] / counts[0]) or 1
        return self.left + math.log2(cpus / counts[0]) / span * (self.right - self.left)

    def y(self, value: float) -> float:
        return HEAD + TALL * (1 - self.part(value))


def scaling_figure(
    points: Iterable[ScalingPoint],
    *,
    names: Mapping[Any, str] | None = None,
    what: str = "operations",
    title: str = "",
) -> Picture:
    """Throughput on the left, the share of time spent waiting for locks on the right.

    `points` are what `scaling` measured; `names` what versions are called; `what` is counted. Raises
    ValueError for points that cannot be drawn.
    """
    lines = scaling_lines(points, names)
    counts = sorted({cpus for line in lines for cpus in line.cpus})
    best = ideal(lines)
    rates = [rate for line in lines for rate in line.rates]
    most = max(*rates, best(counts[-1])) * 1.2
    ticks = [(tick, rate_text(tick)) for tick in doublings(min(rates), most)]
    low, beside = ticks[0][0], max(wide(line.name, TYPE) for line in lines) + 18
    sheet = Sheet(spoken(lines, what, title), title)
    middle = sheet.inside * 0.56
    left = Panel(
        max(wide(text, TYPE) for _, text in ticks) + 8,
        middle - beside,
        f"{what} per second",
        lambda rate: math.log(rate / low) / math.log(most / low),
        ticks,
    )
    right = Panel(
        middle + 60,
        sheet.inside - beside,
        "CPU time spent waiting for locks",
        float,
        [(part / 4, f"{part * 25} %") for part in range(5)],
    )
    ends = [(left.x(cpus, counts), left.y(best(cpus))) for cpus in (counts[0], counts[-1])]
    sheet.draw(
        HEAD + TALL + FOOT,
        tag("path", d=_path(ends), stroke=PAPER["line"], stroke_dasharray="6 4"),
        written(
            ends[1][0],
            ends[1][1] - 6,
            "ideal: each CPU as fast as one alone",
            size=11,
            ink="soft",
            anchor="end",
        ),
        *_chart(left, lines, [line.rates for line in lines], counts),
        *_chart(right, lines, [line.waits for line in lines], counts),
    )
    return sheet.picture()


def spoken(lines: Sequence[Line], what: str, title: str) -> str:
    """The lines in words: where each begins and ends."""
    parts = [
        f"{line.name}: {rate_text(line.rates[0])} with {line.cpus[0]} CPUs, {rate_text(line.rates[-1])} with "
        f"{line.cpus[-1]}, "
        f"where {line.waits[-1]:.0%} of the time is waiting"
        for line in lines
    ]
    return f"{f'{title}: ' if title else ''}{what} per second. {'; '.join(parts)}."


def grid(
    left: float, right: float, title: str, ticks: Iterable[tuple[float, str]], at: float
) -> Iterator[Html]:
    """The title of a chart, its letters on `at`, and a line for each tick of its upright axis."""
    yield written(left, at, title)
    for y, text in ticks:
        yield tag("path", d=_path([(left, y)]) + f"H{coordinate(right)}", stroke=PAPER["faint"])
        yield written(left - 8, y + 4, text, size=TYPE, anchor="end")


def _chart(
    panel: Panel, lines: Sequence[Line], values: Sequence[Sequence[float]], counts: Sequence[int]
) -> Iterator[Html]:
    ticks = [(panel.y(value), text) for value, text in panel.ticks]
    yield from grid(panel.left, panel.right, panel.title, ticks, 14)
    for count in counts:
        yield written(panel.x(count, counts), HEAD + TALL + 20, str(count), size=TYPE, anchor="middle")
    yield written((panel.left + panel.right) / 2, HEAD + TALL + 35, "CPUs", size=TYPE, anchor="middle")
    ends = []
    for line, found, marker, name in zip(lines, values, cycle(MARKERS), cycle(ORDER), strict=False):
        hue = HUES[name].light
        places = [
            (panel.x(cpus, counts), panel.y(value)) for cpus, value in zip(line.cpus, found, strict=True)
        ]
        marks = "".join(_path([place]) + marker for place in places)
        yield tag("path", d=_path(places), stroke=hue, stroke_width=2, fill="none")
        yield tag("path", d=marks, fill=hue)
        ends.append((*places[-1], line.name, hue))
    yield from _names(sorted(ends, key=lambda end: end[1]))


def _names(ends: Sequence[tuple[float, float, str, str]]) -> Iterator[Html]:
    """Beside the last markers, moved up or down where two would overlap."""
    levels = spread([y for _, y, _, _ in ends], TYPE + 3)
    for (x, y, name, hue), level in zip(ends, levels, strict=True):
        yield tag("path", d=_path([(x + 6, y), (x + 13, level)]), stroke=hue)
        yield written(x + 16, level + 4, name, size=TYPE)


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in places)
