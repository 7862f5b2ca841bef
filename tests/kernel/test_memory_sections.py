"""Physical memory with holes, and the descriptors of its pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lessons.scenes.readers import HOLE, HOLES, WHOLE
from vtdkit.kernel.memory.descriptors import IOMMU_PT_PAGE, IOPTDESC, PAGE, SIZE, freed_by_one_callback
from vtdkit.kernel.memory.sections import SECTION_SIZE, MemoryMap

BLOCK = 1 << 21


def traps_by_hand(memory: MemoryMap, blocks: int) -> set[int]:
    return {
        at * BLOCK
        for at in range(1, blocks)
        if memory.pfn_valid(at * BLOCK >> 12) and not memory.mapped(at * BLOCK >> 12)
    }


@given(st.sets(st.integers(0, 255), min_size=1, max_size=40), st.sets(st.integers(0, 255), max_size=10))
def test_traps_are_what_passes_and_cannot_be_read(ram, plugged):
    ranges = [
        tuple((at * BLOCK, (at + 1) * BLOCK) for at in sorted(blocks)) for blocks in (ram, plugged - ram)
    ]
    memory = MemoryMap(*ranges)
    found = {
        at for first, end in memory.traps() for at in range(-(-first // BLOCK) * BLOCK, end, BLOCK) if at
    }
    assert found == traps_by_hand(memory, 256)


def test_what_was_plugged_in_counts_by_its_own_blocks():
    later = MemoryMap(((0, SECTION_SIZE),), plugged=((SECTION_SIZE, SECTION_SIZE + BLOCK),))
    assert later.pfn_valid(SECTION_SIZE >> 12)
    assert not later.pfn_valid(SECTION_SIZE + BLOCK >> 12)


def test_the_page_of_2020():
    """20200521014407.29690-1-bhe@redhat.com: page 0x2a800000 is in a reserved range in a section with RAM."""
    assert HOLES.pfn_valid(HOLE >> 12)
    assert not HOLES.mapped(HOLE >> 12)
    assert any(first <= HOLE < end for first, end in HOLES.traps())
    assert not list(WHOLE.traps())


def test_layouts():
    assert PAGE.size == IOPTDESC.size == IOMMU_PT_PAGE.size == SIZE
    assert PAGE.overlap("lru", "rcu_head")
    assert not IOMMU_PT_PAGE.overlap("list_head", "rcu_head")
    assert "rcu_head" not in IOPTDESC.fields


def test_a_list_survives_a_callback_only_if_its_head_stands_apart():
    for pages in (1, 2, 7):
        assert freed_by_one_callback(PAGE, "lru", pages) == 1
        assert freed_by_one_callback(IOMMU_PT_PAGE, "list_head", pages) == pages
