"""Lesson 08: interrupts are served during a dump; what lockdep has seen; where two locks and an interrupt
wait for each other.
"""

from __future__ import annotations

import pytest

from lessons import lesson08 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW = driver_at(7), driver_at(8)
WIDER, RC1, FIXED = mainline.driver_at(5), mainline.driver_at(11), mainline.driver_at(12)
INVERTED = "device_domain_lock -> &iommu->lock"
SCENES = scenes("08")
IRQ_INVERSION = "possible irq lock inversion dependency detected: "


def test_the_disk_waits_for_the_dump_before_the_patch_only() -> None:
    old, new = SCENES.dump_scene(OLD), SCENES.dump_scene(NEW)
    assert old.start == new.start
    assert (old.results["disk"], new.results["disk"]) == (7_815, 250)
    assert lesson.how_long(old) == "until the file is printed"
    assert lesson.how_long(new) == "no longer than any interrupt"
    assert old.irqs_off("cat") > 10_000 > new.irqs_off("cat") == 0


def test_the_lock_is_held_as_long_as_before_and_the_handler_on_top() -> None:
    old, new = SCENES.dump_scene(OLD), SCENES.dump_scene(NEW)
    assert new.held(lesson.LOCK) == old.held(lesson.LOCK) + 250
    assert new.waited("attach", lesson.LOCK) == old.waited("attach", lesson.LOCK) + 250


def test_interrupts_stay_off_where_the_hardware_is_waited_for() -> None:
    for driver in (OLD, NEW, WIDER, FIXED):
        assert SCENES.dump_scene(driver).irqs_off("attach") >= 1_000


def test_a_lock_of_an_interrupt_needs_irqsave() -> None:
    assert SCENES.one_lock(False) == [
        "WARNING: inconsistent lock state",
        "NMI watchdog: Watchdog detected hard LOCKUP",
    ]
    assert SCENES.one_lock(True) == []


def test_what_lockdep_has_seen() -> None:
    assert lesson.usage(OLD).rows == (
        ("device_domain_lock", "iommu_flush_dev_iotlb", "-", "-"),
        ("&iommu->lock", "-", "-", "device_domain_lock"),
    )
    assert lesson.usage(NEW).rows[1] == ("&iommu->lock", "-", "device_context_mapped", "device_domain_lock")
    assert lesson.usage(WIDER).rows[0] == (
        "device_domain_lock",
        "iommu_flush_dev_iotlb",
        "domain_add_dev_info",
        "-",
    )
    assert lesson.usage(FIXED).rows[0] == ("&domain->lock", "iommu_flush_dev_iotlb", "-", "&iommu->lock")


@pytest.mark.parametrize(
    ("number", "legacy", "both", "first_only"),
    [
        (6, "-", "-", "-"),
        (7, "-", INVERTED, INVERTED),
        (8, INVERTED, INVERTED, INVERTED),
        (9, INVERTED, INVERTED, INVERTED),
        (11, "-", "-", INVERTED),
    ],
)
def test_the_inversion_stays_only_where_a_unit_has_first_level_tables_and_no_others(
    number: int, legacy: str, both: str, first_only: str
) -> None:
    """§1.3."""
    found = [lesson.inverted(driver_at(number), mode) for mode in lesson.MODES]
    assert found == [legacy, both, first_only]


def test_what_was_merged_breaks_both_rules_and_the_fix_leaves_one_path() -> None:
    assert lesson.reports(WIDER) == ("inconsistent lock state: device_domain_lock", IRQ_INVERSION + INVERTED)
    assert lesson.reports(RC1) == ("inconsistent lock state: &domain->lock",)
    assert lesson.reports(FIXED) == ()
    assert lesson.reports(FIXED, "scalable mode, both levels") == ()
    assert lesson.inverted(FIXED, lesson.FIRST_ONLY) == "&domain->lock -> &iommu->lock"


def test_the_picture_shows_the_interrupt_between() -> None:
    lines = [line.strip() for line in lesson.picture(NEW).splitlines()]
    assert lines[1:] == [
        "takes &iommu->lock",
        "takes device_domain_lock",
        "waits for &iommu->lock",
        "<hard interrupt>",
        "waits for device_domain_lock",
    ]


@pytest.mark.parametrize(
    ("driver", "hangs"),
    [
        (OLD, "in 0 of 12"),
        (NEW, "in 2 of 16"),
        (WIDER, "in 2 of 16"),
        (FIXED, "in 0 of 26"),
    ],
)
def test_two_locks_and_an_interrupt(driver: type, hangs: str) -> None:
    found = lesson.outcomes(lesson.INVERSION, driver)
    assert found.complete
    assert lesson.hangs(found) == hangs


@pytest.mark.parametrize(("name", "free", "all_"), [("unmap-irq", 5, 8), ("unmap-timer", 4, 7)])
def test_unmapping_in_an_interrupt_hangs_where_the_device_lock_is_plain(
    name: str, free: int, all_: int
) -> None:
    hangs = [lesson.hangs(lesson.outcomes(SCENARIOS[name], driver)) for driver in (NEW, WIDER, RC1, FIXED)]
    assert hangs == [f"in 0 of {free}", *[f"in 3 of {all_}"] * 2, f"in 0 of {free}"]


def test_two_cpus_and_an_interrupt_meet_in_virtual_time() -> None:
    assert SCENES.meeting(OLD)[1] == SCENES.meeting(FIXED)[1] == []
    run, found = SCENES.meeting(NEW)
    assert [each.where for each in found if "hard LOCKUP" in each.kind] == [
        "&iommu->lock",
        "device_domain_lock",
    ]
    assert run.results["attach"] is None


def test_a_deadlock_has_an_order_that_leads_to_it() -> None:
    found = lesson.outcomes(lesson.INVERSION, NEW)
    assert lesson.deadlock(found).steps
    with pytest.raises(StopIteration):
        lesson.deadlock(lesson.outcomes(lesson.INVERSION, OLD))


@pytest.mark.parametrize("seed", range(6))
def test_which_variant(seed: int) -> None:
    exercise = lesson.WHICH_VARIANT.seeded(seed)
    right = exercise.answer(seed)
    assert exercise.check(right)
    assert set(right) <= set(lesson.VARIANTS)
    assert "list" in exercise.check("irqsave").text


def test_which_variant_follows_the_rules() -> None:
    assert [lesson._least(name) for name in lesson.STORIES] == ["plain", "bh", "irqsave", "irqsave", "bh"]
    assert "waits for this one" in lesson.WHICH_VARIANT.seeded(0).check(["plain", "bh", "irqsave"]).text


def test_no_more_hanging_wants_irqsave_and_the_right_answer() -> None:
    """§2: lock dropped before the read; present bit ignored."""
    exercise = lesson.NO_MORE_HANGING.seeded(0)
    assert exercise.check(lesson.device_context_mapped)
    assert exercise.check(OLD.device_context_mapped)
    assert "interrupts on" in exercise.check(NEW.device_context_mapped).text

    async def no_lock(self, iommu, bus, devfn):  # type: ignore[no-untyped-def]
        context = await self.iommu_context_addr(iommu, bus, devfn, False)
        return context is not None and bool(await context.lo() & 1)

    async def always(self, iommu, bus, devfn):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            return True

    async def unlocks_too_soon(self, iommu, bus, devfn):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            context = await self.iommu_context_addr(iommu, bus, devfn, False)
        return context is not None and bool(await context.lo() & 1)

    async def any_entry(self, iommu, bus, devfn):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            return await self.iommu_context_addr(iommu, bus, devfn, False) is not None

    async def by_hand(self, iommu, bus, devfn):  # type: ignore[no-untyped-def]
        way = iommu.lock.irqsave()
        await way.__aenter__()
        context = await self.iommu_context_addr(iommu, bus, devfn, False)
        low = await context.lo() if context is not None else 0
        await way.__aexit__(None, None, None)
        return low & 1 == 1

    assert "without &iommu->lock" in exercise.check(no_lock).text
    assert "returns True; False is right" in exercise.check(always).text
    assert "without &iommu->lock" in exercise.check(unlocks_too_soon).text
    assert "returns True; False is right" in exercise.check(any_entry).text
    assert exercise.check(by_hand)
