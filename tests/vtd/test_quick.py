"""The short cut and the whole algorithm always agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import bring_up, legacy, read


class Observed(Memory):
    """Memory that wants to see every access, so the unit must not take the short cut."""

    @property
    def observed(self) -> bool:
        return True


ENTRIES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 7, 0x83, 0x800, 1 << 62, 3 << 61, 0x8000_0000_0000_0003]),
    st.integers(0, (1 << 64) - 1),
)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_on_tables_with_random_entries_the_short_cut_says_what_the_algorithm_says(
    data: st.DataObject,
) -> None:
    tables, root = legacy(
        tt=data.draw(st.sampled_from([0, 0, 0, 1, 2, 3])),
        aw=data.draw(st.sampled_from([2, 2, 2, 2, 0, 1, 3])),
    )
    size = data.draw(st.sampled_from([4096, 1 << 21, 1 << 30]))
    target = data.draw(st.sampled_from([0x20_0000, 0xC000_0000, 0xFEE0_0000, 1 << 45])) & -size
    tables.map(root, 0x4000_0000, target, size=size, bits=data.draw(st.sampled_from([1, 2, 3])))
    slot = data.draw(st.sampled_from([tables.root, tables.context_at(), tables.context_at() + 8, root]))
    if data.draw(st.booleans()):
        tables.memory[slot] ^= data.draw(ENTRIES)
    caps = Capabilities(HAW=46, DT=data.draw(st.sampled_from([0, 1])), SC=data.draw(st.sampled_from([0, 1])))
    quick, slow = tables.unit(caps, cached=False), tables.unit(caps, cached=False)
    memory = Observed()
    memory.pages = tables.memory.pages
    slow.memory = memory
    offset = data.draw(st.sampled_from([0, 8, 0x1000, 0x3EE0_0000, 0x3FFF_FFF8]))
    address = data.draw(st.sampled_from([0x4000_0000 + offset, offset, 1 << 47, 0xFEDF_FFFC, 0xFEE0_0000]))
    kind = data.draw(st.sampled_from(["read", "write", "atomic", "zero-length read"]))
    length = min(data.draw(st.sampled_from([0, 1, 4, 8, 64])), 4096 - (address & 0xFFF))
    request = Request(0x18, address, kind, length=length)
    fast, full = quick.translate(request), slow.translate(request)
    assert fast == full
    assert fast == quick.from_memory(request) or isinstance(fast, Fault)


@given(
    pages=st.lists(st.tuples(st.integers(0, 15), st.integers(1, 3)), min_size=1, max_size=12),
    requests=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["read", "write"])), max_size=24),
)
@settings(max_examples=80, deadline=None)
def test_with_caches_too(pages: list[tuple[int, int]], requests: list[tuple[int, str]]) -> None:
    tables, root = legacy()
    for i, (page, bits) in enumerate(pages):
        tables.map(root, page << 12, 0x20_0000 + (i << 12), bits=bits)
    quick, slow = tables.unit(), tables.unit()
    memory = Observed()
    memory.pages = tables.memory.pages
    slow.memory = memory
    for page, kind in requests:
        request = Request(0x18, page << 12 | 0x40, kind)  # type: ignore[arg-type]
        assert quick.translate(request) == slow.translate(request)
    assert quick.caches is not None
    assert slow.caches is not None
    assert list(quick.caches.iotlb) == list(slow.caches.iotlb)
    assert quick.read(0x34) == slow.read(0x34)


def test_a_memory_that_is_logged_sees_each_table_entry_once() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(cached=False)
    tables.memory.log = []
    unit.translate(read(0x1000))
    assert {a.what for a in tables.memory.log} == {"read"}
    assert [a.address & 0xFFF for a in tables.memory.log] == [0, 8, 0x180, 0x188, 0, 0, 0, 8]


@pytest.mark.parametrize("cached", [False, True])
def test_the_generator_run_to_its_end_is_translate(cached: bool) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    first, second = tables.unit(cached=cached), tables.unit(cached=cached)
    for address in (0x1000, 0x1008, 0x2000, 1 << 50):
        steps = first.walk_steps(read(address))
        assert first.finish(steps) == second.translate(read(address))
    assert first.faults.records() == second.faults.records()


def test_a_walk_can_be_disturbed_between_two_accesses() -> None:
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    steps = tables.unit(cached=False).walk_steps(read(0x1000))
    accesses = []
    answer: Translation | Fault
    while True:
        try:
            access = next(steps)
        except StopIteration as end:
            answer = end.value
            break
        accesses.append(access.what)
        if access.address == leaf:
            tables.memory[leaf] = 0
    assert accesses == [
        "root entry",
        "context entry",
        "second-stage level 4",
        "second-stage level 3",
        "second-stage level 2",
        "second-stage level 1",
    ]
    assert isinstance(answer, Fault)
    assert answer.label == "LGN.3"


def test_a_second_unit_over_the_same_memory_is_independent() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    first = tables.unit()
    other = RemappingUnit(tables.memory, replace(first.capabilities, NFR=1))
    bring_up(other, tables.page())
    assert isinstance(first.translate(read(0x1000)), Translation)
    assert isinstance(other.translate(read(0x1000)), Fault)
    assert not first.faults.records()[0].F
