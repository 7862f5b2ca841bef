"""The patch view: what a patch changed, function by function."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "locks": "locks_taken",
        "widget": "PatchView",
    },
)
