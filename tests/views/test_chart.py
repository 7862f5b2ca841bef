"""Charts: one drawing, by matplotlib where it is installed and in SVG where it is not."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vtdkit.views.charts import chart as module
from vtdkit.views.charts.chart import SCALE, Area, Box, Chart, Line, Text
from vtdkit.views.charts.scaling import ScalingPoint, scaling_figure

DRAWN = Chart(
    'a "sentence" <b>',
    200,
    100,
    (
        Box(10, 10, 60, 30),
        Text(40, 25, "a < b", anchor="middle", mono=True),
        Line(((70, 25), (120, 60), (180, 60)), "#d55e00", 2, (4, 2), flat=True),
        Area(((180, 60), (174, 57), (174, 63)), "#d55e00"),
        Text(20, 80, "two\nlines", bold=True, ground=True),
    ),
)


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "find_spec", lambda name: None if name == "matplotlib" else util.find_spec(name)
    )


def test_both_forms_have_the_same_size_and_words() -> None:
    figure = DRAWN.figure()
    svg = ElementTree.fromstring(DRAWN.picture.svg)
    words = ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["a < b", "two", "lines"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["a < b", "two\nlines"]
    assert [float(svg.attrib[side]) for side in ("width", "height")] == [
        round(200 * SCALE),
        round(100 * SCALE),
    ]
    assert list(figure.get_size_inches() * 72) == [200, 100]


def test_lines_and_boxes_are_at_the_same_places_in_both_forms() -> None:
    """The dark pixels of the two pictures, which other programs drew: matplotlib from one, a path each."""
    figure = DRAWN.figure()
    patches = {type(patch).__name__: patch for patch in figure.axes[0].patches}
    ends = patches["PathPatch"].get_path().vertices
    d = next(part for part in DRAWN.picture.svg.split("<path ")[1:] if "M 70.0,25.0" in part)
    numbers = [tuple(map(float, word.split(","))) for word in d.split('"')[1].split() if "," in word]
    assert numbers == [tuple(each) for each in ends]
    assert patches["FancyBboxPatch"].get_bbox().bounds == (10, 10, 60, 30)


def test_a_chart_shows_itself_by_matplotlib_or_without(monkeypatch: pytest.MonkeyPatch) -> None:
    alt = 'alt="a &quot;sentence&quot; &lt;b&gt;"'
    drawn = DRAWN._repr_html_()
    assert drawn.startswith('<img src="data:image/png;base64,iVBOR')
    assert alt in drawn
    without_matplotlib(monkeypatch)
    drawn = DRAWN._repr_html_()
    assert drawn.startswith('<img src="data:image/svg+xml;base64,')
    assert alt in drawn


def test_it_is_called_the_same_in_both() -> None:
    assert repr(DRAWN) == '<chart: a "sentence" <b>>'
    assert repr(Chart("long " * 30, 1, 1, ())) == f"<chart: {'long ' * 11}long…>"


def test_the_picture_in_a_notebook_is_small_and_looks_like_the_figure() -> None:
    chart = scaling_figure([ScalingPoint(who, cpus, 5.0 * cpus) for who in "ab" for cpus in (1, 2, 4)])
    exact = io.BytesIO()
    chart.figure().savefig(exact, format="png", dpi=72 * SCALE)
    shown = chart.png()
    assert len(shown) < 60_000
    assert len(chart.picture.svg) < 60_000
    one, other = (pixels(png) for png in (exact.getvalue(), shown))
    assert one.shape == other.shape
    assert np.abs(one - other).max() < 20


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_file_is_written_in_the_form_its_name_asks_for(tmp_path: Path) -> None:
    for name, start in (("a.svg", b"<svg"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        DRAWN.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
