"""`LockTimeline`: what each CPU did from moment to moment, and what the locks did to it; one run,
or two to compare.

    LockTimeline(trace)
    LockTimeline(before, after, labels=("before the patch", "after it"))

Keys and colours are explained in the widget. The whole record is in the browser, so it moves without Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from vtdkit.kernel.record.trace import Trace
from vtdkit.views.shared.base import POSITION, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.sheet import Picture

from .fold import Timeline, timeline_of
from .layout import duration, sentence
from .record import timeline_record
from .still import timeline_still

Run = Trace | Timeline


class LockTimeline(Widget):
    """One run as lanes, or two with one cursor.

    `start` and `end` (virtual ns) cut both runs; `cursor`, `left` and `right` are ns after the
    start. `lock` names the one lock that is shown clearly ("" for all), `row` is the lane that is
    described. Raises ValueError for an empty trace, BadRecord for one that is too large for a page
    (a million events at random times; ten times as many that repeat).
    """

    _esm = module("timeline/timeline.js")
    _css = style("timeline/timeline.css")
    largest_record = 4 << 20
    cursor = traitlets.Int(0).tag(**POSITION)
    left = traitlets.Int(0).tag(**POSITION)
    right = traitlets.Int(0).tag(**POSITION)
    lock = traitlets.Unicode("").tag(**POSITION)
    row = traitlets.Int(0).tag(**POSITION)

    def __init__(
        self,
        trace: Run,
        other: Run | None = None,
        *,
        labels: Sequence[str] = (),
        start: int | None = None,
        end: int | None = None,
        title: str = "Lock timeline",
        **position: Any,
    ) -> None:
        runs = [each for each in (trace, other) if each is not None]
        self.timelines = [
            each if isinstance(each, Timeline) else timeline_of(each, start, end) for each in runs
        ]
        self.labels = list(labels) or (["before", "after"] if len(runs) > 1 else ["the run"])
        if len(self.labels) != len(runs):
            raise ValueError(f"{len(runs)} runs need as many labels, not {len(self.labels)}")
        record = {"title": title, **timeline_record(self.timelines, self.labels)}
        length = max(timeline.end - timeline.start for timeline in self.timelines)
        super().__init__(record, **{"right": length, **position})

    def summary(self) -> str:
        """What every CPU does at the cursor."""
        labels = [f"{label}: " for label in self.labels] if len(self.labels) > 1 else [""]
        said = [label + self._now(timeline) for label, timeline in zip(labels, self.timelines, strict=True)]
        return f"at {duration(self.cursor)}. {' '.join(said)}"

    def _now(self, timeline: Timeline) -> str:
        time, ended = timeline.start + self.cursor, f"ended at {duration(timeline.end - timeline.start)}."
        return sentence(timeline, time) if time <= timeline.end else ended

    def still(self) -> Picture:
        """Lanes and lock tables at the cursor."""
        return timeline_still(
            self.record["title"],
            self.summary(),
            self.timelines,
            self.labels,
            self.cursor,
            (self.left, self.right),
        )
