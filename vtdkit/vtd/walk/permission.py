"""Translated requests: the few checks that are left, and the host permission table.

A translated request carries an address the device already had translated; remapping trusts it, apart from the
gate in the context entry, the host address width and the interrupt range. Where the context entry sets HPTE,
the address is looked up in a table of permissions instead: four levels of 128-bit entries, 8 slots of 1G, 16
of 2M, 32 of 4K; the first slot that is not zero decides.

The host permission table is new in rev 5.10 of the VT-d specification and rests on that one source here.
"""

from __future__ import annotations

from vtdkit.vtd.requests import NEEDS, READ, WRITE
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.tables.pages import HPT_L1, HPT_L2, HPT_L3, HPT_L4

from . import scalable
from .job import Job, Steps
from .rules import in_interrupt_range

# For each level below the root: its layout, the low bits of its index and of the slot number, how many slots.
_LEVELS = ((HPT_L3, 33, 30, 8), (HPT_L2, 25, 21, 16), (HPT_L1, 17, 12, 32))
_L4_SHIFT = 41


def legacy(job: Job) -> None:
    """The checks of a translated request in legacy mode."""
    _plain(job, "LGN.1.2", "LGN.4")


def check(job: Job, context_entry: Entry) -> Steps[None]:
    """The checks of a translated request in scalable mode."""
    if not context_entry.HPTE:
        _plain(job, "SGN.4.1", "SGN.8.3")
        return
    entry = yield from scalable.pasid_entry(job, context_entry)
    if job.request.address >> 49 + entry.HPTSZ:
        job.refuse("SPT.9")
    yield from _look_up(job, entry.HPTPTR)


def _plain(job: Job, width: str, interrupt: str) -> None:
    address = job.request.address
    if address >= job.rules.host_limit:
        job.refuse(width)
    if in_interrupt_range(address, address + max(1, job.request.length)):
        job.refuse(interrupt)


def _look_up(job: Job, root: int) -> Steps[None]:
    address = job.request.address
    index = address >> _L4_SHIFT
    entry = yield from job.read(HPT_L4, root + 16 * index, index, "HPT.A2")
    _check_reserved(job, entry)
    for layout, index_shift, slot_shift, slots in _LEVELS:
        if not entry.AV:
            break
        index = address >> index_shift & 255
        entry = yield from job.read(layout, entry.ADDR + 16 * index, index, "HPT.A0")
        _check_reserved(job, entry)
        slot = address >> slot_shift & slots - 1
        allowed = entry[f"PP{slot}"]
        if allowed:
            job.remark(f"slot {slot} allows {allowed}")
            _decide(job, allowed)
            return
    _decide(job, 0)


def _check_reserved(job: Job, entry: Entry) -> None:
    if entry.raw & entry.structure.reserved_mask(job.rules.environment):
        job.refuse("HPT.A1")


def _decide(job: Job, allowed: int) -> None:
    kind = job.request.kind
    missing = NEEDS[kind] & ~allowed
    if kind == "zero-length read":
        if not allowed:
            job.refuse("HPT.A3")
    elif missing & WRITE:
        job.refuse("HPT.A4")
    elif missing & READ:
        job.refuse("HPT.A5")
