"""Throughput and waiting against the number of CPUs: `scaling_figure(points)`.

Each line has its name at its end, its own marker and its own colour. Both axes of throughput double from tick
to tick: a line along the dashed one is perfect scaling, a level one means that more CPUs bring nothing, a
falling one that they harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vtdkit.views.shared.palette import HUES, PAPER

from .paper import figure
from .scaling_lines import Line, Measured, ScalingPoint, doublings, ideal, rate_text, scaling_lines
from .spread import spread

__all__ = ["ScalingPoint", "scaling_figure"]
ORDER = ("red", "blue", "green", "orange", "purple", "sky", "yellow")
MARKERS = "osD^vPX"
TALL = 3.6  # inches
TYPE = 8.5


def scaling_figure(
    points: Iterable[Measured],
    *,
    names: Mapping[Any, str] | None = None,
    what: str = "operations",
    title: str = "",
    width: float = 9.0,
) -> Any:
    """A matplotlib figure `width` inches wide: throughput on the left, the share of time spent waiting for
    locks on the right.

    `points` are `ScalingPoint` records or others with the same fields; `names` what versions are called;
    `what` is counted. Raises ValueError for points that cannot be drawn.
    """
    lines = scaling_lines(points, names)
    paper = figure(width, TALL + (0.3 if title else 0), layout="constrained", alt=spoken(lines, what, title))
    left, right = paper.subplots(1, 2, width_ratios=(1.15, 1))
    counts = sorted({cpus for line in lines for cpus in line.cpus})
    _throughput(left, lines, counts, what)
    _waiting(right, lines)
    for ax in (left, right):
        _cpus(ax, counts)
    for ax, values in (
        (left, [line.rates[-1] for line in lines]),
        (right, [line.waits[-1] for line in lines]),
    ):
        _names_at_ends(ax, lines, values)
    if title:
        paper.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return paper


def spoken(lines: Sequence[Line], what: str, title: str) -> str:
    """The lines in words: where each begins and ends."""
    parts = [
        f"{line.name}: {rate_text(line.rates[0])} with {line.cpus[0]} CPUs, {rate_text(line.rates[-1])} with "
        f"{line.cpus[-1]}, "
        f"where {line.waits[-1]:.0%} of the time is waiting"
        for line in lines
    ]
    return f"{f'{title}: ' if title else ''}{what} per second. {'; '.join(parts)}."


def _throughput(ax: Any, lines: Sequence[Line], counts: Sequence[int], what: str) -> None:
    best = ideal(lines)
    ax.set_yscale("log", base=2)
    ax.plot(
        [counts[0], counts[-1]],
        [best(counts[0]), best(counts[-1])],
        color=PAPER["line"],
        linestyle="--",
        linewidth=1,
    )
    for number, line in enumerate(lines):
        ax.plot(line.cpus, line.rates, **_style(number))
    rates = [rate for line in lines for rate in line.rates]
    most = max(*rates, best(counts[-1]))
    ticks = doublings(min(rates), most)
    ax.set_ylim(ticks[0] / 1.1, most * 1.35)
    ax.set_yticks(ticks, [rate_text(tick) for tick in ticks], fontsize=TYPE)
    ax.minorticks_off()
    ax.set_title(f"{what} per second", loc="left", fontsize=10)
    ax.annotate(
        "ideal: each CPU as fast as one alone",
        (counts[-1], best(counts[-1])),
        (0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=TYPE - 1,
        color=PAPER["soft"],
    )


def _waiting(ax: Any, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        ax.plot(line.cpus, line.waits, **_style(number))
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"], fontsize=TYPE)
    ax.set_title("CPU time spent waiting for locks", loc="left", fontsize=10)


def _style(number: int) -> dict[str, Any]:
    hue = HUES[ORDER[number % len(ORDER)]]
    return {
        "color": hue.light,
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.8,
        "clip_on": False,
    }


def _cpus(ax: Any, counts: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlim(counts[0] / 1.08, counts[-1] * 1.04 if len(counts) > 1 else counts[0] * 1.08)
    ax.set_xticks(counts, [str(count) for count in counts], fontsize=TYPE)
    ax.minorticks_off()
    ax.set_xlabel("CPUs", fontsize=TYPE + 0.5)
    ax.grid(axis="y", color=PAPER["faint"], linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _names_at_ends(ax: Any, lines: Sequence[Line], values: Sequence[float]) -> None:
    """Beside the last marker, moved up or down where two would overlap."""
    low, high = (ax.transScale.transform((1, each))[1] for each in ax.get_ylim())
    tall = TALL * 72 * 0.74  # points of the axes' height, near enough
    levels = [(ax.transScale.transform((1, value))[1] - low) / (high - low) * tall for value in values]
    order = sorted(range(len(lines)), key=lambda i: levels[i])
    places = spread([levels[i] for i in order], [TYPE + 4.0] * len(order))
    for i, place in zip(order, places, strict=True):
        ax.annotate(
            lines[i].name,
            (lines[i].cpus[-1], values[i]),
            (9, place - levels[i]),
            textcoords="offset points",
            va="center",
            fontsize=TYPE,
            color=PAPER["ink"],
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": _style(i)["color"],
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 3,
            },
        )
