"""Lesson 17: what four CPUs are worth with a lock in the way and without, what the contract checker says of
each pair, and that the exercises take right answers and refuse wrong ones.
"""

from __future__ import annotations

from typing import Any

import pytest

from lessons import lesson17 as lesson
from lessons.experiments.loading import MIB, load
from lessons.lesson17.replay import replay
from lessons.lesson17.traces import LockTrace, MapTrace
from lessons.scenes.pairs import Unlocked, ioas
from tests.notebooks.cells import scenes
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.kernel.explored.exploring import explore
from vtdkit.lab.lesson.base import reality
from vtdkit.series.catalogue import driver_at

DRIVER = driver_at(0)
LOCK = "&mm->mmap_lock"


def test_four_cpus_are_worth_little_until_charging_is_put_together() -> None:
    boot = scenes("17").boot
    alone, before, after = boot(1), boot(4), boot(4, charged=65536)
    assert lesson.times(alone.length, before.length) == "hardly faster"
    assert alone.length > 2.5 * after.length
    assert (before.taken(LOCK), after.taken(LOCK)) == (256, 132)


def test_who_gains_by_more_cpus_and_what_the_others_wait_for() -> None:
    small: dict[str, Any] = {"cpus": (1, 16), "size": 256 * MIB}
    ways = {
        "vfio": lesson.curve("vfio", "vfio", **small),
        "helpers": lesson.curve("helpers", "padata", lock_cache=0, **small),
        "iommufd": lesson.curve("iommufd", "iommufd", **small),
    }
    gain = {name: points[1].ops_per_second / points[0].ops_per_second for name, points in ways.items()}
    assert gain["vfio"] == pytest.approx(1, rel=0.01)
    assert gain["helpers"] < 2.5
    assert gain["iommufd"] > 12
    assert [points[1].bottleneck for points in ways.values()][:2] == ["&vfio_iommu->lock", LOCK]
    assert repr(lesson.waits([*ways["vfio"], *ways["iommufd"]])).splitlines()[2].endswith("nothing")


def test_the_checker_objects_to_pairs_that_meet_and_to_no_other() -> None:
    rows = {row[0]: row[1:] for row in lesson.met(DRIVER).rows}
    objected = {name for name, row in rows.items() if row[-1] == "objects"}
    assert objected == {name for name in rows if "beside" not in name and "look it up" not in name} - {
        "dump the tables, unmap 2 MiB"
    }
    assert rows["dump the tables, unmap 2 MiB"][2:] == (1, "is silent")
    assert rows["map a page, unmap the 2 MiB around it"] == (5, 2, 3, "objects")


@pytest.mark.parametrize(("kind", "findings"), [(io_pagetable, 0), (Unlocked, 3)])
def test_an_area_is_a_range_lock(kind: type[io_pagetable], findings: int) -> None:
    found = explore(lambda machine: ioas(DRIVER, machine, kind), limit=40)
    assert len(found.of("contract")) == findings


def test_a_page_comes_back_unless_a_lock_keeps_promote_out() -> None:
    free, locked = lesson.promoted(DRIVER), lesson.promoted(DRIVER, lock=True)
    wrong = (0, 4096, "0x40005000")
    assert (free.outcomes[wrong], free.executions) == (3, 7)
    assert wrong not in locked.outcomes
    assert lesson.comes_back(DRIVER, free).outcome.startswith("(0, 4096, '0x40005000')")


def test_the_kernels_lock_is_the_replays() -> None:
    guests = {mode: reality(f"maps_smp4_{mode}-s0") for mode in ("strict", "lazy")}
    seen = {mode: LockTrace.load(folder) for mode, folder in guests.items()}
    assert {mode: trace.waits.get("qi_submit_sync", 0) for mode, trace in seen.items()} == {
        "strict": 2524,
        "lazy": 1,
    }
    done = {mode: replay(MapTrace.load(f).part(1500), checkers=()) for mode, f in guests.items()}
    rows = lesson.compared(seen, done, {"strict": 67730, "lazy": 93194}).rows
    assert rows[0][0] == "qi_submit_sync"
    assert rows[0][1] == 37 < rows[0][2]
    assert rows[0][3:] == (0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_large_pages_cut_is_what_a_load_shows(seed: int) -> None:
    size, chunk = lesson.chunks(seed)
    exercise = lesson.LARGE_PAGES_CUT.seeded(seed)
    whole, cut = (
        load(
            "padata",
            size // chunk,
            size=size * MIB,
            piece=size * MIB,
            chunk=chunk * MIB,
            align=align,
            fresh=0,
        )
        for align in (2 * MIB, 4096)
    )
    right = lesson.cut(size, chunk)
    assert cut.tables - whole.tables == right
    assert exercise.check(right)
    assert not exercise.check(right + 1)
    assert "between two large pages" in exercise.check(size // chunk - 1).text


def _by_sets(one: tuple[str, int, int], two: tuple[str, int, int]) -> bool:
    if one[0] in ("look up", "dirty read") and two[0] in ("look up", "dirty read"):
        return True
    return max(one[1], two[1]) >= min(one[1] + one[2], two[1] + two[2])


def test_who_may_meet_takes_other_forms_and_refuses_the_usual_slips() -> None:
    exercise = lesson.WHO_MAY_MEET.seeded(3)
    assert exercise.check(lesson.may_meet)
    assert exercise.check(_by_sets)
    assert not exercise.check(lambda one, two: one[1] + one[2] < two[1] or two[1] + two[2] < one[1])
    assert not exercise.check(lambda one, two: one[1] != two[1])
    assert not exercise.check(lambda one, two: one[1] + one[2] <= two[1] or two[1] + two[2] <= one[1])
