"""Lesson 15: what the notebook shows of the three back-ends, and what its exercises take and refuse."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lessons import lesson15 as lesson
from lessons.experiments.backend_matrix import CASES, answer, fgsp
from lessons.scenes import backends
from tests.notebooks.cells import scenes
from vtdkit.iommu.backends.kinds import BACKENDS, amd
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore

SCENES = scenes("15")
THREE = pytest.mark.parametrize("kind", ["intel", "amd", "arm"])


def of(scene: Any, kind: str) -> ScenarioExploration:
    return explore(partial(scene, BACKENDS[kind]))


def test_one_map_is_one_page_in_amd_s_table_and_sixteen_in_the_others() -> None:
    rows = lesson.looked_at(SCENES.mapped(), 0x5000).rows
    assert rows == (
        ("Intel", 4, "0x40005003", "0x1000", 16),
        ("AMD", 3, "0x7000000040007e01", "0x10000", 16),
        ("Arm", 4, "0x40005f47", "0x1000", 16),
    )


@pytest.mark.parametrize(
    ("case", "expected"),
    {
        "unmap the first page of a block": ["2M, gone 2M", "2M, gone 2M", "4K, gone 4K", "4K, gone 4K"],
        "unmap a page inside a block": [
            "follows the block as a table",
            "2M, gone 2M",
            "4K, gone 4K",
            "4K, gone 4K",
        ],
        "unmap one of two pages mapped together": [
            "4K, gone 4K",
            "8K, gone 8K",
            "4K, gone 4K",
            "4K, gone 4K",
        ],
        "unmap a page where no table is": ["2M, gone 0", "2M, gone 0", "0, gone 0, WARN", "0, gone 0"],
        "unmap a page that is not mapped, its neighbour is": [
            "4K, gone 0",
            "4K, gone 0",
            "0, gone 0, WARN",
            "0, gone 0",
        ],
        "unmap four pages, the third is not mapped": [
            "16K, gone 12K",
            "16K, gone 12K",
            "8K, gone 8K, WARN",
            "8K, gone 8K",
        ],
        "unmap 2 MiB, one page of it is mapped": ["2M, gone 4K", "2M, gone 4K", "2M, gone 4K", "0, gone 0"],
        "map a page that is mapped": [
            "0, all as before, WARN",
            "0, 4K new",
            "-17, all as before, WARN",
            "-98, all as before",
        ],
        "map a page inside a block": [
            "follows the block as a table",
            "0, 4K new, 2044K gone",
            "-17, all as before, WARN",
            "-98, all as before",
        ],
        "unmap nothing": ["0, gone 0"] * 4,
        "map nothing": ["0, all as before"] * 4,
        "map a block over a page": ["0, 2M new", "0, 2M new", "0, 2M new", "-98, all as before"],
    }.items(),
)
def test_what_each_makes_of_a_call_that_no_rule_forbids(case: str, expected: list[str]) -> None:
    said = [repr(answer(CASES[case], BACKENDS[kind])) for kind in ("intel", "amd", "arm", "simple")]
    assert [each.removeprefix("says ") for each in said] == expected


def test_vfio_s_probe() -> None:
    assert [fgsp(BACKENDS[kind]) for kind in ("intel", "amd", "arm", "simple")] == [False, True, False, False]


def test_the_cases_of_freeing() -> None:
    assert lesson.freeing().rows == (("Intel", 1, 1, 1), ("AMD", 1, 1, 0), ("Arm", 1, 1, 1))


@pytest.mark.parametrize(("kind", "orders", "wrong"), [("intel", 8, 4), ("amd", 4, 0), ("arm", 5, 0)])
def test_the_notebook_s_scene_of_a_block_over_a_table(kind: str, orders: int, wrong: int) -> None:
    found = explore(partial(SCENES.block_over_table, kind))
    assert found.complete
    assert (found.executions, found.times("use-after-free")) == (orders, wrong)


@pytest.mark.parametrize(("kind", "orders", "wrong"), [("intel", 3, 1), ("amd", 2, 0), ("arm", 2, 0)])
def test_an_unmap_of_parts_of_unlike_size(kind: str, orders: int, wrong: int) -> None:
    found = of(backends.unmap_of_unlike_parts, kind)
    assert (found.executions, found.times("use-after-free"), found.complete) == (orders, wrong, True)
    assert {end[0] for end in found.outcomes} == {(2 << 20) + 4096}  # type: ignore[index]


@THREE
def test_the_other_scenes_hurt_nobody(kind: str) -> None:
    for scene in (backends.insert_race, backends.unmap_of_a_block, backends.unmap_and_map):
        found = of(scene, kind)
        assert found.complete
        assert found.times("use-after-free") == 0


def test_a_reader_who_keeps_no_rule_is_hurt_where_tables_are_freed() -> None:
    times = [of(backends.reader, kind).times("use-after-free") for kind in ("intel", "amd", "arm", "simple")]
    assert times == [1, 0, 1, 0]  # Intel's one shows in two places


def test_two_pages_of_one_block_unmapped_at_once() -> None:
    """Arm's loser finds the winner's table and goes on in it (85c7a0f1ef62)."""
    found = of(backends.split_at_once, "arm")
    assert list(found.outcomes) == [(4096, 4096, "0x40000000", "nothing", "nothing")]
    assert (found.complete, found.findings) == (True, ())


def test_a_growing_table_and_its_repair() -> None:
    found = of(backends.grow, "amd")
    assert dict(found.outcomes) == {(0, 0, "0x5000000", "0x6000000"): 2, (0, -12, "0x5000000", "nothing"): 1}
    steps = lesson.astray(found)
    assert steps.outcome == "(0, -12, '0x5000000', 'nothing')"
    repaired = explore(partial(backends.grow, partial(amd, seqcount=True)))
    assert (list(repaired.outcomes), repaired.complete) == ([(0, 0, "0x5000000", "0x6000000")], True)
    with pytest.raises(LookupError, match="no execution"):
        lesson.astray(repaired)


# -- exercises ----------------------------------------------------------------


def test_how_much_goes_is_what_goes() -> None:
    for seed in range(30):
        asked = lesson.mapped(seed)
        assert lesson.gone(*asked) == lesson.gone_by_doing_it(*asked) > 4096
        exercise = lesson.HOW_MUCH.seeded(seed)
        assert exercise.check(lesson.gone(*asked))
        assert not exercise.check(4096)
    assert "Arm's table" in lesson.HOW_MUCH.seeded(0).check(0x1000).text
    assert "multiple of their size" in lesson.HOW_MUCH.seeded(0).check(0x40000).text


async def everything(self, gather, table, index, level, below, iova):
    await table.store(index, 0)
    await self.walker.invalidate(0, (1 << 64) - 1)
    if below is not None:
        await self.machine.free_page(below)


async def swapped(self, gather, table, index, level, below, iova):
    await table.xchg(index, 0)
    if not below:
        return await self.tlb_add_page(gather, iova, {2: 1 << 21, 3: 1 << 12}[level])
    await self.walker.invalidate(iova & ~0x1FFFFF, iova | 0x1FFFFF, leaf=False)
    return await self.machine.free_page(below)


def otherwise(*steps):
    """An answer that is right for pages, and for tables does these steps."""

    async def clear_entry(self, gather, table, index, level, below, iova):
        if below is None:
            await table.store(index, 0)
            await self.tlb_add_page(gather, iova, 0x1000 if level == 3 else 0x200000)
            return
        for step in steps:
            if step == "clear":
                await table.store(index, 0)
            elif step == "free":
                await self._arm_lpae_free_pgtable(level + 1, below)
            else:
                await self.walker.invalidate(iova, iova + step[0], leaf=step[1])

    return clear_entry


WHOLE = (0x1FFFFF, False)


def judged(*steps):
    """Whether it is right, without asking how it is written."""
    exercise = lesson.TAKE_IT_OUT.seeded(0)
    for race in exercise.races:
        ours = exercise._orders(race, lesson.clear_entry)
        theirs = exercise._orders(race, otherwise(*steps))
        if not theirs <= ours:
            return False
    return True


@pytest.mark.parametrize("function", [lesson.clear_entry, everything, swapped])
def test_take_it_out_takes_what_is_right(function: Any) -> None:
    assert lesson.TAKE_IT_OUT.seeded(0).check(function)


def test_take_it_out_refuses_every_other_order() -> None:
    assert judged("clear", WHOLE, "free")
    wrong = [
        ("clear", "free", WHOLE),
        (WHOLE, "clear", "free"),
        (WHOLE, "free", "clear"),
        ("free", "clear", WHOLE),
        ("clear", WHOLE),
        ("clear", "free"),
        (WHOLE, "free"),
        ("clear", (0xFFF, False), "free"),
        ("clear", (0x1FFFFF, True), "free"),
        ("clear", WHOLE, "free", "free"),
    ]
    assert [steps for steps in wrong if judged(*steps)] == []
