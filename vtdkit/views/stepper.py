"""`Stepper`: one schedule of a scenario, stepped forward and back: source, locks, shared memory, what was freed, what was found.

    Stepper(record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), "unmap*2 cat unmap cat unmap*3 cat"))
"""

from __future__ import annotations

from typing import Any

import traitlets

from vtdkit.lab.steps import Steps

from .base import Widget
from .bundle import module, style
from .html import Html
from .stepper_record import says, stepper_record
from .stepper_still import stepper_still


class Stepper(Widget):
    """Threads as columns of source lines. `step` is how many steps are done: 0 is the start, `len(steps)` the end."""

    _esm = module("stepper.js")
    _css = style("stepper.css")
    step = traitlets.Int(0).tag(sync=True)

    def __init__(self, steps: Steps, **position: Any) -> None:
        self.steps = steps
        super().__init__(stepper_record(steps), **position)

    @traitlets.validate("step")
    def _inside(self, proposal: Any) -> int:
        return min(max(int(proposal["value"]), 0), len(self.steps))

    def summary(self) -> str:
        """What just happened and what comes next."""
        return f"{self.steps.title}. {says(self.steps, self.step)}"

    def still(self) -> Html:
        """The position as a picture and text."""
        return stepper_still(self.steps, self.step)

    def figure(self, width: float = 9.0) -> Any:
        """The whole schedule as a matplotlib figure, `width` inches wide."""
        from .stepper_figure import stepper_figure

        return stepper_figure(self.steps, width)
