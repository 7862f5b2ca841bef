"""Every structure of bits that the hardware reads: how one is declared, and all of them."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "layout": "Entry Field Structure",
    },
)
