"""Entries and tables that nobody locks: insert, overlap, partial unmaps, three cases of freeing.

Claims 12 to 14, 38 to 50. What decides them: the scenes of `lessons.scenes.backends` in every order, on
Intel's, AMD's and Arm's tables as v5.19 has them, and the matrix of `lessons.experiments.backend_matrix`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from lessons.experiments.backend_matrix import CASES, answer, fgsp, tables_freed
from lessons.scenes.backends import (
    LARGE,
    ONE,
    PAGE,
    TWO,
    Make,
    block_and_page,
    block_over_table,
    insert_race,
    reader,
    unmap_and_map,
    unmap_of_a_block,
    unmap_of_unlike_parts,
)
from lessons.scenes.tables import overlapping
from lessons.variants.backends import FreeWhenEmpty
from lessons.variants.tables import load_store_insert
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.driver import on_core
from vtdkit.iommu.backends.intel import intel
from vtdkit.iommu.backends.kinds import BACKENDS, amd, arm, simple
from vtdkit.iommu.core import IotlbGather
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import mm_struct
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer

from .claim import Claim, Experiment, Measured

THREE = {"Intel": BACKENDS["intel"], "AMD": amd, "Arm": arm}
UAF = "use-after-free"
BOTH = (0, 0, f"{ONE:#x}", f"{TWO:#x}", "1 table more")  # how `insert_race` should end


def orders(found: ScenarioExploration) -> str:
    """How many executions, and whether that is all."""
    whole = "every order" if found.complete else "not every order"
    return f"{found.executions + found.deadlocks} executions, {whole}"


# -- 12 to 14: no lock -------------------------------------------------------------


def locks_taken(make: Make) -> Measured:
    """Does a map, and an unmap up to its flush, take any lock?"""
    machine = Machine()
    back = make(machine)

    def taken() -> int:
        return sum(row.write.acquisitions for row in machine.lock_stat())

    async def unmap() -> int:
        return await back.core.iommu_unmap_fast(back.domain, 0, PAGE, IotlbGather())

    before = taken()
    back.run(back.map(0, ONE, PAGE))
    mapped = taken()
    back.run(unmap())
    locks = mapped - before, taken() - mapped
    return Measured(all(locks), f"locks taken by a map {locks[0]}, by an unmap before its flush {locks[1]}")


def safe_inserts(*makes: Make) -> Measured:
    """Is nothing lost when two CPUs map neighbours and both want to put the table in?"""
    found = [explore(partial(insert_race, make)) for make in makes]
    wrong = sum(times for each in found for end, times in each.outcomes.items() if end != BOTH)
    runs = sum(each.executions for each in found)
    hurt = sum(each.times(UAF) for each in found)
    whole = all(each.complete for each in found)
    return Measured(
        not wrong and not hurt,
        f"mappings lost in {wrong} of {runs} executions on {len(makes)} table{'s' * (len(makes) > 1)}, "
        f"{'every order' if whole else 'not every order'}; uses after free {hurt}",
        whole,
    )


def same_page() -> Measured:
    """The same without the rule: two CPUs map one page to different places."""
    found = explore(partial(overlapping, IntelIommu))
    ends: dict[Any, int] = dict(found.outcomes)
    lost = sum(times for end, times in ends.items() if end[:2] == (0, 0))
    return Measured(not lost, f"both maps said 0, one is lost, in {lost} of {orders(found)}", found.complete)


LOAD_STORE: Make = partial(intel, driver=load_store_insert(IntelIommu))

# -- 38 to 41: parts, holes, supersets ---------------------------------------------


def partial_unmaps(*makes: Make) -> Measured:
    """Is one answer to an unmap of the first page of a block not like another?"""
    case = CASES["unmap the first page of a block"]
    said = [answer(case, make) for make in makes]
    gone = sorted({each.gone for each in said})
    return Measured(len(gone) > 1, "gone: " + ", ".join(f"{each.gone // 1024} KiB" for each in said))


def probe(*names: str) -> Measured:
    """Does the probe tell tables whose unmap takes more than it was asked for?"""
    said = {name: fgsp(THREE[name]) for name in names}
    case = CASES["unmap one of two pages mapped together"]
    more = {name: answer(case, THREE[name]).gone > PAGE for name in names}
    told = ", ".join(f"{name} {'yes' if yes else 'no'}" for name, yes in said.items())
    return Measured(said == more and any(said.values()), f"a page more than asked for goes: {told}")


def nothing_there(*makes: Make) -> Measured:
    """Is an unmap of what is not mapped a success for some and none for others?"""
    said = [answer(CASES["unmap a page where no table is"], make) for make in makes]
    text = ", ".join(f"{each.returned}{' and a WARN' if each.warned else ''}" for each in said)
    return Measured(len({bool(each.returned) for each in said}) > 1, f"bytes said to be unmapped: {text}")


class Careless(io_pagetable):
    """An iommufd with the bug that the claim calls one: whatever was asked for is unmapped."""

    async def iopt_unmap_iova(self, iova: int, length: int) -> tuple[int, int]:
        return 0, await self.core.iommu_unmap(self.domains[0], iova, length)


def supersets(kind: type[io_pagetable]) -> Measured:
    """Does each unmap that reaches the driver cover whole earlier maps? 60 random requests of a user."""
    machine = Machine(record=False, checkers=())
    back, chance = arm(machine), random.Random(15)
    iopt, mm = kind(back.core), mm_struct(machine, [(0, 0x40000, 1 << 12)])
    maps, cut, unmaps = dict[int, int](), 0, 0
    unmap: Callable[..., Awaitable[int]] = back.core.iommu_unmap_fast

    async def watched(domain: Any, iova: int, size: int, gather: IotlbGather) -> int:
        nonlocal cut, unmaps
        unmaps += 1
        cut += any(
            at < iova + size and iova < at + long and not (iova <= at and at + long <= iova + size)
            for at, long in maps.items()
        )
        return await unmap(domain, iova, size, gather)

    back.core.iommu_unmap_fast = watched  # type: ignore[method-assign]
    machine.run(iopt.iopt_table_add_domain(back.domain))
    for _ in range(60):
        iova, pages = chance.randrange(64) * PAGE, chance.randrange(1, 9)
        if chance.random() < 0.6:
            if machine.run(iopt.iopt_map_user_pages(mm, iova, pages * PAGE, iova)) == iova:
                maps[iova] = pages * PAGE
        elif machine.run(iopt.iopt_unmap_iova(iova, pages * PAGE))[0] == 0:
            maps = {at: long for at, long in maps.items() if not iova <= at < iova + pages * PAGE}
    return Measured(not cut, f"{cut} of {unmaps} unmaps cut through a map; {len(maps)} maps left")


# -- 42 to 48: freeing -------------------------------------------------------------


def freeing_beside_a_reader(*makes: Make) -> Measured:
    """Are inserts safe, and a reader beside an unmap that frees tables not?"""
    inserts = safe_inserts(*makes)
    found = [explore(partial(reader, make)) for make in makes]
    hurt, runs = sum(each.times(UAF) for each in found), sum(each.executions for each in found)
    complete = inserts.complete and all(each.complete for each in found)
    return Measured(
        inserts.holds and hurt > 0,
        f"inserts: {inserts.evidence}; a reader uses a freed table in {hurt} of {runs}",
        complete,
    )


def harmless(scene: Callable[[Make, Machine], Observer], make: Make) -> Measured:
    """Does the hardware never use a table that was freed, in a scene?"""
    found = explore(partial(scene, make))
    return Measured(
        not found.times(UAF),
        f"the hardware uses a freed table in {found.times(UAF)} of {orders(found)}",
        found.complete,
    )


def cases_of(make: Make, expected: tuple[bool, bool, bool]) -> Measured:
    """Does a driver free tables in these of the three cases, and in no others?"""
    freed = tables_freed(make)
    text = ", ".join(f"case {number}: {count}" for number, count in enumerate(freed, 1))
    return Measured(tuple(map(bool, freed)) == expected, f"table pages freed in {text}")


# -- 49, 50: assumptions -----------------------------------------------------------


def block_wins(make: Make) -> Measured:
    """When a block and a page in it are mapped at once: does the block never fail, and is it always there?"""
    found = explore(partial(block_and_page, make))
    ends: dict[Any, int] = dict(found.outcomes)
    lost = sum(times for end, times in ends.items() if end[0] != 0 or end[2] != f"{LARGE:#x}")
    failed = sum(times for end, times in ends.items() if end[1] not in (0, None))
    return Measured(
        not lost,
        f"the block is not there in {lost} of {orders(found)}; the page's map failed in {failed}",
        found.complete,
    )


def _arm_that_frees(machine: Machine, locked: bool = False) -> Backend:
    return on_core(machine, FreeWhenEmpty(machine, locked=locked))


def is_it_still_empty(locked: bool) -> Measured:
    """A table is freed when a search finds it empty: what is looked at, and is it still so?"""
    machine = Machine(cpus=2, record=False)
    back = _arm_that_frees(machine)
    back.run(back.map(0, ONE, PAGE))
    back.run(back.unmap(0, PAGE))
    looked: int = back.table.looked_at  # type: ignore[union-attr]
    found = explore(partial(unmap_and_map, partial(_arm_that_frees, locked=locked)))
    ends: dict[Any, int] = dict(found.outcomes)
    lost = sum(times for end, times in ends.items() if end[3] != f"{TWO:#x}")
    return Measured(
        lost > 0,
        f"{looked} entries looked at for one page; a neighbour's page, mapped meanwhile, is lost in "
        f"{lost} of {orders(found)}{' under a lock' * locked}",
        found.complete,
    )


def _claim(
    number: int, who: str, said: str, experiment: Experiment, counter: Experiment, lesson: str = "15"
) -> Claim:
    return Claim(number, who, said, lesson, experiment, counter)


CLAIMS: tuple[Claim, ...] = (
    _claim(
        12,
        "Jason Gunthorpe, 31 May",
        "there must be some lock around the entries, or updates could not work",
        partial(locks_taken, intel),
        partial(locks_taken, simple),
    ),
    _claim(
        13,
        "Lu Baolu, 31 May",
        "no lock guards the entries; it is enough that no two callers work on one range at once",
        partial(safe_inserts, intel),
        same_page,
        "13",
    ),
    _claim(
        14,
        "Lu Baolu, 31 May",
        "only upper entries are shared, and compare-and-exchange is enough for those",
        partial(safe_inserts, intel),
        partial(safe_inserts, LOAD_STORE),
        "13",
    ),
    _claim(
        38,
        "Robin Murphy, 31 May",
        "no rule says what an unmap of a part does: all of the mapping may go, or the part, or nothing",
        partial(partial_unmaps, *THREE.values()),
        partial(partial_unmaps, intel, amd),
    ),
    _claim(
        39,
        "Robin Murphy, 31 May",
        "VFIO has a probe that finds out which of them it is",
        partial(probe, *THREE),
        partial(probe, "Intel", "Arm"),
    ),
    _claim(
        40,
        "Robin Murphy, 31 May",
        "unmapping what is not mapped does nothing in some drivers and is an error in others",
        partial(nothing_there, *THREE.values()),
        partial(nothing_there, arm, simple),
    ),
    _claim(
        41,
        "Jason Gunthorpe, 31 May",
        "iommufd only ever unmaps ranges that cover whole maps",
        partial(supersets, io_pagetable),
        partial(supersets, Careless),
    ),
    _claim(
        42,
        "Jason Gunthorpe, 31 May",
        "compare-and-exchange can put tables in, but cannot protect against somebody who frees one",
        partial(freeing_beside_a_reader, intel, arm),
        partial(freeing_beside_a_reader, amd),
        "13",
    ),
    _claim(
        43,
        "Robin Murphy, 31 May",
        "case 1: who loses the race to put a table in frees its own, which nobody else has seen",
        partial(safe_inserts, *THREE.values()),
        partial(safe_inserts, LOAD_STORE),
    ),
    _claim(
        44,
        "Robin Murphy, 31 May, of the Arm tables",
        "case 2: a table that makes room for a block is freed when no walk can reach it any more",
        partial(harmless, block_over_table, arm),
        partial(harmless, block_over_table, intel),
    ),
    _claim(
        45,
        "Robin Murphy, 31 May, of the Arm tables",
        "case 3: a table that an unmap takes out is freed when no walk can reach it any more",
        partial(harmless, unmap_of_a_block, arm),
        partial(harmless, unmap_of_unlike_parts, intel),
    ),
    _claim(
        46,
        "Kevin Tian, 1 June",
        "Intel's driver has case 3 too",
        partial(cases_of, intel, (True, True, True)),
        partial(cases_of, amd, (True, True, True)),
    ),
    _claim(
        47,
        "Jason Gunthorpe, 31 May",
        "Intel's driver has cases 1 and 2, and seems to have no third",
        partial(cases_of, intel, (True, True, False)),
        partial(cases_of, amd, (True, True, False)),
    ),
    _claim(
        48,
        "Joao Martins, 1 June",
        "AMD's driver has, it seems, all three cases",
        partial(cases_of, amd, (True, True, True)),
        partial(cases_of, arm, (True, True, True)),
    ),
    _claim(
        49,
        "Robin Murphy, 31 May, of the Arm tables",
        "if a block and a page in it are mapped at once, the block always wins; the page's map may fail",
        partial(block_wins, arm),
        partial(block_wins, amd),
    ),
    _claim(
        50,
        "Robin Murphy, 31 May",
        "empty tables stay since it is not worth finding out whether one is empty, and whether it still is",
        partial(is_it_still_empty, False),
        partial(is_it_still_empty, True),
    ),
)
