"""Every reason to refuse a request, and the ring in which refusals are recorded."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "reasons": "linux_reason LINUX_REASONS Reason REASONS",
    },
)
