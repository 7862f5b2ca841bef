"""The computer: virtual time, CPUs and what runs on them, interrupts, timers, costs, loads."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "costs": "Costs IDEAL NEAR TWO_SOCKET",
        "machine": "Machine",
        "workload": "closed_loop",
    },
)
