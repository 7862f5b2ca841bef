"""Lesson 05: without the lock interrupts stay on while the tables are freed; one reader is left who had
waited for it: debugfs.
"""

from __future__ import annotations

import pytest

from lessons import lesson05 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(4), driver_at(5), mainline.driver_at(4)
SCENE = scenes("05").removal_scene


@pytest.mark.parametrize("buses", [1, 64, 256])
def test_before_the_patch_interrupts_are_off_while_each_table_is_freed_and_after_it_not(buses: int) -> None:
    old, new, merged = (SCENE(driver, buses) for driver in (OLD, NEW, MERGED))
    assert old.start == new.start == merged.start
    assert old.held(lesson.LOCK, "remove") == (buses + 1) * lesson.FREE
    assert new.taken(lesson.LOCK, "remove") == merged.taken(lesson.LOCK, "remove") == 0
    assert old.took("remove") - new.took("remove") == 15
    for run in (old, new, merged):
        assert run.waited("attach") == 0
        assert run.results["attach"] == 0


def test_only_the_interrupts_of_that_cpu_wait() -> None:
    late = {run.title: run.results["timer"] - lesson.TIMER for run in map(SCENE, (OLD, NEW))}
    assert list(late.values()) == [4_995, 250]


def test_units_have_nothing_in_common() -> None:
    for driver in (OLD, NEW, MERGED):
        trial = tried(lesson.APART, driver)
        assert (trial.complete, trial.executions, trial.findings) == (True, 1, ())


def test_a_reader_meets_no_root_table_before_the_patch_and_freed_memory_after_it() -> None:
    old = tried(lesson.READ, OLD)
    assert (old.complete, old.executions, old.findings) == (
        True,
        2,
        (("BUG: NULL pointer dereference", "root table", 1),),
    )
    for driver in (NEW, MERGED):
        trial = tried(lesson.READ, driver)
        assert (trial.complete, trial.executions, trial.bad) == (True, 4, 4)
        assert [count for kind, _, count in trial.findings if "use-after-free" in kind] == [1, 1]
    assert tried(lesson.ASKS, OLD).findings == ()


def test_the_order_that_is_stepped_through_reads_a_freed_context_table() -> None:
    steps = lesson.freed_under_the_reader(NEW)
    assert steps.findings[0].title == "BUG: KASAN: use-after-free: dmar1 context table 0x0"
    assert steps.inevitable == 8
    with pytest.raises(LookupError, match="in no order"):
        lesson.freed_under_the_reader(OLD)


@pytest.mark.parametrize("seed", range(8))
def test_how_long_off(seed: int) -> None:
    exercise = lesson.HOW_LONG_OFF.seeded(seed)
    scalable, buses, both = lesson.unit_of(seed)
    tables = buses * (2 if scalable and both else 1)
    assert exercise.check((tables + 1) * lesson.FREE)
    assert "root table itself" in exercise.check(tables * lesson.FREE).text
    assert not exercise.check((3 * buses - tables + 1) * lesson.FREE)


def test_take_it_away_first() -> None:
    exercise = lesson.TAKE_IT_AWAY_FIRST.seeded(0)
    assert exercise.check(lesson.free_context_table)
    assert "BUG: K" in exercise.check(NEW.free_context_table).text
    assert "frees a page while it holds &iommu->lock" in exercise.check(OLD.free_context_table).text

    async def forgets_the_tables(self, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            iommu.root_entry = None

    async def lets_go_too_early(self, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            root = iommu.root_entry
        await self.free_tables_of(iommu)
        del root

    async def unwritten(self: object, iommu: object) -> None:
        raise NotImplementedError

    assert "not given back" in exercise.check(forgets_the_tables).text
    assert "BUG: K" in exercise.check(lets_go_too_early).text
    assert "not written yet" in exercise.check(unwritten).text
    assert exercise.try_out(lesson.free_context_table).findings == ()
