"""The lock timeline: what each CPU did, who held and who waited."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "LockTimeline",
    },
)
