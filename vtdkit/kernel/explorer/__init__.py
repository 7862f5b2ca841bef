"""The exploration algorithm: drives a `System`, whatever that is made of. README.md in
this folder explains it.

Start at `explore_system`. Names are brought in when first used, so importing this costs nothing.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "engine": "NotRepeatable",
        "minimising": "minimise",
        "result": "Coverage Exploration Found Operation",
        "replaying": "Replay replay",
        "schedule": "Schedule ScheduleError",
        "search": "explore_system pct random_walk",
        "system": (
            "Access ACQUIRE Outcome Process READ RELEASE SHARED_ACQUIRE SHARED_RELEASE System "
            "SystemFactory WAIT WRITE"
        ),
        "tally": "Deadlock",
    },
)
