"""The bit-field card on paper: the bits in rows of 32 under the names of their fields, then what the fields
mean, then the answers.

Drawn by matplotlib from the layout of `bitfield_layout.py`; nothing is looked up here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.paper import figure
from vtdkit.views.shared.record import Record

from .layout import WORD, BitRow, Box, Label, bit_rows, worth_a_line

_PITCH = 2.3
"""From one row of bits to the next, in boxes."""
_LINE = 0.62
"""A line of text, in boxes."""
_SIGNS = {True: "✓ ", False: "✗ ", None: ""}


def bit_field_figure(
    record: Record, layout: Record, value: int, answers: Sequence[Record], *, width: float = 9.0
) -> Any:
    """A matplotlib figure `width` inches wide of `value`: the card's record, the layout in force,
    and what hardware answers.
    """
    rows = bit_rows(layout["rows"], record["width"], value, int(record["start"], 16))
    lines = (
        [*_field_lines(layout, value), "", *_answer_lines(answers)]
        if answers
        else _field_lines(layout, value)
    )
    ends = _ends(rows)
    tall = ends[-1] + 0.6 + _LINE * len(lines)
    drawing = figure(width, width / 34 * (tall + 2.2), layout="constrained")
    drawing.suptitle(
        f"{record['name']} = {value:#x}: {record['title']}", fontsize=11, fontweight="bold", x=0.01, ha="left"
    )
    axes = drawing.subplots()
    for row, end in zip(rows, ends, strict=True):
        _draw(axes, row, -end)
    for number, text in enumerate(lines):
        axes.text(
            0, -ends[-1] - 0.9 - _LINE * number, text, fontsize=8, va="center", family="DejaVu Sans Mono"
        )
    axes.set(xlim=(-0.1, WORD + 0.1), ylim=(-tall, 0), aspect="equal")
    axes.axis("off")
    drawing.legend(handles=_handles(), loc="outside lower left", ncols=4, fontsize=7.5, frameon=False)
    return drawing


def _ends(rows: Sequence[BitRow]) -> list[float]:
    """How far down each row of bits ends."""
    ends, down = [], 0.0
    for row in rows:
        down += _PITCH if row.boxes else 1.2
        ends.append(down)
    return ends


def _draw(axes: Any, row: BitRow, bottom: float) -> None:
    if not row.boxes:
        text = f"bits {row.high}–{row.low}: reserved or ignored, all 0"
        axes.text(0.2, bottom + 0.5, text, fontsize=8, va="center", color=PAPER["soft"])
        return
    for label in row.labels:
        _name(axes, label, bottom + 1)
    for place, box in enumerate(row.boxes):
        _box(axes, box, place, bottom)


def _name(axes: Any, label: Label, bottom: float) -> None:
    axes.plot([label.left] * 2, [bottom, bottom + 0.9], color=PAPER["faint"], linewidth=0.6)
    used = label.state == "used"
    name = label.name if used else label.state
    if not used and label.span < 3:
        return
    colour = PAPER["ink"] if used else PAPER["soft"]
    middle, upright = label.left + label.span / 2, len(name) > 2.2 * label.span
    text = name if upright or len(name) + len(label.bits) > 2.2 * label.span else f"{name} {label.bits}"
    turn, size = (90, 5.8) if upright else (0, 7.0)
    axes.text(
        middle, bottom + 0.12, text, ha="center", va="bottom", color=colour, rotation=turn, fontsize=size
    )


def _box(axes: Any, box: Box, left: float, bottom: float) -> None:
    from matplotlib.patches import Rectangle

    hue = HUES["red" if box.wrong else "blue"]
    face = hue.light if box.one else PAPER["paper" if box.state == "used" else "sunken"]
    hatch = (
        "////"
        if box.state == "reserved" and not box.wrong
        else ".."
        if box.state == "ignored" and not box.one
        else None
    )
    axes.add_patch(
        Rectangle((left, bottom), 1, 1, facecolor=face, edgecolor=PAPER["faint"], hatch=hatch, linewidth=0)
    )
    axes.add_patch(Rectangle((left, bottom), 1, 1, fill=False, edgecolor=PAPER["line"], linewidth=0.7))
    if box.changed:
        axes.add_patch(Rectangle((left, bottom), 1, 0.16, facecolor=HUES["orange"].light, linewidth=0))
    ink, weight = (hue.on_light, "bold") if box.one else (PAPER["ink"], "normal")
    axes.text(
        left + 0.5,
        bottom + 0.5,
        f"{box.one:d}",
        ha="center",
        va="center",
        fontsize=8,
        color=ink,
        weight=weight,
    )


def _field_lines(layout: Record, value: int) -> list[str]:
    lines = []
    for bits, name, number, means in worth_a_line(layout, value):
        lines += textwrap.wrap(f"{bits:>8}  {name:<10} {number:#x}  {means}", 118, subsequent_indent=" " * 21)
    return lines


def _answer_lines(answers: Sequence[Record]) -> list[str]:
    lines = []
    for answer in answers:
        text = f"{_SIGNS[answer['good']]}{answer['head']} {answer['detail']}".rstrip()
        lines += textwrap.wrap(text, 118, subsequent_indent="  ")
    return lines


def _handles() -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=PAPER["paper"], edgecolor=PAPER["line"], label="hardware looks at it"),
        Patch(facecolor=PAPER["sunken"], edgecolor=PAPER["line"], hatch="////", label="reserved: must be 0"),
        Patch(
            facecolor=PAPER["sunken"], edgecolor=PAPER["line"], hatch="..", label="ignored: may be anything"
        ),
        Patch(facecolor=HUES["orange"].light, label="underlined: differs from the starting value"),
    ]
