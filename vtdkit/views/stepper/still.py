"""An interleaving that stands still: who moves when, where each thread stands, memory and findings; then
what each step up to the position did, a column for each thread, time going down.

Several uneventful steps of one thread in a row are one line; of a very long list the last part is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from vtdkit.lab.steps.schedule import DONE, READY, Stand, Steps
from vtdkit.lab.steps.standing import Source
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, written

from .record import columns, says, states

LEFT, ROW, TOP = 150, 24, 18  # pixels: where the ribbon's cells begin, a thread's row, room above the first
ORDER = ("blue", "orange", "green", "purple", "sky", "red", "yellow")
AROUND = 4  # lines shown before and after the current one
MOST = 40  # rows in the list of steps
RED = HUES["red"].light


def stepper_still(steps: Steps, at: int) -> Picture:
    """The position after `at` steps."""
    sheet = Sheet(f"Step by step: {steps.title}. {says(steps, at)}", f"Step by step: {steps.title}")
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
        names = [f"{thread}  {name}" for thread, name in enumerate(steps.threads)]
        sheet.table(("step", *names, "what came of it"), rows(steps, at))
    if steps.inevitable is not None and at >= steps.inevitable:
        sheet.text(f"step {steps.inevitable}; {steps.how}.", lead="From here it must go wrong:")
    sheet.text(f"Schedule: {steps.schedule}", size=11, ink="soft")
    return sheet.picture()


def _stands(sheet: Sheet, steps: Steps, at: int, thread: int, state: str) -> None:
    """Where a thread stands: what it holds, and the lines round the current one."""
    stand = steps.stand(at, thread)
    held = f"; holds {', '.join(stand.held)}" if stand.held else ""
    sheet.space(6)
    sheet.text(f"{state}{held}", lead=f"{thread}  {steps.threads[thread]}:")
    if stand.function >= 0 and stand.state != DONE:
        source = steps.sources[stand.function]
        about = f", about to: {stand.next}" if stand.state == READY else ""
        sheet.text(f"{source.name} ({source.file}){about}", size=11, ink="soft")
        sheet.source(excerpt(source, stand))


def excerpt(source: Source, stand: Stand) -> list[tuple[str, str, str]]:
    """The lines round the current one, which has a sign in front and a ground."""
    here = min(max(stand.line - source.first, 0), len(source.lines) - 1)
    return [
        ("▶ ", line, "tint") if i == here else ("  ", line, "raised")
        for i, line in enumerate(source.lines)
        if abs(i - here) <= AROUND
    ]


# -- who moved when


def _ribbon(sheet: Sheet, steps: Steps, at: int) -> None:
    """A row for each thread, a cell for each step, a needle at the position."""
    cell = min((sheet.inside - LEFT - 8) / max(len(steps), 1), 34)
    bottom = TOP + ROW * len(steps.threads)
    parts = [part for thread in range(len(steps.threads)) for part in _moves(steps, thread, cell)]
    if steps.inevitable is not None:
        line = f"M{_x(steps.inevitable, cell)} {TOP - 4}V{bottom}"
        parts.append(tag("path", d=line, stroke=RED, stroke_width=2, stroke_dasharray="4 3"))
    for x in (_x(each.step, cell) for each in steps.findings if each.step):
        diamond = f"M{x} {TOP - 12}l6 6l-6 6l-6-6zM{x} {TOP}V{bottom}"
        parts.append(tag("path", d=diamond, fill=RED, stroke=RED))
    needle = f"M{_x(at, cell)} {TOP - 2}V{bottom + 5}"
    sheet.draw(bottom + 8, *parts, tag("path", d=needle, stroke=PAPER["ink"], stroke_width=3))


def _moves(steps: Steps, thread: int, cell: float) -> list[Html]:
    name, hue, y = steps.threads[thread], HUES[ORDER[thread % len(ORDER)]], TOP + thread * ROW + 3
    size = coordinate(max(cell - 1, 0.8))
    cells = "".join(
        f"M{_x(number, cell)} {y}h{size}v18h-{size}z"
        for number, step in enumerate(steps.steps[1:])
        if step.thread == thread
    )
    return [
        tag("rect", x=0, y=y, width=17, height=17, fill=hue.light),
        written(8.5, y + 13, str(thread), size=12, ink=hue.on_light, anchor="middle"),
        written(22, y + 13, name if len(name) <= 18 else name[:17] + "…", size=12),
        tag("path", d=cells or "M0 0", fill=hue.light),
    ]


def _x(step: int, cell: float) -> str:
    return coordinate(LEFT + step * cell)


# -- what each step did


def rows(steps: Steps, last: int) -> list[list[str]]:
    """The list of the first `last` steps, at most `MOST` rows: the last step in it, a column for each thread
    with what it did, and what came of it.
    """

    def belongs(number: int) -> tuple[int, int]:
        """Alike for steps in a row that are drawn together: of one thread, and all uneventful."""
        return steps.steps[number].thread, number if _eventful(steps, number, last) else 0

    def row(number: int, thread: int, text: str) -> list[str]:
        did = [text if each == thread else "" for each in range(len(steps.threads))]
        return [str(number), *did, "; ".join(_came(steps, number))]

    made: list[list[str]] = []
    for (thread, loud), run in groupby(range(1, last + 1), belongs):
        numbers = list(run)
        few = loud or len(numbers) <= 3
        each = [row(i, thread, steps.steps[i].did) for i in numbers]
        made += each if few else [row(numbers[-1], thread, f"… {len(numbers)} steps …")]
    if len(made) <= MOST:
        return made
    # a row with nothing but a number stands for all before the last ones
    return [[made[-MOST][0], *[""] * (len(steps.threads) + 1)], *made[1 - MOST :]]


def _came(steps: Steps, number: int) -> Iterator[str]:
    """What came of a step."""
    yield from (f"frees {what}" for what in steps.steps[number].freed)
    yield from (f"◆ {each.title}" for each in steps.findings if each.step == number)
    if number == steps.inevitable:
        yield "from here it must go wrong"


def _eventful(steps: Steps, number: int, last: int) -> bool:
    """Something came of it, or another thread goes on."""
    before, now = steps.steps[number - 1 : number + 1]
    return number in (1, last) or before.thread != now.thread or any(_came(steps, number))
