"""What a kernel gives a driver: CPUs, virtual time, interrupts, locks, RCU, pages; its checkers;
three ways to run.

Start at `Machine`. See README.md in this folder for the map of the room.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "checkers": "CHECKERS Deadlock Finding Findings KernelBug Leak Oops",
        "explored": "explore replay sample ScenarioExploration shortest",
        "explorer": "Exploration Schedule",
        "machine": "closed_loop Costs IDEAL Machine NEAR TWO_SOCKET",
        "memory": "GFP_ATOMIC GFP_KERNEL KObject Page shared",
        "record": "Event LockStat Site Span Trace",
    },
)
