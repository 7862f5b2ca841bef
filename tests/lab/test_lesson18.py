"""Lesson 18: with magazines nobody waits for the tree; per-CPU keeps other CPUs out, a lock the CPU's own
interrupts.
"""

from __future__ import annotations

from typing import Any

import pytest

from lessons import lesson18 as lesson
from tests.notebooks.cells import scenes
from vtdkit.vtd.requests import Fault, Translation

SCENES = scenes("18")


def test_the_trees_lock_is_waited_for_and_with_magazines_not_taken() -> None:
    tree, magazines = (SCENES.traffic(how) for how in ("tree", "magazines"))
    assert (tree.length, magazines.length) == (67_110, 10_660)
    assert lesson.times_as_fast(tree, magazines) == lesson.ANSWERS[2]
    assert tree.held(lesson.TREE_LOCK) == 11_835
    assert magazines.taken(lesson.TREE_LOCK) == 0


def test_in_strict_mode_the_unit_is_the_limit() -> None:
    tree, magazines = (SCENES.traffic(how, lazy=False).length for how in ("tree", "magazines"))
    assert 0.95 < magazines / tree < 1.05


def test_in_lazy_mode_a_device_reaches_what_was_unmapped_until_the_timer() -> None:
    pc, api = SCENES.disk(lazy=True)
    device = pc.devices["00:03.0"]
    address = pc.run(api.iommu_dma_map_page(device, 0x5000000, 4096))
    pc.dma("00:03.0", address)
    pc.run(api.iommu_dma_unmap_page(device, address, 4096))
    assert isinstance(pc.dma("00:03.0", address), Translation)
    pc.machine.advance(10_100_000)
    assert isinstance(pc.dma("00:03.0", address), Fault)


def test_what_guards_a_cpus_cache() -> None:
    rows = [tuple(row) for row in lesson.guarded().rows]
    assert rows == [
        ("a lock, interrupts off", 3, 0, 0),
        ("the lock alone", 7, 4, 0),
        ("nothing, it is per CPU", 5, 1, 2),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_in_the_depot(seed: int) -> None:
    exercise, freed = lesson.IN_THE_DEPOT.seeded(seed), lesson.buffers(seed)
    right = (freed - 1) // 128 - 1
    assert exercise.check(right)
    assert "two magazines for itself" in exercise.check(freed // 128).text
    assert not exercise.check(right - 1)


def test_the_depot_at_the_borders_of_a_magazine() -> None:
    assert [lesson.in_depot(count) for count in (256, 257, 384, 385)] == [0, 1, 1, 2]


async def whenever_begun(self: Any, queue: Any, fq: Any) -> None:
    """A flush that has only begun is taken for one that has ended."""
    begun = await queue.fq_flush_start_cnt.load()
    while fq.head != fq.tail:
        pfn, pages, freelist, started = fq.entries[fq.head]
        if started >= begun:
            break
        await self.put_pages_list(freelist)
        await queue.iovad.free_iova_fast(pfn, pages)
        fq.head = (fq.head + 1) % 256


async def collected_first(self: Any, queue: Any, fq: Any) -> None:
    """Right, in another form: what may go is found first."""
    ended, gone, at = await queue.fq_flush_finish_cnt.load(), [], fq.head
    while at != fq.tail and fq.entries[at][3] < ended:
        gone.append(fq.entries[at])
        at = (at + 1) % len(fq.entries)
    for pfn, pages, freelist, _ in gone:
        await queue.iovad.free_iova_fast(pfn, pages)
        await self.put_pages_list(freelist)
    fq.head = at


def test_when_it_may_go() -> None:
    exercise = lesson.WHEN_IT_MAY_GO.seeded(0)
    assert exercise.check(lesson.fq_ring_free)
    assert exercise.check(collected_first)
    assert "used again while the unit remembers it" in exercise.check(whenever_begun).text


def test_the_lessons_claims() -> None:
    assert [row[1] for row in lesson.verdicts().rows] == ["holds"] * 3
