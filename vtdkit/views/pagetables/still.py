"""The explorer that stands still: one walk as strips of table entries, each opening into the next, what each
entry says, and the answer. A second record stands below the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vtdkit.views.shared.html import Html, join, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, legend, wide, written
from vtdkit.vtd.requests import Fault, Translation, bdf, size_name
from vtdkit.vtd.walk.trace import Step, Walk

from .held import disagree
from .layout import Strip, strips
from .words import PURPOSE, sentence

LEFT, TALL, GAP, SMALL = 90, 22, 16, 12  # pixels: before a strip, its height, to the next one, type
COLOURS = {"table": "sky", "both": "blue", "read": "green", "write": "green", "wrong": "red", "out": "purple"}
#: from where to where an entry is filled, in parts of its height: the second sign besides its colour
FILLED = {
    "read": ((0.5, 1.0),),
    "write": ((0.0, 0.5),),
    "wrong": ((0.0, 0.33), (0.67, 1.0)),
    "out": ((0.67, 1.0),),
}
LEGEND = (
    ("table", "leads to a table (height: how much is mapped below)"),
    ("both", "maps a page, read and write"),
    ("read", "one of the two only (lower half: read)"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One side of a still: what the tables say, what the device gets from the caches, and the record."""

    name: str
    walk: Walk
    device: Translation | Fault
    record: Record


def page_table_still(title: str, said: str, sides: Sequence[Shown]) -> Picture:
    """The walks of all sides; `said` is the whole in a line."""
    sheet = Sheet(f"{title}: {said}", title)
    for side in sides:
        if side.name:
            sheet.space(4)
            sheet.text("", lead=side.name)
        _strips(sheet, strips(side.record, side.walk))
        sheet.table(("table", "entry", "value", "what it says"), map(_row, side.walk.steps), mono=(1, 2))
        answer = side.walk.answer
        sheet.text(sentence(answer.label) if isinstance(answer, Fault) else "", lead=answer_text(answer))
        if disagree(answer, side.device):
            sheet.text(f"the caches still answer otherwise: {answer_text(side.device)}", lead="Stale:")
    sheet.space(4)
    sheet.draw(20, *legend(((_swatch(kind), word) for kind, word in LEGEND), swatch=16))
    return sheet.picture()


# -- strips


def _strips(sheet: Sheet, drawn: Sequence[Strip]) -> None:
    across = sheet.inside - LEFT
    for above, strip in zip((None, *drawn), drawn, strict=False):
        if above:
            sheet.draw(GAP, _wedge(above, across))
        sheet.draw(TALL, *_strip(strip, across))
    sheet.space(8)


def _wedge(above: Strip, across: float) -> Html:
    """From the entry in use to the whole of the table it leads to."""
    unit = across / above.size
    left, right = LEFT + above.lit * unit, LEFT + (above.lit + 1) * unit
    d = f"M{coordinate(left)} 2L{coordinate(right)} 2L{LEFT + across} {GAP}L{LEFT} {GAP}z"
    return tag("path", d=d, fill=PAPER["tint"])


def _strip(strip: Strip, across: float) -> Iterator[Html]:
    unit = across / strip.size
    yield written(0, 15, strip.name, size=SMALL)
    yield tag("rect", x=LEFT, width=across, height=TALL, fill=PAPER["sunken"])
    for kind in dict.fromkeys(kind for _, _, kind, _ in strip.blocks):
        boxes = (
            f"M{coordinate(LEFT + index * unit)} {coordinate(TALL * top)}"
            f"h{coordinate(max(count * unit, 1))}v{coordinate(TALL * (bottom - top))}"
            f"h-{coordinate(max(count * unit, 1))}z"
            for index, count, other, weight in strip.blocks
            if other == kind
            for top, bottom in _heights(kind, weight)
        )
        yield tag("path", d="".join(boxes), fill=HUES[COLOURS[kind]].light)
    place = LEFT + strip.lit * unit
    yield tag(
        "rect",
        x=coordinate(place - 1),
        y=-1,
        width=coordinate(max(unit, 4) + 2),
        height=TALL + 2,
        fill="none",
        stroke=HUES["red"].light if strip.stopped else PAPER["ink"],
        stroke_width=2,
    )
    yield _label(strip, place, unit, across)


def _label(strip: Strip, place: float, unit: float, across: float) -> Html:
    """Which entry is in use and what it says, beside it where there is room."""
    text = f"{'✗ ' if strip.stopped else ''}entry {strip.lit}: {strip.says}"
    room = wide(text, SMALL)
    right = place + unit + 8
    left = right if right + room <= LEFT + across else max(place - room - 8, LEFT + 4)
    ground = tag("rect", x=coordinate(left - 3), y=3, width=coordinate(room + 6), height=TALL - 6, rx=2)
    return tag("g", tag("g", ground, fill=PAPER["paper"]), written(left, 15, text, size=SMALL))


def _heights(kind: str, weight: float) -> Sequence[tuple[float, float]]:
    return ((0.88 - 0.63 * weight, 1.0),) if kind == "table" else FILLED.get(kind, ((0.0, 1.0),))


def _swatch(kind: str) -> Html:
    boxes = (
        tag("rect", y=coordinate(2 + 12 * top), width=16, height=coordinate(12 * (bottom - top)))
        for top, bottom in _heights(kind, 1.0)
    )
    ground = tag("rect", y=2, width=16, height=12, fill=PAPER["sunken"])
    return tag("g", ground, tag("g", join(boxes), fill=HUES[COLOURS[kind]].light))


# -- words


def _row(step: Step) -> tuple[str, str, str, str]:
    name = f"level {step.level}" if step.level else PURPOSE[step.structure.name][0].lower()
    value = f"{step.raw & (1 << 128) - 1:0{16 if step.structure.width <= 64 else 32}x}"
    return f"{'(guest address) ' if step.inner else ''}{name}", str(step.index), value, step.why


def answer_text(answer: Translation | Fault) -> str:
    """One sentence on an answer."""
    request = answer.request
    who = f"{bdf(request.sid)} {'writes to' if request.writes else 'reads'} {request.address:#x}"
    if isinstance(answer, Fault):
        code = "no fault code" if answer.code is None else f"fault code {answer.code:X}h"
        return f"✗ {who}: refused, {code} ({answer.label}: {answer.name})."
    rights = {"rw": "read and write", "r-": "read only", "-w": "write only"}.get(
        answer.permissions, "no access"
    )
    if answer.path in ("off", "pass-through", "interrupt window"):
        return f"✓ {who}: {answer.path}, memory {answer.address:#x}."
    return f"✓ {who}: memory {answer.address:#x}, {size_name(answer.size)} page, {rights}."
