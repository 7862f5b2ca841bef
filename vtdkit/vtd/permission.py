"""Translated requests: the few checks that are left, and the host permission table.

A translated request carries an address the device already had translated; remapping trusts it, apart from the
gate in the context entry, the host address width and the interrupt range. Where the context entry sets HPTE,
the address is looked up in a table of permissions instead: four levels of 128-bit entries, 8 slots of 1G, 16
of 2M, 32 of 4K; the first slot that is not zero decides.

The host permission table is new in rev 5.10 of the VT-d specification and rests on that one source here.
"""

from __future__ import annotations

from . import scalable
from .job import Job, Steps
from .requests import NEEDS, READ, WRITE
from .rules import PAGE_MASK, in_interrupt_range
from .stages import HPT_L1, HPT_L2, HPT_L3, HPT_L4

_AV = 1 << 0
# For each level below the root: its layout, where its index starts, and where the slot number starts.
_LEVELS = ((HPT_L3, 33, 30, 7), (HPT_L2, 25, 21, 15), (HPT_L1, 17, 12, 31))
_L4_SHIFT = 41


def legacy(job: Job) -> None:
    """The checks of a translated request in legacy mode."""
    _plain(job, "LGN.1.2", "LGN.4")


def check(job: Job, context_words: tuple[int, ...]) -> Steps[None]:
    """The checks of a translated request in scalable mode."""
    if not scalable.uses_permission_table(context_words):
        _plain(job, "SGN.4.1", "SGN.8.3")
        return
    words = yield from scalable.pasid_words(job, context_words)
    if job.request.address >> 49 + (words[4] & 3):
        job.refuse("SPT.9")
    yield from _look_up(job, words[4] & PAGE_MASK)


def _plain(job: Job, width: str, interrupt: str) -> None:
    address = job.request.address
    if address >= job.rules.host_limit:
        job.refuse(width)
    if in_interrupt_range(address, address + max(1, job.request.length)):
        job.refuse(interrupt)


def _look_up(job: Job, root: int) -> Steps[None]:
    address, rules = job.request.address, job.rules
    index = address >> _L4_SHIFT
    low, high = yield from job.read(HPT_L4, root + 16 * index, index, "HPT.A2")
    _reserved(job, HPT_L4.words(HPT_L4.reserved_mask(rules.environment)), low, high)
    for layout, index_shift, slot_shift, slots in _LEVELS:
        if not high & _AV:
            break
        index = address >> index_shift & 255
        low, high = yield from job.read(layout, (high & _table_mask()) + 16 * index, index, "HPT.A0")
        _reserved(job, layout.words(layout.reserved_mask(rules.environment)), low, high)
        whole = low | high << 64 if layout is HPT_L1 else low
        allowed = whole >> 4 * (address >> slot_shift & slots) & 3
        if allowed:
            job.remark(f"slot {address >> slot_shift & slots} allows {allowed}")
            _decide(job, allowed)
            return
    _decide(job, 0)


def _table_mask() -> int:
    return HPT_L4.field("ADDR").mask >> 64


def _reserved(job: Job, masks: tuple[int, ...], low: int, high: int) -> None:
    if low & masks[0] or high & masks[1]:
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
