"""What hardware makes of a value: asked of a copy of the unit, so that nothing changes.

Three ways to ask, each `ask(value) -> answers`:

- `EntryAnswers`: the value stands in a table, at an address; DMA requests are walked through it
- `RegisterAnswers`: the value is written to a register; what reads back, and which other registers change
- `DescriptorAnswers`: the value is the next descriptor of the invalidation queue; what is forgotten, or
  why the queue stops

An answer is a dict of `good` (True, False, or None where there is no better or worse), `head` and `detail`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vtdkit.views.pagetables.snapshot import Snapshot, twin
from vtdkit.views.pagetables.still import answer_text
from vtdkit.views.pagetables.words import sentence
from vtdkit.views.shared.record import Record
from vtdkit.vtd.caches.caches import Caches
from vtdkit.vtd.requests import Fault, Request
from vtdkit.vtd.tables.layout import Entry, Structure
from vtdkit.vtd.unit.unit import RemappingUnit

_WORD = (1 << 64) - 1


class Answers(Protocol):
    """Somebody who knows what hardware makes of a value."""

    def ask(self, value: int) -> list[Record]: ...


def _answer(good: bool | None, head: str, detail: str = "") -> Record:
    return {"good": good, "head": head, "detail": detail}


class EntryAnswers:
    """A table entry of `layout` at `address`, asked with each of `requests`.

    The copy of the tables is changed for each question.
    """

    def __init__(
        self, unit: RemappingUnit, layout: Structure, address: int, requests: Sequence[Request]
    ) -> None:
        self.unit = twin(unit)
        self.unit.caches = None  # the question is what the tables say
        self.words = layout.width // 64
        self.address = address
        self.requests = tuple(requests)

    def ask(self, value: int) -> list[Record]:
        memory: Snapshot = self.unit.memory  # type: ignore[assignment]
        for word in range(self.words):
            memory.put(self.address + 8 * word, value >> 64 * word & _WORD)
        answers = [self.unit.from_memory(request) for request in self.requests]
        return [
            _answer(
                bool(a), answer_text(a)[2:].rstrip("."), sentence(a.label) if isinstance(a, Fault) else ""
            )
            for a in answers
        ]


class RegisterAnswers:
    """The register `name` of a unit, written."""

    def __init__(self, unit: RemappingUnit, name: str) -> None:
        self.unit = unit
        self.name = name

    def ask(self, value: int) -> list[Record]:
        unit = twin(self.unit)
        before = dict(unit.registers.values)
        size = unit.registers.entry(self.name).structure.width // 8
        offset = unit.registers.offset(self.name)
        for part in range(0, size, 8):
            unit.write(offset + part, value >> 8 * part & (1 << 8 * min(size, 8)) - 1, min(size, 8))
        back = unit.read(offset, min(size, 8))
        changed = [
            name
            for name in unit.registers.names
            if unit.registers[name] != before[name] and name != self.name
        ]
        detail = _kept(unit.registers.entry(self.name).structure, value, back) if size <= 8 else ""
        lines = [_answer(None, f"{self.name} reads back {back:#x}", detail)]
        return lines + [
            _answer(None, f"{name}: {_fields(unit.registers.entry(name), before[name])}") for name in changed
        ]


_UNLIKE = (
    (("WO",), "write-only: reads as 0"),
    (("RW1C", "RW1CS"), "cleared by writing 1, not changed by writing 0"),
    (("RO", "ROS"), "read-only"),
)


def _kept(structure: Structure, value: int, back: int) -> str:
    """Why a register does not read back what was written."""
    differ = value ^ back
    reasons = []
    for kinds, why in _UNLIKE:
        if bits := differ & structure.access_mask(*kinds):
            names = ", ".join(name for name in structure.names if structure.field(name).mask & bits)
            reasons.append(f"{names}: {why}")
            differ &= ~bits
    if differ:
        reasons.append(f"bits {differ:#x}: not taken")
    return f"{'; '.join(reasons)}." if reasons else "All bits were taken."


def _fields(now: Entry, before: int) -> str:
    """The fields of a register that changed."""
    old = Entry(now.structure, before)
    return ", ".join(
        f"{name} {old[name]:#x} → {now[name]:#x}" for name in now.structure.names if old[name] != now[name]
    )


class DescriptorAnswers:
    """The next descriptor in the invalidation queue of a unit."""

    def __init__(self, unit: RemappingUnit) -> None:
        self.unit = unit

    def ask(self, value: int) -> list[Record]:
        unit = twin(self.unit)
        memory: Snapshot = unit.memory  # type: ignore[assignment]
        page = unit.rules.host_limit - 4096  # a queue of our own, where no table is
        wide = unit.mode in (1, 3)
        for word in range(4 if wide else 2):
            memory.put(page + 8 * word, value >> 64 * word & _WORD)
        registers = unit.registers
        registers["IQA"], registers["IQH"], registers["IQT"] = page | wide << 11, 0, 32 if wide else 16
        registers["FSTS"] = 0
        unit.queue.base = page
        unit.queue.enable()
        sizes = _sizes(unit.caches)
        step = unit.step()
        if step is None or step.outcome == "error":
            note = step.note if step else "nothing is fetched"
            cause = step.cause if step else 0
            return [_answer(False, f"the queue stops: {note}", f"FSTS.IQE is set, IQERCD.IQEI = {cause}.")]
        lines = [_answer(True, {"pending": "done when the device answers"}.get(step.outcome, "done"))]
        both = zip(sizes, _sizes(unit.caches), strict=True)
        forgotten = [f"{name} {old - new} of {old}" for (name, old), (_, new) in both if old]
        return [
            *lines,
            _answer(
                None, f"forgets: {', '.join(forgotten)}" if forgotten else "the caches hold nothing to forget"
            ),
        ]


def _sizes(caches: Caches | None) -> list[tuple[str, int]]:
    if caches is None:
        return []
    return [
        ("IOTLB", len(caches.iotlb)),
        ("upper entries", len(caches.first) + len(caches.second)),
        ("context", len(caches.context)),
        ("PASID", len(caches.pasid)),
    ]
