"""How long calls took, as a picture: `latency_figure({"with a lock": times, "without": others})`.

For each time on the axis, ten times as long from tick to tick, a line says how many of the calls took
longer. The further right a line comes down, the longer somebody had to wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from vtdkit.kernel.record.units import duration
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, legend, written

from .scaling import MARKERS, ORDER, grid

Place = Callable[[float], float]
LEFT, HIGH, HEAD, FOOT = 60, 230, 22, 40


def latency_figure(calls: Mapping[str, Sequence[int]], title: str = "", what: str = "calls") -> Picture:
    """One line a series; times in ns. Raises ValueError for a series without calls."""
    if not calls or not all(calls.values()):
        raise ValueError("there is nothing to draw: each series needs a call")
    longest = {name: duration(max(times)) for name, times in calls.items()}
    spoken = "; ".join(f"{name}: longest {text}" for name, text in longest.items())
    sheet = Sheet(f"{title or 'Latency'}: share of {what} that took longer. {spoken}.", title)
    low = 10 ** math.floor(math.log10(min(min(times) for times in calls.values())))
    decades = max(math.ceil(math.log10(max(max(times) for times in calls.values()) / low)), 1)
    right = sheet.inside - 40

    def x(ns: float) -> float:
        return LEFT + math.log10(ns / low) / decades * (right - LEFT)

    sheet.draw(HEAD + HIGH + FOOT, *_axes(low, decades, right, what), *_lines(x, calls))
    names = (f"{name}, longest {text}" for name, text in longest.items())
    sheet.draw(20, *legend((_mark(number, 12, 8), name) for number, name in enumerate(names)))
    return sheet.picture()


def _y(part: float) -> float:
    return HEAD + HIGH * (1 - part)


def _axes(low: float, decades: int, right: float, what: str) -> Iterator[Html]:
    ticks = [(_y(part), f"{part:.0%}") for part in (0, 0.25, 0.5, 0.75, 1)]
    yield from grid(LEFT, right, f"share of {what} that took longer", ticks, 12)
    for decade in range(decades + 1):
        at = LEFT + decade / decades * (right - LEFT)
        yield tag("path", d=f"M{coordinate(at)} {coordinate(_y(0))}v6", stroke=PAPER["line"])
        yield written(at, _y(0) + 20, duration(low * 10**decade), size=12, anchor="middle")


def _lines(x: Place, calls: Mapping[str, Sequence[int]]) -> Iterator[Html]:
    for number, times in enumerate(calls.values()):
        ordered, hue = sorted(times), HUES[ORDER[number]].light
        wide = 2 + 1.5 * (len(calls) - 1 - number)  # so that a line under another one is seen
        steps = (
            f"H{coordinate(x(ns))}V{coordinate(_y(1 - rank / len(ordered)))}"
            for rank, ns in enumerate(ordered, 1)
        )
        d = f"M{LEFT} {coordinate(_y(1))}{''.join(steps)}"
        yield tag("path", d=d, stroke=hue, stroke_width=wide, fill="none")
        yield _mark(number, x(ordered[len(ordered) // 2]), _y(0.5))


def _mark(number: int, x: float, y: float) -> Html:
    place = f"M{coordinate(x)} {coordinate(y)}"
    return tag("path", d=place + MARKERS[number], fill=HUES[ORDER[number]].light)
