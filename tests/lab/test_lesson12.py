"""Lesson 12: a lock for each domain lets neighbours go on; a mutex sleeps where it must not,
a plain spinlock deadlocks.
"""

from __future__ import annotations

import pytest

from lessons import lesson12 as lesson
from tests.notebooks.cells import scenes
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, RC1, RC5 = driver_at(11), driver_at(12), mainline.RC1, mainline.RC5
SCENES = scenes("12")


def test_domains_behind_units_of_their_own_no_longer_wait_for_each_other() -> None:
    old, new, merged = (SCENES.neighbours(driver) for driver in (OLD, NEW, RC5))
    assert old.start == new.start == merged.start
    assert old.waited("unmap 0") > 0 < old.waited("unmap 1")
    assert new.spans("spinning") == merged.spans("spinning") == []
    assert new.length == 11_020 < old.length


def test_behind_one_unit_there_is_less_to_gain_and_in_one_domain_nothing() -> None:
    one_unit = [SCENES.neighbours(driver, domains=2, units=1).length for driver in (OLD, NEW, RC5)]
    one_domain = [SCENES.neighbours(driver, domains=1, units=1).length for driver in (OLD, NEW, RC5)]
    assert one_unit[1] == one_unit[2] > 0.9 * one_unit[0]
    assert len(set(one_domain)) == 1


def test_interrupts_stay_off_while_the_hardware_is_asked_whatever_lock_is_held() -> None:
    assert SCENES.neighbours(OLD).irqs_off() > SCENES.neighbours(NEW).irqs_off() > 1_300


@pytest.mark.parametrize("operation", lesson.OPERATIONS)
def test_only_the_mutex_sleeps_where_it_must_not(operation: str) -> None:
    in_interrupts = ("ATS device, in an interrupt", "for an ATS device")
    forbidden = operation.startswith(("attach", "detach")) or operation.endswith(in_interrupts)
    assert bool(lesson.complaints(NEW, operation)) == forbidden
    for driver in (OLD, RC1, RC5):
        assert lesson.complaints(driver, operation) == ()


@pytest.mark.parametrize(("scenario", "more"), [*zip(lesson.INTERRUPTS, (1, 0), strict=True)])
@pytest.mark.parametrize(("driver", "stuck", "of"), [(OLD, 0, 4), (NEW, 3, 7), (RC1, 3, 7), (RC5, 0, 4)])
def test_an_interrupt_deadlocks_with_the_thread_under_it_unless_it_is_kept_out(
    driver: type, stuck: int, of: int, scenario: str, more: int
) -> None:
    trial = lesson.stuck(driver, scenario)
    assert trial.complete
    assert trial.short == f"in {stuck} of {of + more}"


def test_the_schedule_shown_ends_in_the_deadlock_and_lockdep_needs_none() -> None:
    steps = lesson.self_deadlock(RC1)
    assert steps.outcome.startswith("deadlock: unmap waits for its CPU, which nvme_irq has")
    assert steps.inevitable is not None
    assert lesson.lockdep_report(RC1).where == "&domain->lock"


@pytest.mark.parametrize("seed", range(4))
def test_where_it_sleeps(seed: int) -> None:
    exercise = lesson.WHERE_IT_SLEEPS.seeded(seed)
    right = exercise.answer(seed)
    assert exercise.check(right)
    assert not exercise.check(right ^ {next(name for name in lesson.OPERATIONS if name.startswith("map"))})
    assert (
        "no list of devices"
        in exercise.check(right | {"the flush queue's timer, for a device without ATS"}).text
    )


def test_how_to_take_it() -> None:
    exercise = lesson.HOW_TO_TAKE.seeded(0)
    assert exercise.check(lesson.iommu_flush_dev_iotlb)
    assert exercise.check(RC5.iommu_flush_dev_iotlb)
    assert "interrupts on" in exercise.check(RC1.iommu_flush_dev_iotlb).text

    async def irq(self, domain, addr, mask):  # type: ignore[no-untyped-def]
        if domain.has_iotlb_device:
            async with domain.lock.irq():
                for info in domain.devices.entries():
                    await self._iommu_flush_dev_iotlb(info, addr, mask)

    assert not exercise.check(irq)
    assert "iommu_flush_dev_iotlb" in exercise.check(3).text
