"""What the record of a machine says about its stale translations, beside what the model shows of them.

- *flushed before*: the last descriptor that hit an entry's domain and page came earlier than the entry, or
  not at all; none came after, or the entry would not have been there
- *reused*: the same physical page was mapped again while the old translation still worked
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey

from .oracle import Executed

# Tables may share pages, so a few of them can spell out ranges without end.
_MAX_RANGES = 1 << 16


def last_covering(executed: Iterable[Executed], did: int, iova: int, size: int) -> int | None:
    """The position of the last IOTLB invalidation that hit a page of a domain; None if there was none.

    Read from the fields the oracle decoded, not from the raw bits, so that it does not lean on our own
    decoder.
    """
    found = None
    for position, record in enumerate(executed):
        if record.name == "iotlb" and covers(record, did, iova, size):
            found = position
    return found


def covers(record: Executed, did: int, iova: int, size: int) -> bool:
    """Whether an IOTLB invalidation, by its decoded fields, hits a page of a domain."""
    fields = record.fields
    if record.granularity == "global":
        return True
    if fields.get("did") != did:
        return False
    if record.granularity == "domain":
        return True
    span = 4096 << fields.get("am", 0)
    low = fields.get("addr", 0) // span * span
    return low < iova + size and iova < low + span


def homes(image: Image, sids: set[int]) -> dict[tuple[int, int], tuple[int, ...]]:
    """For each device and physical page: the addresses that map it now."""
    survey = Survey(image.unit_as(cached=False))
    homes: dict[tuple[int, int], tuple[int, ...]] = {}
    for sid in sorted(sids):
        space, _ = survey.space(sid)
        for part in islice(survey.ranges(space), _MAX_RANGES) if space else ():
            for offset in range(0, min(part.size, 1 << 21), 4096):
                key = (sid, part.address + offset)
                homes[key] = (*homes.get(key, ()), part.iova + offset)
    return homes
