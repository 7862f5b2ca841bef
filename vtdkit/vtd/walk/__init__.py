"""The translation algorithm: from a request through root, context, PASID and page tables to an answer."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "job": "Access",
        "trace": "Step Walk",
    },
)
