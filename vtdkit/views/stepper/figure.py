"""An interleaving on paper: one column for each thread, time going down, what each step did, what
was freed and found.

Several uneventful steps of one thread in a row are one line. The schedule is shown to its last finding, or to
its end if there is none; of a very long one, the last part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten, wrap
from typing import Any

from vtdkit.lab.steps.schedule import Steps
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.paper import figure

from .record import says

ORDER = ("blue", "orange", "green", "purple", "sky", "red", "yellow")
MOST = 40
"""Rows in one figure."""
ROW, LINE, HEAD = 20.0, 11.0, 30.0  # points: a row, each further line of it, the names of the threads
NUMBERS, SMALL, LETTER = (
    30.0,
    8.0,
    0.56,
)  # points: the step's number, type; width of a letter in heights of the type
NOTES = 0.3  # of the width, for what is freed and found


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the figure: the last step in it, whose it is, what is said in the column and beside it."""

    step: int
    thread: int
    text: str
    beside: tuple[str, ...] = ()
    found: bool = False


def rows(steps: Steps) -> list[Row]:
    """The rows of a schedule, at most `MOST`."""
    last = max((found.step for found in steps.findings), default=0) or len(steps)
    made: list[Row] = []
    for quiet, run in _runs(steps, last):
        if quiet and len(run) > 3:
            made.append(Row(run[-1], steps.steps[run[0]].thread, f"… {len(run)} steps …"))
        else:
            made += [_row(steps, number) for number in run]
    return made if len(made) <= MOST else [Row(made[-MOST].step, -1, ""), *made[1 - MOST :]]


def _runs(steps: Steps, last: int) -> Iterator[tuple[bool, list[int]]]:
    """Steps in a row that belong together: of one thread, and all uneventful; or one that is not."""
    run: list[int] = []
    for number in range(1, last + 1):
        quiet = not _eventful(steps, number)
        if run and not (quiet and steps.steps[run[0]].thread == steps.steps[number].thread):
            yield True, run
            run = []
        if quiet:
            run.append(number)
        else:
            yield False, [number]
    if run:
        yield True, run


def _eventful(steps: Steps, number: int) -> bool:
    """Something was freed or found, memory changed hands, or another thread goes on."""
    switch = (
        number == 1 or number == len(steps) or steps.steps[number - 1].thread != steps.steps[number].thread
    )
    return (
        switch
        or bool(steps.steps[number].freed)
        or number == steps.inevitable
        or any(f.step == number for f in steps.findings)
    )


def _row(steps: Steps, number: int) -> Row:
    step = steps.steps[number]
    found = [f"◆ {each.title}" for each in steps.findings if each.step == number]
    return Row(
        number, step.thread, step.did, (*(f"frees {what}" for what in step.freed), *found), bool(found)
    )


def stepper_figure(steps: Steps, width: float = 9.0) -> Any:
    """The schedule as a matplotlib figure `width` inches wide."""
    shown, wide = rows(steps), width * 72
    column = (wide * (1 - NOTES) - NUMBERS) / len(steps.threads)
    notes = [_wrapped(row.beside, int(wide * NOTES / (SMALL * LETTER))) for row in shown]
    tall = [ROW + LINE * max(len(lines) - 1, 0) for lines in notes]
    line = steps.inevitable is not None and any(row.step == steps.inevitable for row in shown)
    high = HEAD + sum(tall) + (LINE if line else 0) + 4
    paper = figure(width, high / 72, alt=f"{steps.title}, step by step. {says(steps, len(steps))}")
    ax = paper.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, wide), ylim=(high, 0))
    ax.axis("off")
    middle = [NUMBERS + column * (thread + 0.5) for thread in range(len(steps.threads))]
    for thread, x in enumerate(middle):
        ax.plot([x, x], [HEAD - 6, high - 4], color=PAPER["faint"], linewidth=1, zorder=0)
        name = shorten(
            f"{thread}  {steps.threads[thread]}", max(int(column / (9 * 0.62)), 8), placeholder="…"
        )
        ax.text(
            x, HEAD / 2 - 2, name, ha="center", va="center", fontsize=9, weight="bold", color=PAPER["ink"]
        )
    y = HEAD
    for row, lines, height in zip(shown, notes, tall, strict=True):
        _draw(ax, row, lines, y + ROW / 2, middle, column)
        y += height
        if line and row.step == steps.inevitable:
            y += LINE
            ax.plot([8, wide - 8], [y - LINE / 2] * 2, color=HUES["red"].light, linestyle="--", linewidth=1.2)
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            ax.text(
                8,
                y - LINE / 2,
                "point of no return",
                fontsize=7,
                va="center",
                color=PAPER["soft"],
                bbox=ground,
            )
    return paper


def _draw(ax: Any, row: Row, lines: list[str], y: float, middle: list[float], column: float) -> None:
    if row.thread < 0:
        ax.text(NUMBERS / 2, y, "⋮", fontsize=10, ha="center", va="center", color=PAPER["soft"])
        return
    ax.text(NUMBERS - 8, y, str(row.step), fontsize=7, ha="right", va="center", color=PAPER["soft"])
    hue = HUES[ORDER[row.thread % len(ORDER)]].light
    text = (
        row.text
        if len(row.text) <= column / (SMALL * LETTER)
        else row.text[: int(column / (SMALL * LETTER)) - 1] + "…"
    )
    quiet = text.startswith("…")
    box = {
        "boxstyle": "round,pad=0.25",
        "facecolor": "white",
        "edgecolor": PAPER["faint"] if quiet else hue,
        "linewidth": 1.4,
    }
    ink = PAPER["soft"] if quiet else PAPER["ink"]
    ax.text(middle[row.thread], y, text, ha="center", va="center", fontsize=SMALL, bbox=box, color=ink)
    for number, each in enumerate(lines):
        ink, weight = (HUES["red"].light, "bold") if row.found else (PAPER["ink"], "normal")
        ax.text(
            middle[-1] + column / 2 + 6,
            y + LINE * number,
            each,
            fontsize=SMALL,
            va="center",
            color=ink,
            weight=weight,
        )


def _wrapped(texts: tuple[str, ...], letters: int) -> list[str]:
    """Bold type is wider than the rest."""
    return [
        line for text in texts for line in wrap(text, letters * 6 // 7 if text.startswith("◆") else letters)
    ]
