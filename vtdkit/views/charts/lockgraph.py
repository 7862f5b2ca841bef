"""The lock-order graph as a figure: `lock_order_figure(machine)`.

A box is a lock class. An arrow leads from a lock that was held to one that was taken meanwhile, and names
the place where that happened. Arrows that go round in a circle are thick, dashed and red, and the circle
is spelled out below.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER

from .lockgraph_layout import SIZE, SMALL, Arrow, Drawing, Spot, drawing
from .lockgraph_order import LockOrder, lock_order
from .paper import figure

MARGIN = 10.0  # points
LINE = 13.0
WRAP = 0.55  # width of a letter of the caption, in heights of the type


def lock_order_figure(source: Any, *, around: str = "", width: float = 9.0, title: str = "") -> Any:
    """A matplotlib figure at most `width` inches wide of the order in which locks were taken.

    `source` is a machine, its `lockdep`, lockdep's records, or a `LockOrder`. `around` shows
    only the edges of that lock (and circles). Raises ValueError for a machine without the validator, or a
    lock that it does not know.
    """
    order = source if isinstance(source, LockOrder) else lock_order(source, around)
    picture = drawing(order, width * 72 - 2 * MARGIN)
    words = caption(order, int(width * 72 / (SMALL * WRAP)))
    top, bottom = (22.0 if title else 6.0), LINE * len(words) + 14
    scale = min(1.0, (width * 72 - 2 * MARGIN) / max(picture.width, 1.0))
    high = picture.height * scale + top + bottom
    paper = figure(width, high / 72, alt=f"{title or 'the order in which locks are taken'}: {spoken(order)}")
    ax = paper.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_xlim(0, width * 72)
    ax.set_ylim(high, 0)
    ax.axis("off")
    if title:
        ax.text(MARGIN, 4, title, fontsize=10, weight="bold", va="top", color=PAPER["ink"])
    _draw(ax, picture, scale, top, {lock for circle in order.circles for lock in circle})
    for number, (line, bold) in enumerate(words):
        weight, ink = ("bold", HUES["red"].light) if bold else ("normal", PAPER["soft"])
        ax.text(
            MARGIN,
            high - bottom + 12 + LINE * number,
            line,
            fontsize=SMALL,
            va="top",
            color=ink,
            weight=weight,
        )
    return paper


def spoken(order: LockOrder) -> str:
    """The graph in words."""
    under = "; ".join(f"{edge.next} under {edge.prev} in {edge.taken_at}" for edge in order.edges)
    circles = "; ".join(f"circle {' to '.join(circle)}" for circle in order.circles)
    return f"{under or 'no lock was taken while another was held'}. {circles or 'No circle'}."


def caption(order: LockOrder, letters: int) -> list[tuple[str, bool]]:
    """What stands below the graph, in lines of at most so many letters; and which lines
    are about a circle.
    """
    from textwrap import wrap

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


def _draw(ax: Any, picture: Drawing, scale: float, top: float, circled: set[str]) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return MARGIN + x * scale, top + y * scale

    for arrow in picture.arrows:
        _arrow(ax, arrow, [at(*point) for point in arrow.points])
    marked = {arrow.label for arrow in picture.arrows if arrow.edge.circle}
    for number, spot in enumerate(picture.spots):
        if spot.text:
            _spot(ax, spot, at(spot.x, spot.y), scale, spot.lock in circled or number in marked)


def _spot(ax: Any, spot: Spot, at: tuple[float, float], scale: float, marked: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = at
    wide, high = spot.width * scale, spot.height * scale
    if not spot.lock:
        text, weight = (f"◆ {spot.text}", "bold") if marked else (spot.text, "normal")
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        ink = HUES["red"].light if marked else PAPER["soft"]
        ax.text(
            x,
            y,
            text,
            fontsize=SMALL * scale,
            ha="center",
            va="center",
            color=ink,
            weight=weight,
            bbox=ground,
            zorder=3,
        )
        return
    edge, line = (HUES["red"].light, 2.2) if marked else (HUES["blue"].light, 1.2)
    corner = (x - wide / 2, y - high / 2)
    box = FancyBboxPatch(corner, wide, high, boxstyle="round,pad=0,rounding_size=4", zorder=2)
    box.set(facecolor=PAPER["tint"], edgecolor=edge, linewidth=line)
    ax.add_patch(box)
    ax.text(
        x,
        y,
        spot.lock,
        fontsize=SIZE * scale,
        ha="center",
        va="center",
        family="monospace",
        color=PAPER["ink"],
        zorder=4,
    )


def _arrow(ax: Any, arrow: Arrow, points: list[tuple[float, float]]) -> None:
    """Flat where it passes a label, an S between columns; the head at the end."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    places, codes = [points[0]], [int(Path.MOVETO)]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        places += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [int(Path.CURVE4)] * 3
    colour, line, dash = (
        (HUES["red"].light, 2.4, (0, (4, 1.6))) if arrow.edge.circle else (PAPER["line"], 1.1, "solid")
    )
    ax.add_patch(
        FancyArrowPatch(
            path=Path(places, codes),
            arrowstyle="-|>",
            mutation_scale=9,
            color=colour,
            linewidth=line,
            linestyle=dash,
            zorder=1,
            shrinkA=0,
            shrinkB=0,
        )
    )
