"""An interleaving that stands still: who moved when, the source where each thread stands, memory,
findings; for saved notebooks.
"""

from __future__ import annotations

from vtdkit.lab.steps.schedule import Source, Stand, Steps
from vtdkit.views.shared.html import MONO, Html, picture, still, table, tag
from vtdkit.views.shared.palette import HUES, PAPER

from .record import columns, says, states

WIDTH, LEFT, ROW, TOP = 860, 150, 24, 18
ORDER = ("blue", "orange", "green", "purple", "sky", "red", "yellow")
AROUND = 4  # lines shown before and after the current one


def stepper_still(steps: Steps, at: int) -> Html:
    """The position after `at` steps."""
    parts = [tag("p", says(steps, at), style="margin:2px 0"), ribbon_svg(steps, at)]
    for thread, state in zip(range(len(steps.threads)), states(steps, at), strict=True):
        if thread in columns(steps):
            parts += _column(steps, at, thread, state)
    if steps.words:
        parts.append(
            table(
                ("shared memory", "value"), zip(steps.words, steps.steps[at].values, strict=True), mono=(1,)
            )
        )
    parts += [
        tag("p", tag("strong", f"step {found.step}: {found.title}"))
        for found in steps.findings
        if 0 < found.step <= at
    ]
    if steps.inevitable is not None:
        parts.append(tag("p", f"Point of no return: step {steps.inevitable}; {steps.how}."))
    parts.append(tag("p", f"Schedule: {steps.schedule}", style="font-size:smaller"))
    return still(f"Step by step: {steps.title}", *parts)


def _column(steps: Steps, at: int, thread: int, state: str) -> list[Html]:
    stand = steps.stand(at, thread)
    held = f"; holds {', '.join(stand.held)}" if stand.held else ""
    head = tag(
        "p", tag("strong", f"{thread}  {steps.threads[thread]}"), f": {state}{held}", style="margin:6px 0 0"
    )
    if stand.function < 0:
        return [head]
    source = steps.sources[stand.function]
    about = f"{source.name} ({source.file}), about to: {stand.next}"
    style = f"margin:0;{MONO};font-size:13px;white-space:pre;overflow:auto"
    return [
        head,
        tag("div", about, style="font-size:smaller"),
        tag("div", excerpt(source, stand), style=style),
    ]


def excerpt(source: Source, stand: Stand) -> str:
    """The lines round the current one, which has a sign in front."""
    here = min(max(stand.line - source.first, 0), len(source.lines) - 1)
    lines = range(max(here - AROUND, 0), min(here + AROUND + 1, len(source.lines)))
    return "\n".join(f"{'>' if i == here else ' '} {source.first + i:>4}  {source.lines[i]}" for i in lines)


def ribbon_svg(steps: Steps, at: int) -> Html:
    """Who moved when: a row for each thread, a cell for each step."""
    last = max(len(steps), 1)
    cell = min((WIDTH - LEFT - 8) / last, 34)
    bottom = TOP + ROW * len(steps.threads)
    parts: list[Html] = [tag("rect", width=WIDTH, height=bottom + 8, fill=PAPER["paper"])]
    for thread, name in enumerate(steps.threads):
        hue = HUES[ORDER[thread % len(ORDER)]]
        moves = [i for i, step in enumerate(steps.steps) if step.thread == thread]
        y = TOP + thread * ROW + 3
        parts.append(tag("rect", x=0, y=y, width=17, height=17, fill=hue.light))
        parts.append(_text(5, y + 13, str(thread), hue.on_light))
        parts.append(_text(22, y + 13, name if len(name) <= 18 else name[:17] + "…", PAPER["ink"]))
        path = "".join(
            f"M{_x(i - 1, cell)} {y}h{max(cell - 1, 0.8):.1f}v18h-{max(cell - 1, 0.8):.1f}z" for i in moves
        )
        parts.append(tag("path", d=path or "M0 0", fill=hue.light))
    if steps.inevitable is not None:
        line = f"M{_x(steps.inevitable, cell)} {TOP - 4}V{bottom}"
        parts.append(tag("path", d=line, stroke=HUES["red"].light, stroke_width=2, stroke_dasharray="4 3"))
    for found in (each for each in steps.findings if each.step):
        x = _x(found.step, cell)
        parts.append(
            tag("path", d=f"M{x} {TOP - 12}l6 6l-6 6l-6-6zM{x} {TOP}V{bottom}", fill=RED, stroke=RED)
        )
    parts.append(
        tag("path", d=f"M{_x(at, cell)} {TOP - 2}V{bottom + 5}", stroke=PAPER["ink"], stroke_width=3)
    )
    return picture(f"who moved when, up to step {at} of {len(steps)}", WIDTH, bottom + 8, *parts)


RED = HUES["red"].light


def _x(step: int, cell: float) -> str:
    return f"{LEFT + step * cell:.1f}"


def _text(x: int, y: int, words: str, fill: str) -> Html:
    return tag("text", words, x=x, y=y, fill=fill, font_size=12, font_family="sans-serif")
