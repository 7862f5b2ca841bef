"""Lesson 03: taken out in order, a unit has no devices left to detach; taken out before them, no
version makes it work.
"""

from __future__ import annotations

import pytest

from lessons import lesson03 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(2), driver_at(3), mainline.driver_at(2)
LOCK = "device_domain_lock"
SCENE = scenes("03").removal_scene


def test_taken_out_in_order_the_lock_is_taken_once_less_and_nobody_waits_less() -> None:
    old, new, merged = (SCENE(driver) for driver in (OLD, NEW, MERGED))
    assert old.start == new.start == merged.start
    assert [run.taken(LOCK, "remove") for run in (old, new, merged)] == [13, 12, 12]
    assert old.waited("unmap") == new.waited("unmap") == merged.waited("unmap") > 0
    assert old.trace.findings == new.trace.findings == merged.trace.findings == ()


def test_out_of_order_the_old_code_detaches_every_device_under_the_lock_and_the_new_code_none() -> None:
    for devices in (1, 2, 4):
        old, new = lesson.left_behind(OLD, devices), lesson.left_behind(NEW, devices)
        assert (old.detached, old.held) == (devices, devices * 1890)
        assert (new.detached, new.held) == (0, 0)
        assert old.answer == new.answer == "untranslated"
        assert not old.warnings
        assert not new.warnings


@pytest.mark.parametrize(
    ("scalable", "devices", "warns"),
    [
        (False, 0, False),
        (False, 1, False),
        (False, 2, True),
        (True, 0, False),
        (True, 1, True),
        (True, 2, True),
    ],
)
def test_as_merged_it_warns_above_two_ids_and_then_leaves_the_unit_on_with_its_root_table_freed(
    scalable: bool, devices: int, warns: bool
) -> None:
    end = lesson.left_behind(MERGED, devices, scalable=scalable)
    assert bool(end.warnings) == end.translating == end.reads_freed == warns
    assert end.detached == 0


def test_a_device_that_lost_its_unit_cannot_be_pulled_out_in_any_version() -> None:
    assert {lesson.pulled_out_afterwards(driver) for driver in (OLD, NEW, MERGED)} == {
        "follows a NULL pointer (root table)"
    }


def test_in_order_nothing_is_found_in_any_order() -> None:
    for driver in (OLD, NEW, MERGED):
        trial = tried(lesson.IN_ORDER, driver)
        assert (trial.complete, trial.executions, trial.findings) == (True, 2, ())


@pytest.mark.parametrize("seed", range(6))
def test_the_first_exercise_counts_domains_and_reserved_ids(seed: int) -> None:
    exercise = lesson.DOES_IT_WARN.seeded(seed)
    scalable, devices, domains = lesson.plan(seed)
    bits = domains + (2 if scalable else 1)
    assert exercise.answer(seed) == (bits, bits > 2)
    assert exercise.check((bits, bits > 2))
    assert "reserved" in exercise.check((domains, True)).text
    if devices != domains:
        assert not exercise.check((bits - domains + devices, True))


def test_the_second_exercise_wants_a_warning_and_the_unit_off() -> None:
    exercise = lesson.WARN_AND_STOP.seeded(0)
    assert exercise.check(lesson.disable_dmar_iommu)
    assert "it does not warn" in exercise.check(NEW.disable_dmar_iommu).text
    assert "legacy mode, one device left: it does not warn" in exercise.check(MERGED.disable_dmar_iommu).text
    assert "takes device_domain_lock" in exercise.check(OLD.disable_dmar_iommu).text

    async def leaves_it_on(self, iommu):  # type: ignore[no-untyped-def]
        reserved = 2 if self.sm_supported(iommu) else 1
        if self.machine.warn_on(iommu.domain_ids.bit_count() > reserved, "left"):
            return
        await self.iommu_disable_translation(iommu)

    async def always_warns(self, iommu):  # type: ignore[no-untyped-def]
        self.machine.warn_on(True, "left")
        await self.iommu_disable_translation(iommu)

    async def unwritten(self: object, iommu: object) -> None:
        raise NotImplementedError

    assert "what is switched on" in exercise.check(leaves_it_on).text
    assert "no device left: WARNING: left" in exercise.check(always_warns).text
    assert "not written yet" in exercise.check(unwritten).text
    assert exercise.try_out(lesson.disable_dmar_iommu).warnings
