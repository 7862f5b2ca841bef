"""One schedule of a scenario, step by step: what the stepper shows."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "inevitable": "BUDGET first_inevitable Sign",
        "schedule": "MOST_STEPS parse Plan record_schedule Scenario Shown Stand Step Steps",
        "standing": "Source",
    },
)
