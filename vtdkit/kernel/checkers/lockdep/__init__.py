"""The lock validator; see README.md here. `validator` has the rules for the caller, `chain` the hot path."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "chain": "Chain CONTEXTS",
        "classes": "KINDS LockClass WaitType",
        "keys": "EXCLUSIVE HARDIRQS_OFF queued_read READ RECURSIVE SOFTIRQS_OFF",
        "report": "Held Link Report",
        "validator": "Dependency Lockdep",
    },
)
