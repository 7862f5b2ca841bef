"""The load of a real guest, replayed."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "locktrace": "LockTrace",
        "maptrace": (
            "BadTrace HEADER MapEvent Mapping MapTrace MAX_CPUS MAX_FILE MAX_LINE MAX_META MAX_TEXT"
        ),
        "run": "Contended EARLIER GUEST_UNIT mapped_pages replay Replayed",
    },
)
