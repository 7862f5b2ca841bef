"""Figures in a notebook: small enough to be saved there, and no colour lost on the way."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vtdkit.views.charts.paper import DPI, figure, spoken
from vtdkit.views.shared.palette import HUES


def test_the_picture_in_a_notebook_is_small_and_looks_like_the_figure() -> None:
    paper = figure(9, 4)
    for hue in HUES.values():
        paper.subplots().plot([1, 2, 4], color=hue.light)
    exact = io.BytesIO()
    paper.savefig(exact, format="png", dpi=DPI)
    shown = paper.png()
    assert len(shown) < 60_000
    one, other = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        for png in (exact.getvalue(), shown)
    )
    assert one.shape == other.shape
    assert np.abs(one - other).max() < 20


def test_a_figure_without_a_sentence_is_called_by_its_titles_or_words() -> None:
    paper = figure(2, 1)
    assert spoken(paper) == "a figure"
    paper.subplots().text(0, 0, "word")
    assert spoken(paper) == "word"
    paper.axes[0].set_title("title", loc="left")
    paper.suptitle("all")
    assert spoken(paper) == "all; title"
    paper.alt = 'a "sentence" <b>'
    assert paper._repr_mimebundle_()["text/html"].endswith(' alt="a &quot;sentence&quot; &lt;b&gt;"/>')
