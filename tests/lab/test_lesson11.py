"""Lesson 11: more acquisitions, shorter ones; what came with them: a race, ATS in pass-through,
a circle of locks.
"""

from __future__ import annotations

import pytest

from lessons import lesson11 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(9), driver_at(11), mainline.driver_at(10)
SCENES = scenes("11")
LOCK = lesson.LOCK


def test_an_attach_takes_the_lock_more_often_and_holds_it_for_nothing_but_the_list() -> None:
    old, new = SCENES.attach_scene(OLD), SCENES.attach_scene(NEW)
    assert old.start == new.start
    assert (old.taken(LOCK, "attach"), new.taken(LOCK, "attach")) == (2, 5)
    assert (old.held(LOCK, "attach"), new.held(LOCK, "attach")) == (1265, 0)


def test_the_neighbour_no_longer_waits_but_the_attach_does_with_the_other_lock_in_hand() -> None:
    old, new = SCENES.attach_scene(OLD), SCENES.attach_scene(NEW)
    assert (old.waited("unmap"), old.waited("attach")) == (515, 0)
    assert (new.waited("unmap"), new.waited("attach")) == (0, 1150)
    assert new.held("&iommu->lock") > old.held("&iommu->lock") + 1000


@pytest.mark.parametrize(
    ("driver", "short"), [(OLD, "in 0 of 4"), (NEW, "in 2 of 11"), (MERGED, "in 0 of 10")]
)
def test_a_device_is_on_the_list_before_it_says_where_only_in_the_patch_as_posted(
    driver: type, short: str
) -> None:
    trial = tried("publish", driver, wanted="KCSAN")
    assert trial.complete
    assert trial.short == short


def test_ats_comes_on_in_pass_through_where_the_unit_refuses_it() -> None:
    old, new = lesson.pass_through({"old": OLD, "new": NEW}).rows
    assert old == ("old", "off", "goes through")
    assert new[1] == "on"
    assert str(new[2]).startswith("refused")


def test_the_circle_is_seen_without_two_cpus_and_the_deadlock_is_real() -> None:
    assert lesson.circle(lesson.orders(OLD)) == ""
    for driver in (NEW, MERGED, mainline.RC5):
        assert "taken the other way round before" in lesson.circle(lesson.orders(driver))
    found = tried("enforce-attach", NEW, wanted="deadlock", limit=40)
    assert lesson.deadlock(NEW, found).outcome.startswith("deadlock: attach waits for device_domain_lock")


def test_before_the_patch_no_order_deadlocks_and_with_a_lock_per_domain_one_domain_still_can() -> None:
    assert tried("enforce-attach", OLD, wanted="deadlock").short == "in 0 of 6"
    found = tried(lesson.SAME_DOMAIN, mainline.RC5, wanted="deadlock", limit=20).findings
    assert [where for _, where, _ in found] == ["&domain->lock, &iommu->lock"]


@pytest.mark.parametrize("seed", range(9))
def test_find_the_circle(seed: int) -> None:
    exercise, right = lesson.FIND_THE_CIRCLE.seeded(seed), lesson.in_a_circle(lesson.chains_of(seed))
    assert bool(right) == (seed % 3 != 2)
    assert exercise.check(right)
    assert not exercise.check(right ^ {"A"})


def test_a_circle_may_lead_over_several_threads() -> None:
    assert lesson.in_a_circle([["A", "B"], ["B", "C"], ["C", "A"], ["D", "A"]]) == {"A", "B", "C"}
    assert lesson.in_a_circle([["A", "B", "C"], ["A", "C"]]) == set()


def test_publish_wants_the_field_first_and_the_lock_for_the_list_alone() -> None:
    """§2: no set_up_translation; plain lock; on the list before it has an id."""
    exercise = lesson.PUBLISH.seeded(0)
    assert exercise.check(lesson.domain_add_dev_info)
    assert not exercise.check(NEW.domain_add_dev_info)

    async def forgets_the_list(self, domain, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        await self.domain_attach_iommu(domain, info.iommu)
        await info.write(domain=domain)
        return await self.set_up_translation(domain, dev, info.iommu)

    async def no_translation(self, domain, dev):  # type: ignore[no-untyped-def]
        info, iommu = self.dev_iommu_priv_get(dev), self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -19
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        await info.write(domain=domain)
        async with self.device_domain_lock.irqsave():
            await domain.devices.add(info)
        return 0

    async def plain_lock(self, domain, dev):  # type: ignore[no-untyped-def]
        info, iommu = self.dev_iommu_priv_get(dev), self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -19
        error = await self.domain_attach_iommu(domain, iommu)
        if error:
            return error
        await info.write(domain=domain)
        async with self.device_domain_lock:
            await domain.devices.add(info)
        return await self.set_up_translation(domain, dev, iommu)

    async def listed_without_an_id(self, domain, dev):  # type: ignore[no-untyped-def]
        info, iommu = self.dev_iommu_priv_get(dev), self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -19
        await info.write(domain=domain)
        async with self.device_domain_lock.irqsave():
            await domain.devices.add(info)
        return await self.domain_attach_iommu(domain, iommu) or await self.set_up_translation(
            domain, dev, iommu
        )

    for wrong in (forgets_the_list, no_translation, plain_lock, listed_without_an_id):
        assert not exercise.check(wrong)
    assert "with interrupts on" in exercise.check(plain_lock).text
