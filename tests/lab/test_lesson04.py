"""Lesson 04: the fault handler's lookup is a race before the patch, a deadlock and a leak after
it; 6.0-rc5 has neither.
"""

from __future__ import annotations

import pytest

from lessons import lesson04 as lesson
from tests.notebooks.cells import scenes
from vtdkit.lab.lesson.base import tried
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

OLD, NEW, MERGED, FIXED = driver_at(3), driver_at(4), mainline.driver_at(3), mainline.RC5
RACE, LOCKDEP = "BUG: KCSAN: data-race", "WARNING: inconsistent lock state"
SCENE = scenes("04").plug_scene


def kinds(name: str, driver: type) -> tuple[int, dict[str, int]]:
    trial = tried(name, driver)
    assert trial.complete
    return trial.executions, {kind: count for kind, _, count in trial.findings}


def test_every_version_prints_the_same_dump() -> None:
    logs = [lesson.dump(driver) for driver in (OLD, NEW, MERGED, FIXED)]
    assert logs[0] == logs[1] == logs[2] == logs[3]
    assert logs[0][-1] == "DMAR: PTE not present at level 2"


def test_probe_takes_the_lock_no_more_and_plugging_in_does_not_wait_for_an_attach() -> None:
    old, new = SCENE(OLD), SCENE(NEW)
    assert old.start == new.start
    assert (old.taken(lesson.LOCK), new.taken(lesson.LOCK)) == (9, 7)
    assert old.waited("plug") > 1_000
    assert new.waited("plug") == 0
    assert old.waited("dmar0 fault") == new.waited("dmar0 fault") == 0


def test_lockdep_warns_in_a_run_that_ends_well() -> None:
    assert [len(SCENE(driver).trace.findings) for driver in (OLD, NEW, MERGED, FIXED)] == [
        0,
        1,
        1,
        0,
    ]


def test_in_every_order_a_race_before_and_a_deadlock_after() -> None:
    assert kinds("fault-bus", OLD) == (2, {})
    assert kinds("fault-probe", OLD) == (2, {RACE: 2})
    assert kinds("fault-remove", OLD) == (48, {RACE: 48})
    for driver in (NEW, MERGED):
        assert kinds("fault-bus", driver) == (6, {LOCKDEP: 3, "deadlock": 3})
        assert kinds("fault-probe", driver) == (2, {LOCKDEP: 2})
        assert kinds("fault-remove", driver) == (48, {LOCKDEP: 48})
    for name in ("fault-bus", "fault-probe", "fault-remove", "fault-reference"):
        assert kinds(name, FIXED)[1] == {}


def test_the_order_that_is_stepped_through_ends_with_the_handler_waiting_for_what_it_interrupted() -> None:
    steps = lesson.deadlock(NEW)
    assert steps.inevitable == len(steps)
    assert [found.title for found in steps.findings] == [f"deadlock: {lesson.K_LOCK}"]
    with pytest.raises(LookupError, match="in no order"):
        lesson.deadlock(OLD)


def test_a_reference_stays_behind_for_each_fault_until_the_fix() -> None:
    assert lesson.references(OLD, 3, 2) == (1, 1)
    assert lesson.references(NEW, 3, 2) == lesson.references(MERGED, 3, 2) == (4, 3)
    assert lesson.references(FIXED, 3, 2) == (1, 1)


@pytest.mark.parametrize("seed", range(6))
def test_how_many_references(seed: int) -> None:
    exercise = lesson.HOW_MANY_REFERENCES.seeded(seed)
    disk, network = lesson.faults_of(seed)
    assert exercise.check((1 + disk, 1 + network))
    assert "has a reference, too" in exercise.check((disk, network)).text
    assert "gives that reference back" in exercise.check((1 + disk + network, 1 + network)).text
    assert "what it should be" in exercise.check((1, 1)).text


def test_ask_nobody_accepts_the_entry_and_refuses_every_list() -> None:
    exercise = lesson.ASK_NOBODY.seeded(0)
    assert exercise.check(lesson.pgtable_walk)
    assert "it takes &k->k_lock" in exercise.check(NEW.pgtable_walk).text

    async def gives_it_back(self, iommu, pfn, bus, devfn):  # type: ignore[no-untyped-def]
        found = await self.bus.get_domain_bus_and_slot(iommu.segment, bus, devfn)
        info = self.dev_iommu_priv_get(found)
        if info is not None:
            await self.walk_and_print(info.domain.pgd, 4, pfn)
        await self.bus.put(found)

    async def never_looks_whether_it_is_there(self, iommu, pfn, bus, devfn):  # type: ignore[no-untyped-def]
        context = await self.iommu_context_addr(iommu, bus, devfn, False)
        await self.walk_and_print(self.phys_to_virt(await context.lo() & ~0xFFF), 4, pfn)

    async def nothing(self: object, *_: object) -> None:
        return None

    async def unwritten(self: object, *_: object) -> None:
        raise NotImplementedError

    assert "it takes &k->k_lock" in exercise.check(gives_it_back).text
    assert "tables of three levels" in exercise.check(never_looks_whether_it_is_there).text
    assert "it returns ()" in exercise.check(nothing).text
    assert "not written yet" in exercise.check(unwritten).text
    assert repr(exercise.try_out(lesson.pgtable_walk)).startswith("DMAR: DRHD: handling fault")
