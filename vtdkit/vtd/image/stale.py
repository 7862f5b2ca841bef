"""Stale translations caught in the wild: entries of a stopped machine's IOTLB that its tables no longer hold.

A machine with lazy invalidation was stopped in the middle of its I/O. QEMU's IOTLB still held translations
that Linux had already unmapped; their flush was queued. `explain` shows of each one, with the model, that it
was once mapped and is not now:

- *now*: the walk ends at the leaf table, whose entry for the address is empty
- *once*: put the recorded leaf entry back into that slot, and the model answers exactly what QEMU had cached
- *stale*: fill the model's IOTLB so, empty the slot again, and the device still gets through; the uncached
  answer is the fault. A domain-selective invalidation, the one that was on its way, ends it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vtdkit.vtd.memory import Memory
from vtdkit.vtd.plain import echo, shown
from vtdkit.vtd.queue.execute import execute
from vtdkit.vtd.requests import Fault, Request, Translation, bdf
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.unit.unit import RemappingUnit

from .image import Image
from .npz import BadFile, number, read_json

_FILE, _KEY = "oracle.json.gz", "not_agreeing"
_MOST = 200_000


@dataclass(frozen=True, slots=True)
class Mapped:
    """A translation that QEMU made: `entry` is the leaf entry, `permissions` 1 read, 2 write."""

    sid: int
    iova: int
    address: int
    entry: int
    size: int
    did: int
    permissions: int
    level: int

    __repr__ = shown

    def request(self) -> Request:
        return Request(self.sid, self.iova, length=1)


# Key and width in bits of each field of `Mapped`, as the files of a folder have it.
_FIELDS = (
    ("sid", 16),
    ("iova", 64),
    ("gpa", 64),
    ("pte", 64),
    ("size", 64),
    ("did", 16),
    ("perm", 2),
    ("level", 3),
)


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """One stale translation and the evidence: what the model answered at each stage."""

    mapped: Mapped
    now: Translation | Fault
    once: Translation | Fault
    cached: Translation | Fault
    flushed: Translation | Fault

    @property
    def explained(self) -> bool:
        """Once mapped (the old leaf entry, put back, gives exactly what QEMU had cached), not now for want of
        a leaf entry, still answered from the cache, gone after the flush.
        """
        return (
            isinstance(self.now, Fault)
            and self.now.label in ("LGN.2", "LGN.3", "SSS.2", "SFS.2")
            and isinstance(self.cached, Translation)
            and self.cached.cached
            and _same(self.once, self.mapped)
            and _same(self.cached, self.mapped)
            and isinstance(self.flushed, Fault)
        )

    def __repr__(self) -> str:
        m, told = self.mapped, "once mapped, not now" if self.explained else "NOT explained"
        return f"<StaleEntry {bdf(m.sid)} {m.iova:#x} -> {m.address:#x} DID {m.did}: {told}>"


def explain(image: Image) -> tuple[StaleEntry, ...]:
    """The stale translations of `image`, each with its evidence. Raises BadFile or BadImage."""
    unit = image.unit_as(writable=True, iotlb_entries=4096)
    return tuple(_explain(unit, entry) for entry in stale_translations(image))


def stale_translations(image: Image) -> tuple[Mapped, ...]:
    """What QEMU's IOTLB held of `image` and its tables did not. Raises BadFile."""
    whole = read_json(image.folder / _FILE)
    records = whole.get(_KEY) if isinstance(whole, dict) else None
    if not isinstance(records, list) or len(records) > _MOST:
        raise BadFile(image.folder / _FILE, f"has no list called {_KEY!r}")
    try:
        return tuple(map(mapped, records))
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(image.folder / _FILE, f"{_KEY} makes no sense ({echo(error)})") from None


def mapped(record: Any) -> Mapped:
    """One translation from its record. Raises KeyError, TypeError or ValueError."""
    return Mapped(*(number(record[name], bits) for name, bits in _FIELDS))


def _explain(unit: RemappingUnit, entry: Mapped) -> StaleEntry:
    request, memory = entry.request(), unit.memory
    walk = unit.walk(request)
    last = walk.steps[-1] if walk.steps else None
    now = once = cached = flushed = walk.answer
    assert isinstance(memory, Memory)
    if last and last.level == entry.level and last.address >> 12 in memory.pages:
        with memory.changed(last.address, entry.entry):
            once = unit.from_memory(request)
            unit.translate(request)
        cached = unit.translate(request)
        execute(unit, descriptors.IOTLB_INV.decode(descriptors.IOTLB_INV.encode(TYPE=2, G=2, DID=entry.did)))
        flushed = unit.translate(request)
    return StaleEntry(entry, now, once, cached, flushed)


def _same(answer: Translation | Fault, entry: Mapped) -> bool:
    wanted = entry.address, entry.size, entry.did, entry.permissions, entry.level
    return isinstance(answer, Translation) and wanted == (
        answer.address,
        answer.size,
        answer.did,
        answer.readable | answer.writable << 1,
        answer.level,
    )
