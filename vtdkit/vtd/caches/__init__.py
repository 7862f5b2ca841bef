"""What the hardware remembers, in the unit and in devices, and which invalidation hits what.

    caches.py      context cache, PASID cache, paging-structure caches, IOTLB, interrupt entries: what each
                   keeps, the tags it is looked up and invalidated by, what falls out when it is full
    invalidate.py  one function for each invalidation: which entries it hits, and no more than those
    device_tlb.py  endpoints that keep translations of their own (ATS), and the 32 ITags by which the unit
                   waits for them

Nothing here looks at memory, so an entry goes stale the moment software edits a table, and stays so.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "device_tlb": "Endpoint",
    },
)
