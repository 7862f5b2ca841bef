"""What the hardware remembers: context cache, PASID cache, paging-structure caches, IOTLB, interrupt
entry cache.

Each cache keeps what it was given until it is invalidated or, being full, drops the entry used longest ago.
Nothing here looks at memory, so an entry goes stale the moment software edits a table, and stays stale: that
is the point. Which entries an invalidation hits is said in `invalidate.py`; the tags it goes by are in the
records below.

    cache                 looked up by                     invalidated by
    context               source id                        source id, DID (legacy mode)
    PASID                 source id, PASID                 PASID, DID
    structure, 1st stage  PASID, DID, address above level  the same
    structure, 2nd stage  DID, address above level         the same
    IOTLB                 source id, PASID, page           DID, PASID, page
    interrupt entries     index                            index

A DID of None is "no tag": only a global or per-device invalidation reaches the entry. No locks: one agent at
a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, TypeVar, final

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request, bdf, size_name
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk.space import Leaf, Space

E = TypeVar("E")


class Lru(dict[Any, E]):
    """A bounded table that forgets the entry used longest ago: a dictionary keeps the order of insertion."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def use(self, key: Hashable) -> E | None:
        """The entry for `key`, which is now the youngest."""
        entry = self.pop(key, None)
        if entry is not None:
            self[key] = entry
        return entry

    def put(self, key: Hashable, entry: E) -> None:
        self.pop(key, None)
        if len(self) >= self.capacity:
            del self[next(iter(self))]
        self[key] = entry

    def drop(self, hit: Callable[[Any, E], bool]) -> None:
        """Forget every entry for which `hit(key, entry)` is true."""
        for key in [key for key, entry in self.items() if hit(key, entry)]:
            del self[key]


class TableTag(NamedTuple):
    """A cached context or PASID table entry, by source id and PASID. `fpd` is that of the PASID directory."""

    did: int | None
    entry: Entry
    fpd: bool = False


class StructureTag(NamedTuple):
    """A cached non-leaf entry at `level`: where the next table is and what the way to it allows."""

    did: int
    pasid: int | None
    level: int
    prefix: int
    entry: int
    table: int
    allowed: int


class IotlbTag(NamedTuple):
    """A cached translation of the page of size 2^shift at `page << shift`.

    `pasid` is the PASID of the requests it serves (None: those without one), `tag` the one invalidations
    name. `refusal` is the condition cached in place of a translation; only units with caching mode have such
    entries.
    """

    sid: int
    pasid: int | None
    tag: int | None
    did: int
    page: int
    shift: int
    space: Space
    leaf: Leaf
    refusal: str = ""

    def __repr__(self) -> str:
        who = bdf(self.sid) + ("" if self.pasid is None else f" PASID {self.pasid:#x}")
        leads = f"refused {self.refusal}" if self.refusal else f"-> {self.leaf.base:#x}"
        return (
            f"<IOTLB {who} {self.low:#x} {leads} {size_name(1 << self.shift)} "
            f"{self.space.path} DID {self.did}>"
        )

    @property
    def low(self) -> int:
        return self.page << self.shift

    @property
    def high(self) -> int:
        """The first address after the page."""
        return (self.page + 1) << self.shift

    @property
    def first_stage(self) -> bool:
        """Whether a first stage was walked for it; page-selective-within-domain requests cannot name such an
        entry.
        """
        return self.space.path in ("FS", "NEST")


class StructureCache(Lru[StructureTag]):
    """Non-leaf entries of one stage. A hit lets the walk start below them."""

    def find(self, did: int, pasid: int | None, address: int) -> StructureTag | None:
        """The entry nearest the leaf that is on the way to `address`."""
        # Level 2 first: the nearer to the leaf, the fewer accesses are left of the walk.
        for level in (2, 3, 4, 5):
            entry = self.use((did, pasid, level, address >> 3 + 9 * level))
            if entry:
                return entry
        return None

    def keep(
        self, did: int, pasid: int | None, address: int, level: int, entry: int, table: int, allowed: int
    ) -> None:
        prefix = address >> 3 + 9 * level
        self.put((did, pasid, level, prefix), StructureTag(did, pasid, level, prefix, entry, table, allowed))


class Iotlb(Lru[IotlbTag]):
    """Finished translations. Pages larger than `largest` (a power of two) are kept in pieces of that size."""

    def __init__(self, capacity: int, largest: int) -> None:
        super().__init__(capacity)
        self.shifts = tuple(shift for shift in (12, 21, 30) if 1 << shift <= largest)

    def find(self, sid: int, pasid: int | None, address: int, kind: str = "") -> IotlbTag | None:
        """The entry that covers `address`; with `kind`, also a refusal cached for that kind of access."""
        for shift in self.shifts:
            entry = self.use((sid, pasid, shift, address >> shift, ""))
            if entry:
                return entry
        return self.use((sid, pasid, 12, address >> 12, kind)) if kind else None

    def keep(self, sid: int, pasid: int | None, address: int, space: Space, leaf: Leaf) -> None:
        shift = max(s for s in self.shifts if s <= leaf.shift)
        page = address >> shift
        # A page larger than an entry holds is kept in pieces: this is the piece that `address` lies in.
        if shift < leaf.shift:
            base = leaf.base | address & (1 << leaf.shift) - (1 << shift)
            leaf = leaf._replace(base=base, shift=shift)
        self.put(
            (sid, pasid, shift, page, ""),
            IotlbTag(sid, pasid, space.tag, space.did, page, shift, space, leaf),
        )

    def keep_refusal(self, request: Request, space: Space, label: str) -> None:
        sid, pasid, page = request.sid, request.pasid, request.address >> 12
        tag = IotlbTag(sid, pasid, space.tag, space.did, page, 12, space, _NOWHERE, label)
        self.put((sid, pasid, 12, page, request.kind), tag)


_NOWHERE = Leaf(0, 12, 0, 0, first=0, second=0, dirty=False)


@final
class Caches:
    """All caches of one unit that serve DMA requests."""

    def __init__(self, caps: Capabilities) -> None:
        self.caps = caps
        self.context = Lru[TableTag](caps.context_entries)
        self.pasid = Lru[TableTag](caps.pasid_entries)
        self.first = StructureCache(caps.structure_entries)
        self.second = StructureCache(caps.structure_entries)
        self.iotlb = Iotlb(caps.iotlb_entries, caps.iotlb_page)

    def __iter__(self) -> Iterator[Lru[Any]]:
        return iter((self.context, self.pasid, self.first, self.second, self.iotlb))

    def copy(self) -> Caches:
        """A second set with the same contents, for looking without touching."""
        twin = Caches(self.caps)
        for mine, others in zip(self, twin, strict=True):
            others.update(mine)  # entries are immutable: the two can go separate ways
        return twin

    def clear(self) -> None:
        """Drop everything, as SRTP with ESRTPS does."""
        for cache in self:
            cache.clear()

    def __repr__(self) -> str:
        sizes = zip(("context", "PASID", "first stage", "second stage", "IOTLB"), self, strict=True)
        return f"<Caches {', '.join(f'{name} {len(cache)}/{cache.capacity}' for name, cache in sizes)}>"
