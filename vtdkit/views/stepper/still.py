"""An interleaving that stands still: who moves when, where each thread stands, memory and findings; then
what each step up to the position did, one column for each thread, time going down.

Several uneventful steps of one thread in a row are one line; of a very long list the last part is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vtdkit.lab.steps.schedule import DONE, READY, Source, Stand, Steps
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import GAP, SIZE, Picture, Sheet, coordinate, wide, wrapped, written

from .record import columns, says, states

LEFT, ROW, TOP = 150, 24, 18  # pixels: where the ribbon's cells begin, a thread's row, room above the first
ORDER = ("blue", "orange", "green", "purple", "sky", "red", "yellow")
AROUND = 4  # lines shown before and after the current one
MOST = 40  # rows in the list of steps
PITCH, NUMBERS, SMALL = 22, 36, 12  # pixels: a row of that list, the step's number, its type
NOTES = 0.32  # of the width, for what is freed and found
RED = HUES["red"].light


def stepper_still(steps: Steps, at: int) -> Picture:
    """The position after `at` steps."""
    sheet = Sheet(f"Step by step: {steps.title}. {says(steps, at)}")
    sheet.heading(f"Step by step: {steps.title}")
    sheet.text(says(steps, at))
    sheet.space(4)
    _ribbon(sheet, steps, at)
    up = states(steps, at)
    for thread in columns(steps):
        _stands(sheet, steps, at, thread, up[thread])
    if steps.words:
        sheet.space(8)
        values = zip(steps.words, steps.steps[at].values, strict=True)
        sheet.table(("shared memory", "value"), list(values), mono=(1,))
    for found in steps.findings:
        if 0 < found.step <= at:
            sheet.text("", lead=f"◆ Step {found.step}: {found.title}")
    if at:
        sheet.space(8)
        _list(sheet, steps, at)
    if steps.inevitable is not None and at >= steps.inevitable:
        sheet.text(f"step {steps.inevitable}; {steps.how}.", lead="Point of no return:")
    sheet.text(f"Schedule: {steps.schedule}", size=11, ink="soft")
    return sheet.picture()


def _stands(sheet: Sheet, steps: Steps, at: int, thread: int, state: str) -> None:
    """Where a thread stands: what it holds, and the lines round the current one."""
    stand = steps.stand(at, thread)
    held = f"; holds {', '.join(stand.held)}" if stand.held else ""
    sheet.space(6)
    sheet.text(f"{state}{held}", lead=f"{thread}  {steps.threads[thread]}:")
    if stand.function < 0 or stand.state == DONE:
        return
    source = steps.sources[stand.function]
    about = f", about to: {stand.next}" if stand.state == READY else ""
    sheet.text(f"{source.name} ({source.file}){about}", size=11, ink="soft")
    sheet.source(excerpt(source, stand))


def excerpt(source: Source, stand: Stand) -> list[tuple[str, str, str]]:
    """The lines round the current one, which has a sign in front and a ground."""
    here = min(max(stand.line - source.first, 0), len(source.lines) - 1)
    lines = range(max(here - AROUND, 0), min(here + AROUND + 1, len(source.lines)))
    return [("▶ " if i == here else "  ", source.lines[i], "tint" if i == here else "raised") for i in lines]


# -- who moved when


def _ribbon(sheet: Sheet, steps: Steps, at: int) -> None:
    """A row for each thread, a cell for each step, a needle at the position."""
    cell = min((sheet.inside - LEFT - 8) / max(len(steps), 1), 34)
    bottom = TOP + ROW * len(steps.threads)
    parts = [part for thread in range(len(steps.threads)) for part in _moves(steps, thread, cell)]
    if steps.inevitable is not None:
        line = f"M{_x(steps.inevitable, cell)} {TOP - 4}V{bottom}"
        parts.append(tag("path", d=line, stroke=RED, stroke_width=2, stroke_dasharray="4 3"))
    for found in (each for each in steps.findings if each.step):
        x = _x(found.step, cell)
        parts.append(
            tag("path", d=f"M{x} {TOP - 12}l6 6l-6 6l-6-6zM{x} {TOP}V{bottom}", fill=RED, stroke=RED)
        )
    x = _x(at, cell)
    parts.append(tag("path", d=f"M{x} {TOP - 2}V{bottom + 5}", stroke=PAPER["ink"], stroke_width=3))
    sheet.draw(bottom + 8, *parts)


def _moves(steps: Steps, thread: int, cell: float) -> list[Html]:
    name, hue, y = steps.threads[thread], HUES[ORDER[thread % len(ORDER)]], TOP + thread * ROW + 3
    moves = [number for number, step in enumerate(steps.steps) if number and step.thread == thread]
    size = coordinate(max(cell - 1, 0.8))
    cells = "".join(f"M{_x(number - 1, cell)} {y}h{size}v18h-{size}z" for number in moves)
    return [
        tag("rect", x=0, y=y, width=17, height=17, fill=hue.light),
        written(8.5, y + 13, str(thread), size=12, ink=hue.on_light, anchor="middle"),
        written(22, y + 13, name if len(name) <= 18 else name[:17] + "…", size=12),
        tag("path", d=cells or "M0 0", fill=hue.light),
    ]


def _x(step: int, cell: float) -> str:
    return coordinate(LEFT + step * cell)


# -- what each step did


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list: the last step in it, whose it is, what is said in the column and beside it."""

    step: int
    thread: int
    text: str
    beside: tuple[str, ...] = ()
    found: bool = False


def rows(steps: Steps, last: int) -> list[Row]:
    """The rows of the first `last` steps, at most `MOST`."""

    def belongs(number: int) -> tuple[int, int]:
        """Alike for steps in a row that are drawn together: of one thread, and all uneventful."""
        return steps.steps[number].thread, number if _eventful(steps, number, last) else 0

    made: list[Row] = []
    for (thread, loud), run in groupby(range(1, last + 1), belongs):
        numbers = list(run)
        if loud or len(numbers) <= 3:
            made += [_row(steps, number) for number in numbers]
        else:
            made.append(Row(numbers[-1], thread, f"… {len(numbers)} steps …"))
    return made if len(made) <= MOST else [Row(made[-MOST].step, -1, "⋮"), *made[1 - MOST :]]


def _eventful(steps: Steps, number: int, last: int) -> bool:
    """Something was freed or found, or another thread goes on."""
    if number in (1, last, steps.inevitable) or steps.steps[number].freed:
        return True
    switch = steps.steps[number - 1].thread != steps.steps[number].thread
    return switch or any(found.step == number for found in steps.findings)


def _row(steps: Steps, number: int) -> Row:
    step = steps.steps[number]
    found = [f"◆ {each.title}" for each in steps.findings if each.step == number]
    return Row(
        number, step.thread, step.did, (*(f"frees {what}" for what in step.freed), *found), bool(found)
    )


def _list(sheet: Sheet, steps: Steps, at: int) -> None:
    column = (sheet.inside * (1 - NOTES) - NUMBERS) / len(steps.threads)
    middles = [NUMBERS + column * (thread + 0.5) for thread in range(len(steps.threads))]
    names = [_cut(f"{thread}  {name}", column - 8, SIZE) for thread, name in enumerate(steps.threads)]
    heads = (
        written(x, 14, name, weight="bold", anchor="middle") for x, name in zip(middles, names, strict=True)
    )
    sheet.draw(PITCH, *heads)
    for row in rows(steps, at):
        notes = [line for text in row.beside for line in wrapped(text, sheet.inside * NOTES - GAP, SMALL)]
        tall = PITCH + 15 * max(len(notes) - 1, 0)
        ground = (
            tag("rect", width=sheet.inside, height=tall, fill=PAPER["tint"]) if row.step == at else Html()
        )
        rails = tag("path", d="".join(f"M{coordinate(x)} 0v{tall}" for x in middles), stroke=PAPER["faint"])
        beside = sheet.inside * (1 - NOTES) + GAP
        said = (
            written(beside, 15 + 15 * line, text, size=SMALL, ink="warning" if row.found else "ink")
            for line, text in enumerate(notes)
        )
        sheet.draw(tall, ground, rails, *_box(row, middles, column), *said)
        if row.step == steps.inevitable:
            line = tag("path", d=f"M0 7H{sheet.inside}", stroke=RED, stroke_dasharray="4 3", stroke_width=1.5)
            sheet.draw(14, line, *_on_paper("point of no return", 7))


def _on_paper(words: str, y: float) -> tuple[Html, Html]:
    ground = tag(
        "rect",
        x=NUMBERS,
        y=y - 7,
        width=coordinate(wide(words, 11) * 0.9 + 8),
        height=14,
        fill=PAPER["paper"],
    )
    return ground, written(NUMBERS + 4, y + 4, words, size=11)


def _box(row: Row, middles: list[float], column: float) -> Iterator[Html]:
    """The step's number, and in the thread's column what it did."""
    if row.thread < 0:
        yield written(NUMBERS - 8, 15, row.text, anchor="end", ink="soft")
        return
    yield written(NUMBERS - 8, 15, str(row.step), size=11, ink="soft", anchor="end")
    quiet = row.text.startswith("…")
    text = _cut(row.text, column - 16, SMALL)
    across = min(wide(text, SMALL) + 12, column - 4)
    hue = PAPER["faint"] if quiet else HUES[ORDER[row.thread % len(ORDER)]].light
    place = {
        "x": coordinate(middles[row.thread] - across / 2),
        "y": 2,
        "width": coordinate(across),
        "height": PITCH - 4,
    }
    yield tag("rect", **place, rx=4, fill=PAPER["paper"], stroke=hue, stroke_width=1.5)
    yield written(middles[row.thread], 15, text, size=SMALL, ink="soft" if quiet else "ink", anchor="middle")


def _cut(text: str, room: float, size: float) -> str:
    """As much of a text as there is room for."""
    while len(text) > 2 and wide(text, size) > room:
        text = text[:-2] + "…" if text.endswith("…") else text[:-1] + "…"
    return text
