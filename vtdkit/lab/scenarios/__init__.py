"""The standard scenarios, by name: what `vtdkit findings` tries on every version of the driver."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "base": "MODES Observer Scenario",
        "catalogue": "SCENARIOS",
    },
)
