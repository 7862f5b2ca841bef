"""Caches: bounded, forgetful in a known order, and never wrong in a way that no memory ever was.

The property at the heart: whatever a unit answers from its caches, it is an answer that memory, pieced
together from values held at some time since the last invalidation that covers each piece, could have given.
`Possible` works out all such answers with its own walk, its own tags and no bound on what is remembered; the
unit's answer must be among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.caches.caches import Lru
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Request, Translation

from .rig import RW, SID, R, Tables, W, legacy, read, write

OTHER = 0x20
TABLE = 0x000F_FFFF_FFFF_F000


def test_caches_say_how_full_they_are_and_an_entry_what_it_translates() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    assert repr(unit.caches) == (
        "<Caches context 1/16, PASID 0/16, first stage 0/16, second stage 3/16, IOTLB 1/64>"
    )
    assert unit.caches is not None
    (entry,) = unit.caches.iotlb.values()
    assert repr(entry) == "<IOTLB 00:03.0 0x1000 -> 0x200000 4K SS DID 5>"


def test_the_entry_used_longest_ago_goes_first() -> None:
    cache: Lru[str] = Lru(3)
    for name in "abc":
        cache.put(name, name)
    assert cache.use("a") == "a"
    cache.put("d", "d")
    assert list(cache) == ["c", "a", "d"]
    cache.put("c", "C")
    assert list(cache.values()) == ["a", "d", "C"]
    cache.drop(lambda _, e: e in "aC")
    assert len(cache) == 1


@pytest.mark.parametrize("largest", [1 << 12, 1 << 21, 1 << 30])
def test_large_pages_are_kept_whole_or_in_pieces(largest: int) -> None:
    tables, root = legacy()
    tables.map(root, 1 << 30, 5 << 30, size=1 << 30)
    unit = tables.unit(Capabilities(HAW=46, iotlb_page=largest))
    for offset in (0, 0x1000, 0x20_0000, 0x3FFF_F000):
        first = unit.translate(read((1 << 30) + offset + 8))
        again = unit.translate(read((1 << 30) + offset + 8))
        for answer in (first, again):
            assert isinstance(answer, Translation)
            assert answer.address == (5 << 30) + offset + 8
        assert isinstance(again, Translation)
        assert again.cached
        assert again.size == largest
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == {1 << 12: 4, 1 << 21: 3, 1 << 30: 1}[largest]


def test_an_invalidation_of_one_small_page_leaves_the_rest_of_a_fractured_large_one() -> None:
    """Why software must invalidate a large page with an address mask that covers all of it."""
    tables, root = legacy()
    slot = tables.map(root, 1 << 21, 1 << 30, size=1 << 21)
    for fractured, stale in ((True, 0x4000_1000), (False, 0x8000_1000)):
        tables.memory[slot] = 1 << 30 | 0x83
        unit = tables.unit(Capabilities(HAW=46, iotlb_page=4096 if fractured else 1 << 30))
        for page in (0, 0x1000):
            unit.translate(read((1 << 21) + page))
        tables.memory[slot] = 2 << 30 | 0x83
        unit.write(0xF0, 1 << 21, 8)
        unit.write(0xF8, 1 << 63 | 3 << 60 | 5 << 32, 8)
        answer = unit.translate(read((1 << 21) + 0x1000))
        assert isinstance(answer, Translation)
        assert answer.address == stale


def test_invalidating_leaves_only_lets_a_stale_table_be_walked() -> None:
    """IH=1 promises that no non-leaf entry changed. If one did, the structure cache leads to the old
    table.
    """
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    for hint, stale in ((1, True), (0, False)):
        unit = tables.unit()
        unit.translate(read(0x1000))
        pde = unit.walk(read(0x1000)).steps[4].address
        kept = tables.memory[pde]
        other = tables.page()
        tables.memory[other + 8] = 0x30_0000 | RW
        tables.memory[pde] = other | RW
        unit.write(0xF0, 0x1000 | hint << 6, 8)
        unit.write(0xF8, 1 << 63 | 3 << 60 | 5 << 32, 8)
        answer = unit.translate(read(0x1000))
        assert isinstance(answer, Translation)
        assert answer.address == (0x20_0000 if stale else 0x30_0000)
        tables.memory[pde] = kept


def test_two_tables_under_one_domain_id_get_into_each_others_way() -> None:
    tables, root = legacy(did=5)
    other = tables.context(OTHER, did=5)
    tables.map(root, 0x1000, 0x20_0000)
    tables.map(other, 0x2000, 0x30_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    answer = unit.translate(read(0x2000, OTHER))
    assert isinstance(answer, Fault), "the structure cache of DID 5 leads into the first device's table"
    assert isinstance(unit.from_memory(read(0x2000, OTHER)), Translation)


def test_nothing_faulty_is_cached_unless_caching_mode_says_so() -> None:
    for cm in (0, 1):
        tables, root = legacy()
        leaf = tables.map(root, 0x1000, 0)
        tables.memory[leaf] = 0
        tables.memory[tables.context_at(OTHER)] = 0
        unit = tables.unit(Capabilities(HAW=46, CM=cm))
        assert isinstance(unit.translate(read(0x1000)), Fault)
        assert isinstance(unit.translate(read(0x1000, OTHER)), Fault)
        tables.memory[leaf] = 0x20_0000 | RW
        tables.context(OTHER, root=root)
        assert isinstance(unit.translate(read(0x1000)), Fault if cm else Translation)
        assert isinstance(unit.translate(read(0x1000, OTHER)), Fault if cm else Translation)
        unit.write(0x28, 1 << 63 | 1 << 61, 8)
        unit.write(0xF8, 1 << 63 | 1 << 60, 8)
        assert isinstance(unit.translate(read(0x1000)), Translation)
        assert isinstance(unit.translate(read(0x1000, OTHER)), Translation)


def test_a_cached_refusal_is_dropped_by_its_own_page_and_no_other() -> None:
    tables, root = legacy()
    leaf = tables.map(root, 0x3000, 0)
    tables.memory[leaf] = 0
    unit = tables.unit(Capabilities(HAW=46, CM=1))
    assert isinstance(unit.translate(read(0x3000)), Fault)
    tables.memory[leaf] = 0x20_0000 | RW
    for page, outcome in ((0x2000, Fault), (0x4000, Fault), (0x6000, Fault), (0x3000, Translation)):
        unit.write(0xF0, page, 8)
        unit.write(0xF8, 1 << 63 | 3 << 60 | 5 << 32, 8)
        assert isinstance(unit.translate(read(0x3000)), outcome)


def test_pass_through_is_cached_and_goes_stale_too() -> None:
    tables, root = legacy(tt=2)
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    assert unit.translate(read(0x1000))
    tables.memory[tables.context_at()] &= ~0xC
    unit.write(0x28, 1 << 63 | 1 << 61, 8)
    answer = unit.translate(read(0x1000))
    assert isinstance(answer, Translation)
    assert answer.address == 0x1000
    unit.write(0xF8, 1 << 63 | 1 << 60, 8)
    answer = unit.translate(read(0x1000))
    assert isinstance(answer, Translation)
    assert answer.address == 0x20_0000


def test_a_walk_shows_what_the_caches_hold_and_leaves_them_alone() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    tables.map(root, 0x2000, 0x30_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    assert unit.caches is not None
    before = [list(c) for c in (unit.caches.context, unit.caches.second, unit.caches.iotlb)]
    assert [step.source for step in unit.walk(read(0x1000), cached=True).steps] == ["IOTLB"]
    assert [step.source for step in unit.walk(read(0x2000), cached=True).steps] == [
        "context cache",
        "structure cache",
        "memory",
    ]
    assert [step.source for step in unit.walk(read(0x1000)).steps] == ["memory"] * 6
    assert before == [list(c) for c in (unit.caches.context, unit.caches.second, unit.caches.iotlb)]


# the property


@dataclass(frozen=True)
class Found:
    """An outcome of a walk: a page with permissions under a domain id, or (page None) a refusal of one
    kind of access.
    """

    did: int
    page: int | None
    allowed: int = 0
    kind: str = ""


@dataclass
class Possible:
    """Every answer that is allowed now, and what may be remembered. Legacy mode, 4 levels, 4K pages."""

    tables: Tables
    remembers_faults: bool
    contexts: dict[int, set[tuple[int, int]]] = field(default_factory=dict)
    structures: dict[tuple[int, int, int], set[tuple[int, int]]] = field(default_factory=dict)
    pages: dict[tuple[int, int], set[Found]] = field(default_factory=dict)

    def access(self, request: Request) -> set[tuple[Any, ...]]:
        """The allowed answers, and remember whatever could have been learnt on the way to any of them."""
        sid, iova = request.sid, request.address
        kept = self.pages.setdefault((sid, iova >> 12), set())
        answers = {
            self._answer(found, request)
            for found in kept
            if found.page is not None or found.kind == request.kind
        }
        at = self.tables.context_at(sid)
        known = self.contexts.setdefault(sid, set())
        for low, high in {(self.tables.memory[at], self.tables.memory[at + 8]), *known}:
            if not low & 1:
                answers.add(("fault",))
                if self.remembers_faults:
                    known.add((low, 0))
                continue
            known.add((low, high))
            for found in self._walks(high >> 8, low & TABLE, request):
                answers.add(self._answer(found, request))
                if found.page is not None or self.remembers_faults:
                    kept.add(found)
        return answers

    def _walks(self, did: int, root: int, request: Request) -> list[Found]:
        need = W if request.kind == "write" else R
        found = []
        todo = [(4, root, RW)]
        todo += [
            (level - 1, *entry)
            for level in (4, 3, 2)
            for entry in self._structures(did, level, request.address)
        ]
        while todo:
            level, table, allowed = todo.pop()
            if not allowed & need:
                found.append(Found(did, None, 0, request.kind))
                continue
            entry = self.tables.memory[table + 8 * (request.address >> 3 + 9 * level & 511)]
            allowed &= entry
            if not allowed & need:
                found.append(Found(did, None, 0, request.kind))
            elif level == 1:
                found.append(Found(did, entry & TABLE, allowed & RW))
            else:
                step = (entry & TABLE, allowed & RW)
                self._structures(did, level, request.address).add(step)
                todo.append((level - 1, *step))
        return found

    def _structures(self, did: int, level: int, iova: int) -> set[tuple[int, int]]:
        return self.structures.setdefault((did, level, iova >> 3 + 9 * level), set())

    def _answer(self, found: Found, request: Request) -> tuple[Any, ...]:
        need = W if request.kind == "write" else R
        if found.page is None or not found.allowed & need:
            return ("fault",)
        return (found.page | request.address & 0xFFF, found.allowed, found.did)

    def forget_contexts(self, sid: int | None, did: int | None) -> None:
        for key, values in self.contexts.items():
            if sid is None or key == sid:
                values -= {v for v in values if did is None or v[1] >> 8 == did}

    def forget_pages(
        self, did: int | None, low: int = 0, high: int = 1 << 64, *, structures: bool = True
    ) -> None:
        for (_, page), values in self.pages.items():
            if low <= page << 12 < high:
                values -= {v for v in values if did is None or v.did == did}
        for (owner, level, prefix), entries in self.structures.items():
            shift = 3 + 9 * level
            if (
                structures
                and (did is None or owner == did)
                and prefix << shift < high
                and prefix + 1 << shift > low
            ):
                entries.clear()


IOVAS = (0x1000, 0x2000, 0x20_1000, 0x4000_1000)
SIDS, DIDS = st.sampled_from([SID, OTHER]), st.integers(1, 2)
ACCESS = st.tuples(SIDS, st.sampled_from(IOVAS), st.sampled_from(["read", "write"]))
# Which root's table, at which level, gets the entry of which other root (3: none), with which permissions.
EDIT = st.tuples(st.integers(0, 1), st.integers(1, 4), st.integers(0, 3), st.sampled_from([R, W, RW, RW]))
CONTEXT = st.tuples(SIDS, st.integers(0, 2), DIDS)
FLUSH_CONTEXT = st.tuples(st.sampled_from(["global", "domain", "device"]), SIDS, DIDS)
FLUSH_PAGES = st.tuples(
    st.sampled_from(["global", "domain", "page"]),
    DIDS,
    st.sampled_from(IOVAS),
    st.sampled_from([0, 1, 9]),
    st.booleans(),
)


@dataclass
class World:
    """Three page tables with the same shape and different pages, two devices, and the unit under test."""

    cm: bool
    tight: bool

    def __post_init__(self) -> None:
        tables = self.tables = Tables()
        self.roots = [tables.page() for _ in range(3)]
        self.slots: dict[tuple[int, int, int], int] = {}
        for i, root in enumerate(self.roots):
            for j, iova in enumerate(IOVAS):
                tables.map(root, iova, 0x20_0000 + 0x1_0000 * i + 0x1000 * j)
        for i, root in enumerate(self.roots):
            for iova in IOVAS:
                table = root
                for level in (4, 3, 2, 1):
                    self.slots[i, iova, level] = slot = table + 8 * (iova >> 3 + 9 * level & 511)
                    table = tables.memory[slot] & TABLE
        self.entries = {key: tables.memory[slot] & TABLE for key, slot in self.slots.items()}
        for sid in (SID, OTHER):
            tables.context(sid, root=self.roots[0], did=1)
        small = {"iotlb_entries": 2, "structure_entries": 2, "context_entries": 1} if self.tight else {}
        self.unit = tables.unit(Capabilities(HAW=46, CM=int(self.cm), **small))
        self.possible = Possible(tables, self.cm)

    def access(self, sid: int, iova: int, kind: Any) -> None:
        request = Request(sid, iova + 8, kind)
        allowed = self.possible.access(request)
        answer = self.unit.translate(request)
        given_: tuple[Any, ...] = ("fault",)
        if isinstance(answer, Translation):
            given_ = (answer.address, R * answer.readable | W * answer.writable, answer.did)
        assert given_ in allowed, (request, answer)

    def edit(self, iova: int, root: int, level: int, source: int, permissions: int) -> None:
        entry = self.entries[source, iova, level] | permissions if source < 3 else 0
        self.tables.memory[self.slots[root, iova, level]] = entry

    def context(self, sid: int, root: int, did: int) -> None:
        if root == 2:
            self.tables.memory[self.tables.context_at(sid)] = 0
        else:
            self.tables.context(sid, root=self.roots[root], did=did)

    def flush_context(self, granularity: str, sid: int, did: int) -> None:
        code = {"global": 1, "domain": 2, "device": 3}[granularity]
        self.unit.write(0x28, 1 << 63 | code << 61 | sid << 16 | did, 8)
        self.possible.forget_contexts(
            sid if granularity == "device" else None, None if granularity == "global" else did
        )

    def flush_pages(self, granularity: str, did: int, iova: int, am: int, hint: bool) -> None:
        code = {"global": 1, "domain": 2, "page": 3}[granularity]
        self.unit.write(0xF0, iova | am | hint << 6, 8)
        self.unit.write(0xF8, 1 << 63 | code << 60 | did << 32, 8)
        if granularity == "page":
            low = iova & -(4096 << am)
            self.possible.forget_pages(did, low, low + (4096 << am), structures=not hint)
        else:
            self.possible.forget_pages(None if granularity == "global" else did)


ROUND = st.tuples(ACCESS, st.one_of(EDIT, EDIT, CONTEXT), st.one_of(FLUSH_CONTEXT, FLUSH_PAGES, FLUSH_PAGES))


@given(rounds=st.lists(ROUND, min_size=1, max_size=12), cm=st.booleans(), tight=st.booleans())
@settings(max_examples=250, deadline=None)
def test_every_cached_answer_is_one_that_memory_allowed_since_the_last_covering_invalidation(
    rounds: list[tuple[Any, ...]], cm: bool, tight: bool
) -> None:
    world = World(cm, tight)
    for access, change, flush in rounds:
        world.access(*access)
        if len(change) == 4:
            world.edit(access[1], *change)
        else:
            world.context(*change)
        world.access(*access)
        if len(flush) == 3:
            world.flush_context(*flush)
        else:
            world.flush_pages(*flush)
        for kind in ("read", "write"):
            world.access(access[0], access[1], kind)


def test_after_a_global_flush_only_what_memory_says_is_possible() -> None:
    """The property above has teeth: once all is flushed, one answer is left."""
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    possible = Possible(tables, False)
    assert possible.access(write(0x1000)) == {(0x20_0000, RW, 5)}
    tables.memory[leaf] = 0x30_0000 | R
    assert possible.access(read(0x1000)) == {(0x20_0000, RW, 5), (0x30_0000, R, 5)}
    possible.forget_contexts(None, None)
    possible.forget_pages(None)
    assert possible.access(read(0x1000)) == {(0x30_0000, R, 5)}
