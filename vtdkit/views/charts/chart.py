"""A figure that does not move, as plain shapes: what is drawn, once, for both that can draw it.

    Chart("two boxes", 100, 50, (Box(5, 5, 40, 20), Text(50, 15, "and words")))

Where matplotlib is installed a chart is its figure (`figure()`, to be saved in any of its formats) and shows
itself so; without it, as in a browser's Python, it is the same drawing in SVG. Units are points of 1/72 inch,
from the upper left corner, y down. Colours are "#rrggbb".
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import PAPER
from vtdkit.views.shared.sheet import Picture

Point = tuple[float, float]
SCALE = 4 / 3  # points to the pixels of a page
COLOURS = 128  # of a picture in a notebook: no pixel is visibly off, and it takes a third of the room


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a point: `anchor` says which end of the line is there (start, middle, end); the point is half
    way up. A line of its own for each newline. On `ground` they stand on white.
    """

    x: float
    y: float
    words: str
    size: float = 8.5
    ink: str = PAPER["ink"]
    anchor: str = "start"
    bold: bool = False
    mono: bool = False
    ground: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points: straight, or (`flat`) leaving and reaching each of them level, as an S."""

    points: tuple[Point, ...]
    ink: str
    width: float = 1.0
    dash: tuple[float, ...] = ()
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon."""

    points: tuple[Point, ...]
    ink: str


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners, filled with the tint."""

    x: float
    y: float
    wide: float
    high: float
    ink: str = PAPER["line"]
    width: float = 1.2


Shape = Text | Line | Area | Box


@dataclass(frozen=True, slots=True)
class Chart:
    """Shapes on white paper, later ones on top; `label` says in words what they show."""

    label: str
    width: float
    height: float
    shapes: tuple[Shape, ...] = field(repr=False)

    def figure(self) -> Any:
        """The chart as a matplotlib figure. Raises ImportError without matplotlib."""
        return _figure(self)

    @property
    def picture(self) -> Picture:
        """The chart in SVG."""
        parts = tag(
            "g", *(part for shape in self.shapes for part in _svg(shape)), transform=f"scale({SCALE:.4f})"
        )
        return Picture(self.label, round(self.width * SCALE), round(self.height * SCALE), (parts,))

    def save(self, path: str | Path) -> None:
        """Write a file: SVG, or whatever else matplotlib can write, as its name ends."""
        if str(path).endswith(".svg"):
            self.picture.save(path)
        else:
            self.figure().savefig(path)

    def __repr__(self) -> str:
        return f"<chart: {self.label if len(self.label) <= 60 else self.label[:59] + '…'}>"

    def _repr_html_(self) -> str:
        # An element, since JupyterLab shows image/png without a word for those who cannot see it.
        if find_spec("matplotlib") is None:
            return self.picture.img
        source = f"data:image/png;base64,{b64encode(self.png()).decode()}"
        return str(tag("img", src=source, alt=self.label))

    def png(self) -> bytes:
        """The picture that a notebook gets, small enough to be saved there; a rare colour counts as much as a
        frequent one, so that a thin red line stays red. Raises ImportError without matplotlib.
        """
        from PIL import Image

        exact, small = io.BytesIO(), io.BytesIO()
        self.figure().savefig(exact, format="png", dpi=72 * SCALE, metadata={"Software": None})
        drawn = Image.open(exact).convert("RGB")
        few = drawn.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(small, "png", optimize=True)
        return small.getvalue()


def curve(line: Line) -> Iterator[tuple[Point, Point, Point]]:
    """For each part of a flat line: its two control points and its end."""
    for (x0, y0), (x1, y1) in pairwise(line.points):
        yield ((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)


# -- SVG ----------------------------------------------------------------------------------------------------


def _at(*points: Point) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(shape: Shape) -> Iterator[Html]:
    match shape:
        case Text():
            yield from _svg_text(shape)
        case Line():
            way = (
                [f"C {_at(*part)}" for part in curve(shape)]
                if shape.flat
                else [f"L {_at(*shape.points[1:])}"]
            )
            look = {"stroke_dasharray": " ".join(map(str, shape.dash)) or None, "stroke_width": shape.width}
            yield tag(
                "path", d=f"M {_at(shape.points[0])} {' '.join(way)}", fill="none", stroke=shape.ink, **look
            )
        case Area():
            yield tag("polygon", points=_at(*shape.points), fill=shape.ink)
        case Box(x, y, wide, high, ink, width):
            place = {
                "x": f"{x:.1f}",
                "y": f"{y:.1f}",
                "width": f"{wide:.1f}",
                "height": f"{high:.1f}",
                "rx": 4,
            }
            yield tag("rect", **place, fill=PAPER["tint"], stroke=ink, stroke_width=width)


def _svg_text(text: Text) -> Iterator[Html]:
    lines = text.words.split("\n")
    look = {"font_size": text.size, "fill": text.ink, "text_anchor": text.anchor}
    look |= {"font_weight": "bold" if text.bold else None, "font_family": "monospace" if text.mono else None}
    # a white edge under the letters is ground enough
    look |= {"stroke": "#ffffff", "stroke_width": 3, "paint_order": "stroke"} if text.ground else {}
    for number, line in enumerate(lines):
        y = text.y + text.size * (0.35 + 1.2 * (number - (len(lines) - 1) / 2))
        yield tag("text", line, x=f"{text.x:.1f}", y=f"{y:.1f}", **look)


# -- matplotlib ---------------------------------------------------------------------------------------------


def _figure(chart: Chart) -> Any:
    from matplotlib.figure import Figure

    paper = Figure(figsize=(chart.width / 72, chart.height / 72), facecolor="white")
    ax = paper.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, chart.width), ylim=(chart.height, 0))
    ax.axis("off")
    for level, shape in enumerate(chart.shapes):
        _on(ax, shape, level)
    return paper


def _on(ax: Any, shape: Shape, level: int) -> None:
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
    from matplotlib.path import Path as Way

    match shape:
        case Text():
            kind: dict[str, Any] = {
                "weight": "bold" if shape.bold else "normal",
                "color": shape.ink,
                "fontsize": shape.size,
            }
            kind |= {"family": "monospace"} if shape.mono else {}
            kind |= {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0}} if shape.ground else {}
            side = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
            ax.text(shape.x, shape.y, shape.words, ha=side, va="center", zorder=level, **kind)
        case Line(points, ink, width, dash, flat):
            rest = [each for part in curve(shape) for each in part] if flat else points[1:]
            codes = [Way.MOVETO, *[Way.CURVE4 if flat else Way.LINETO] * len(rest)]
            # it counts dashes in widths of the line
            look = {
                "linestyle": (0, [part / width for part in dash]) if dash else "solid",
                "linewidth": width,
            }
            way = PathPatch(Way([points[0], *rest], codes), fill=False, edgecolor=ink, zorder=level, **look)
            ax.add_patch(way)
        case Area():
            ax.add_patch(
                Polygon(shape.points, closed=True, facecolor=shape.ink, edgecolor="none", zorder=level)
            )
        case Box(x, y, wide, high, ink, width):
            round_box = FancyBboxPatch(
                (x, y), wide, high, boxstyle="round,pad=0,rounding_size=4", zorder=level
            )
            round_box.set(facecolor=PAPER["tint"], edgecolor=ink, linewidth=width)
            ax.add_patch(round_box)
