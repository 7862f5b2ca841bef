"""Requests to FEEx_xxxx: interrupt remapping, and what becomes of everything else that goes there.

A one-dword write without PASID is an interrupt. It is looked up in the interrupt remapping table by its
handle and leaves as a message with the destination and vector the table gives. Checks in the order of the
VT-d specification, rev 5.10: mode, format, request, bounds, entry read, present, requester, reserved fields.

Compatibility-format messages are blocked while interrupts are remapped, as CFIS is 0 (GCMD.CFI is not
modelled). An entry in posted format raises `NotModelled`; its layout is in `tables/interrupts.py`.
"""

from __future__ import annotations

from vtdkit.vtd.caches.invalidate import same_function
from vtdkit.vtd.requests import Fault, Interrupt, Translation
from vtdkit.vtd.tables.interrupts import IRTE, IRTE_POSTED, MSI_ADDRESS
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk import ats
from vtdkit.vtd.walk.job import Job, NotModelled, Steps
from vtdkit.vtd.walk.rules import first_met

_BY_SID, _BY_BUS, _RESERVED_CHECK = 1, 2, 3


def window(job: Job) -> Steps[Translation | Fault | None]:
    """The answer to a request without PASID for FEEx_xxxx; None when remapping has to look at it (translated
    ones).
    """
    request, unit = job.request, job.unit
    if request.at == "translated":
        return None
    if request.at == "translation":
        return ats.interrupt_range(job) if unit.translating else None
    if request.kind == "write" and request.length == 4 and request.address & 3 == 0:
        return (yield from _deliver(job))
    if request.kind == "zero-length read" or job.rules.quirks.interrupt_window_silent:
        return _passed(job)
    job.insist("IR.29" if unit.translating or unit.interrupts_remapped else "")
    return None


def _passed(job: Job, interrupt: Interrupt | None = None) -> Translation:
    r = job.request
    return Translation(r, r.address, 4096, True, True, "interrupt window", None, 0, 0, interrupt=interrupt)


def _deliver(job: Job) -> Steps[Translation]:
    request, unit, caps, quirks = job.request, job.unit, job.rules.caps, job.rules.quirks
    # address   31      20 19               5  4    3     2     1 0
    #           | FEEh    | handle, low bits |fmt| SHV |handle|  0  |   the 16th bit of the handle is bit 2
    # With SHV the index is handle + the low half of the data: one handle for several vectors of a device.
    message = MSI_ADDRESS.decode(request.address & 0xFFFF_FFFF)
    if not unit.interrupts_remapped:
        job.insist("IR.2B" if caps.IRREQ else "")
        return _passed(job)
    job.insist("IR.2A" if caps.EIMER and not unit.extended_interrupts else "")
    if not message.FORMAT:
        job.insist("" if quirks.compatibility_passes else "IR.25")
        return _passed(job)
    spoiled = "IR.20" if message.SHV and request.data >> 16 else ""
    job.insist("" if quirks.interrupt_order else spoiled)
    index = (message.HANDLE | message.HANDLE_HIGH << 15) + (request.data & 0xFFFF if message.SHV else 0)
    index &= 0xFFFF if quirks.handle_wraps else -1
    address = unit.interrupt_table + 16 * index
    if index >= unit.interrupt_table_size or address + 16 > job.rules.host_limit:
        job.refuse("IR.21")
    entry = yield from _entry(job, address, index)
    _check(job, entry)
    job.insist(spoiled)
    if entry.IM and not quirks.posted_is_remapped:
        raise NotModelled(f"posted interrupt: {IRTE_POSTED.decode(entry.raw)!r}")
    return _passed(job, _remapped(job, entry))


def _entry(job: Job, address: int, index: int) -> Steps[Entry]:
    cache = job.unit.interrupt_cache if job.caches else None
    if cache is not None and (cached := cache.use(index)):
        job.mark(IRTE, 0, index, cached.raw, source="interrupt entry cache")
        return cached
    entry = Entry(IRTE, (yield from job.read(IRTE, address, index, "IR.23")))
    if cache is not None and entry.P:
        cache.put(index, entry)
    return entry


def _check(job: Job, entry: Entry) -> None:
    """The conditions of the table entry, in order."""
    quirks = job.rules.quirks
    job.fpd = bool(entry.FPD)
    posted = entry.IM and not quirks.posted_is_remapped
    mask = (IRTE_POSTED if posted else IRTE).reserved_mask(job.unit.interrupt_environment)
    looked_at = {"IM": not quirks.posted_is_remapped, "DST": not quirks.destination_unchecked}
    reserved = entry.raw & mask & ~IRTE.mask(*(name for name, looked in looked_at.items() if not looked))
    job.insist(
        first_met(
            ("IR.22", not entry.P),
            ("IR.24", quirks.interrupt_order and reserved),
            ("IR.24", entry.SVT == _RESERVED_CHECK and not quirks.reserved_check_is_requester_fault),
            ("IR.26", entry.SVT == _RESERVED_CHECK or not _allowed(job, entry)),
            ("IR.24", reserved),
        )
    )


def _allowed(job: Job, entry: Entry) -> bool:
    requester, buses = job.request.sid, (entry.SID >> 8, entry.SID & 0xFF)
    if entry.SVT == _BY_SID:
        return same_function(requester, entry.SID, entry.SQ)
    first, last = reversed(buses) if job.rules.quirks.reversed_bus_range else buses
    return entry.SVT != _BY_BUS or first <= requester >> 8 <= last


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
