"""Every reason to refuse a request, and the ring in which refusals are recorded.

reasons.py  one table: label, code, who is told what, in whose records it ends; and what Linux prints
log.py      the fault records FRCD: which one is next, overflow, compression, the fault event
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "reasons": "linux_reason LINUX_REASONS Reason REASONS",
    },
)
