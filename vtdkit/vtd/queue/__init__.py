"""The invalidation queue: a ring of descriptors in memory, executed one at a time."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "ring": "QueueStep",
    },
)
