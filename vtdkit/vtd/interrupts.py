"""Requests to FEEx_xxxx: interrupt remapping, and what becomes of everything else that goes there.

A one-dword write without PASID is an interrupt. It is looked up in the interrupt remapping table by its
handle and leaves as a message with the destination and vector the table gives. Checks in the order of the
VT-d specification, rev 5.10: mode, format, request, bounds, entry read, present, requester, reserved fields.
Posted interrupts are decoded and checked; delivering them is not modelled and raises `NotModelled`.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import ats
from .caches import Lru
from .interrupt_tables import IRTE, IRTE_POSTED, MSI_ADDRESS, POSTED_DESCRIPTOR
from .invalidate import same_function
from .job import Job, Steps
from .layout import Entry
from .requests import Fault, Interrupt, Translation


class NotModelled(Exception):
    """A legal thing that this model decodes but does not carry out. The text says what it was."""


@dataclass(frozen=True, slots=True)
class CachedIrte:
    """One entry of the interrupt entry cache."""

    index: int
    words: tuple[int, ...]


class InterruptCache(Lru[CachedIrte]):
    """The interrupt entry cache, looked up and invalidated by index."""

    def invalidate(self, index: int, mask: int) -> None:
        """Drop the entries whose index equals `index` outside its low `mask` bits."""
        self.drop(lambda e: e.index >> mask == index >> mask)


def window(job: Job) -> Steps[Translation | Fault | None]:
    """The answer to a request without PASID for FEEx_xxxx; None when remapping has to look at it (translated
    ones).
    """
    request, unit = job.request, job.unit
    if request.at == "translated":
        return None
    active = unit.translating or unit.interrupts_remapped
    if request.at == "translation":
        return ats.interrupt_range(job) if unit.translating else None
    if request.kind == "write" and request.length == 4 and request.address & 3 == 0:
        answer = yield from _deliver(job)
        return answer
    if request.kind == "zero-length read" or job.rules.quirks.interrupt_window_silent:
        return _passed(job)
    if active:
        job.refuse("IR.29")
    return None


def _passed(job: Job, interrupt: Interrupt | None = None) -> Translation:
    r = job.request
    return Translation(r, r.address, 4096, True, True, "interrupt window", None, 0, 0, interrupt=interrupt)


def _deliver(job: Job) -> Steps[Translation]:
    request, unit, caps, quirks = job.request, job.unit, job.rules.caps, job.rules.quirks
    if not unit.interrupts_remapped:
        if caps.IRREQ:
            job.refuse("IR.2B")
        return _passed(job, _compatible(job))
    if caps.EIMER and not unit.extended_interrupts:
        job.refuse("IR.2A")
    message = MSI_ADDRESS.decode(request.address & 0xFFFF_FFFF)
    if not message.FORMAT:
        if (
            unit.extended_interrupts or not unit.compatibility_interrupts
        ) and not quirks.compatibility_passes:
            job.refuse("IR.25")
        return _passed(job, _compatible(job))
    if message.SHV and request.data >> 16:
        job.refuse("IR.20")
    index = (message.HANDLE | message.HANDLE_HIGH << 15) + (request.data & 0xFFFF if message.SHV else 0)
    address = unit.interrupt_table + 16 * index
    if index >= unit.interrupt_table_size or address + 16 > job.rules.host_limit:
        job.refuse("IR.21")
    words = yield from _entry(job, address, index)
    _check(job, words)
    raw = words[0] | words[1] << 64
    if raw >> 15 & 1 and not quirks.posted_is_remapped:
        yield from _posted(job, IRTE_POSTED.decode(raw))
    return _passed(job, _remapped(job, IRTE.decode(raw)))


def _entry(job: Job, address: int, index: int) -> Steps[tuple[int, ...]]:
    cache = job.unit.interrupt_cache if job.caches else None
    cached = cache.get(index) if cache is not None else None
    if cached:
        job.mark(IRTE, 0, index, cached.words[0] | cached.words[1] << 64, source="interrupt entry cache")
        return cached.words
    words = yield from job.read(IRTE, address, index, "IR.23")
    if cache is not None and words[0] & 1:
        cache.put(index, CachedIrte(index, words))
    return words


def _check(job: Job, words: tuple[int, ...]) -> None:
    """The conditions of the table entry, in order."""
    low, high = words
    quirks = job.rules.quirks
    job.fpd = bool(low & 2)
    if not low & 1:
        job.refuse("IR.22")
    check = high >> 18 & 3
    if check == 3:
        job.refuse("IR.26" if quirks.reserved_check_is_requester_fault else "IR.24")
    if not _allowed(job, check, high & 0xFFFF, high >> 16 & 3):
        job.refuse("IR.26")
    posted = low >> 15 & 1 and not quirks.posted_is_remapped
    layout = IRTE_POSTED if posted else IRTE
    mask = layout.words(layout.reserved_mask(job.unit.interrupt_environment))
    if quirks.posted_is_remapped:
        mask = (mask[0] & ~(1 << 15), mask[1])
    if quirks.destination_unchecked:
        mask = (mask[0] & 0xFFFF_FFFF, mask[1])
    if low & mask[0] or high & mask[1]:
        job.refuse("IR.24")


def _allowed(job: Job, check: int, sid: int, qualifier: int) -> bool:
    requester = job.request.sid
    if check == 1:
        return same_function(requester, sid, qualifier)
    if check == 2:
        first, last = sid >> 8, sid & 0xFF
        if job.rules.quirks.reversed_bus_range:
            first, last = last, first
        return first <= requester >> 8 <= last
    return True


def _posted(job: Job, entry: Entry) -> Steps[None]:
    address = entry.PDAL << 6 | entry.PDAH << 32
    words = yield from job.read(POSTED_DESCRIPTOR, address, 0, "IR.27")
    mask = POSTED_DESCRIPTOR.words(POSTED_DESCRIPTOR.reserved_mask(job.rules.environment))
    if any(word & m for word, m in zip(words, mask, strict=True)):
        job.refuse("IR.28")
    raise NotModelled(
        f"posted interrupt: {entry!r}, descriptor at {address:#x}; this model does not deliver it"
    )


def _remapped(job: Job, entry: Entry) -> Interrupt:
    extended = job.unit.extended_interrupts
    return Interrupt(
        job.request.sid,
        destination=entry.DST if extended else entry.DST >> 8 & 0xFF,
        vector=entry.V,
        delivery=entry.DLM,
        logical=bool(entry.DM),
        hint=bool(entry.RH),
        level=bool(entry.TM),
        extended=extended,
    )


def _compatible(job: Job) -> Interrupt:
    """A message that is not remapped, read as an ordinary MSI."""
    address, data = job.request.address, job.request.data
    return Interrupt(
        job.request.sid,
        destination=address >> 12 & 0xFF,
        vector=data & 0xFF,
        delivery=data >> 8 & 7,
        logical=bool(address & 4),
        hint=bool(address & 8),
        level=bool(data >> 15 & 1),
        remapped=False,
    )
