"""Lesson 07: the waits leave the lock where PASID entries are set up, and nowhere else; no torn
entry; another error code.
"""

from __future__ import annotations

import pytest

from lessons import lesson07 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(6), driver_at(7), mainline.driver_at(7)
SCENE = scenes("07").attach_scene


def longest(driver: type, function: str) -> int:
    return max(lesson.held(SCENE(driver))[function])


def test_two_attaches_wait_for_the_unit_eight_times_in_caching_mode_and_never_without_it() -> None:
    for driver in (OLD, NEW, MERGED):
        assert lesson.commands(SCENE(driver, lesson.SCALABLE)) == 0
        assert lesson.commands(SCENE(driver)) == 8


def test_the_set_up_no_longer_waits_under_the_lock() -> None:
    assert longest(OLD, "domain_add_dev_info") == 2_215
    assert (
        longest(NEW, "intel_pasid_setup_second_level")
        == longest(MERGED, "intel_pasid_setup_second_level")
        == 255
    )


def test_the_longest_hold_of_all_stays_what_it_was() -> None:
    old, new = SCENE(OLD), SCENE(NEW)
    assert old.start == new.start
    assert longest(OLD, "domain_context_mapping_one") == old.held(lesson.LOCK) == 2_260
    assert longest(NEW, "domain_context_mapping_one") == new.held(lesson.LOCK) == 2_310
    assert (old.length, new.length) == (9_300, 7_935)
    assert new.taken(lesson.LOCK) == old.taken(lesson.LOCK) == 8


def test_without_caching_mode_nothing_is_won() -> None:
    assert SCENE(OLD, lesson.SCALABLE).length == SCENE(NEW, lesson.SCALABLE).length


def test_an_entry_can_be_torn_before_the_patch_only() -> None:
    found = lesson.outcomes(lesson.BIND_UNBIND, OLD)
    assert found.complete
    assert found.outcomes[lesson.torn(found)] == 6
    assert found.executions == 13
    for driver, code in ((NEW, lesson.NO_DEVICE), (MERGED, lesson.BUSY)):
        found = lesson.outcomes(lesson.BIND_UNBIND, driver)
        assert found.complete
        assert found.outcomes == {"whole; set-up returns 0": 6, f"absent; set-up returns {code}": 1}


def test_what_is_remembered_under_the_wrong_id_survives_the_unmap() -> None:
    assert [row[1:] for row in lesson.through_torn().rows] == [
        (3, "0x6000000"),
        (3, "a fault: second-stage entry not present"),
    ]
    assert [row[1:] for row in lesson.through_torn(0).rows] == [(0, "0x6000000"), (0, "0x6000000")]


def test_codes_of_a_set_up_that_fails() -> None:
    assert list(lesson.codes(OLD).values()) == [-16, -22, -16, -19]
    assert list(lesson.codes(NEW).values()) == [-19, -19, -19, -19]
    assert list(lesson.codes(MERGED).values()) == [-16, -19, -16, -19]


def test_a_refused_set_up_leaves_a_pointer_behind_before_the_patch() -> None:
    assert [word != 0 for word in lesson.leftovers(OLD)[1]] == [
        False,
        False,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    for driver in (NEW, MERGED):
        assert lesson.leftovers(driver) == (-22, [0] * 8)


def test_the_plain_lock_can_be_inverted_from_this_patch_on() -> None:
    assert tried(lesson.UNMAP_IRQ, OLD, wanted="inversion").findings == ()
    found = tried(lesson.UNMAP_IRQ, NEW, wanted="inversion")
    assert found.complete
    assert [(where, times) for _, where, times in found.findings] == [
        ("device_domain_lock -> &iommu->lock", 5)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_the_entry_says(seed: int) -> None:
    exercise = lesson.WHAT_IT_SAYS.seeded(seed)
    kind, number = exercise.answer(seed)
    assert exercise.check((kind, number))
    assert "bit 23" in exercise.check((kind, number | 1 << 23)).text
    assert "bits 6 to 8" in exercise.check(("nested", number)).text
    assert "a pair" in exercise.check(number).text


def test_busy_again_wants_the_code_the_short_hold_the_flush_and_the_lock() -> None:
    exercise = lesson.BUSY_AGAIN.seeded(0)
    ours = lesson.intel_pasid_setup_second_level
    assert exercise.check(ours)
    assert "in use: it returns -19" in exercise.check(NEW.intel_pasid_setup_second_level).text
    assert "torn" in exercise.check(OLD.intel_pasid_setup_second_level).text

    async def waits_under_it(self, iommu, domain, dev, pasid):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            return await OLD.intel_pasid_setup_second_level(self, iommu, domain, dev, pasid)

    async def does_not_flush(self, iommu, domain, dev, pasid):  # type: ignore[no-untyped-def]
        did = domain.iommu_did[iommu.seq_id]
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
            if pte is None:
                return lesson.NO_DEVICE
            if await pte.present():
                return lesson.BUSY
            await pte.fill(self.second_level_words(iommu, domain, domain.pgd, domain.agaw, did))
        return 0

    assert "it waits for the hardware while it holds &iommu->lock" in exercise.check(waits_under_it).text
    assert "0 commands to the unit; 2 is right" in exercise.check(does_not_flush).text
