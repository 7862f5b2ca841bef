"""Comparisons of the model with each oracle of an image, one function each.

The machines were emulated by QEMU, so everything that carries a fault code or a verdict is compared in the
qemu personality of the version that spoke. Mappings are compared in the specification personality as well; a
machine whose tables the specification would refuse shows up there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vtdkit.vtd.faults.log import encode
from vtdkit.vtd.image.image import BadImage, Image
from vtdkit.vtd.image.stale import Mapped
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.memory import AccessError, Memory
from vtdkit.vtd.quirks import qemu
from vtdkit.vtd.requests import Fault, Interrupt, Request, Translation, bdf
from vtdkit.vtd.tables.interrupts import IRTE
from vtdkit.vtd.unit.unit import RemappingUnit

from .oracle import Oracle, Range, TableEntry, Verdict
from .tally import Tally

_FIRST_STAGE_FLAGS = 0x60
_ABSENT_CONTEXT = ("LCT.2", "SCT.2")


def translations(unit: RemappingUnit, oracle: Oracle, name: str = "translations") -> Tally:
    """Each translation QEMU made: address, size, leaf entry, domain, permissions, level."""
    tally = Tally(name)
    for mapped in oracle.mappings:
        answer = unit.from_memory(mapped.request())
        tally.add(
            _same(answer, mapped), f"{bdf(mapped.sid)} {mapped.iova:#x}: {answer!r}, QEMU had {mapped!r}"
        )
    return tally


def _same(answer: Translation | Fault, mapped: Mapped) -> bool:
    if isinstance(answer, Fault):
        return False
    permissions = answer.readable | answer.writable << 1
    entries = (answer.entry, mapped.entry)
    if answer.path == "first stage":
        # QEMU sets accessed and dirty flags while it translates.
        entries = (answer.entry | _FIRST_STAGE_FLAGS, mapped.entry | _FIRST_STAGE_FLAGS)
    given = (answer.address, answer.size, answer.did, permissions, answer.level)
    wanted = (mapped.address, mapped.size, mapped.did, mapped.permissions, mapped.level)
    return given == wanted and entries[0] == entries[1]


def faults(unit: RemappingUnit, oracle: Oracle) -> Tally:
    """Each DMA that QEMU refused is refused, with the same code.

    Two kinds have changed since. A page that was mapped later must now be mapped. A device that was removed
    later has no context entry now; then the stream of invalidations must show that its entry was dropped from
    the context cache.
    """
    tally = Tally("faults")
    flushed = (r for r in oracle.invalidations if r.name == "context-cache" and r.granularity == "device")
    removed = {record.fields.get("sid") for record in flushed}
    for verdict in oracle.faults:
        answer = unit.from_memory(verdict.request())
        same = isinstance(answer, Fault) and answer.code == verdict.code
        gone = isinstance(answer, Fault) and answer.label in _ABSENT_CONTEXT and verdict.sid in removed
        tally.add(same or gone, f"{verdict!r}: {answer!r}")
    for verdict in oracle.faults_since_mapped:
        answer = unit.from_memory(verdict.request())
        tally.add(isinstance(answer, Translation), f"{verdict!r}, mapped since: {answer!r}")
    return tally


def kernel_live(unit: RemappingUnit, oracle: Oracle) -> Tally:
    """Every page Linux had mapped is mapped so, and the tables map nothing else. Linux maps write-only as
    read-write.
    """
    tally = Tally("kernel_live")
    survey = Survey(unit)
    for sid, ranges in oracle.kernel_live.items():
        for part in ranges:
            _compare_range(unit, replace(part, prot=part.prot | 1), tally)
        space, _ = survey.space(sid)
        mapped, listed = survey.pages(space) if space else 0, sum(part.size for part in ranges) >> 12
        if mapped != listed:
            tally.add(False, f"{bdf(sid)}: the tables map {mapped} pages, Linux had {listed}")
    return tally


def vfio_live(unit: RemappingUnit, oracle: Oracle) -> Tally:
    """Every page a VFIO program had mapped, for every device of its container."""
    tally = Tally("vfio_live")
    for part in oracle.vfio_live:
        _compare_range(unit, replace(part, prot=part.prot | 1), tally)
    return tally


def _compare_range(unit: RemappingUnit, part: Range, tally: Tally) -> None:
    """Compare a range, one leaf at a time; each 4 KiB page counts."""
    offset = 0
    while offset < part.size:
        answer = unit.from_memory(Request(part.sid, part.iova + offset))
        if isinstance(answer, Fault) or not _fits(answer, part, offset):
            tally.add(
                False, f"{bdf(part.sid)} {part.iova + offset:#x}: {answer!r}", (part.size - offset) >> 12
            )
            return
        step = min(answer.size - (part.iova + offset) % answer.size, part.size - offset)
        tally.add(True, count=step >> 12)
        offset += step


def _fits(answer: Translation, part: Range, offset: int) -> bool:
    prot = answer.readable | answer.writable << 1
    return (answer.address, prot) == (part.address + offset, part.prot)


def ram_of(image: Image) -> tuple[tuple[int, int], ...]:
    """Where the machine had RAM: ranges of addresses. A fresh machine's is empty outside the image."""
    low, megabytes = image.meta.get("low_ram", 0), image.meta.get("ram_mb", 0)
    if not all(isinstance(value, int) and 0 <= value < 1 << 52 for value in (low, megabytes)):
        raise BadImage(f"{image.name}/meta.json: low_ram and ram_mb do not say how much memory there was")
    return ((0, low), (1 << 32, (1 << 32) + max(0, (megabytes << 20) - low)))


def replayed(image: Image, oracle: Oracle) -> Tally:
    """Each DMA that a fresh QEMU replayed on these pages. Memory outside the image was RAM that read 0."""
    tally = Tally("replayed")
    unit = image.unit_as(qemu(oracle.replayed_by), cached=False, ram=ram_of(image))
    _compare_verdicts(unit, oracle.replayed, tally, "")
    return tally


def mutations(image: Image, oracle: Oracle) -> Tally:
    """Each verdict on a DMA after one word of a table was changed."""
    tally = Tally("mutations")
    unit = image.unit_as(qemu(oracle.replayed_by), cached=False, ram=ram_of(image))
    memory = unit.memory
    assert isinstance(memory, Memory)
    for case in oracle.mutations:
        if case.address >> 12 not in memory.pages or memory.read64(case.address) != case.old:
            tally.add(False, f"{case.kind} at {case.address:#x} does not hold {case.old:#x}")
            continue
        with memory.changed(case.address, case.new):
            what = f"{case.kind} at {case.address:#x} {case.old:#x} -> {case.new:#x}: "
            _compare_verdicts(unit, case.verdicts, tally, what)
    return tally


def _compare_verdicts(unit: RemappingUnit, verdicts: Iterable[Verdict], tally: Tally, what: str) -> None:
    for verdict in verdicts:
        answer = unit.from_memory(verdict.request())
        tally.add(_agrees(answer, verdict), f"{what}{verdict!r}: {answer!r}")


def _agrees(answer: Translation | Fault, verdict: Verdict) -> bool:
    if isinstance(answer, Fault):
        # No event at all is what a fault that is kept out of the records looks like from outside.
        return (
            not answer.recorded
            if verdict.granted is None
            else answer.code == verdict.code and answer.recorded
        )
    if verdict.granted is None:
        return answer.path in ("pass-through", "interrupt window")
    if not verdict.granted or (answer.address, answer.size) != (verdict.address, verdict.size):
        return False
    if verdict.entry is None:
        return True
    flags = _FIRST_STAGE_FLAGS if answer.path == "first stage" else 0
    return answer.entry | flags == verdict.entry | flags


def pass_through(unit: RemappingUnit, oracle: Oracle) -> Tally:
    """Each device that QEMU took out of remapping's way."""
    tally = Tally("pass-through")
    for sid in oracle.pass_through:
        answer = unit.from_memory(Request(sid, 0x1000))
        tally.add(
            isinstance(answer, Translation) and answer.path == "pass-through", f"{bdf(sid)}: {answer!r}"
        )
    return tally


def interrupts(units: Iterable[RemappingUnit], oracle: Oracle) -> Tally:
    """Live interrupt entries are in the table and dead ones are not; messages come out as they did, in every
    personality.
    """
    tally = Tally("interrupts")
    entries = {entry.index: entry for entry in oracle.table_entries}
    for unit in units:
        for entry in entries.values():
            tally.add(_held(unit, entry) == entry.live, f"entry {entry.index}: live is {entry.live}")
        for message in oracle.delivered:
            sid = IRTE.decode(entries[message.index].raw).SID if message.index in entries else 0
            answer = unit.from_memory(message.request(sid))
            out = msi_of(answer.interrupt) if isinstance(answer, Translation) and answer.interrupt else None
            wanted = (message.out_address, message.out_data)
            tally.add(
                out == wanted,
                f"message {message.address:#x}/{message.data:#x}: {answer!r}, QEMU sent {wanted}",
            )
    return tally


def msi_of(interrupt: Interrupt) -> tuple[int, int]:
    """An interrupt as an MSI (address, data) with an 8-bit destination."""
    flags = interrupt.hint << 3 | interrupt.logical << 2
    data = interrupt.vector | interrupt.delivery << 8 | 1 << 14 | interrupt.level << 15
    return 0xFEE0_0000 | (interrupt.destination & 0xFF) << 12 | flags, data


def _held(unit: RemappingUnit, entry: TableEntry) -> bool:
    address = unit.interrupt_table + 16 * entry.index
    try:
        held = unit.memory.read64(address) | unit.memory.read64(address + 8) << 64
    except AccessError:
        return False
    return entry.index < unit.interrupt_table_size and held == entry.raw


def records(image: Image, oracle: Oracle) -> Tally:
    """Each fault record left in the registers is one that the model would write for some fault of the
    oracle.
    """
    tally = Tally("records")
    unit = image.unit_as("qemu", cached=False)
    possible = set()
    for verdict in (*oracle.faults, *oracle.faults_since_mapped):
        answer = unit.from_memory(verdict.request())
        if isinstance(answer, Fault):
            raw = encode(answer, unit.quirks, unit.faults.widest)
            possible.add(raw & ~(1 << 127))
    for low, high in image.records:
        record = (low | high << 64) & ~(1 << 127)
        tally.add(record in possible or not record, f"{record:#034x} belongs to no fault that was seen")
    return tally


def dmar(image: Image) -> Tally:
    """The DMAR table round-trips byte for byte and breaks no rule."""
    tally = Tally("dmar")
    tally.add(image.dmar.to_bytes() == image.raw_dmar, "writing the table again gives other bytes")
    for problem in image.dmar.problems():
        tally.add(False, problem)
    return tally


def registers(image: Image) -> Tally:
    """CAP and ECAP follow from the capabilities read out of them."""
    tally = Tally("registers")
    for name, derived in (("CAP", image.capabilities.cap), ("ECAP", image.capabilities.ecap)):
        held = image.registers[name]
        tally.add(derived == held, f"{name} is {held:#x}, the model derives {derived:#x}")
    return tally
