"""What each invalidation command hits, entry by entry, over caches that hold one of every kind.

One device in scalable mode with five PASIDs: two first-stage ones under one domain id, a second-stage, a
nested and a pass-through one. Each has two pages in the IOTLB. What is left afterwards is compared with the
specification's rules, written here as sets.
"""

from __future__ import annotations

import pytest

from vtdkit.vtd.caches.invalidate import page_range, same_function
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import IQA, IQT, QIE, SID, Tables, command, drain, legacy, read, scalable

CAPS = Capabilities.scalable(HAW=46, iotlb_entries=64, structure_entries=64)
# PASID: (translation type, domain id)
SPACES = {3: ("FS", 6), 4: ("FS", 6), 5: ("SS", 5), 8: ("NEST", 7), 9: ("PT", 6)}
NEAR, FAR = 0x1000, 0x40_0000
EVERYTHING = {(pasid, page) for pasid in SPACES for page in (NEAR, FAR)}


def filled() -> tuple[Tables, RemappingUnit]:
    tables, directory, *_ = scalable("PT", CAPS)
    for pasid, (path, did) in SPACES.items():
        first, second = tables.page(), tables.page()
        kind = {"FS": 1, "SS": 2, "NEST": 3, "PT": 4}[path]
        w0 = 1 | kind << 6 | (2 << 2 | second if path in ("SS", "NEST") else 0)
        tables.pasid(directory, pasid, w0=w0, w1=did | 1 << 23, w2=first if path in ("FS", "NEST") else 0)
        for page in (NEAR, FAR):
            if path == "SS":
                tables.map(second, page, 0x80_0000 + page)
            elif path != "PT":
                tables.map(first, page, 0x80_0000 + page, bits=0x67, middle=0x27)
        if path == "NEST":
            tables.map(second, 0, 0, size=1 << 30)
    unit = tables.unit(CAPS, mode=1)
    for pasid, page in sorted(EVERYTHING):
        assert unit.translate(read(page, pasid=pasid))
    return tables, unit


def run(tables: Tables, unit: RemappingUnit, raw: int) -> None:
    base = tables.page()
    unit.write(IQA, base | 1 << 11, 8)
    command(unit, QIE)
    for word in range(4):
        tables.memory[base + 8 * word] = raw >> 64 * word & (1 << 64) - 1
    unit.write(IQT, 32, 8)
    assert [step.outcome for step in drain(unit)] == ["done"]


def translations(unit: RemappingUnit) -> set[tuple[int | None, int]]:
    assert unit.caches is not None
    return {(tag.pasid, tag.low) for tag in unit.caches.iotlb.values()}


def pasids(unit: RemappingUnit) -> set[int]:
    assert unit.caches is not None
    return {pasid for _, pasid in unit.caches.pasid}


def structures(unit: RemappingUnit) -> tuple[set[int | None], set[int]]:
    """PASIDs in the first-stage structure cache, domain ids in the second-stage one."""
    assert unit.caches is not None
    caches = unit.caches
    return {tag.pasid for tag in caches.first.values()}, {tag.did for tag in caches.second.values()}


def iotlb(g: int, did: int = 0, page: int = 0, am: int = 0, ih: int = 0) -> int:
    return 0x2 | g << 4 | did << 16 | (page | am | ih << 6) << 64


def piotlb(g: int, did: int, pasid: int, page: int = 0, am: int = 0, ih: int = 0) -> int:
    return 0x6 | g << 4 | did << 16 | pasid << 32 | (page | am | ih << 6) << 64


def both(*which: int) -> set[tuple[int, int]]:
    return {(pasid, page) for pasid in which for page in (NEAR, FAR)}


# Descriptor, translations hit, PASIDs gone from the first-stage structure cache, domain ids gone from the
# second-stage one. A page command with IH=0 leaves what the other page uses, so no owner is gone altogether.
CASES = {
    "iotlb global": (iotlb(1), EVERYTHING, {3, 4, 8}, {5, 7}),
    "iotlb domain 5": (iotlb(2, 5), both(5), set(), {5}),
    "iotlb domain 6": (iotlb(2, 6), both(3, 4, 9), {3, 4}, set()),
    "iotlb domain 7": (iotlb(2, 7), both(8), {8}, {7}),
    "iotlb domain nobody": (iotlb(2, 99), set(), set(), set()),
    "iotlb page of a second stage": (iotlb(3, 5, NEAR), {(5, NEAR)}, set(), set()),
    "iotlb page, leaf only": (iotlb(3, 5, NEAR, ih=1), {(5, NEAR)}, set(), set()),
    "iotlb page, wide": (iotlb(3, 5, 0, am=18), both(5), set(), {5}),
    "iotlb page drops whole first-stage domains": (
        iotlb(3, 6, NEAR),
        both(3, 4) | {(9, NEAR)},
        {3, 4},
        set(),
    ),
    "iotlb page drops whole nested domains": (iotlb(3, 7, FAR, ih=1), both(8), {8}, set()),
    "p_iotlb pasid": (piotlb(2, 6, 3), both(3), {3}, set()),
    "p_iotlb pasid, pass-through": (piotlb(2, 6, 9), both(9), set(), set()),
    "p_iotlb pasid, second stage": (piotlb(2, 5, 5), both(5), set(), set()),
    "p_iotlb pasid, nested": (piotlb(2, 7, 8), both(8), {8}, set()),
    "p_iotlb pasid, other domain": (piotlb(2, 5, 3), set(), set(), set()),
    "p_iotlb page": (piotlb(3, 6, 3, NEAR), {(3, NEAR)}, set(), set()),
    "p_iotlb page, leaf only": (piotlb(3, 6, 3, NEAR, ih=1), {(3, NEAR)}, set(), set()),
    "p_iotlb page, nested": (piotlb(3, 7, 8, FAR, ih=1), {(8, FAR)}, set(), set()),
    "p_iotlb page spares second stage": (piotlb(3, 5, 5, NEAR), set(), set(), set()),
    "p_iotlb page spares pass-through": (piotlb(3, 6, 9, NEAR), set(), set(), set()),
}


@pytest.mark.parametrize("name", CASES)
def test_iotlb_commands_hit_what_the_specification_says_and_no_more(name: str) -> None:
    raw, hit, first, second = CASES[name]
    tables, unit = filled()
    assert translations(unit) == EVERYTHING
    assert structures(unit) == ({3, 4, 8}, {5, 7})
    run(tables, unit, raw)
    assert translations(unit) == EVERYTHING - hit
    assert structures(unit) == ({3, 4, 8} - first, {5, 7} - second)
    assert pasids(unit) == set(SPACES)


@pytest.mark.parametrize(
    ("raw", "pasid", "did"),
    [(iotlb(3, 5, NEAR), None, 5), (piotlb(3, 6, 3, NEAR), 3, 6), (piotlb(3, 7, 8, NEAR), 8, 7)],
)
def test_a_page_command_drops_only_the_structures_on_the_way_to_its_page(
    raw: int, pasid: int | None, did: int
) -> None:
    tables, unit = filled()
    assert unit.caches is not None
    cache = unit.caches.second if pasid is None else unit.caches.first
    before = {tag for tag in cache.values() if (tag.did, tag.pasid) == (did, pasid)}
    others = set(cache.values()) - before
    run(tables, unit, raw)
    on_the_way = {tag for tag in before if tag.prefix == NEAR >> 3 + 9 * tag.level}
    assert {tag.level for tag in on_the_way} == {2, 3, 4}
    assert set(cache.values()) == others | before - on_the_way
    assert before - on_the_way, "the entry on the way to the other page"


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (0x37, set()),
        (0x0006_0007, {5, 8}),
        (0x0005_0007, {3, 4, 8, 9}),
        (0x3_0006_0017, {4, 5, 8, 9}),
        (0x3_0005_0017, {3, 4, 5, 8, 9}),
    ],
)
def test_pasid_cache_commands(raw: int, left: set[int]) -> None:
    tables, unit = filled()
    run(tables, unit, raw)
    assert pasids(unit) == left
    assert translations(unit) == EVERYTHING


@pytest.mark.parametrize("raw", [0x11, 0x21, 0x0063_0021, 0x18_0000_0031, 0x18_0063_0031])
def test_in_scalable_mode_context_commands_do_not_look_at_the_domain(raw: int) -> None:
    tables, unit = filled()
    assert unit.caches is not None
    run(tables, unit, raw)
    assert len(unit.caches.context) == 0
    assert pasids(unit) == set(SPACES)


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (0x11, set()),
        (0x0005_0021, {0x20}),
        (0x0006_0021, {0x18, 0x1A}),
        (0x18_0005_0031, {0x1A, 0x20}),
        (0x18_0006_0031, {0x18, 0x1A, 0x20}),
        (0x2_0018_0005_0031, {0x20}),
        (0x1_0018_0005_0031, {0x1A, 0x20}),
    ],
)
def test_in_legacy_mode_context_commands_go_by_domain_and_source(raw: int, left: set[int]) -> None:
    tables, root = legacy(did=5)
    tables.context(0x1A, root=root, did=5)
    tables.context(0x20, root=root, did=6)
    tables.map(root, NEAR, 0x20_0000)
    unit = tables.unit()
    for sid in (0x18, 0x1A, 0x20):
        unit.translate(read(NEAR, sid))
    base = tables.page()
    unit.write(IQA, base, 8)
    command(unit, QIE)
    tables.memory[base] = raw
    unit.write(IQT, 16, 8)
    drain(unit)
    assert unit.caches is not None
    assert set(unit.caches.context) == left


@pytest.mark.parametrize(
    ("address", "am", "low", "high"),
    [
        (0x1000, 0, 0x1000, 0x2000),
        (0x1000, 1, 0, 0x2000),
        (0x3000, 1, 0x2000, 0x4000),
        (0x2345_6000, 9, 0x2340_0000, 0x2360_0000),
        (1 << 30, 18, 1 << 30, 2 << 30),
    ],
)
def test_an_address_mask_rounds_the_address_down(address: int, am: int, low: int, high: int) -> None:
    assert page_range(address, am) == (low, high)


def test_one_page_beside_the_range_is_left_alone() -> None:
    for am in range(5):
        tables, root = legacy()
        size = 1 << am
        pages = [page << 12 for page in (16 - 1, 16, 16 + size - 1, 16 + size)]
        for page in pages:
            tables.map(root, page, 0x80_0000 + page)
        unit = tables.unit()
        for page in pages:
            unit.translate(read(page))
        unit.write(0xF0, 16 << 12 | am, 8)
        unit.write(0xF8, 1 << 63 | 3 << 60 | 5 << 32, 8)
        assert unit.caches is not None
        assert {tag.low for tag in unit.caches.iotlb.values()} == {pages[0], pages[3]}


def test_a_table_that_ends_where_the_range_begins_is_left_alone() -> None:
    for page, left in ((1 << 21, {0}), (0, {1}), ((1 << 21) - 4096, {1})):
        tables, root = legacy()
        for target in (0, 1 << 21):
            tables.map(root, target, 0x80_0000 + target)
        unit = tables.unit()
        for target in (0, 1 << 21):
            unit.translate(read(target))
        unit.write(0xF0, page, 8)
        unit.write(0xF8, 1 << 63 | 3 << 60 | 5 << 32, 8)
        assert unit.caches is not None
        assert {tag.prefix for tag in unit.caches.second.values() if tag.level == 2} == left


def test_function_masks() -> None:
    assert [same_function(SID, SID ^ 0b100, code) for code in range(4)] == [False, True, True, True]
    assert [same_function(SID, SID ^ 0b010, code) for code in range(4)] == [False, False, True, True]
    assert [same_function(SID, SID ^ 0b001, code) for code in range(4)] == [False, False, False, True]
    assert not any(same_function(SID, SID ^ 0b1000, code) for code in range(4))
