"""The explorer on paper: one walk as strips of table entries, each opening into the next.

Drawn by matplotlib from the record and the walk; nothing is looked up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.paper import figure
from vtdkit.views.shared.record import Record
from vtdkit.vtd.walk.trace import Walk

from .layout import Strip, strips
from .still import answer_text

_COLOURS = {
    "table": "sky",
    "both": "blue",
    "read": "green",
    "write": "green",
    "wrong": "red",
    "out": "purple",
}
_STRIP, _GAP = 1.0, 0.75
_LEGEND = (
    ("table", "leads to a table (height: how much is mapped below)"),
    ("both", "maps a page, read and write"),
    ("read", "one of the two only (lower half: read)"),
)


def page_table_figure(title: str, sides: Sequence[tuple[str, Record, Walk]], *, width: float = 9.0) -> Any:
    """A matplotlib figure `width` inches wide: a column for each (name, record of a side, walk)."""
    made = [strips(record, walk) for _, record, walk in sides]
    tallest = max(1, *(len(each) for each in made))
    drawing = figure(width, 1.3 + 0.48 * tallest, layout="constrained")
    drawing.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    for axes, (name, _, walk), drawn in zip(_columns(drawing, len(sides)), sides, made, strict=True):
        _draw(axes, drawn, tallest)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel(_wrapped(answer_text(walk.answer), 96 // len(sides)), fontsize=9, loc="left")
    drawing.legend(
        handles=_handles(),
        loc="outside lower left",
        ncols=3 if len(sides) == 1 else 2,
        fontsize=7.5,
        frameon=False,
    )
    return drawing


def _columns(drawing: Any, count: int) -> list[Any]:
    axes = drawing.subplots(1, count, squeeze=False)
    return list(axes[0])


def _draw(axes: Any, drawn: Sequence[Strip], tallest: int) -> None:
    pitch = _STRIP + _GAP
    for number, strip in enumerate(drawn):
        bottom = -number * pitch
        if number:
            _wedge(axes, drawn[number - 1], bottom + _STRIP)
        _strip(axes, strip, bottom)
    axes.set_xlim(-2, 514)
    axes.set_ylim(-(tallest - 1) * pitch - 0.1, _STRIP + 0.1)
    axes.set_xticks([])
    axes.set_yticks(
        [-number * pitch + _STRIP / 2 for number in range(len(drawn))],
        [strip.name for strip in drawn],
        fontsize=8.5,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _wedge(axes: Any, above: Strip, top: float) -> None:
    """From the entry in use to the whole of the table it leads to."""
    unit = 512 / above.size
    left = above.lit * unit
    corners = [(left, top + _GAP), (left + unit, top + _GAP), (512, top), (0, top)]
    axes.fill(*zip(*corners, strict=True), color=HUES["blue"].light, alpha=0.18, linewidth=0)


def _strip(axes: Any, strip: Strip, bottom: float) -> None:
    from matplotlib.patches import Rectangle

    unit = 512 / strip.size
    axes.add_patch(Rectangle((0, bottom), 512, _STRIP, facecolor=PAPER["sunken"], linewidth=0))
    for block in strip.blocks:
        for low, high in _heights(block.kind, block.weight):
            box = Rectangle((block.index * unit, bottom + low), block.count * unit, high - low)
            box.set(facecolor=HUES[_COLOURS[block.kind]].light, linewidth=0)
            axes.add_patch(box)
    edge = HUES["red"].light if strip.stopped else PAPER["ink"]
    axes.add_patch(
        Rectangle(
            (strip.lit * unit - 1, bottom), max(unit, 4), _STRIP, fill=False, edgecolor=edge, linewidth=1.4
        )
    )
    right = strip.lit * unit > 300
    text = f"{'✗ ' if strip.stopped else ''}entry {strip.lit}: {strip.says}"
    axes.text(
        strip.lit * unit + (-5 if right else 9),
        bottom + _STRIP / 2,
        text,
        fontsize=8,
        va="center",
        ha="right" if right else "left",
        bbox={"facecolor": PAPER["paper"], "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
    )


def _heights(kind: str, weight: float) -> tuple[tuple[float, float], ...]:
    """From where to where an entry is filled: the second sign besides its colour."""
    if kind == "table":
        return ((0, 0.12 + 0.63 * weight),)
    return {
        "read": ((0, 0.5),),
        "write": ((0.5, 1),),
        "wrong": ((0, 0.33), (0.67, 1)),
        "out": ((0, 0.33),),
    }.get(kind, ((0, 1),))


def _handles() -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(facecolor=HUES[_COLOURS[kind]].light, label=text) for kind, text in _LEGEND]


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
