"""Stale translations caught in the wild: entries of a stopped machine's IOTLB that its tables no longer hold.

A machine with lazy invalidation was stopped in the middle of its I/O. QEMU's IOTLB still held translations
that Linux had already unmapped; their flush was queued. `explain` shows of each one, with the model, that it
was once mapped and is not now:

- *now*: the walk ends at the leaf table, whose entry for the address is empty
- *once*: put the recorded leaf entry back into that slot, and the model answers exactly what QEMU had cached
- *stale*: fill the model's IOTLB so, empty the slot again, and the device still gets through; the uncached
  answer is the fault. A domain-selective invalidation, the one that was on its way, ends it
- *flushed before*: the last descriptor that hit this entry's domain and page came earlier than the entry, or
  not at all; none came after, or the entry would not have been there

`reused` tells where the same physical page was mapped again while the old translation still worked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from vtdkit.vtd.requests import Fault, Translation, bdf
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.unit.unit import RemappingUnit

from .image import Image
from .memory import ImageMemory
from .oracle import Executed, Mapped, Oracle
from .survey import Survey

# Tables may share pages, so a few of them can spell out ranges without end.
_MAX_RANGES = 1 << 16


@dataclass(frozen=True, slots=True)
class StaleEntry:
    """One stale translation and the evidence. Addresses in bytes; `slot` is where its leaf entry was."""

    mapped: Mapped
    now: Translation | Fault
    level: int
    slot: int
    once: Translation | Fault
    cached: Translation | Fault
    flushed: Translation | Fault
    last_flush: int | None
    descriptors_since: int
    reused: tuple[int, ...]

    @property
    def once_mapped(self) -> bool:
        """Whether the old leaf entry, put back, gives exactly the translation QEMU had cached."""
        return isinstance(self.once, Translation) and _same(self.once, self.mapped)

    @property
    def not_now(self) -> bool:
        """Whether memory refuses the address now, for want of a leaf entry."""
        return isinstance(self.now, Fault) and self.now.label in ("LGN.2", "LGN.3", "SSS.2", "SFS.2")

    @property
    def explained(self) -> bool:
        """Once mapped, not now, still answered from the cache, gone after the flush."""
        still = (
            isinstance(self.cached, Translation) and self.cached.cached and _same(self.cached, self.mapped)
        )
        return self.once_mapped and self.not_now and still and isinstance(self.flushed, Fault)

    def __repr__(self) -> str:
        m = self.mapped
        told = "once mapped, not now" if self.explained else "NOT explained"
        return f"<StaleEntry {bdf(m.sid)} {m.iova:#x} -> {m.address:#x} DID {m.did}: {told}>"


def explain(image: Image) -> tuple[StaleEntry, ...]:
    """The stale translations of `image`, each with its evidence. Raises BadFile or BadImage."""
    oracle = Oracle(image)
    stale = oracle.stale
    if not stale:
        return ()
    executed = oracle.invalidations
    homes = _homes(image, {entry.sid for entry in stale})
    unit = image.unit_as(writable=True, iotlb_entries=4096)
    return tuple(
        _explain(unit, entry, executed, homes.get((entry.sid, entry.address), ())) for entry in stale
    )


def _explain(
    unit: RemappingUnit, entry: Mapped, executed: tuple[Executed, ...], reused: tuple[int, ...]
) -> StaleEntry:
    request = entry.request()
    walk = unit.walk(request)
    now, last = walk.answer, walk.steps[-1] if walk.steps else None
    flush = last_covering(executed, entry.did, entry.iova, entry.size)
    once = cached = flushed = now
    memory = unit.memory
    assert isinstance(memory, ImageMemory)
    if last and last.level == entry.level and last.address >> 12 in memory:
        with memory.changed(last.address, entry.entry):
            once = unit.from_memory(request)
            unit.translate(request)
        cached = unit.translate(request)
        unit.execute(descriptors.IOTLB_INV.decode(descriptors.IOTLB_INV.encode(TYPE=2, G=2, DID=entry.did)))
        flushed = unit.translate(request)
    since = len(executed) - 1 - (-1 if flush is None else flush)
    level, slot = (last.level, last.address) if last else (0, 0)
    return StaleEntry(entry, now, level, slot, once, cached, flushed, flush, since, reused)


def _same(answer: Translation, entry: Mapped) -> bool:
    permissions = answer.readable | answer.writable << 1
    given = (answer.address, answer.size, answer.did, permissions, answer.level)
    return given == (entry.address, entry.size, entry.did, entry.permissions, entry.level)


def last_covering(executed: Iterable[Executed], did: int, iova: int, size: int) -> int | None:
    """The position of the last IOTLB invalidation that hit a page of a domain; None if there was none.

    Read from the fields the oracle decoded, not from the raw bits, so that it does not lean on our own
    decoder.
    """
    found = None
    for position, record in enumerate(executed):
        if record.name == "iotlb" and covers(record, did, iova, size):
            found = position
    return found


def covers(record: Executed, did: int, iova: int, size: int) -> bool:
    """Whether an IOTLB invalidation, by its decoded fields, hits a page of a domain."""
    fields = record.fields
    if record.granularity == "global":
        return True
    if fields.get("did") != did:
        return False
    if record.granularity == "domain":
        return True
    span = 4096 << fields.get("am", 0)
    low = fields.get("addr", 0) // span * span
    return low < iova + size and iova < low + span


def _homes(image: Image, sids: set[int]) -> dict[tuple[int, int], tuple[int, ...]]:
    """For each device and physical page: the addresses that map it now."""
    survey = Survey(image.unit_as(cached=False))
    homes: dict[tuple[int, int], tuple[int, ...]] = {}
    for sid in sorted(sids):
        space, _ = survey.space(sid)
        for part in islice(survey.ranges(space), _MAX_RANGES) if space else ():
            for offset in range(0, min(part.size, 1 << 21), 4096):
                key = (sid, part.address + offset)
                homes[key] = (*homes.get(key, ()), part.iova + offset)
    return homes
