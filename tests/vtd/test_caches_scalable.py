"""The property of `test_caches`, in scalable mode: PASID cache, both kinds of structure cache and the IOTLB
under the descriptors of a 256-bit queue.

`Possible` remembers everything that memory has held since the last invalidation that names it, by the tags of
the specification: PASID entries by device and PASID, first-stage entries by domain and PASID, second-stage
entries by domain. It walks with code of its own. A unit's answer must be one of those it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request, Translation

from .rig import IQA, IQT, QIE, RW, SID, R, Tables, W, command

OTHER = 0x20
TABLE = 0x000F_FFFF_FFFF_F000
RID_PASID = 1
IOVAS = (0x1000, 0x2000, 0x20_1000, 0x4000_1000)
Answer = tuple[Any, ...]
FAULT: Answer = ("fault",)


@dataclass(frozen=True)
class Entry:
    """What a PASID table entry says; `first` tells a first-stage entry from a second-stage one."""

    first: bool
    did: int
    root: int


@dataclass(frozen=True)
class Page:
    """A finished translation: where it came from, the page, what it allows."""

    entry: Entry
    tag: int
    page: int
    allowed: int


@dataclass
class Possible:
    """Everything a cache may hold now. 4 levels, 4K pages, CM=0."""

    tables: Tables
    pasid_at: dict[tuple[int, int], int]
    entries: dict[tuple[int, int], set[Entry]] = field(default_factory=dict)
    structures: dict[tuple[int, int | None, int, int], set[tuple[int, int]]] = field(default_factory=dict)
    pages: dict[tuple[int, int | None, int], set[Page]] = field(default_factory=dict)

    def access(self, request: Request) -> set[Answer]:
        """The allowed answers; whatever could have been learnt on the way to any of them is remembered."""
        tag = RID_PASID if request.pasid is None else request.pasid
        kept = self.pages.setdefault((request.sid, request.pasid, request.address >> 12), set())
        known = self.entries.setdefault((request.sid, tag), set())
        answers = {self._answer(page, request) for page in kept}
        now = self._entry(self.pasid_at[request.sid, tag])
        if now is None:
            answers.add(FAULT)
        else:
            known.add(now)
        for entry in known:
            for page in self._walks(entry, tag, request):
                answer = FAULT if page is None else self._answer(page, request)
                answers.add(answer)
                if page is not None and answer != FAULT:
                    kept.add(page)
        return answers

    def _entry(self, at: int) -> Entry | None:
        w0, w1, w2 = (self.tables.memory[at + 8 * i] for i in range(3))
        if not w0 & 1:
            return None
        first = w0 >> 6 & 7 == 1
        return Entry(first, w1 & 0xFFFF, (w2 if first else w0) & TABLE)

    def _walks(self, entry: Entry, tag: int, request: Request) -> list[Page | None]:
        found: list[Page | None] = []
        owner = (entry.did, tag if entry.first else None)
        todo = [(4, entry.root, RW)]
        for level in (4, 3, 2):
            todo += [(level - 1, *step) for step in self._structure(owner, level, request.address)]
        while todo:
            level, table, allowed = todo.pop()
            raw = self.tables.memory[table + 8 * (request.address >> 3 + 9 * level & 511)]
            allowed &= self._permissions(entry.first, raw)
            if not allowed:
                found.append(None)
            elif level == 1:
                found.append(Page(entry, tag, raw & TABLE, allowed))
            else:
                # A walk may also end here for want of the permission; what lies below is known all the same.
                if not allowed & (W if request.kind == "write" else R):
                    found.append(None)
                self._structure(owner, level, request.address).add((raw & TABLE, allowed))
                todo.append((level - 1, raw & TABLE, allowed))
        return found

    def _permissions(self, first: bool, raw: int) -> int:
        if not first:
            return raw & RW
        return R | raw & W if raw & 5 == 5 else 0

    def _structure(self, owner: tuple[int, int | None], level: int, address: int) -> set[tuple[int, int]]:
        return self.structures.setdefault((*owner, level, address >> 3 + 9 * level), set())

    def _answer(self, page: Page, request: Request) -> Answer:
        if not page.allowed & (W if request.kind == "write" else R):
            return FAULT
        return (page.page | request.address & 0xFFF, page.allowed, page.entry.did)

    def forget_entries(self, did: int | None, pasid: int | None) -> None:
        for (_, tag), values in self.entries.items():
            if pasid is None or tag == pasid:
                values -= {entry for entry in values if did is None or entry.did == did}

    def forget_pages(self, gone: Any) -> None:
        for (_, _, page), values in self.pages.items():
            values -= {value for value in values if gone(value, page << 12)}

    def forget_structures(self, gone: Any) -> None:
        for (did, pasid, level, prefix), values in self.structures.items():
            shift = 3 + 9 * level
            if gone(did, pasid, prefix << shift, prefix + 1 << shift):
                values.clear()


@dataclass
class World:
    """Three tables of each stage, two devices with two PASIDs each, a queue, and the unit under test."""

    tight: bool

    def __post_init__(self) -> None:
        tables = self.tables = Tables()
        self.slots: dict[tuple[bool, int, int, int], int] = {}
        self.roots = {(first, i): tables.page() for first in (False, True) for i in range(3)}
        for (first, i), root in self.roots.items():
            for j, iova in enumerate(IOVAS):
                target = 0x20_0000 + 0x10_0000 * first + 0x1_0000 * i + 0x1000 * j
                bits = 0x67 if first else RW
                tables.map(root, iova, target, bits=bits, middle=bits & ~0x40)
                table = root
                for level in (4, 3, 2, 1):
                    self.slots[first, i, iova, level] = slot = table + 8 * (iova >> 3 + 9 * level & 511)
                    table = tables.memory[slot] & TABLE
        self.targets = {key: tables.memory[slot] & TABLE for key, slot in self.slots.items()}
        self.pasid_at = {}
        for sid in (SID, OTHER):
            directory = tables.sm_context(sid, flags=1 << 3, rid_pasid=RID_PASID)
            for pasid in (1, 2):
                self.pasid_at[sid, pasid] = tables.pasid_at(directory, pasid)
                self.pasid(sid, pasid, sid == SID, 0, 1)
        small = {"iotlb_entries": 2, "structure_entries": 2, "pasid_entries": 1} if self.tight else {}
        self.unit = tables.unit(Capabilities.scalable(HAW=46, **small), mode=1)
        self.queue, self.tail = tables.page(), 0
        self.unit.write(IQA, self.queue | 1 << 11, 8)
        command(self.unit, QIE)
        self.possible = Possible(tables, self.pasid_at)

    def access(self, sid: int, pasid: int | None, iova: int, kind: Any) -> None:
        # SCT.9: a request may not name RID_PASID itself.
        request = Request(sid, iova + 8, kind, pasid=None if pasid == RID_PASID else pasid)
        allowed = self.possible.access(request)
        answer = self.unit.translate(request)
        given_: Answer = FAULT
        if isinstance(answer, Translation):
            given_ = (answer.address, R * answer.readable | W * answer.writable, answer.did)
        assert given_ in allowed, (request, answer)

    def pasid(self, sid: int, pasid: int, first: bool, root: int, did: int) -> None:
        """Write a PASID entry, the present bit last; `root` 3 clears it."""
        at = self.pasid_at[sid, pasid]
        self.tables.memory[at] = 0
        if root < 3:
            table = self.roots[first, root]
            self.tables.memory[at + 8] = did | 1 << 23
            self.tables.memory[at + 16] = table if first else 0
            self.tables.memory[at] = 1 | 2 << 2 | (1 if first else 2) << 6 | (0 if first else table)

    def first(self, sid: int, pasid: int) -> bool:
        """Whether a device's PASID uses a first-stage table, or last did."""
        return self.tables.memory[self.pasid_at[sid, pasid] + 16] != 0

    def edit(self, first: bool, root: int, iova: int, level: int, source: int, allowed: int) -> None:
        bits = (0x65 | allowed & W if first else allowed) & (0x67 if level == 1 else 0x27)
        value = self.targets[first, source, iova, level] | bits if source < 3 else 0
        self.tables.memory[self.slots[first, root, iova, level]] = value

    def submit(self, low: int, high: int = 0) -> None:
        for i, word in enumerate((low, high, 0, 0)):
            self.tables.memory[self.queue + 32 * self.tail + 8 * i] = word
        self.tail = (self.tail + 1) % 128
        self.unit.write(IQT, 32 * self.tail, 8)
        step = self.unit.step()
        assert step is not None
        assert step.outcome == "done"

    def flush(self, what: str, did: int, pasid: int, iova: int, am: int, hint: bool) -> None:
        low, high = iova & -(4096 << am), (iova & -(4096 << am)) + (4096 << am)
        wide = did << 16 | pasid << 32
        where = iova | hint << 6 | am
        possible = self.possible

        def within(start: int, end: int) -> bool:
            return start < high and end > low

        if what == "pc global":
            self.submit(0x37)
            possible.forget_entries(None, None)
        elif what == "pc domain":
            self.submit(0x07 | did << 16)
            possible.forget_entries(did, None)
        elif what == "pc PASID":
            self.submit(0x17 | wide)
            possible.forget_entries(did, pasid)
        elif what == "iotlb global":
            self.submit(0x12)
            possible.forget_pages(lambda page, at: True)
            possible.forget_structures(lambda *_: True)
        elif what == "iotlb domain":
            self.submit(0x22 | did << 16)
            possible.forget_pages(lambda page, at: page.entry.did == did)
            possible.forget_structures(lambda owner, *_: owner == did)
        elif what == "iotlb page":
            self.submit(0x32 | did << 16, where)
            possible.forget_pages(
                lambda page, at: page.entry.did == did and (page.entry.first or within(at, at + 4096))
            )
            possible.forget_structures(
                lambda owner, tag, *at: owner == did and (tag is not None or (not hint and within(*at)))
            )
        elif what == "p_iotlb PASID":
            self.submit(0x26 | wide)
            possible.forget_pages(lambda page, at: (page.entry.did, page.tag) == (did, pasid))
            possible.forget_structures(lambda owner, tag, *_: (owner, tag) == (did, pasid))
        else:
            self.submit(0x36 | wide, where)
            possible.forget_pages(
                lambda page, at: (
                    (page.entry.did, page.tag) == (did, pasid) and page.entry.first and within(at, at + 4096)
                )
            )
            possible.forget_structures(
                lambda owner, tag, *at: (owner, tag) == (did, pasid) and not hint and within(*at)
            )


COMMANDS = [
    f"{kind} {scope}"
    for kind, scopes in (
        ("pc", ("global", "domain", "PASID")),
        ("iotlb", ("global", "domain", "page")),
        ("p_iotlb", ("PASID", "page")),
    )
    for scope in scopes
]
SIDS, PASIDS, DIDS = st.sampled_from([SID, OTHER]), st.integers(1, 2), st.sampled_from([1, 1, 1, 2])
ACCESS = st.tuples(SIDS, PASIDS, st.sampled_from(IOVAS), st.sampled_from(["read", "write"]))
# The entry of which other table of its stage goes where (3: none), with which permissions.
EDIT = st.tuples(
    st.sampled_from([0, 0, 0, 1]), st.integers(1, 4), st.integers(0, 3), st.sampled_from([R, W, RW, RW])
)
PASID_EDIT = st.tuples(st.booleans(), st.integers(0, 3), DIDS, st.just("PASID entry"))
FLUSH = st.tuples(
    st.sampled_from(COMMANDS), DIDS, PASIDS, st.sampled_from(IOVAS), st.sampled_from([0, 1, 9]), st.booleans()
)
# Most flushes are aimed at what was just used; the others go anywhere.
ROUND = st.tuples(ACCESS, st.one_of(EDIT, EDIT, PASID_EDIT), FLUSH, st.sampled_from([True, True, False]))


@given(rounds=st.lists(ROUND, min_size=1, max_size=10), tight=st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_cached_answer_is_one_that_memory_allowed_since_the_last_covering_invalidation(
    rounds: list[tuple[Any, ...]], tight: bool
) -> None:
    world = World(tight)
    for access, change, (what, did, other, where, am, hint), aimed in rounds:
        sid, pasid, iova, _ = access
        world.access(*access)
        if change[-1] == "PASID entry":
            world.pasid(sid, pasid, *change[:3])
        else:
            root, level, source, allowed = change
            world.edit(world.first(sid, pasid), root, iova, level, source, allowed)
        world.access(*access)
        world.flush(what, did, pasid if aimed else other, iova if aimed else where, am, hint)
        for device in (SID, OTHER):
            for kind in ("read", "write"):
                world.access(device, pasid, iova, kind)


def test_once_everything_is_flushed_one_answer_is_left() -> None:
    """The property has teeth: after each covering flush the old answers are not allowed any more."""
    world = World(tight=False)
    request = Request(SID, 0x1000, pasid=2)
    assert world.possible.access(request) == {(0x30_0000, RW, 1)}
    world.edit(True, 0, 0x1000, 1, 1, RW)
    world.pasid(SID, 2, True, 0, 2)
    both = {(0x30_0000, RW, 1), (0x31_0000, RW, 1), (0x31_0000, RW, 2)}
    assert world.possible.access(request) == both
    world.flush("pc PASID", 1, 2, 0x1000, 0, False)
    assert world.possible.access(request) == both
    world.flush("p_iotlb PASID", 1, 2, 0x1000, 0, False)
    assert world.possible.access(request) == {(0x31_0000, RW, 2)}
