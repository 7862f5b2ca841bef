"""`Stepper`: one schedule of a scenario, stepped forward and back: source, locks, shared memory, what was
freed, what was found.

Stepper(record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), "unmap*2 cat unmap cat unmap*3 cat"))
"""

from __future__ import annotations

from typing import Any

import traitlets

from vtdkit.lab.steps.schedule import Steps
from vtdkit.views.shared.base import POSITION, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.sheet import Picture

from .record import says, stepper_record
from .still import stepper_still


class Stepper(Widget):
    """Threads as columns of source lines. `step` is how many steps are done: 0 is the
    start, `len(steps)` the end.
    """

    _esm = module("stepper/stepper.js")
    _css = style("stepper/stepper.css")
    step = traitlets.Int(0).tag(**POSITION)

    def __init__(self, steps: Steps, **position: Any) -> None:
        self.steps = steps
        super().__init__(stepper_record(steps), **position)

    @traitlets.validate("step")
    def _inside(self, proposal: Any) -> int:
        return min(max(int(proposal["value"]), 0), len(self.steps))

    def summary(self) -> str:
        """What just happened and what comes next."""
        return f"{self.steps.title}. {says(self.steps, self.step)}"

    def still(self) -> Picture:
        return stepper_still(self.steps, self.step)
