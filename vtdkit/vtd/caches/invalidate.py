"""Which cached entries each invalidation hits.

One function per command, called by the invalidation queue and by the register interface. Mirrors the
invalidation rules of the VT-d specification, rev 5.10, for the tags of `caches.py`. Hardware may always
invalidate more than it is asked to; this model invalidates what it is asked to and no more, so that forgotten
invalidations show.

Ranges: an address mask AM covers 2^AM pages from the address rounded down to that size. An entry is hit when
any address of its page lies in the range. Source-id comparisons ignore the function bits that FM names.
"""

from __future__ import annotations

from .caches import Caches, IotlbTag, StructureTag

# Function bits ignored for each value of FM (and of SQ in an interrupt entry).
FUNCTION_MASK = (0, 0b100, 0b110, 0b111)


def same_function(sid: int, other: int, mask_code: int) -> bool:
    """Whether two source ids agree outside the function bits that `mask_code` ignores."""
    return (sid ^ other) & ~FUNCTION_MASK[mask_code] == 0


def context_global(caches: Caches) -> None:
    caches.context.drop(lambda e: True)


def context_domain(caches: Caches, did: int) -> None:
    """Legacy mode only; scalable-mode context entries have no domain and go by `context_global`."""
    caches.context.drop(lambda e: e.did == did)


def context_device(caches: Caches, sid: int, mask_code: int, did: int | None) -> None:
    """`did` None: scalable mode, where it is ignored. A cached faulting entry has DID 0."""
    caches.context.drop(lambda e: same_function(e.sid, sid, mask_code) and (did is None or e.did == did))


def pasid_global(caches: Caches) -> None:
    caches.pasid.drop(lambda e: True)


def pasid_domain(caches: Caches, did: int) -> None:
    caches.pasid.drop(lambda e: e.did == did)


def pasid_selective(caches: Caches, did: int, pasid: int) -> None:
    caches.pasid.drop(lambda e: e.did == did and e.pasid == pasid)


def iotlb_global(caches: Caches) -> None:
    for cache in (caches.iotlb, caches.first, caches.second):
        cache.drop(lambda e: True)


def iotlb_domain(caches: Caches, did: int) -> None:
    for cache in (caches.iotlb, caches.first, caches.second):
        cache.drop(lambda e: e.did == did)


def iotlb_page(caches: Caches, did: int, address: int, am: int, *, keep_structures: bool) -> None:
    """Page-selective within a domain. First-stage and nested entries of the domain all go: their input is not
    this.
    """
    low, high = page_range(address, am)
    caches.iotlb.drop(lambda e: e.did == did and (e.first_stage or _overlaps(e, low, high)))
    caches.first.drop(lambda e: e.did == did)
    if not keep_structures:
        caches.second.drop(lambda e: e.did == did and _covers(e, low, high))


def piotlb_pasid(caches: Caches, did: int, pasid: int) -> None:
    caches.iotlb.drop(lambda e: e.did == did and e.tag == pasid)
    caches.first.drop(lambda e: e.did == did and e.pasid == pasid)


def piotlb_page(
    caches: Caches, did: int, pasid: int, address: int, am: int, *, keep_structures: bool
) -> None:
    """Page-selective within a PASID: first-stage and nested entries only."""
    low, high = page_range(address, am)
    caches.iotlb.drop(lambda e: e.did == did and e.tag == pasid and e.first_stage and _overlaps(e, low, high))
    if not keep_structures:
        caches.first.drop(lambda e: e.did == did and e.pasid == pasid and _covers(e, low, high))


def page_range(address: int, am: int) -> tuple[int, int]:
    """The range that an address and an address mask name: first address, first address after it."""
    size = 1 << 12 + am
    return address & -size, (address & -size) + size


def _overlaps(entry: IotlbTag, low: int, high: int) -> bool:
    return entry.low < high and entry.high > low


def _covers(entry: StructureTag, low: int, high: int) -> bool:
    shift = 3 + 9 * entry.level
    return entry.prefix << shift < high and entry.prefix + 1 << shift > low
