"""Real invalidation streams, run again: the descriptors a machine executed go through this model's queue.

Each descriptor is compared three ways: its bits decode to the fields the oracle saw; the queue executes it
without an error, and a wait writes the status word it names; and of the translations that were cached before
it, exactly those are gone that its decoded fields cover. Which they are is worked out here from the oracle's
fields alone, so that the model's own decoder and invalidation rules have something to answer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vtdkit.vtd.caches.caches import IotlbTag
from vtdkit.vtd.image.image import BadImage, Image
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.requests import Request, Translation
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.unit.unit import RemappingUnit

from .oracle import Executed, Oracle
from .tally import Tally

_SAMPLE = 48
IQT = 0x88
_GRANULARITY: dict[str, Mapping[str, int]] = {
    "iec": {"global": 0, "index": 1},
    "context-cache": {"global": 1, "domain": 2, "device": 3},
    "iotlb": {"global": 1, "domain": 2, "page": 3},
    "piotlb": {"pasid": 2, "page": 3},
    "pasid-cache": {"domain": 0, "pasid": 1, "global": 3},
}
_FIELDS = {"iflag": "IF", "sw": "SW", "fn": "FN", "data": "DATA", "addr": "ADDR", "sid": "SID", "fm": "FM"}
_FIELDS |= {"did": "DID", "dw": "DW", "dr": "DR", "am": "AM", "ih": "IH", "im": "IM", "iidx": "IIDX"}
_FIELDS |= {"pasid": "PASID", "mip": "MIP", "s": "S"}


@dataclass(slots=True)
class _Rig:
    """A unit over the machine's own queue pages, and requests whose translations fill its IOTLB."""

    unit: RemappingUnit
    requests: tuple[Request, ...]

    def cached(self) -> dict[tuple[int, int], IotlbTag]:
        """The translations in the IOTLB, with those of the sample that were dropped filled in again."""
        assert self.unit.caches is not None
        iotlb = self.unit.caches.iotlb
        for request in self.requests:
            if iotlb.find(request.sid, None, request.address) is None:
                self.unit.translate(request)
        return {(tag.sid, tag.page): tag for tag in iotlb.values()}


def compare(image: Image, oracle: Oracle) -> Tally:
    """Run every descriptor of the image's record. Raises BadFile or BadImage."""
    tally = Tally("invalidations")
    rig = _rig(image, oracle)
    executed = oracle.invalidations
    _need_queue(image, rig.unit, executed)
    for position, record in enumerate(executed):
        if record.raw is not None:
            problem = _problem(rig, record)
            tally.add(not problem, f"descriptor {position} ({record.name}): {problem}")
    for problem in _ring_problems(image, rig.unit, executed):
        tally.add(False, problem)
    return tally


def _rig(image: Image, oracle: Oracle) -> _Rig:
    unit = image.unit_as("qemu", writable=True, iotlb_entries=4 * _SAMPLE)
    mappings = oracle.mappings
    step = max(1, len(mappings) // _SAMPLE)
    sample = (m.request() for m in mappings[::step])
    return _Rig(unit, tuple(r for r in sample if isinstance(unit.from_memory(r), Translation)))


def _need_queue(image: Image, unit: RemappingUnit, executed: tuple[Executed, ...]) -> None:
    """Raises BadImage where a descriptor's slot is in a page that the folder does not hold."""
    queue = unit.queue
    for slot in sorted({record.slot % queue.slots for record in executed}):
        page = queue.base + slot * queue.slot_bytes >> 12
        if page not in image.pages:
            raise BadImage(
                f"pages.npz has no page {page << 12:#x}, where slot {slot} of the invalidation queue is"
            )


def _problem(rig: _Rig, record: Executed) -> str:
    assert record.raw is not None
    entry = descriptors.decode(record.raw)
    if entry is None:
        return f"type {descriptors.type_of(record.raw):X}h is unknown"
    problem = _decoding_problem(entry, record)
    if problem:
        return problem
    watched = record.name in ("iotlb", "piotlb")
    before = rig.cached() if watched else {}
    problem = _execution_problem(rig.unit, record, entry)
    if problem or not watched:
        return problem
    assert rig.unit.caches is not None
    after = {(tag.sid, tag.page) for tag in rig.unit.caches.iotlb.values()}
    kept = {key for key, tag in before.items() if not _covers(record, tag)}
    return (
        "" if after == kept else f"left {len(after)} of {len(before)} translations, should leave {len(kept)}"
    )


def _decoding_problem(entry: Entry, record: Executed) -> str:
    expected = {_FIELDS.get(name, name): value for name, value in record.fields.items() if name != "pfsid"}
    if "pfsid" in record.fields:
        low, high = record.fields["pfsid"] & 15, record.fields["pfsid"] >> 4
        expected |= {"PFSID_LOW": low, "PFSID_HIGH": high}
    if record.granularity:
        expected["G"] = _GRANULARITY.get(record.name, {}).get(record.granularity, -1)
    for name, value in expected.items():
        if name not in entry.structure.names or entry[name] != value:
            return f"{entry!r} has not the {name} that the oracle saw, {value:#x}"
    return ""


def _execution_problem(unit: RemappingUnit, record: Executed, entry: Entry) -> str:
    """Put the descriptor where the machine had it, move the tail past it, step once."""
    queue, memory = unit.queue, unit.memory
    assert isinstance(memory, Memory)
    assert record.raw is not None
    size, slots = queue.slot_bytes, queue.slots
    slot = record.slot % slots
    for i in range(size // 8):
        memory[queue.base + slot * size + 8 * i] = record.raw >> 64 * i & (1 << 64) - 1
    unit.registers["IQH"] = slot * size
    unit.write(IQT, (slot + 1) % slots * size, 8)
    unit.hooks.status_writes.clear()
    step = unit.step()
    if step is None or step.outcome != "done":
        return f"the queue says {step!r}"
    expected = [(entry.ADDR, entry.DATA)] if record.name == "wait" and entry.SW else []
    if unit.hooks.status_writes != expected:
        return f"status writes {unit.hooks.status_writes}, expected {expected}"
    return ""


def _covers(record: Executed, tag: IotlbTag) -> bool:
    """Whether the oracle's fields name the cached translation `tag`."""
    fields = record.fields
    if record.granularity == "global":
        return True
    if tag.did != fields.get("did") or (record.name == "piotlb" and tag.tag != fields.get("pasid")):
        return False
    if record.granularity in ("domain", "pasid"):
        return True
    if tag.first_stage != (record.name == "piotlb"):
        return tag.first_stage
    span = 4096 << fields.get("am", 0)
    low = fields.get("addr", 0) // span * span
    return low < tag.high and tag.low < low + span


def _ring_problems(image: Image, unit: RemappingUnit, executed: tuple[Executed, ...]) -> list[str]:
    """The last descriptor of each slot is still in the queue pages, and the head is where the stream
    ended.
    """
    problems = []
    size = unit.queue.slot_bytes
    last = {record.slot: record for record in executed}
    for slot, record in sorted(last.items()):
        page = image.pages.get(unit.queue.base + slot * size >> 12)
        if page is None or record.raw is None:
            continue
        first = (slot * size >> 3) & 511
        held = page[first] | page[first + 1] << 64
        if held != record.raw:
            problems.append(
                f"slot {slot} of the queue holds {held:#x}, the stream ended with {record.raw:#x}"
            )
    if executed and unit.registers["IQH"] != image.registers.get("IQH"):
        problems.append(f"the stream ends at head {unit.registers['IQH']:#x}")
    return problems
