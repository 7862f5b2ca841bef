"""A machine under the explorer: its threads stop before each visible step. `explore` starts here."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "exploring": "explore replay sample ScenarioExploration shortest",
    },
)
