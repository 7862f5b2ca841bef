"""Executing one invalidation descriptor: from its fields to the caches and endpoints it names.

Domain id bits above the implemented width are ignored here, as the VT-d specification, rev 5.10, says for
queued invalidation. The queue has checked the descriptor; nothing here can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from vtdkit.vtd.caches import invalidate
from vtdkit.vtd.state import Queued
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry

Outcome: TypeAlias = Literal["done", "pending", "blocked", "error"]
_GLOBAL, _DOMAIN = 1, 2
_IOTLB_FIELDS = descriptors.IOTLB_INV.picker("DID", "G", "ADDR", "AM", "IH")


def execute(unit: Queued, entry: Entry) -> Outcome:
    """Carry out `entry`; "pending" when an endpoint has yet to answer."""
    return EXECUTORS[entry.structure.name](unit, entry)


def _context(unit: Queued, entry: Entry) -> Outcome:
    if unit.caches is None:
        return "done"
    scalable = unit.mode != 0
    did = entry.DID & unit.capabilities.did_mask
    if entry.G == _GLOBAL or (entry.G == _DOMAIN and (scalable or unit.quirks.domain_is_global)):
        invalidate.context_global(unit.caches)
    elif entry.G == _DOMAIN:
        invalidate.context_domain(unit.caches, did)
    else:
        invalidate.context_device(unit.caches, entry.SID, entry.FM, None if scalable else did)
    return "done"


def _iotlb(unit: Queued, entry: Entry) -> Outcome:
    did, granularity, address, mask, hint = _IOTLB_FIELDS(entry.raw)
    did &= unit.capabilities.did_mask
    if granularity != 3:
        unit.diagnostics.domain_invalidated(None if granularity == _GLOBAL else did)
    if unit.caches is None:
        return "done"
    if granularity == _GLOBAL:
        invalidate.iotlb_global(unit.caches)
    elif granularity == _DOMAIN:
        invalidate.iotlb_domain(unit.caches, did)
    else:
        invalidate.iotlb_page(unit.caches, did, address, mask, keep_structures=bool(hint))
    return "done"


def _piotlb(unit: Queued, entry: Entry) -> Outcome:
    if unit.caches is None:
        return "done"
    did = entry.DID & unit.capabilities.did_mask
    if entry.G == 2:
        invalidate.piotlb_pasid(unit.caches, did, entry.PASID)
    else:
        invalidate.piotlb_page(
            unit.caches, did, entry.PASID, entry.ADDR, entry.AM, keep_structures=bool(entry.IH)
        )
    return "done"


def _pasid(unit: Queued, entry: Entry) -> Outcome:
    if unit.caches is None:
        return "done"
    did = entry.DID & unit.capabilities.did_mask
    if entry.G == 3:
        invalidate.pasid_global(unit.caches)
    elif entry.G == 0:
        invalidate.pasid_domain(unit.caches, did)
    else:
        invalidate.pasid_selective(unit.caches, did, entry.PASID)
    return "done"


def _interrupt(unit: Queued, entry: Entry) -> Outcome:
    if entry.G == 0:
        unit.interrupt_cache.drop(lambda e: True)
    else:
        unit.interrupt_cache.invalidate(entry.IIDX, entry.IM)
    return "done"


def _device(unit: Queued, entry: Entry) -> Outcome:
    return "pending" if unit.device_tlbs.send(entry.SID, entry.ADDR, entry.S) else "done"


def _device_pasid(unit: Queued, entry: Entry) -> Outcome:
    pending = unit.device_tlbs.send(
        entry.SID, entry.ADDR, entry.S, pasid=entry.PASID, everywhere=bool(entry.GI)
    )
    return "pending" if pending else "done"


def nothing(unit: Queued, entry: Entry) -> Outcome:
    """Legal, and without effect here: responses to page requests, and host permission tables."""
    return "done"


EXECUTORS: dict[str, Callable[[Queued, Entry], Outcome]] = {
    descriptors.CC_INV.name: _context,
    descriptors.IOTLB_INV.name: _iotlb,
    descriptors.DEV_TLB_INV.name: _device,
    descriptors.IEC_INV.name: _interrupt,
    descriptors.P_IOTLB_INV.name: _piotlb,
    descriptors.PC_INV.name: _pasid,
    descriptors.P_DEV_TLB_INV.name: _device_pasid,
}
