"""An interleaving on paper: one column for each thread, time going down, what each step did, what was freed and found."""

from __future__ import annotations

from typing import Any

from vtdkit.lab.steps import Steps

from .palette import HUES, PAPER
from .paper import figure

ORDER = ("blue", "orange", "green", "purple", "sky", "red", "yellow")
MOST = 40
"""Steps in one figure; of a longer schedule those up to the first finding."""


def stepper_figure(steps: Steps, width: float = 9.0) -> Any:
    """The schedule as a matplotlib figure `width` inches wide."""
    last = next((found.step for found in steps.findings if found.step), len(steps))
    first = max(1, last - MOST + 1)
    last = min(len(steps), first + MOST - 1)
    paper = figure(width, 0.26 * (last - first + 2) + 0.8, layout="constrained")
    ax = paper.subplots()
    threads = len(steps.threads)
    ax.set_xlim(-0.5, threads + 0.6)
    ax.set_ylim(last + 0.7, first - 1.6)
    ax.axis("off")
    for thread, name in enumerate(steps.threads):
        ax.plot([thread, thread], [first - 0.6, last + 0.4], color=PAPER["faint"], linewidth=1, zorder=0)
        ax.text(thread, first - 1.1, f"{thread}  {name}", ha="center", va="center", fontsize=9, weight="bold")
    for number in range(first, last + 1):
        _step(ax, steps, number)
    if steps.inevitable is not None and first <= steps.inevitable <= last:
        ax.axhline(steps.inevitable + 0.5, color=HUES["red"].light, linestyle="--", linewidth=1.2)
        ax.text(-0.48, steps.inevitable + 0.45, "point of no return", fontsize=7, va="bottom", color=PAPER["soft"])
    return paper


def _step(ax: Any, steps: Steps, number: int) -> None:
    step = steps.steps[number]
    hue = HUES[ORDER[step.thread % len(ORDER)]]
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": hue.light, "linewidth": 1.4}
    ax.text(step.thread, number, step.did, ha="center", va="center", fontsize=8, bbox=box)
    ax.text(-0.48, number, str(number), fontsize=7, va="center", color=PAPER["soft"])
    beside = [f"frees {what}" for what in step.freed] + [f"◆ {found.title}" for found in steps.findings if found.step == number]
    if beside:
        ink = HUES["red"].light if beside[-1].startswith("◆") else PAPER["ink"]
        ax.text(len(steps.threads) - 0.45, number, "; ".join(beside), fontsize=8, va="center", color=ink, wrap=True)
