"""A lock timeline on paper: the same bars with matplotlib, hatched so that it reads in grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.paper import figure

from .fold import HARDWARE, HOLDING, IDLE, INTERRUPT, RUNNING, SPINNING, Timeline
from .layout import LEGEND, Bar, bars, duration, label, letters, ticks, totals

STACKED = (HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING)
STYLE: dict[int, dict[str, Any]] = {
    RUNNING: {"facecolor": PAPER["tint"], "edgecolor": HUES["sky"].light},
    HOLDING: {"facecolor": HUES["blue"].light},
    SPINNING: {"facecolor": "white", "edgecolor": HUES["red"].light, "hatch": "////"},
    HARDWARE: {"facecolor": "white", "edgecolor": HUES["orange"].light, "hatch": "...."},
    INTERRUPT: {"facecolor": "white", "edgecolor": HUES["purple"].light, "hatch": "+++"},
}
OFF: dict[str, Any] = {"facecolor": PAPER["ink"]}
IRQS_OFF = -1
STEPS = 10  #: heights that a part of a bar can have; equal boxes are drawn together, which saves seconds
Box = tuple[float, float, int, float]  #: bottom, height, state or IRQS_OFF, width of the line round it


def timeline_figure(
    timelines: Sequence[Timeline], labels: Sequence[str], window: tuple[int, int], width: float = 9.0
) -> Any:
    """Lanes of one or two runs between the ends of `window` (ns after the start); a matplotlib
    figure `width` inches wide.
    """
    from matplotlib.patches import Patch

    names = letters(timelines)
    lanes = [min(len(timeline.lanes), 32) for timeline in timelines]
    paper = figure(
        width, sum(0.34 * n + 0.75 for n in lanes) + 0.55, layout="constrained", alt=spoken(timelines, labels)
    )
    axes = paper.subplots(len(timelines), 1, squeeze=False, height_ratios=lanes)[:, 0]
    for ax, timeline, name in zip(axes, timelines, labels, strict=True):
        _draw(ax, timeline, names, window)
        if len(timelines) > 1:
            ax.set_title(name, loc="left", fontsize=10)
    axes[-1].set_xlabel(
        "   ".join(f"{letter} {name}" for name, letter in list(names.items())[:6]), fontsize=8, loc="left"
    )
    kinds = {
        "running": RUNNING,
        "holding": HOLDING,
        "spinning": SPINNING,
        "hardware": HARDWARE,
        "interrupt": INTERRUPT,
    }
    signs = [Patch(**STYLE[kinds[state]], label=word) for state, word, _ in LEGEND if state in kinds]
    signs.append(Patch(**OFF, label="interrupts off"))
    paper.legend(handles=signs, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return paper


def spoken(timelines: Sequence[Timeline], labels: Sequence[str]) -> str:
    """The runs in words: how long each took, and what was waited for most."""
    parts = []
    for timeline, name in zip(timelines, labels, strict=True):
        waits = [
            (total.wait_total, lock)
            for lock, total in zip(timeline.locks, totals(timeline), strict=True)
            if total.wait_total
        ]
        most = ", ".join(f"{duration(ns)} for {lock}" for ns, lock in sorted(waits, reverse=True)[:3])
        parts.append(
            f"{name}: {len(timeline.lanes)} CPUs, {duration(timeline.end - timeline.start)}; waits: "
            f"{most or 'none'}"
        )
    return f"Lock timeline. {'. '.join(parts)}."


def _draw(ax: Any, timeline: Timeline, names: Mapping[str, str], window: tuple[int, int]) -> None:
    left, right = window
    wide, cpus = 1000.0, min(len(timeline.lanes), 32)
    boxes: dict[Box, list[tuple[float, float]]] = {}
    for cpu, lane in enumerate(timeline.lanes[:cpus]):
        for bar in bars(timeline, lane, timeline.start + left, timeline.start + right, wide, 1.5):
            for box in _boxes(timeline, bar, float(cpu)):
                spans = boxes.setdefault(box, [])
                goes_on = spans and not box[3] and spans[-1][0] + spans[-1][1] == bar.left
                start = spans.pop()[0] if goes_on else bar.left
                spans.append((start, bar.right - start))
            _letter(ax, timeline, bar, float(cpu), names)
    for (bottom, high, style, line), spans in boxes.items():
        ax.broken_barh(spans, (bottom, high), linewidth=line, **STYLE.get(style, OFF))
    shown = ticks(left, right, 8)
    ax.set_xlim(0, wide)
    ax.set_xticks(
        [(at - left) * wide / (right - left) for at, _ in shown], [text for _, text in shown], fontsize=8
    )
    ax.set_ylim(cpus - 0.3, -0.6)
    ax.set_yticks(range(cpus), [f"CPU{cpu}" for cpu in range(cpus)], fontsize=8)
    ax.tick_params(length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    for note in timeline.notes:
        at = note.time - timeline.start
        if note.finding and left <= at <= right:
            ax.axvline((at - left) * wide / (right - left), color=HUES["red"].light, linewidth=1.5)


def _boxes(timeline: Timeline, bar: Bar, lane: float) -> Iterator[Box]:
    """What a bar is made of; 0.6 high, centred on its lane, the strip of interrupts off below it."""
    off = bar.irqs_off > 0.5
    if bar.look < 0:
        bottom = lane + 0.3
        for state in STACKED:
            high = round(bar.shares[state] * STEPS) * 0.6 / STEPS
            bottom -= high
            if high:
                yield round(bottom, 3), round(high, 3), state, 0.0
    else:
        look = timeline.looks[bar.look]
        off = look.irqs_off
        if look.state != IDLE:
            yield lane - 0.3, 0.6, look.state, 0.4
        if look.state != HOLDING and (look.held or look.below):
            yield lane - 0.3, 0.1, HOLDING, 0.0
    if off:
        yield lane + 0.36, 0.08, IRQS_OFF, 0.0


def _letter(ax: Any, timeline: Timeline, bar: Bar, lane: float, names: Mapping[str, str]) -> None:
    """Which lock it is, where there is room to say so."""
    if bar.look < 0 or bar.right - bar.left <= 16 or timeline.looks[bar.look].object < 0:
        return
    look = timeline.looks[bar.look]
    letter = names.get(label(timeline, look.object).split(" #")[0], "")
    ground = None if look.state == HOLDING else {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    ink = HUES["blue"].on_light if look.state == HOLDING else PAPER["ink"]
    ax.text(
        bar.left + 4,
        lane,
        letter,
        va="center",
        fontsize=8,
        weight="bold",
        color=ink,
        bbox=ground,
        clip_on=True,
    )
