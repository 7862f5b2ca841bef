"""Lesson 01: the dump holds the global lock while it prints, patch 01 ends that, and a domain
may vanish under it.
"""

from __future__ import annotations

import pytest

from lessons import lesson01 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(0), driver_at(1), mainline.driver_at(1)
LOCK = "device_domain_lock"
SCENE = scenes("01").dump_scene


def test_before_the_patch_everybody_who_needs_a_device_list_waits_for_the_dump() -> None:
    run = SCENE(OLD)
    printing = 512 * 600
    assert run.held(LOCK, "cat") > printing
    assert run.irqs_off("cat") >= run.held(LOCK, "cat")
    assert run.waited("unmap") > printing - 20_000
    assert run.waited("attach") > printing - 40_000
    assert run.waited("map") == 0
    assert lesson.how_long(run) == "most of the dump"
    assert not run.trace.findings


@pytest.mark.parametrize("driver", [NEW, MERGED])
def test_after_it_nobody_waits_and_interrupts_stay_on(driver: type) -> None:
    run = SCENE(driver)
    assert run.held(LOCK, "cat") == 0
    assert run.irqs_off("cat") < 100
    assert run.waited("unmap") == run.waited("attach") == run.waited("map") == 0
    assert lesson.how_long(run) == "not at all"
    assert run.took("cat") > 512 * 600


def test_both_versions_begin_at_the_same_time_so_that_they_can_be_laid_side_by_side() -> None:
    assert SCENE(OLD, 16).start == SCENE(NEW, 16).start


def test_the_time_under_the_lock_grows_with_the_pages_printed() -> None:
    small, large = (SCENE(OLD, pages).held(LOCK, "cat") for pages in (64, 256))
    assert 3.4 < large / small < 4


def test_only_as_posted_a_domain_can_be_freed_under_the_reader() -> None:
    trials = [tried("dump-free", driver, wanted="KASAN") for driver in (OLD, NEW, MERGED)]
    assert [trial.complete for trial in trials] == [True, True, True]
    assert [trial.bad > 0 for trial in trials] == [False, True, False]
    assert trials[1].schedule


def test_a_table_can_be_freed_under_the_reader_in_every_version() -> None:
    for driver in (OLD, NEW, MERGED):
        trial = tried("dump-unmap", driver, wanted="use-after-free")
        assert trial.complete
        assert 0 < trial.bad < trial.executions


def test_the_order_stepped_through_ends_in_a_use_after_free_unavoidable_from_step_two_on() -> None:
    steps = lesson.freed_domain(NEW)
    assert steps.findings[0].title == "BUG: KCSAN: data-race: dmar_domain.pgd"
    assert steps.findings[-1].title == "BUG: KASAN: use-after-free: domain 3 page directory"
    assert steps.inevitable == 2


def test_who_waits_are_those_who_need_a_device_list() -> None:
    waiting = {name for name in lesson.OPERATIONS if lesson.waits_for_the_dump(name)}
    assert waiting == {
        "unmap a page of the ATS device",
        "attach a device",
        "probe a device that was plugged in",
    }
    assert not any(lesson.waits_for_the_dump(name, NEW) for name in waiting)


@pytest.mark.parametrize("seed", range(6))
def test_the_first_exercise_has_an_answer_for_every_seed_and_names_the_misconception(seed: int) -> None:
    exercise = lesson.WHO_WAITS.seeded(seed)
    right = exercise.answer(seed)
    assert right
    assert exercise.check(right)
    asked = [line.removeprefix("- ").strip("'") for line in exercise.show().text.splitlines()[1:]]
    assert right < set(asked) <= set(lesson.OPERATIONS)
    for name in asked:
        if name.startswith("map"):
            assert "no lock at all" in exercise.check(right | {name}).text


def test_the_second_exercise_takes_the_group_mutex_and_nothing_less() -> None:
    exercise = lesson.KEEP_IT_ALIVE.seeded(0)
    assert exercise.check(lesson.show_device_domain_translation)
    assert "still waits" not in exercise.check(NEW.show_device_domain_translation).text
    assert "BUG: K" in exercise.check(NEW.show_device_domain_translation).text

    async def nothing(self: object, m: object, dev: object) -> int:
        return 0

    async def looks_too_early(self, m, dev):  # type: ignore[no-untyped-def]
        domain = await self.core.iommu_get_domain_for_dev(dev)
        async with dev.group.mutex:
            if domain is not None:
                await self.dump_domain(m, dev, domain.driver)
        return 0

    async def under_the_old_lock(self, m, dev):  # type: ignore[no-untyped-def]
        async with self.device_domain_lock.irqsave():
            return await NEW.show_device_domain_translation(self, m, dev)

    async def unwritten(self: object, m: object, dev: object) -> int:
        raise NotImplementedError

    assert "it returns (0, ())" in exercise.check(nothing).text
    assert "BUG: K" in exercise.check(looks_too_early).text
    assert "takes device_domain_lock" in exercise.check(under_the_old_lock).text
    assert "not written yet" in exercise.check(unwritten).text
    assert exercise.try_out(lesson.show_device_domain_translation).lines[0].startswith("Device 0000:00:03.0")
