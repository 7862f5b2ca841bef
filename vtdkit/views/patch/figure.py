"""The patch view on paper: the changes of one function, and how long each lock was held in it.

Drawn by matplotlib from the record; nothing is looked up here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.paper import figure
from vtdkit.views.shared.record import Record

from .record import in_ns
from .still import diff_lines, near_changes

_LINE = 0.165
"""Height of a line of source, in inches."""
_LETTERS = 128
"""Letters in a line of the page."""
_SIDES = (("before", "blue", ""), ("after", "orange", "//"))


def patch_figure(record: Record, function: Record, *, width: float = 9.0) -> Any:
    """A matplotlib figure `width` inches wide of one function of a patch."""
    lines = [part for sign, text in near_changes(diff_lines(function)) for part in _wrapped(sign, text)]
    bars = _bars(record, function)
    heights = [_LINE * (len(lines) + 1), *([0.34 * len(bars) + 0.3] if bars else [])]
    drawing = figure(width, sum(heights) + 0.9, layout="constrained")
    title = f"{record['title']}\n{function['name']} ({function['kind']})"
    drawing.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    parts = drawing.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    _source(parts[0][0], lines)
    if bars:
        _held(parts[1][0], bars)
    return drawing


def _wrapped(sign: str, text: str) -> list[tuple[str, str]]:
    indent = " " * (len(text) - len(text.lstrip()) + 8)
    parts = textwrap.wrap(text, _LETTERS, subsequent_indent=indent, drop_whitespace=False) or [""]
    return [(sign, parts[0]), *((sign, part) for part in parts[1:])]


def _source(axes: Any, lines: Sequence[tuple[str, str]]) -> None:
    ground = {"+": PAPER["add"], "-": PAPER["alarm"]}
    for number, (sign, text) in enumerate(lines):
        if sign in ground:
            axes.axhspan(-number - 1, -number, facecolor=ground[sign], linewidth=0)
        shown = f"{sign.replace('-', '−')} {text}"
        axes.text(
            0.002,
            -number - 0.5,
            shown,
            fontsize=7.2,
            va="center",
            family="DejaVu Sans Mono",
            parse_math=False,
        )
    axes.set(xlim=(0, 1), ylim=(-len(lines) - 0.2, 0.2))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(PAPER["faint"])


def _bars(record: Record, function: Record) -> list[tuple[str, str, str, Record | None]]:
    """When, hue, hatch and a lock (None: no lock) from top to bottom."""
    bars: list[tuple[str, str, str, Record | None]] = []
    for (when, hue, hatch), locks, there in zip(_SIDES, function["locks"], record["measured"], strict=True):
        if there:
            bars += [(when, hue, hatch, lock) for lock in locks] or [(when, hue, hatch, None)]
    return bars


def _held(axes: Any, bars: Sequence[tuple[str, str, str, Record | None]]) -> None:
    longest = max((lock["longest"] for *_, lock in bars if lock), default=0) or 1
    for number, (when, hue, hatch, lock) in enumerate(bars):
        text = f"{when}: {_said(lock)}"
        axes.text(0, -number + 0.3, text, fontsize=8, va="center", parse_math=False)
        length = lock["longest"] / longest if lock else 0
        axes.barh(
            -number - 0.12,
            length,
            0.28,
            color=HUES[hue].light,
            hatch=hatch,
            edgecolor=PAPER["paper"],
            linewidth=0,
        )
    axes.set(xlim=(0, 1.002), ylim=(-len(bars) + 0.5, 0.7), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    title = "locks taken in it, and the longest hold of each, in the runs measured"
    axes.set_title(title, fontsize=8.5, loc="left", fontweight="bold")


def _said(lock: Record | None) -> str:
    if lock is None:
        return "no lock was taken in it"
    return f"{lock['lock']}, {in_ns(lock['longest'])} ({lock['times']} ×, {lock['how']})"
