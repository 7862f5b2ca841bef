"""The lock-order graph as a figure: `lock_order_figure(machine)`.

A box is a lock class. An arrow leads from a lock that was held to one that was taken meanwhile, and names
the place where that happened. Arrows that go round in a circle are thick, dashed and red, and the circle
is spelled out below.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER

from .chart import Area, Box, Chart, Line, Shape, Text
from .lockgraph_layout import SIZE, SMALL, Arrow, Drawing, Spot, drawing
from .lockgraph_order import LockOrder, lock_order

MARGIN = 10.0  # points
PITCH = 13.0
HEAD = 6.0  # an arrow's head
WRAP = 0.55  # width of a letter of the caption, in heights of the type


def lock_order_figure(source: Any, *, around: str = "", width: float = 9.0, title: str = "") -> Chart:
    """A chart at most `width` inches wide of the order in which locks were taken.

    `source` is a machine, its `lockdep`, lockdep's records, or a `LockOrder`. `around` shows
    only the edges of that lock (and circles). Raises ValueError for a machine without the validator, or a
    lock that it does not know.
    """
    order = source if isinstance(source, LockOrder) else lock_order(source, around)
    picture = drawing(order, width * 72 - 2 * MARGIN)
    words = caption(order, int(width * 72 / (SMALL * WRAP)))
    top, bottom = (22.0 if title else 6.0), PITCH * len(words) + 14
    scale = min(1.0, (width * 72 - 2 * MARGIN) / max(picture.width, 1.0))
    high = picture.height * scale + top + bottom
    shapes = [*_graph(picture, scale, top, {lock for circle in order.circles for lock in circle})]
    if title:
        shapes.append(Text(MARGIN, 10, title, 10, bold=True))
    for number, (line, bold) in enumerate(words):
        ink = HUES["red"].light if bold else PAPER["soft"]
        shapes.append(Text(MARGIN, high - bottom + 16 + PITCH * number, line, SMALL, ink, bold=bold))
    label = f"{title or 'the order in which locks are taken'}: {spoken(order)}"
    return Chart(label, width * 72, high, tuple(shapes))


def spoken(order: LockOrder) -> str:
    """The graph in words."""
    under = "; ".join(f"{edge.next} under {edge.prev} in {edge.taken_at}" for edge in order.edges)
    circles = "; ".join(f"circle {' to '.join(circle)}" for circle in order.circles)
    return f"{under or 'no lock was taken while another was held'}. {circles or 'No circle'}."


def caption(order: LockOrder, letters: int) -> list[tuple[str, bool]]:
    """What stands below the graph, in lines of at most so many letters; and which lines
    are about a circle.
    """
    if not order.edges:
        return [("No lock was taken while another was held.", False)]
    says = "An arrow leads from a lock that was held to one that was taken meanwhile; on it stands where."
    lines = [
        (line, False) for line in wrap(says + ("" if order.circles else " There is no circle."), letters)
    ]
    for circle in order.circles:
        text = f"◆ Circle: {' → '.join(circle)}. Each thread can hold one and wait for the next: deadlock."
        lines += [(line, True) for line in wrap(text, letters * 6 // 7)]
    return lines


def _graph(picture: Drawing, scale: float, top: float, circled: set[str]) -> Iterator[Shape]:
    """Arrows, on them boxes and labels."""

    def at(x: float, y: float) -> tuple[float, float]:
        return MARGIN + x * scale, top + y * scale

    for arrow in picture.arrows:
        yield from _arrow(arrow, tuple(at(*point) for point in arrow.points))
    marked = {arrow.label for arrow in picture.arrows if arrow.edge.circle}
    for number, spot in enumerate(picture.spots):
        if spot.text:
            yield from _spot(spot, at(spot.x, spot.y), scale, spot.lock in circled or number in marked)


def _spot(spot: Spot, at: tuple[float, float], scale: float, marked: bool) -> Iterator[Shape]:
    x, y = at
    red = HUES["red"].light
    if not spot.lock:
        words, ink = (f"◆ {spot.text}", red) if marked else (spot.text, PAPER["soft"])
        yield Text(x, y, words, SMALL * scale, ink, "middle", bold=marked, ground=True)
        return
    wide, high = spot.width * scale, spot.height * scale
    look = (red, 2.2) if marked else (HUES["blue"].light, 1.2)
    yield Box(x - wide / 2, y - high / 2, wide, high, *look)
    yield Text(x, y, spot.lock, SIZE * scale, anchor="middle", mono=True)


def _arrow(arrow: Arrow, points: tuple[tuple[float, float], ...]) -> Iterator[Shape]:
    """Flat where it passes a label, an S between columns; the head at the end."""
    ink, line, dash = (HUES["red"].light, 2.4, (9.6, 3.8)) if arrow.edge.circle else (PAPER["line"], 1.1, ())
    x, y = points[-1]
    back = HEAD if x >= points[-2][0] else -HEAD  # it arrives level, from that side
    yield Line((*points[:-1], (x - back, y)), ink, line, dash, flat=True)
    yield Area(((x, y), (x - back, y - HEAD / 2), (x - back, y + HEAD / 2)), ink)
