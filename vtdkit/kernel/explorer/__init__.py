"""The exploration algorithm: drives a `System`, whatever that is made of. README.md in this folder explains it.

Start at `explore_system`. Names are brought in when first used, so importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .system import (
    ACQUIRE,
    READ,
    RELEASE,
    SHARED_ACQUIRE,
    SHARED_RELEASE,
    WAIT,
    WRITE,
    Access,
    Outcome,
    Process,
    System,
    SystemFactory,
)

if TYPE_CHECKING:
    from .engine import NotRepeatable
    from .keeping import KeptError
    from .minimising import minimise
    from .result import Coverage, Exploration, Found, Operation
    from .saved import Saved, load_saved
    from .schedule import Replay, Schedule, ScheduleError, replay
    from .search import explore_system, pct, random_walk
    from .tally import Deadlock

_HOMES = {
    "NotRepeatable": "engine",
    "explore_system": "search",
    "pct": "search",
    "random_walk": "search",
    "KeptError": "keeping",
    "minimise": "minimising",
    "Coverage": "result",
    "Exploration": "result",
    "Found": "result",
    "Operation": "result",
    "Saved": "saved",
    "load_saved": "saved",
    "Replay": "schedule",
    "Schedule": "schedule",
    "ScheduleError": "schedule",
    "replay": "schedule",
    "Deadlock": "tally",
}

__all__ = [
    "ACQUIRE",
    "READ",
    "RELEASE",
    "SHARED_ACQUIRE",
    "SHARED_RELEASE",
    "WAIT",
    "WRITE",
    "Access",
    "Coverage",
    "Deadlock",
    "Exploration",
    "Found",
    "KeptError",
    "NotRepeatable",
    "Operation",
    "Outcome",
    "Process",
    "Replay",
    "Saved",
    "Schedule",
    "ScheduleError",
    "System",
    "SystemFactory",
    "explore_system",
    "load_saved",
    "minimise",
    "pct",
    "random_walk",
    "replay",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
