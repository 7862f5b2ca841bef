"""The record of a run, and what is read out of it: spans, lock statistics, a trace for a viewer."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "lockstat": "LockStat",
        "sites": "Site",
        "spans": "Span",
        "trace": "Event Trace",
    },
)
