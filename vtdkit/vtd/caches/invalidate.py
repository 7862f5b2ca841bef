"""Which cached entries each invalidation hits.

One function per command, called by the invalidation queue and by the register interface, with the
granularity coded as both code it. A unit without caches (None) has nothing to forget. Mirrors the
invalidation rules of the VT-d specification, rev 5.10, for the tags of `caches.py`. Hardware may always
invalidate more than it is asked to; this model invalidates what it is asked to and no more, so that forgotten
invalidations show.

Ranges: an address mask AM covers 2^AM pages from the address rounded down to that size. An entry is hit when
any address of its page lies in the range. Source-id comparisons ignore the function bits that FM names.
"""

from __future__ import annotations

from .caches import Caches, IotlbTag, StructureTag

# Granularity of a context or IOTLB invalidation; the third is by device or by page.
GLOBAL, DOMAIN = 1, 2
# Function bits ignored for each value of FM (and of SQ in an interrupt entry).
FUNCTION_MASK = (0, 0b100, 0b110, 0b111)


def same_function(sid: int, other: int, mask_code: int) -> bool:
    """Whether two source ids agree outside the function bits that `mask_code` ignores."""
    return (sid ^ other) & ~FUNCTION_MASK[mask_code] == 0


def context(caches: Caches | None, granularity: int, did: int | None, sid: int, mask_code: int) -> None:
    """Context entries: all, of a domain, or of a device. A cached faulting entry has DID 0.

    `did` None is scalable mode, whose context entries have no domain: by domain is then all of them.
    """
    everything = granularity == GLOBAL or (granularity == DOMAIN and did is None)
    by_device = granularity not in (GLOBAL, DOMAIN)
    if caches is not None:
        caches.context.drop(
            lambda source, e: (
                everything
                or (
                    (did is None or e.did == did) and (not by_device or same_function(source, sid, mask_code))
                )
            )
        )


def pasid_entries(caches: Caches | None, granularity: int, did: int, pasid: int) -> None:
    """PASID table entries: all (3), of a domain (0), or one PASID of it (1)."""
    if caches is not None:
        caches.pasid.drop(
            lambda key, e: granularity == 3 or (e.did == did and (granularity == 0 or key[1] == pasid))
        )


def iotlb(
    caches: Caches | None, granularity: int, did: int, address: int, am: int, *, keep_structures: bool
) -> None:
    """Translations and paging structures: all, of a domain, or of a range of pages in it.

    By page, first-stage and nested entries of the domain all go: the address is no input of theirs.
    """
    if caches is None:
        return
    low, high = page_range(address, am)
    everything, by_page = granularity == GLOBAL, granularity not in (GLOBAL, DOMAIN)
    caches.iotlb.drop(
        lambda _, e: (
            everything or (e.did == did and (not by_page or e.first_stage or _overlaps(e, low, high)))
        )
    )
    caches.first.drop(lambda _, e: everything or e.did == did)
    if not (by_page and keep_structures):
        caches.second.drop(
            lambda _, e: everything or (e.did == did and (not by_page or _covers(e, low, high)))
        )


def piotlb(
    caches: Caches | None, whole: bool, did: int, pasid: int, address: int, am: int, *, keep_structures: bool
) -> None:
    """Translations and first-stage structures of a PASID: the whole of it, or a range of pages; the latter
    hits first-stage and nested entries only.
    """
    if caches is None:
        return
    low, high = page_range(address, am)
    if whole:
        caches.iotlb.drop(lambda _, e: e.did == did and e.tag == pasid)
        caches.first.drop(lambda _, e: e.did == did and e.pasid == pasid)
        return
    caches.iotlb.drop(
        lambda _, e: e.did == did and e.tag == pasid and e.first_stage and _overlaps(e, low, high)
    )
    if not keep_structures:
        caches.first.drop(lambda _, e: e.did == did and e.pasid == pasid and _covers(e, low, high))


def page_range(address: int, am: int) -> tuple[int, int]:
    """The range that an address and an address mask name: first address, first address after it."""
    size = 1 << 12 + am
    return address & -size, (address & -size) + size


def _overlaps(entry: IotlbTag, low: int, high: int) -> bool:
    return entry.low < high and entry.high > low


def _covers(entry: StructureTag, low: int, high: int) -> bool:
    shift = 3 + 9 * entry.level
    return entry.prefix << shift < high and entry.prefix + 1 << shift > low
