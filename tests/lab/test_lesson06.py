"""Lesson 06: the patch moves a lock and changes no figure; what an id is for, and what a helper that
locks for itself costs.
"""

from __future__ import annotations

import pytest

from lessons import lesson06 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.locktable import lock_table
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(5), driver_at(6), mainline.driver_at(6)
SCENE = scenes("06").attach_scene


def test_the_scene_is_the_same_to_the_nanosecond() -> None:
    old, new = SCENE(OLD), SCENE(NEW)
    assert (old.start, old.length, old.irqs_off()) == (new.start, new.length, new.irqs_off())
    assert old.locks == new.locks
    assert old.taken(lesson.LOCK) == 10
    assert not any(old.waited(thread, lesson.LOCK) for thread in ("first", "second", "unmap"))


def test_every_operation_costs_the_same() -> None:
    names = [
        "attach, first on the unit",
        "attach, second device",
        "attach, first, scalable",
        "detach, last, scalable",
    ]
    costs = lock_table((5, 6), names)
    for name in names:
        old, new = costs.at(5, name), costs.at(6, name)
        assert (old.device_lock, old.iommu_lock, old.irqs_off) == (
            new.device_lock,
            new.iommu_lock,
            new.irqs_off,
        )


@pytest.mark.parametrize(
    ("number", "places"),
    [
        (
            5,
            [
                "domain_attach_iommu",
                "domain_attach_iommu",
                "domain_update_device_node",
                "domain_update_iotlb",
            ],
        ),
        (6, ["domain_update_device_node", "domain_update_iotlb"]),
        (10, ["domain_update_device_node", "domain_update_iotlb"]),
        (11, []),
    ],
)
def test_the_helper_alone_still_needs_the_device_lock_until_patch_11(number: int, places: list[str]) -> None:
    found = lesson.alone(driver_at(number))
    assert [each.functions[0] for each in found] == places
    assert all("assert_spin_locked" in each.kind for each in found)


@pytest.mark.parametrize("driver", [NEW, MERGED])
def test_a_caller_with_the_lock_waits_for_itself(driver: type) -> None:
    assert lesson.twice(OLD) == []
    kinds = [each.kind for each in lesson.twice(driver)]
    hard_lockup = "NMI watchdog: Watchdog detected hard LOCKUP"
    assert kinds == ["WARNING: possible recursive locking detected", hard_lockup]


def test_two_domains_with_one_id_are_not_kept_apart() -> None:
    for driver in (OLD, NEW, MERGED):
        assert [row[1:] for row in lesson.isolation(driver).rows] == [
            (4, "0x7000000", "0x7000000"),
            (5, "0x8000000", "0x8000000"),
        ]
    assert [row[1:] for row in lesson.isolation(lesson.Careless).rows] == [
        (4, "0x7000000", "0x7000000"),
        (4, "0x8000000", "0x7000000"),
    ]


def test_ids_are_handed_out_twice_only_without_a_lock() -> None:
    for driver in (OLD, NEW, MERGED, driver_at(11)):
        found = lesson.outcomes(lesson.TWO_IDS, driver)
        assert found.complete
        assert set(found.outcomes) == {"two ids"}
        assert found.findings == ()
    careless = lesson.outcomes(lesson.TWO_IDS, lesson.Careless)
    assert careless.outcomes == {"the same id": 2, "two ids": 2}
    assert careless.of("domain_ids")


@pytest.mark.parametrize("driver", [OLD, NEW])
def test_fifteen_domains_then_no_space_and_a_list_that_is_not_in_order(driver: type) -> None:
    count, error, found = lesson.filled(driver)
    assert (count, error) == (15, -28)
    assert [(each.kind, each.where) for each in found] == [("list_del corruption", "domain->devices")]


def test_two_calls_of_helpers_that_lock_for_themselves_are_not_one_step() -> None:
    found = lesson.outcomes(lesson.SWITCH, driver_at(11))
    assert found.complete
    assert found.outcomes == {"switch works": 2, "switch fails: -28": 1}


@pytest.mark.parametrize("seed", range(8))
def test_which_id(seed: int) -> None:
    exercise = lesson.WHICH_ID.seeded(seed)
    right = exercise.answer(seed)
    assert exercise.check(right)
    assert not exercise.check(right + 1)
    assert 1 <= right <= 9


def test_the_first_story_ends_with_id_six() -> None:
    assert lesson.WHICH_ID.seeded(0).answer(0) == 6
    assert "handed out again" in lesson.WHICH_ID.seeded(0).check(7).text
    assert "reserved" in lesson.WHICH_ID.seeded(0).check(5).text


def test_switch_ids_wants_one_hold_and_not_two() -> None:
    exercise = lesson.SWITCH_IDS.seeded(0)
    assert exercise.check(lesson.switch_domain_id)

    async def two_calls(self, old, new, iommu):  # type: ignore[no-untyped-def]
        await self.domain_detach_iommu(old, iommu)
        return await self.domain_attach_iommu(new, iommu)

    async def a_lock_too_many(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            return await two_calls(self, old, new, iommu)

    async def no_lock(self, old, new, iommu):  # type: ignore[no-untyped-def]
        await self.drop_domain_id(old, iommu)
        return await self.take_domain_id(new, iommu)

    async def forgets_to_take(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            await self.drop_domain_id(old, iommu)
        return 0

    assert "switch fails: -28" in exercise.check(two_calls).text
    assert "waits for &iommu->lock" in exercise.check(a_lock_too_many).text
    assert "data-race" in exercise.check(no_lock).text
    assert "is right" in exercise.check(forgets_to_take).text
