"""Figures that show themselves: a matplotlib figure that a notebook draws as the last value of a cell,
with or without pyplot.

`figure(width, height)` in inches gives an ordinary `matplotlib.figure.Figure` on white; nothing is
registered anywhere, so nothing is shown twice and nothing has to be closed. matplotlib is imported when the
first one is made.
"""

from __future__ import annotations

import io
from base64 import b64encode
from functools import cache
from typing import Any

from vtdkit.views.shared.html import tag

DPI = 96
"""Of the picture in a notebook: as large as text there."""
COLOURS = 128
"""Of the picture in a notebook: no pixel is visibly off, and it takes a third of the room (10 to 45 KB)."""


def _small(png: io.BytesIO) -> bytes:
    """The same picture with a palette. Rare colours count as much as frequent ones: a thin
    red line stays red.
    """
    from PIL import Image

    drawn = Image.open(png).convert("RGB")
    out = io.BytesIO()
    drawn.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        out, "png", optimize=True
    )
    return out.getvalue()


@cache
def _kind() -> Any:
    from matplotlib.figure import Figure

    class PaperFigure(Figure):
        """A figure that knows how to be shown."""

        def png(self) -> bytes:
            """The picture that a notebook gets."""
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
            return _small(out)

        def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
            # As an element, since JupyterLab shows image/png without a word for those who cannot see it.
            source = f"data:image/png;base64,{b64encode(self.png()).decode()}"
            return {"text/plain": repr(self), "text/html": str(tag("img", src=source, alt=spoken(self)))}

    PaperFigure.__name__ = PaperFigure.__qualname__ = "Figure"
    return PaperFigure


def figure(width: float, height: float, *, alt: str = "", **options: Any) -> Any:
    """An empty figure of so many inches. `alt` says in a sentence what it shows, to whoever cannot see it;
    else its titles do.
    """
    paper = _kind()(figsize=(width, height), facecolor="white", **options)
    paper.alt = alt
    return paper


def spoken(paper: Any) -> str:
    """What a picture is called: its `alt`, or its titles, or its first words."""
    titles = [
        paper.get_suptitle(),
        *(ax.get_title(loc) for ax in paper.axes for loc in ("left", "center", "right")),
    ]
    words = [text.get_text() for ax in paper.axes for text in ax.texts]
    return paper.alt or "; ".join(filter(None, titles)) or "; ".join(words[:3]) or "a figure"
