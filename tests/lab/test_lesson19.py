"""Lesson 19: who waits for a sweep, what is missed at unmap, and what one bit stands for."""

from __future__ import annotations

from typing import Any

import pytest

from lessons import lesson19 as lesson
from lessons.experiments.dirty import beside
from tests.notebooks.cells import scenes
from vtdkit.kernel import Machine, explore

SCENES = scenes("19")
PAGE = 4096


def test_the_longest_call_waits_for_the_whole_sweep_and_giving_way_takes_a_pause() -> None:
    whole, parts, alone = (beside(sweep) for sweep in ("iova_rwsem", "area by area", "none"))
    assert lesson.waits(whole, alone) == lesson.ANSWERS[2]
    assert lesson.waits(parts, alone) == lesson.ANSWERS[2]
    assert lesson.waits(beside("RCU"), alone) == lesson.ANSWERS[0]
    rows = [tuple(row) for row in lesson.latencies(whole, alone).rows]
    assert rows == [
        ("iova_rwsem", "378.9 µs", "63.2 µs", "370.9 µs"),
        ("none", "0 ns", "4,870 ns", "5,380 ns"),
    ]


@pytest.mark.parametrize(
    ("look", "beside_it", "ends"),
    [
        (False, False, {"lost": 1}),
        (True, False, {"told": 1}),
        (True, True, {"not written": 19, "lost": 9, "told": 5}),
    ],
)
def test_the_last_look(look: bool, beside_it: bool, ends: dict[str, int]) -> None:
    every = explore(lambda machine: SCENES.last_look(machine, look, beside_it), preemptions=1)
    assert every.outcomes == ends


def test_a_large_page_is_dirty_as_a_whole_until_it_is_split() -> None:
    big = SCENES.Tracked(Machine(), size=2 << 20)
    counts = []
    for split in (False, True):
        if split:
            assert big.pc.run(SCENES.demote(big.pc.core, big.domain, 0)) == 0
        big.pc.dma("00:03.0", 0x3000, "write")
        sweep = SCENES.intel_iommu_read_and_clear_dirty(big.pc.core, big.domain, 0, 2 << 20)
        counts.append(len(big.pc.run(sweep)))
    assert counts == [512, 1]


@pytest.mark.parametrize("seed", range(4))
def test_to_be_copied(seed: int) -> None:
    exercise, written = lesson.TO_BE_COPIED.seeded(seed), lesson.writes(seed)
    small = {iova // PAGE for iova in written if iova >= 2 << 20}
    large = any(iova < 2 << 20 for iova in written)
    assert exercise.check(large * 2048 + len(small) * 4)
    assert "lie in the same page" in exercise.check(len(written) * 4).text
    if large:
        assert (
            "the large page has one dirty bit"
            in exercise.check(len({iova // PAGE for iova in written}) * 4).text
        )


async def write_back(self: Any, domain: Any, iova: int, size: int) -> list[int]:
    """The entry is written back without the bit."""
    dirty, end = [], iova + size
    while iova < end:
        pte, level = await self.pfn_to_dma_pte(domain, iova >> 12, 0)
        after = (iova | (PAGE << 9 * (level - 1)) - 1) + 1
        value = await pte.load()
        if value & 3 and value >> 9 & 1:
            await pte.store(value & ~(1 << 9))
            dirty += range(iova, min(after, end), PAGE)
        iova = after
    return dirty


async def page_by_page(self: Any, domain: Any, iova: int, size: int) -> list[int]:
    """Each page of 4 KiB is asked for by itself: the first of a large page takes the bit from the others."""
    dirty = []
    for page in range(iova, iova + size, PAGE):
        pte, _ = await self.pfn_to_dma_pte(domain, page >> 12, 0)
        if await pte.load() & 3 and await pte.page.test_and_clear_bit(pte.index, 9):
            dirty.append(page)
    return dirty


async def compared(self: Any, domain: Any, iova: int, size: int) -> list[int]:
    """Right, in another form: the whole entry is exchanged, again and again until nobody comes between."""
    found, page = set(), iova
    while page < iova + size:
        pte, level = await self.pfn_to_dma_pte(domain, page // PAGE, 0)
        span = PAGE * 512 ** (level - 1)
        value = await pte.load()
        while value & 3 and value & 512:
            seen = await pte.cmpxchg(value, value - 512)
            if seen == value:
                found |= {
                    each for each in range(page, page // span * span + span, PAGE) if each < iova + size
                }
                break
            value = seen
        page = page // span * span + span
    return sorted(found)


def test_look_and_clear() -> None:
    exercise = lesson.LOOK_AND_CLEAR.seeded(0)
    assert exercise.check(lesson.read_and_clear_dirty)
    assert exercise.check(compared)
    assert "what another CPU puts there meanwhile is lost" in exercise.check(write_back).text
    assert not exercise.check(page_by_page)


def test_the_lessons_claims() -> None:
    words = [row[1] for row in lesson.verdicts().rows]
    assert words == ["holds"] * 4 + ["opinion"] + ["holds"] * 3 + ["opinion"]
