"""Figures that show themselves: a matplotlib figure that a notebook draws as the last value of a cell, with or without pyplot.

`figure(width, height)` in inches gives an ordinary `matplotlib.figure.Figure` on white; nothing is registered anywhere, so nothing
is shown twice and nothing has to be closed. matplotlib is imported when the first one is made.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

DPI = 96
"""Of the picture in a notebook: as large as text there, and small enough to be saved (20 to 60 KB)."""


@cache
def _kind() -> Any:
    from matplotlib.figure import Figure

    class PaperFigure(Figure):
        """A figure that knows how to be shown."""

        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
            return out.getvalue()

    PaperFigure.__name__ = PaperFigure.__qualname__ = "Figure"
    return PaperFigure


def figure(width: float, height: float, **options: Any) -> Any:
    """An empty figure of so many inches."""
    return _kind()(figsize=(width, height), facecolor="white", **options)
