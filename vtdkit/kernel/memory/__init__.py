"""Pages of table words, allocation and its failures, driver objects with watched fields, lists."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "gfp": "GFP_ATOMIC GFP_KERNEL",
        "objects": "KObject shared",
        "pages": "Page",
    },
)
