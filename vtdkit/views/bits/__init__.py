"""The bit-field card: any register, table entry or descriptor, bit by bit."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "BitFieldCard",
    },
)
