"""What hardware makes of a table entry: asked of a copy of the unit, so that nothing changes.

    answers = Answers(unit, step, [request])
    answers.ask(value)  # [{"good": True, "head": "00:03.0 reads 0x1000: memory 0x5000000, …", "detail": ""}]

The value is put where the entry stands in the copy of the tables, and each request is walked through it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vtdkit.views.pagetables.snapshot import Snapshot, twin
from vtdkit.views.pagetables.still import answer_text
from vtdkit.views.pagetables.words import sentence
from vtdkit.views.shared.record import Record
from vtdkit.vtd.memory import WORD
from vtdkit.vtd.requests import Fault, Request
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.trace import Step


class Answers:
    """The entry of a walk's `step`, asked with each of `requests`."""

    def __init__(self, unit: RemappingUnit, step: Step, requests: Sequence[Request]) -> None:
        self.unit = twin(unit)
        self.unit.caches = None  # the question is what the tables say
        self.step, self.requests = step, requests

    def ask(self, value: int) -> list[Record]:
        """For each request whether it gets through (`good`), a sentence (`head`), and why not (`detail`)."""
        memory: Snapshot = self.unit.memory  # type: ignore[assignment]
        for at in range(0, self.step.structure.width, 64):
            memory.put(self.step.address + at // 8, value >> at & WORD)
        return [
            {
                "good": bool(each),
                "head": answer_text(each)[2:].rstrip("."),
                "detail": sentence(each.label) if isinstance(each, Fault) else "",
            }
            for each in map(self.unit.from_memory, self.requests)
        ]
