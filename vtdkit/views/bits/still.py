"""The bit-field card that stands still: bits in rows of 32 under the names of their fields, what they mean,
what hardware answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, hatch, legend, wide, written

from .layout import WORD, BitRow, Part, bit_rows, worth_a_line

LIES, TALL, LETTERS = 18, 20, 10  # pixels: a name that lies, a box, the type of a name
SIGNS = {True: "✓ ", False: "✗ "}
#: grounds of bits that hardware does not look at: stripes where they must be 0, else dots; and their pens
HATCHES = {"reserved": ("M-2 2L2-2M-2 10L10-2M6 10L10 6", 1), "ignored": ("M2 2h.01M6 6h.01", 1.8)}


def bits_still(record: Record, layout: Record, value: int, answers: Sequence[Record]) -> Picture:
    """`value` in the layout in force, and what hardware makes of it."""
    said = [f"{SIGNS[each['good']]}{each['head']}" for each in answers]
    title = f"{record['name']} = {value:#x}: {record['title']}"
    sheet = Sheet(". ".join([title, *said]), title)
    grounds = (hatch(name, 8, *line, PAPER["hatch"], PAPER["sunken"]) for name, line in HATCHES.items())
    sheet.draw(0, tag("defs", *grounds))
    start = int(record["start"], 16)
    for row in bit_rows(layout["rows"], record["width"], value, start):
        _row(sheet, row, value, start)
    sheet.space(6)
    sheet.draw(22, *legend(_signs(), swatch=18))
    sheet.table(
        ("bits", "field", "value", "meaning"),
        ((bits, name, f"{number:#x}", means) for bits, name, number, means in worth_a_line(layout, value)),
        mono=(0, 1, 2),
    )
    for head, answer in zip(said, answers, strict=True):
        sheet.text(answer["detail"], lead=head)
    return sheet.picture()


def _row(sheet: Sheet, row: BitRow, value: int, start: int) -> None:
    """One row of bits, or one line that says that there is nothing in them."""
    if not row.parts:
        sheet.text(f"bits {row.high}–{row.low}: reserved or ignored, all 0", size=11, ink="soft")
        return
    pitch = sheet.inside / WORD
    above = max(LIES, *(wide(_name(each), LETTERS) + 6 for each in row.parts if _stands(each, pitch)), 0)
    names = (part for each in row.parts for part in _label(each, row.high, pitch, above))
    sheet.draw(above + TALL + 6, *names, *_boxes(row, value, start, pitch, above))


def _span(part: Part) -> int:
    return int(part["high"] - part["low"] + 1)


def _name(part: Part) -> str:
    """What stands above a field: unused bits are named only where there is room."""
    state: str = part["state"]
    return str(part["name"]) if state == "used" else state if _span(part) > 2 else ""


def _stands(part: Part, pitch: float) -> bool:
    """Whether a name is too long to lie above its bits."""
    return wide(_name(part), LETTERS) > _span(part) * pitch - 4


def _label(part: Part, top: int, pitch: float, above: float) -> Iterator[Html]:
    name, left = _name(part), (top - part["high"]) * pitch
    middle = left + _span(part) * pitch / 2
    yield tag("path", d=f"M{coordinate(left)} {coordinate(above - 14)}v14", stroke=PAPER["faint"])
    ink = "ink" if part["state"] == "used" else "soft"
    if _stands(part, pitch):
        turned = f"translate({coordinate(middle + 4)} {coordinate(above - 4)}) rotate(-90)"
        yield tag("g", written(0, 0, name, size=LETTERS, ink=ink), transform=turned)
    elif name:
        both = f"{name} {part['bits']}"
        said = both if wide(both, LETTERS) <= _span(part) * pitch - 4 else name
        yield written(middle, above - 5, said, size=LETTERS, ink=ink, anchor="middle")


def _boxes(row: BitRow, value: int, start: int, pitch: float, top: float) -> Iterator[Html]:
    """All boxes of a row: one path for each kind, one text for the zeros and one for the ones."""
    kinds: dict[str, list[int]] = {}
    for part in row.parts:
        for bit in range(part["high"], part["low"] - 1, -1):
            kinds.setdefault(_fill(part["state"], value >> bit & 1), []).append(row.high - bit)
    y, below, across = coordinate(top), coordinate(top + TALL + 2), coordinate(pitch)
    for fill, places in kinds.items():
        shape = "".join(f"M{coordinate(place * pitch)} {y}h{across}v{TALL}h-{across}z" for place in places)
        yield tag("path", d=shape, fill=fill, stroke=PAPER["line"])
    if changed := _places(row, value ^ start, 1):
        line = (f"M{coordinate(place * pitch + 1)} {below}h{coordinate(pitch - 2)}" for place in changed)
        yield tag("path", d="".join(line), stroke=HUES["orange"].light, stroke_width=4)
    for digit, ink, weight in ((0, PAPER["ink"], None), (1, HUES["blue"].on_light, "bold")):
        if places := _places(row, value, digit):
            yield tag(
                "text",
                str(digit) * len(places),
                x=" ".join(coordinate((place + 0.5) * pitch) for place in places),
                y=coordinate(top + TALL - 5),
                fill=ink,
                font_weight=weight,
                text_anchor="middle",
                font_size=12,
            )


def _places(row: BitRow, value: int, digit: int) -> list[int]:
    """How many boxes from the left the bits of a row are that are `digit`."""
    return [row.high - bit for bit in range(row.high, row.low - 1, -1) if value >> bit & 1 == digit]


def _fill(state: str, one: int) -> str:
    if one:
        return HUES["red" if state == "reserved" else "blue"].light
    return PAPER["paper"] if state == "used" else f"url(#{state})"


def _signs() -> Iterator[tuple[Html, str]]:
    for word, fill in (
        ("hardware looks at it", PAPER["paper"]),
        ("reserved: must be 0", "url(#reserved)"),
        ("ignored: may be anything", "url(#ignored)"),
    ):
        yield tag("rect", y=2, width=18, height=12, fill=fill, stroke=PAPER["line"]), word
    yield tag("rect", y=6, width=18, height=4, fill=HUES["orange"].light), "differs from the starting value"
