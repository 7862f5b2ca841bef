"""Lesson 10: a detach no longer holds the lock while it asks the hardware; alone, the patch trips
over its own assertions.
"""

from __future__ import annotations

import pytest

from lessons import lesson10 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, BOTH = driver_at(9), driver_at(10), driver_at(11)
SCENES = scenes("10")
LOCK = lesson.LOCK


@pytest.mark.parametrize(("scalable", "held", "waited"), [(False, 2890, 1295), (True, 7225, 5630)])
def test_before_the_patch_a_neighbour_waits_for_the_whole_detach(
    scalable: bool, held: int, waited: int
) -> None:
    run = SCENES.detach_scene(OLD, scalable)
    assert run.held(LOCK, "detach") == held
    assert run.waited("unmap") == waited
    assert run.irqs_off("detach") == run.took("detach")


@pytest.mark.parametrize("scalable", [False, True])
def test_with_both_patches_nobody_waits_for_it_but_interrupts_are_still_off_for_each_answer(
    scalable: bool,
) -> None:
    old, new = SCENES.detach_scene(OLD, scalable), SCENES.detach_scene(BOTH, scalable)
    assert old.start == new.start
    assert new.held(LOCK, "detach") == new.waited("unmap") == 0
    assert 900 < new.irqs_off("detach") < old.irqs_off("detach") / 3
    assert len(new.spans("irqs off", thread="detach")) > len(old.spans("irqs off", thread="detach")) == 1


def test_of_all_versions_only_patch_ten_alone_does_not_survive_a_detach() -> None:
    assert [number for number in lesson.NAMES if not lesson.survives(driver_at(number))] == [10]
    assert [info.commit for info in mainline.SERIES if not lesson.survives(info.driver)] == ["db75c9573b08"]
    places = [bug.functions[0] for bug in lesson.bugs(NEW)]
    assert places == ["iommu_disable_dev_iotlb", "domain_update_iotlb", "domain_update_device_node"]


def test_with_a_busy_neighbour_the_assertions_may_pass_by_luck() -> None:
    trial = tried(lesson.BESIDE, NEW, wanted="kernel BUG")
    assert (trial.complete, trial.short) == (True, "in 23 of 29")


def test_unlocked_the_detach_and_an_unmap_race_for_one_field_more() -> None:
    old, new = (tried(lesson.BESIDE, driver, wanted="data-race") for driver in (OLD, BOTH))
    assert {where for _, where, _ in new.findings} - {where for _, where, _ in old.findings} == {
        "device_domain_info.ats_enabled"
    }


def test_bisecting_finds_the_patch_unless_a_broken_version_is_in_the_way() -> None:
    for guilty in range(1, 13):
        assert lesson.bisect(lambda version, guilty=guilty: version >= guilty) == guilty  # type: ignore[misc]
        assert lesson.bisect(lambda version, guilty=guilty: version >= guilty or version == 10) == min(
            guilty, 10
        )  # type: ignore[misc]
    assert lesson.bisect(lambda version: version >= 12, skip=[10]) == 12


@pytest.mark.parametrize("seed", range(6))
def test_whom_do_you_blame(seed: int) -> None:
    exercise, guilty = lesson.WHOM_DO_YOU_BLAME.seeded(seed), lesson._guilty(seed)
    assert exercise.check(min(guilty, 10))
    if guilty > 10:
        assert "where your bug is" in exercise.check(guilty).text


def test_every_step_works_wants_no_assertion_no_long_hold_and_nothing_left_behind() -> None:
    """§2: list_del with no lock; and more than one region passes."""
    exercise = lesson.EVERY_STEP_WORKS.seeded(0)
    assert exercise.check(lesson.dmar_remove_one_dev_info)
    assert not exercise.check(NEW.dmar_remove_one_dev_info)

    async def under_the_lock(self, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        async with self.device_domain_lock.irqsave():
            await self.detach_translation(info, info.iommu)
            await info.domain.devices.del_(info)
            await self.domain_detach_iommu(info.domain, info.iommu)

    async def forgets_the_entry(self, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        async with self.device_domain_lock.irqsave():
            await self.iommu_disable_dev_iotlb(info)
            await info.domain.devices.del_(info)
            await self.domain_detach_iommu(info.domain, info.iommu)

    async def list_without_lock(self, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        domain, iommu = info.domain, info.iommu
        if self.sm_supported(iommu):
            await self.intel_pasid_tear_down_entry(iommu, dev, 0, False)
        async with self.device_domain_lock.irqsave():
            await self.iommu_disable_dev_iotlb(info)
        await self.domain_context_clear(info)
        await self.intel_pasid_free_table(dev)
        await domain.devices.del_(info)
        async with self.device_domain_lock.irqsave():
            await self.domain_detach_iommu(domain, iommu)

    async def three_regions(self, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        if self.sm_supported(info.iommu):
            await self.intel_pasid_tear_down_entry(info.iommu, dev, 0, False)
        async with self.device_domain_lock.irqsave():
            await self.iommu_disable_dev_iotlb(info)
        await self.domain_context_clear(info)
        await self.intel_pasid_free_table(dev)
        async with self.device_domain_lock.irqsave():
            await info.domain.devices.del_(info)
        async with self.device_domain_lock.irqsave():
            await self.domain_detach_iommu(info.domain, info.iommu)

    assert "waits for the hardware while it holds" in exercise.check(under_the_lock).text
    assert "commands to the unit" in exercise.check(forgets_the_entry).text
    assert "domain->devices" in exercise.check(list_without_lock).text
    assert exercise.check(three_regions)
