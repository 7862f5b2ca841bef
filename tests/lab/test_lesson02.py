"""Lesson 02: the search grows with the machine and patch 02 ends it; which table an aliased device
gets is another matter.
"""

from __future__ import annotations

import pytest

from lessons import lesson02 as lesson
from tests.notebooks.cells import scenes
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, LATER = driver_at(1), driver_at(2), mainline.driver_at(0)
LOCK = "device_domain_lock"
SHARED_ENTRY_IN_USE = "fails: -16"
SCENE = scenes("02").attach_scene


def test_an_attach_looks_at_every_device_before_the_patch_and_at_none_after_it() -> None:
    old = {others: lesson.attach_alone(OLD, others).took("attach") for others in (16, 64)}
    new = {others: lesson.attach_alone(NEW, others).took("attach") for others in (16, 64)}
    assert old[64] - old[16] == 48 * 50
    assert new[64] == new[16] < old[16]


@pytest.mark.parametrize(("driver", "taken"), [(OLD, 4), (NEW, 3), (LATER, 3)])
def test_the_lock_is_taken_once_less_for_each_alias(driver: type, taken: int) -> None:
    assert lesson.attach_alone(driver, 8).taken(LOCK) == taken


def test_two_attaches_are_done_sooner_but_the_unmap_still_waits_for_a_detach() -> None:
    old, new = SCENE(OLD), SCENE(NEW)
    assert old.start == new.start
    assert new.length < 0.6 * old.length
    assert new.waited("unmap") == old.waited("unmap") > 0


def rows(driver: type, devices: lesson.Devices) -> list[tuple[object, ...]]:
    return [row[1:] for row in lesson.plugged(driver, devices).rows]


def test_a_function_that_uses_anothers_address_fails_where_tables_are_shared() -> None:
    absent = "context entry not present"
    assert rows(OLD, lesson.ODD_FUNCTION) == [
        ("works", "of 03:00.0", absent),
        (SHARED_ENTRY_IN_USE, "none", absent),
    ]
    for driver in (NEW, LATER):
        assert rows(driver, lesson.ODD_FUNCTION) == [
            ("works", "of 03:00.0", "goes through"),
            ("works", "of 03:00.1", "goes through"),
        ]


def test_behind_a_bridge_the_patch_shares_where_the_old_code_did_not() -> None:
    for driver in (OLD, LATER):
        assert [row[0] for row in rows(driver, lesson.BEHIND_A_BRIDGE)] == ["works", "works"]
    assert [row[0] for row in rows(NEW, lesson.BEHIND_A_BRIDGE)] == ["works", SHARED_ENTRY_IN_USE]


def test_the_patch_lets_a_plug_meet_a_pull_and_pci_rescan_remove_lock_keeps_them_apart() -> None:
    """§1.4: with a pair that shares a table something is found; what excludes it is that mutex."""
    trials = [lesson.plug_and_pull("bridge", driver) for driver in (OLD, NEW, LATER)]
    assert [each.short for each in trials] == ["in 0 of 138", "in 248 of 293", "in 0 of 67"]
    excluded = lesson.plug_and_pull("bridge-excluded", NEW)
    assert excluded.complete
    assert not any("BUG" in kind for kind, _, _ in excluded.findings)


@pytest.mark.parametrize("seed", range(6))
def test_where_the_pasid_is(seed: int) -> None:
    exercise, pasid = lesson.WHERE_IS_THE_PASID.seeded(seed), lesson.pasid_of(seed)
    assert f"{pasid:#x}" in exercise.show().text
    assert exercise.check(divmod(pasid, 64))
    assert "other order" in exercise.check((pasid % 64, pasid // 64)).text
    assert "64 entries" in exercise.check(divmod(pasid, 512)).text


def test_by_address_wants_the_old_meaning_no_lock_and_every_reference_back() -> None:
    exercise = lesson.BY_ADDRESS.seeded(0)
    assert exercise.check(lesson.get_alias_pasid_table)
    assert "a device with a table: it returns 0; 1 is right" in exercise.check(NEW.get_alias_pasid_table).text

    async def keeps_the_reference(self, pdev, bus, devfn, data):  # type: ignore[no-untyped-def]
        found = await self.bus.get_domain_bus_and_slot(pdev.segment, bus, devfn)
        info = self.dev_iommu_priv_get(found) if found is not None else None
        if info is None or info.pasid_table is None:
            return 0
        data.pasid_table = info.pasid_table
        return 1

    async def takes_the_lock(self, pdev, bus, devfn, data):  # type: ignore[no-untyped-def]
        async with self.device_domain_lock.irqsave():
            return await lesson.get_alias_pasid_table(self, pdev, bus, devfn, data)

    async def divides(self, pdev, bus, devfn, data):  # type: ignore[no-untyped-def]
        return 1 // 0

    assert "line 2 of your function, `return 1 // 0`, raises Zero" in exercise.check(divides).text
    assert "2 references to 03:02.0 not given back" in exercise.check(keeps_the_reference).text
    assert "it takes device_domain_lock" in exercise.check(takes_the_lock).text
