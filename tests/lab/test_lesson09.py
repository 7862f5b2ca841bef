"""Lesson 09: a domain is freed with devices in it: detach, warn, or unmap first; none is safe."""

from __future__ import annotations

import pytest

from lessons import lesson09 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED = driver_at(8), driver_at(9), mainline.driver_at(8)
SCENES = scenes("09")
LOCK = "device_domain_lock"
WARNED = "WARNING: domain_exit: devices are still attached"


@pytest.mark.parametrize("driver", [OLD, NEW, MERGED, mainline.RC5])
def test_without_a_mistake_everything_is_given_back_and_nothing_said(driver: type) -> None:
    assert lesson.freed(driver, detached=True) == lesson.Freed(0, 0, "refused", "refused", (), "not asked")


def test_before_the_patch_devices_are_detached_in_silence_and_their_records_dangle() -> None:
    assert lesson.freed(OLD) == lesson.Freed(0, 0, "refused", "refused", (), "domain 2 (freed)")
    assert lesson.pulled_out(OLD).startswith(
        "list_del corruption: domain->devices; BUG: KASAN: slab-use-after-free"
    )


def test_as_posted_everything_is_leaked_and_dma_goes_on() -> None:
    assert lesson.freed(NEW) == lesson.Freed(4, 1, "goes through", "goes through", (WARNED,), "domain 2")
    assert lesson.pulled_out(NEW) == "nothing"


def test_as_merged_the_unit_reads_freed_tables_and_what_is_cached_goes_on() -> None:
    found = lesson.freed(MERGED)
    assert (found.pages, found.objects, found.cached, found.fresh) == (0, 1, "goes through", "refused")
    assert found.said == (WARNED, "IOMMU: use-after-free: domain 2 level 1 table")


def test_only_before_the_patch_does_a_neighbour_wait_and_an_empty_list_cost_a_lock() -> None:
    old, new = SCENES.free_scene(OLD), SCENES.free_scene(NEW)
    assert old.start == new.start
    assert (old.held(LOCK, "free"), old.waited("unmap")) == (5780, 4185)
    assert (new.taken(LOCK, "free"), new.waited("unmap")) == (0, 0)
    assert [SCENES.free_scene(driver, devices=0).taken(LOCK, "free") for driver in (OLD, NEW, MERGED)] == [
        1,
        0,
        0,
    ]


def test_with_dma_meanwhile_each_version_shows_what_it_leaves_behind() -> None:
    old, new, merged = (
        tried(lesson.FREE_DMA, driver, wanted="use-after-free", limit=40) for driver in (OLD, NEW, MERGED)
    )
    assert {kind for kind, _, _ in old.findings} == {"BUG: KASAN: slab-use-after-free"}
    assert (new.complete, new.findings) == (True, ())
    assert (merged.complete, merged.short) == (True, "in 10 of 17")
    assert {kind for kind, _, _ in merged.findings} == {"IOMMU: use-after-free"}


def test_the_schedule_shown_reads_a_freed_table() -> None:
    steps = lesson.read_after_free(MERGED)
    assert "read a word of" in steps.steps[lesson.first_read(steps)].did


@pytest.mark.parametrize("seed", range(6))
def test_what_gets_through(seed: int) -> None:
    exercise, right = lesson.WHAT_GETS_THROUGH.seeded(seed), lesson._fates(seed)
    assert exercise.check(right)
    assert not exercise.check(("refused", "goes through"))
    if right[0] == "goes through":
        assert "needs no tables" in exercise.check(("refused", "refused")).text


def test_all_three_fates_are_asked_about() -> None:
    assert {lesson._fates(seed) for seed in range(20)} == {
        ("refused", "refused"),
        ("goes through", "goes through"),
        ("goes through", "refused"),
    }


def test_warn_and_be_safe_wants_both() -> None:
    exercise = lesson.WARN_AND_BE_SAFE.seeded(0)
    assert exercise.check(lesson.domain_exit)
    for refused in (NEW, MERGED):
        assert not exercise.check(refused.domain_exit)

    async def in_silence(self, domain):  # type: ignore[no-untyped-def]
        for info in list(domain.devices.entries()):
            await self.dmar_remove_one_dev_info(info.dev)
        await self.free_domain_table(domain)
        await self.machine.kfree(domain)

    async def leaks(self, domain):  # type: ignore[no-untyped-def]
        self.machine.warn_on(not domain.devices.empty(), "devices are still attached")

    async def dangles(self, domain):  # type: ignore[no-untyped-def]
        self.machine.warn_on(not domain.devices.empty(), "domain_exit: devices are still attached")
        for info in list(domain.devices.entries()):
            await self.dmar_remove_one_dev_info(info.dev)
        await self.free_domain_table(domain)
        await self.machine.kfree(domain)

    assert "does not warn" in exercise.check(in_silence).text
    assert "not given back" in exercise.check(leaks).text
    assert "device_domain_info.domain" in exercise.check(dangles).text
