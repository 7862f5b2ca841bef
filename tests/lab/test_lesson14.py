"""Lesson 14: which defects came and went with mainline's commits, what 6.0 still has, where
the time goes then.
"""

from __future__ import annotations

import pytest

from lessons import lesson14 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.scaling import scaling
from vtdkit.series.mainline import versions as mainline


def test_a_short_look_shows_what_came_with_6_0_rc1_and_what_went_with_rc5() -> None:
    scenes = ("fault-bus", "fault-reference", "unmap-timer", "dump-unmap", "dump-free", "passthrough-ats")
    found = lesson.standing(("v0", "v4", "v12", "m0", "m11", "m13"), scenes)
    assert {version: found.defects(version) for version in found.versions} == {
        "v0": ("dump-unmap",),
        "v4": ("device-leak", "dump-free", "dump-unmap", "klist-irq"),
        "v12": (
            "device-leak",
            "dump-free",
            "dump-unmap",
            "klist-irq",
            "mutex-irq",
            "pass-through-ats",
            "sleep-atomic",
        ),
        "m0": ("dump-unmap",),
        "m11": ("device-leak", "domain-lock-irq", "dump-unmap", "klist-irq", "pass-through-ats"),
        "m13": ("dump-unmap", "pass-through-ats"),
    }
    assert len(found.table.rows) == len(found.all) == 8
    assert [row[0] for row in found.explained.rows] == [row[0] for row in found.table.rows]
    with pytest.raises(KeyError, match="m99"):
        lesson.standing(("m99",), scenes)


def test_what_6_0_still_has() -> None:
    """§1.1, §1.2 and §1.5."""
    rough = (
        "enforce-attach",
        "enforce-irq",
        "attach-same-domain",
        "passthrough-ats",
        "fault-unattached",
        "id-exhaustion",
    )
    assert lesson.standing(("m13",), rough, limit=8).defects("m13") == (
        "ats-unlocked",
        "dump-absent",
        "irq-inversion",
        "order-inversion",
        "pass-through-ats",
        "race-has-iotlb",
        "release-unattached",
    )


def test_a_crash_kernel_that_gives_a_device_back_dies_until_2024() -> None:
    """§1.2: 81e921fd3216; 5.19 has the defect too."""
    crash = scenes("14").crash
    for driver in (mainline.driver_at(0), mainline.RC5):
        assert crash(driver).startswith("BUG: NULL pointer dereference")
    assert crash(mainline.RELEASED) == "nothing said"


def test_in_legacy_mode_the_inversion_came_with_patch_08_and_went_with_patch_11() -> None:
    seen = {number for number in range(14) if lesson.has(number, "irq-inversion", "unmap-irq")}
    assert seen == {5, 6, 7, 8, 9}


def test_the_timer_waits_for_the_thread_it_interrupted_and_not_after_the_fix() -> None:
    scene = scenes("14").unmap_and_timer
    steps = lesson.deadlock(scene, mainline.RC1)
    assert steps.inevitable is not None
    assert steps.inevitable < len(steps)
    assert [each.title for each in steps.findings] == ["deadlock: &domain->lock"]
    assert "fq_flush_timeout waits for &domain->lock, held by unmap" in steps.outcome
    with pytest.raises(LookupError, match="no deadlock in unmap_and_timer of"):
        lesson.deadlock(scene, mainline.RC5)


def test_the_fixes_leave_nothing_in_any_order_of_the_scenes_they_are_about() -> None:
    scenes = ("unmap-timer", "unmap-irq", "flush-queue", "fault-bus", "fault-reference")
    broken, fixed = lesson.explored(mainline.RC1, *scenes), lesson.explored(mainline.RC5, *scenes)
    assert all(each.complete for each in fixed.values())
    assert lesson.problems(fixed) == {}
    assert len(lesson.problems(broken)) == 9


def test_the_bottleneck_moves_from_a_lock_to_the_units() -> None:
    curves = scaling(["v5.19", "6.0-rc5"], [16])
    old, new = lesson.limits(curves, 16).rows
    assert (old[3], new[3]) == ("device_domain_lock", "&qi->q_lock")
    assert (old[2], new[2], new[4]) == ("83%", "1%", "100%")


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_who_did_it_is_found_by_going_halfway(seed: int) -> None:
    exercise, question = lesson.WHO_DID_IT.seeded(seed), lesson.asked(seed)
    there = lesson.having(*question)
    low, high = 0, there[-1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lesson.has(middle, *question) else (middle, high)
    assert exercise.check(high)
    assert there == tuple(range(there[0], there[-1] + 1))
    if there[-1] > there[0]:
        assert "the one before" in exercise.check(there[-1]).text
    if there[-1] < 13:
        assert "it went" in exercise.check(there[-1] + 1).text


def test_never_attached_wants_both_devices_to_go() -> None:
    """§2: the record never freed."""
    exercise = lesson.NEVER_ATTACHED.seeded(0)
    assert exercise.check(lesson.intel_iommu_release_device)
    assert "does not survive" in exercise.check(mainline.RC5.intel_iommu_release_device).text

    async def never_detaches(self, dev):  # type: ignore[no-untyped-def]
        await self.machine.kfree(self.dev_iommu_priv_get(dev))
        dev.iommu_priv = None

    async def keeps_the_record(self, dev):  # type: ignore[no-untyped-def]
        info = self.dev_iommu_priv_get(dev)
        if info is not None:
            if info.domain is not None:
                await self.dmar_remove_one_dev_info(dev)
            dev.iommu_priv = None

    assert not exercise.check(never_detaches)
    assert "not given back" in exercise.check(keeps_the_record).text
    assert "no answer" in exercise.check(None).text
    assert exercise.try_out(lesson.intel_iommu_release_device).complete
