"""The invalidation queue: a ring of descriptors in memory, executed one at a time.

    ring.py     head and tail, fetching and checking a descriptor, waits, and the errors that stop it
    execute.py  what one descriptor does: from its fields to the caches and endpoints it names

The descriptors' layouts are in `tables/descriptors.py`; which entries an invalidation hits is in
`caches/invalidate.py`.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "ring": "QueueStep",
    },
)
