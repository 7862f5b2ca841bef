"""Which pages devices wrote, and who waits while one looks.

Claims 57 to 65. The scenes are in `lessons.experiments.dirty` and `lessons.scenes.dirty`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from lessons.experiments.dirty import beside
from lessons.scenes.dirty import PAGE, Sweep, area_goes, last_look, new_map, not_seen, split
from lessons.scenes.readers import sweep_unmap
from lessons.variants.dirty import FirstReplica, write_back_dirty
from lessons.variants.readers import free_after_grace_period
from vtdkit.iommu.backends.amd_v1 import AmdV1, pte_count
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.driver import on_core
from vtdkit.iommu.backends.intel import intel
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty, intel_iommu_set_dirty_tracking
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.series.catalogue import driver_at

from .claim import Claim, Measured

RACES = (not_seen, split, new_map)
KASAN = "use-after-free"
IOVA, MEMORY = 1 << 30, 1 << 31


# -- who waits ----------------------------------------------------------------


def spikes(sweep: str) -> Measured:
    """Does some map or unmap take more than ten times as long as without a sweep?"""
    found, alone = beside(sweep), beside("none")
    return Measured(
        found.longest > 10 * alone.longest,
        f"longest map or unmap beside a sweep of 8 MiB: {found.longest / 1000:.0f} µs; without one "
        f"{alone.longest / 1000:.0f} µs",
    )


def grows(sweep: str) -> Measured:
    """Does the longest wait grow with the range?"""
    small, large = (beside(sweep, mib=mib).longest for mib in (4, 16))
    return Measured(
        large > 2 * small,
        f"longest map or unmap beside a sweep of 4 MiB {small / 1000:.0f} µs, of 16 MiB "
        f"{large / 1000:.0f} µs",
    )


def chunked() -> Measured:
    """What it costs, and brings, to let the lock go after each of 64 areas."""
    ways = {
        "in one hold": beside("iova_rwsem", areas=64),
        "area by area": beside("area by area", areas=64),
        "with pauses of 5 µs": beside("area by area", areas=64, pause=5_000),
    }
    said = [f"{name} {one.took / 1000:.0f} and {one.longest / 1000:.0f} µs" for name, one in ways.items()]
    return Measured(True, "8 MiB in 64 areas, the sweep and the longest wait beside it: " + ", ".join(said))


# -- what is missed -----------------------------------------------------------


@cache
def missed(scene: Callable[..., Any], **options: Any) -> tuple[int, int, bool]:
    """In how many of how many executions a write is never told of, or an old page comes back; and whether no
    order was left out.
    """
    found = explore(partial(scene, **options), cpus=2)
    bad = sum(times for end, times in found.outcomes.items() if end not in ("told", "not written"))
    return bad, found.executions, found.complete


def at_unmap(look: bool) -> Measured:
    """Is a write told of that came before an unmap, with or without a look?"""
    bad, executions, complete = missed(last_look, look=look)
    races = [missed(race) for race in RACES]
    return Measured(
        not bad,
        f"a write is lost at unmap in {bad} of {executions} orders, in three races elsewhere in "
        f"{sum(each[0] for each in races)} of {sum(each[1] for each in races)}",
        complete and all(each[2] for each in races),
    )


def three_races(sweep: Sweep) -> Measured:
    """Is a way to look safe in all of Joao Martins's three races?"""
    tries = {
        "an entry not yet seen": missed(not_seen, sweep=sweep),
        "a split": missed(split, sweep=sweep),
        "a new map": missed(new_map, sweep=sweep),
    }
    said = ", ".join(f"{name} {bad} of {executions}" for name, (bad, executions, _) in tries.items())
    return Measured(
        not any(bad for bad, _, _ in tries.values()),
        f"a write is lost, or an old page comes back, in: {said}",
        all(complete for _, _, complete in tries.values()),
    )


@cache
def freed_under(scene: Callable[..., Any]) -> Measured:
    """Does a sweep read a table that was freed?"""
    found = explore(scene, cpus=2)
    bad = found.times(KASAN)
    return Measured(
        not bad, f"the sweep reads a freed table in {bad} of {found.executions} executions", found.complete
    )


# -- replicas and page sizes --------------------------------------------------


def amd(table: type[AmdV1]) -> Backend:
    """A domain on AMD's table, its unit marking what devices write."""
    machine = Machine(cpus=1, checkers=(), record=False)
    made = table(machine)
    made.walker.hd = True
    return on_core(machine, made)


def replicas(table: type[AmdV1] = AmdV1, size: int = 4 * PAGE) -> Measured:
    """A large page is written through each of its replicas in turn: how often is it found?"""
    found = 0
    for number in range(pte_count(size)):
        back = amd(table)
        back.run(back.map(IOVA, MEMORY, size))
        back.run(back.walk(IOVA + number * PAGE, "write"))
        found += bool(back.run(back.read_and_clear_dirty(IOVA, size)))
    many = pte_count(size)
    return Measured(
        found == many,
        f"a page of 16 KiB, written through each of its {many} replicas in turn, is found {found} times",
    )


def sizes() -> Measured:
    """What it takes to find one written page in 1 MiB, and how much is called dirty."""
    told = []
    second = intel(Machine(cpus=1, checkers=(), record=False), "second")
    second.run(intel_iommu_set_dirty_tracking(second.core, second.domain, True))
    for back in (amd(AmdV1), second):
        back.run(back.map(IOVA, MEMORY, 1 << 20))
        back.run(back.walk(IOVA, "write"))
        began = back.machine.now
        dirty = back.run(back.read_and_clear_dirty(IOVA, 1 << 20))
        told.append(f"{len(dirty)} dirty in {(back.machine.now - began) / 1000:.1f} µs")
    return Measured(
        True, f"one page of 1 MiB was written; AMD has one page of 256 replicas: {told[0]}; Intel: {told[1]}"
    )


#: a sweep of a range that somebody unmaps, and what keeps the tables meanwhile
BEFORE: Any = driver_at(0)
KEPT: dict[str, Callable[..., Any]] = {
    "nothing": partial(area_goes, locked=False),
    "iova_rwsem": area_goes,
    "RCU": partial(sweep_unmap, free_after_grace_period(BEFORE)),
    "a read-side section alone": partial(sweep_unmap, BEFORE),
}
CLAIMS: tuple[Claim, ...] = (
    Claim(
        57,
        "Jason Gunthorpe, 31 May",
        "dirty bits should be read without a lock that blocks map and unmap: their latency would have spikes",
        "19",
        partial(spikes, "iova_rwsem"),
        partial(spikes, "RCU"),
    ),
    Claim(
        58,
        "Joao Martins, 1 June",
        "all the more where large ranges are scanned",
        "19",
        partial(grows, "iova_rwsem"),
        partial(grows, "RCU"),
    ),
    Claim(
        59,
        "Jason Gunthorpe, 31 May",
        "it only matters at unmap that nothing is missed, and unmap should read the dirty bits just before",
        "19",
        partial(at_unmap, True),
        partial(at_unmap, False),
    ),
    Claim(
        60,
        "Joao Martins, 1 June",
        "AMD stores a page of an odd size as many equal entries; the unit sets the dirty bit in any of them, "
        "so all must be looked at",
        "19",
        replicas,
        partial(replicas, FirstReplica),
    ),
    Claim(
        61,
        "Joao Martins, 1 June",
        "to allow all powers of two as page sizes, instead of picking the best as for Intel, is not "
        "efficient for dirty tracking",
        "19",
        why="which price counts, looking or copying, is for the user to say",
        opinion=True,
        beside=sizes,
    ),
    Claim(
        62,
        "Joao Martins, 1 June",
        "is test-and-clear enough, or must the whole entry be compared? (an entry not yet seen by the "
        "walker, a split, a new map)",
        "19",
        partial(three_races, intel_iommu_read_and_clear_dirty),
        partial(three_races, write_back_dirty),
    ),
    Claim(
        63,
        "Jason Gunthorpe, 1 June",
        "test-and-clear is fine, if it is done under RCU and tables are freed by RCU",
        "19",
        partial(freed_under, KEPT["RCU"]),
        partial(freed_under, KEPT["a read-side section alone"]),
    ),
    Claim(
        64,
        "Joao Martins, 1 June",
        "instead of RCU, dirty reads could hold the lock of the range, as map and unmap do",
        "19",
        partial(freed_under, KEPT["iova_rwsem"]),
        partial(freed_under, KEPT["nothing"]),
    ),
    Claim(
        65,
        "Jason Gunthorpe, 1 June",
        "ideally not: a large sweep should not be cut as areas happen to be made; but it is an option",
        "19",
        why="what one would like, and that both can be done, is no question to a model",
        opinion=True,
        beside=chunked,
    ),
)
