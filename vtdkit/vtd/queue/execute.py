"""Executing one invalidation descriptor: from its fields to the caches and endpoints it names.

Domain id bits above the implemented width are ignored here, as the VT-d specification, rev 5.10, says for
queued invalidation. The queue has checked the descriptor; nothing here can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from vtdkit.vtd.caches import invalidate
from vtdkit.vtd.caches.invalidate import DOMAIN, GLOBAL
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry

if TYPE_CHECKING:
    from vtdkit.vtd.state import State

Outcome: TypeAlias = Literal["done", "pending", "blocked", "error"]
_IOTLB_FIELDS = descriptors.IOTLB_INV.picker("DID", "G", "ADDR", "AM", "IH")


def execute(unit: State, entry: Entry) -> Outcome:
    """Carry out `entry`; "pending" when an endpoint has yet to answer."""
    return EXECUTORS[entry.structure.name](unit, entry)


def _context(unit: State, entry: Entry) -> Outcome:
    granularity = GLOBAL if entry.G == DOMAIN and unit.quirks.domain_is_global else entry.G
    did = entry.DID & unit.capabilities.did_mask if unit.mode == 0 else None
    invalidate.context(unit.caches, granularity, did, entry.SID, entry.FM)
    return "done"


def _iotlb(unit: State, entry: Entry) -> Outcome:
    did, granularity, address, mask, hint = _IOTLB_FIELDS(entry.raw)
    did &= unit.capabilities.did_mask
    invalidate.iotlb(unit.caches, granularity, did, address, mask, keep_structures=bool(hint))
    return "done"


def _piotlb(unit: State, entry: Entry) -> Outcome:
    did, pasid = entry.DID & unit.capabilities.did_mask, entry.PASID
    invalidate.piotlb(
        unit.caches, entry.G == 2, did, pasid, entry.ADDR, entry.AM, keep_structures=bool(entry.IH)
    )
    return "done"


def _pasid(unit: State, entry: Entry) -> Outcome:
    invalidate.pasid_entries(unit.caches, entry.G, entry.DID & unit.capabilities.did_mask, entry.PASID)
    return "done"


def _interrupt(unit: State, entry: Entry) -> Outcome:
    # By index: the entries that equal IIDX outside its low IM bits.
    everything, index, mask = entry.G == 0, entry.IIDX, entry.IM
    unit.interrupt_cache.drop(lambda held, _: everything or held >> mask == index >> mask)
    return "done"


def _device(unit: State, entry: Entry) -> Outcome:
    named = dict(entry)  # without PASID in the one, with it in the other
    pasid, everywhere = named.get("PASID"), bool(named.get("GI"))
    pending = unit.device_tlbs.send(entry.SID, entry.ADDR, entry.S, pasid=pasid, everywhere=everywhere)
    return "pending" if pending else "done"


def nothing(unit: State, entry: Entry) -> Outcome:
    """Legal, and without effect here: responses to page requests, and host permission tables."""
    return "done"


EXECUTORS: dict[str, Callable[[State, Entry], Outcome]] = {
    descriptors.CC_INV.name: _context,
    descriptors.IOTLB_INV.name: _iotlb,
    descriptors.DEV_TLB_INV.name: _device,
    descriptors.IEC_INV.name: _interrupt,
    descriptors.P_IOTLB_INV.name: _piotlb,
    descriptors.PC_INV.name: _pasid,
    descriptors.P_DEV_TLB_INV.name: _device,
}
