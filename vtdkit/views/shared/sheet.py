"""A sheet of paper that is written from top to bottom, and the picture that it makes: a widget's still.

    sheet = Sheet("Page table walk of a device", "Page table walk")
    sheet.text("memory 0x2000, read and write", lead="Answer:")
    sheet.table(("level", "entry"), [("4", "0"), ("3", "5")], mono=(1,))
    sheet.draw(30, tag("rect", width=20, height=20, fill=PAPER["tint"]))
    sheet.picture()

A still has to be a picture wherever a notebook is looked at, and most places take something out. What was
found: an `<img>` with its SVG in the address is shown by JupyterLab in a notebook that nobody trusts, by
GitHub, nbviewer and VS Code. SVG inside HTML loses its shapes in the first two, an output of the kind
image/svg+xml is not shown in the first at all, and style attributes are lost in GitHub. So the form is the
`<img>`; its text is real text, on white of its own, since it cannot know the reader's theme.

Nobody can ask here how wide a text will be, as each reader's machine has its own letters. `wide` is an upper
limit for the usual ones.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from textwrap import wrap

from .html import Html, tag
from .palette import PAPER

WIDTH = 860
"""Of a sheet, in pixels: what JupyterLab has room for in a window of 1280."""
MARGIN, SIZE, LINE = (
    8,
    13,
    1.35,
)  # pixels round the sheet; height of type; from line to line, in heights of type
GAP = 14  # between two columns of a table
MONO_WIDE, BOLD_WIDE = 0.61, 1.13  # a letter of equal width, in heights of the type; bold against plain
NARROW, BROAD = frozenset("ijl.,:;|!'()[] "), frozenset("mwMW—@%✓✗")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in SVG. The last value of a cell shows it; `save` makes a file of it for paper."""

    label: str
    width: int
    height: int
    parts: tuple[Html, ...] = field(repr=False)

    @property
    def svg(self) -> Html:
        """The whole drawing."""
        ground = tag(
            "rect",
            x=0.5,
            y=0.5,
            width=self.width - 1,
            height=self.height - 1,
            rx=4,
            fill=PAPER["paper"],
            stroke=PAPER["faint"],
        )
        return tag(
            "svg",
            ground,
            *self.parts,
            width=self.width,
            height=self.height,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=self.label,
            font_family="sans-serif",
            font_size=SIZE,
            fill=PAPER["ink"],
        )

    @property
    def img(self) -> Html:
        """The picture as an element that shows wherever pictures do."""
        coded = b64encode(self.svg.encode()).decode()
        return tag(
            "img",
            src=f"data:image/svg+xml;base64,{coded}",
            alt=self.label,
            width=self.width,
            style="max-width:100%",
        )

    def save(self, path: str | Path) -> None:
        """Write it as an SVG file."""
        Path(path).write_text(self.svg + "\n", encoding="utf-8", newline="\n")

    def _repr_html_(self) -> str:
        return self.img


class Sheet:
    """Paper `width` pixels wide. Each method writes below what is there; `label` is the whole in words, and
    `title` a line above all that says what it is about.
    """

    def __init__(self, label: str, title: str = "", *, width: int = WIDTH) -> None:
        self.label, self.width = label, width
        self.inside = width - 2 * MARGIN
        self._y = float(MARGIN)
        self._parts: list[Html] = []
        if title:
            self.text("", lead=title, size=15)
            self.space(3)

    def picture(self) -> Picture:
        """What has been written so far."""
        return Picture(self.label, self.width, round(self._y + MARGIN), tuple(self._parts))

    def space(self, pixels: float) -> None:
        """Leave some room."""
        self._y += pixels

    def draw(self, height: float, *parts: Html) -> None:
        """Shapes `height` pixels high; their origin is the left end of the next line."""
        self._parts.append(tag("g", *parts, transform=f"translate({MARGIN} {coordinate(self._y)})"))
        self._y += height

    def text(
        self, words: str, *, lead: str = "", size: int = SIZE, ink: str = "ink", mono: bool = False
    ) -> None:
        """A paragraph; `lead` are its first words, in bold."""
        room = self.inside - wide(lead, size) * (BOLD_WIDE - 1)
        left = len(lead)  # letters still to be bold
        for line in wrapped(f"{lead} {words}".strip(), room, size, mono):
            bold, rest = line[:left], line[left:]
            start = tag("tspan", bold, font_weight="bold") if bold else ""
            self.draw(size * LINE, written(0, size, start, rest, size=size, ink=ink, mono=mono))
            left = max(left - len(line) - 1, 0)

    def source(self, lines: Iterable[tuple[str, str, str]], size: int = 12) -> None:
        """Lines of source: a sign, the line, and the grey of `PAPER` behind it, "" for none."""
        pitch, letters = round(size * LINE), int(self.inside / (size * MONO_WIDE))
        for sign, line, ground in lines:
            indent = " " * (len(line) - len(line.lstrip()) + 8)
            parts = wrap(line, letters - len(sign), subsequent_indent=indent, drop_whitespace=False) or [""]
            behind = tag("rect", width=self.inside, height=pitch, fill=PAPER[ground]) if ground else Html()
            for part in (sign + parts[0], *parts[1:]):
                shown = part.replace(" ", "\N{NO-BREAK SPACE}")  # others would be drawn together
                self.draw(pitch, behind, written(2, size, shown, size=size, mono=True))

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], *, mono: Sequence[int] = ()) -> None:
        """A table; the columns `mono` in letters of equal width. Long cells go on in the next line."""
        body = [[str(cell) for cell in row] for row in rows]
        widths = column_widths(head, body, self.inside, mono)
        self._row(head, widths, (), bold=True)
        self.draw(3, tag("path", d=f"M0 .5H{self.inside}", stroke=PAPER["line"]))
        for row in body:
            self._row(row, widths, mono)
        self.space(4)

    def _row(
        self, cells: Sequence[str], widths: Sequence[float], mono: Sequence[int], *, bold: bool = False
    ) -> None:
        columns = [
            wrapped(cell, width, SIZE, column in mono)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        left = accumulate((width + GAP for width in widths), initial=0.0)
        parts = [
            written(x, SIZE + at * SIZE * LINE, line, mono=column in mono, weight="bold" if bold else None)
            for column, (x, lines) in enumerate(zip(left, columns, strict=False))
            for at, line in enumerate(lines)
            if line
        ]
        self.draw(max(map(len, columns)) * SIZE * LINE + 1, *parts)


def written(
    x: float,
    y: float,
    *words: object,
    size: int = SIZE,
    ink: str = "ink",
    mono: bool = False,
    weight: str | None = None,
    anchor: str | None = None,
) -> Html:
    """One line of text whose letters stand on `y`; `ink` is a grey of `PAPER`, or a colour."""
    return tag(
        "text",
        *words,
        x=coordinate(x),
        y=coordinate(y),
        text_anchor=anchor,
        font_size=None if size == SIZE else size,
        font_family="monospace" if mono else None,
        font_weight=weight,
        fill=None if ink == "ink" else PAPER.get(ink, ink),
    )


def wide(text: str, size: float = SIZE, mono: bool = False) -> float:
    """How many pixels a text takes at the most."""
    if mono:
        return len(text) * size * MONO_WIDE
    return size * sum(
        0.36 if c in NARROW else 0.95 if c in BROAD else 0.7 if c.isupper() else 0.6 for c in text
    )


def wrapped(text: str, width: float, size: float = SIZE, mono: bool = False) -> list[str]:
    """The lines of a text that has `width` pixels."""
    letter = wide(text, size, mono) / len(text) if text else size
    # The mean of the letters may be less than that of one line.
    for letters in range(max(int(width / letter), 4), 3, -1):
        lines = wrap(text, letters) or [""]
        if max(wide(line, size, mono) for line in lines) <= width:
            break
    return lines


def column_widths(
    head: Sequence[str], rows: Sequence[Sequence[str]], room: float, mono: Sequence[int] = ()
) -> list[float]:
    """As wide as their widest cell; where that is too much, the widest columns get less."""
    wanted = [
        max([wide(name) * BOLD_WIDE, *(wide(row[column], mono=column in mono) for row in rows)])
        for column, name in enumerate(head)
    ]
    room -= GAP * (len(head) - 1)
    for number, each in enumerate(sorted(wanted)):
        # narrow columns keep what they want, the others share the rest equally
        limit = room / (len(wanted) - number)
        if each > limit:
            return [min(each, max(limit, 0)) for each in wanted]
        room -= each
    return wanted


def coordinate(number: float) -> str:
    """A place with one decimal, none where it is whole."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def hatch(name: str, size: int, path: str, pen: float, ink: str, ground: str) -> Html:
    """A pattern to fill with, as `url(#name)`: a path drawn every `size` pixels on a ground."""
    box = {"id": name, "width": size, "height": size, "patternUnits": "userSpaceOnUse"}
    return tag(
        "pattern",
        tag("rect", width=size, height=size, fill=ground),
        tag("path", d=path, stroke=ink, stroke_width=pen, stroke_linecap="round"),
        **box,
    )


def legend(words: Iterable[tuple[Html, str]], swatch: int = 24) -> Iterator[Html]:
    """A legend in one line: swatches, each drawn at the origin and `swatch` wide, and what they stand for."""
    x = 0.0
    for drawn, word in words:
        yield tag("g", drawn, transform=f"translate({coordinate(x)} 0)")
        yield written(x + swatch + 5, 12, word, size=12)
        x += swatch + 20 + wide(word, 12)
