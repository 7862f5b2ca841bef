"""Which version of the driver has which defect, and what that defect is."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "defects": "Defect DEFECTS explain LOCK RACE UAF",
        "looking": "all_findings findings look NICKNAMES number place Seen VERSIONS",
    },
)
