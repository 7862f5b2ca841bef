"""Interrupt remapping."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "remapping": "NotModelled",
    },
)
