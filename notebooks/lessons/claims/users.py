"""Who calls map and unmap at once, and by which rule: VFIO, iommufd, the DMA API.

Claims 23 to 28, 32 to 37, 66 to 68. What is explored is the driver before the series, unless it says
otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from typing import Any

from lessons.experiments.loading import MIB, load
from lessons.scenes.pairs import BLOCK, LARGE, ONE, PAGE, Op, Unlocked, ioas, side_by_side
from lessons.variants.readers import free_after_grace_period
from lessons.variants.users import domain_locked, free_touched_tables
from vtdkit.iommu.backends.kinds import BACKENDS
from vtdkit.iommu.contract import KIND
from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.explored.exploring import Scenario as Build
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.lab.computer import Computer
from vtdkit.lab.scaling import waits
from vtdkit.lab.scenarios.base import Scenario
from vtdkit.series.catalogue import driver_at

from .claim import Claim, Measured

BEFORE: Any = driver_at(0)
HALF = BLOCK // 2
NEXT = (Op("map", PAGE),)  # a neighbour, so that the tables are there
SMALL = (Op("map", 0, HALF, LARGE), Op("map", HALF, HALF, LARGE + HALF))  # 2 MiB as small pages
PROMOTE = Op("promote", 0, BLOCK)
APART_BY = (1 << 20) + 1  # from a page to its frame: never aligned alike, so no large pages


# -- looking at explorations ---------------------------------------------------


def tried(build: Build, limit: int | None = None) -> tuple[ScenarioExploration, int]:
    """A scene in every order, and in how many executions the contract checker objected."""
    told = list[bool]()
    found = explore(
        build, limit=limit, on_outcome=lambda end, _: told.append(KIND in " ".join(map(str, end.findings)))
    )
    return found, sum(told[-found.executions :])  # those before are of an exploration that began anew


# -- loading a guest: 23, 24, 26, 27, 33 -----------------------------------------


def faster(way: str, threads: int = 16, **options: object) -> Measured:
    """How many times as fast is a guest's memory mapped with so many threads?"""
    one, many = load(way, 1, **options), load(way, threads, **options)  # type: ignore[arg-type]
    ratio = one.duration / many.duration
    lock = f", {many.share:.0%} of the time waiting, most for {many.bottleneck}" if many.bottleneck else ""
    wrong = f"; {many.wrong} pieces mapped wrong" if many.wrong else ""
    return Measured(ratio >= 8, f"{way}, {threads} threads: {ratio:.1f} times as fast as one{lock}{wrong}")


SCATTERED = {"size": 16 * MIB, "piece": PAGE, "fresh": 0}


def lock_costs(threads: int) -> Measured:
    """What a lock around the domain costs whoever maps in parallel."""
    free, locked = (
        load("iommufd", threads, driver=driver, **SCATTERED).duration  # type: ignore[arg-type]
        for driver in (BEFORE, domain_locked(BEFORE))
    )
    return Measured(
        locked >= 2 * free,
        f"CPUs that map 4,096 pages apart in one domain: {threads}; with a lock in it {locked / free:.1f} "
        "times as long",
    )


def maps(kind: str, cpus: int, domains: int = 1, pages: int = 64) -> float:
    """Pages mapped in a microsecond, each CPU in addresses of its own, over some domains of a kind."""
    machine = Machine(cpus, checkers=(), record=False)
    tables = [BACKENDS[kind](machine) for _ in range(domains)]

    async def work(cpu: int) -> None:
        table = tables[cpu % domains]
        for page in range(pages):
            await table.core.iommu_map(
                table.domain, (cpu << 22) + page * PAGE, ONE + page * 2 * PAGE, PAGE, 3
            )

    began = machine.now
    for cpu in range(cpus):
        machine.spawn(work(cpu), cpu)
    machine.simulate()
    return pages * 1e3 * cpus / (machine.now - began)


def kinds_scale(domains: int = 1) -> Measured:
    """Do lock-free tables gain by more CPUs, and tables with a lock not?"""
    gain = {kind: maps(kind, 16, domains) / maps(kind, 1) for kind in ("intel", "arm", "simple")}
    shown = ", ".join(f"{kind} {ratio:.1f}" for kind, ratio in gain.items())
    return Measured(
        gain["simple"] < 2 < 8 < min(gain["intel"], gain["arm"]),
        f"16 CPUs map so many times as much as one: {shown}"
        + (f" ({domains} domains)" if domains > 1 else " (one domain)"),
    )


def dma_api() -> Measured:
    """The DMA API as it is, on eight CPUs, and with one lock around its domain."""
    rates = list[str]()
    for name, driver in (("as it is", BEFORE), ("with a lock in the domain", domain_locked(BEFORE))):
        pc = Computer(driver=driver, devices=[], cpus=8, default_type="dma-fq", checkers=(), record=False)
        api, dev = DmaApi(pc.core), pc.add_device("00:03.0")

        async def work(cpu: int, api: DmaApi = api, dev: PciDevice = dev) -> None:
            handle = await api.iommu_dma_map_page(dev, ONE + cpu * PAGE, PAGE)
            await api.iommu_dma_unmap_page(dev, handle, PAGE)

        done = closed_loop(pc.machine, work, threads=8, count=64)
        pc.machine.simulate()
        waited = waits(pc)[1] / done.thread_time
        rates.append(f"{name} {done.throughput / 1e6:.1f}, {waited:.0%} of the time waiting")
    return Measured(True, f"million pairs of map and unmap a second on 8 CPUs: {'; '.join(rates)}")


# -- the rule: 25, 32, 34 to 37, 66 to 68 ----------------------------------------

APART = tuple(
    side_by_side(one, two, before=(Op("map"), Op("map", 2 * PAGE)))
    for one, two in (
        (Op("map", PAGE), Op("map", 3 * PAGE)),
        (Op("map", BLOCK), Op("unmap", 0, BLOCK)),
        (Op("unmap", 0), Op("unmap", 2 * PAGE)),
        (Op("map", PAGE), Op("look up", 0)),
        (Op("look up", 0), Op("look up", 0)),
    )
)
MEET = side_by_side(Op("map"), Op("unmap", 0, BLOCK), before=NEXT)
SAME = side_by_side(Op("map"), Op("map", to=2 * ONE), before=NEXT)
FREED = side_by_side(Op("map"), Op("free"))
DUMPED = side_by_side(Op("dump"), Op("unmap", 0, BLOCK), before=(Op("map"),))


def harmed(scenes: Iterable[Scenario], driver: type[IntelIommu] = BEFORE) -> Measured:
    """Is every end the same, and no table touched that is gone?"""
    found, objections = zip(*(tried(scene.on(driver)) for scene in scenes), strict=True)
    runs = sum(one.executions for one in found)
    freed = sum(one.times("use-after-free") for one in found)
    several = sum(len(one.outcomes) > 1 for one in found)
    return Measured(
        not freed and not several,
        f"pairs of calls: {len(found)}, executions: {runs}, of which touch what is freed: {freed}; pairs "
        f"with more than one end: {several}; the contract checker objects in {sum(objections)}",
        all(one.complete for one in found),
    )


def needs_a_lock(scenes: Iterable[Scenario]) -> Measured:
    """Does it take a lock in the core for calls to do no harm?"""
    scenes = tuple(scenes)
    without, within = harmed(scenes), harmed(scenes, domain_locked(BEFORE))
    return Measured(
        not without.holds,
        f"without a lock: {without.evidence}; with one: {within.evidence}",
        without.complete and within.complete,
    )


def dump(driver: type[IntelIommu]) -> Measured:
    """Callers keep the rule, somebody reads debugfs, and a table is touched that is gone."""
    found, seen = tried(DUMPED.on(driver))
    bad = found.times("use-after-free")
    return Measured(
        bad > 0 and not seen,
        f"a dump beside one honest unmap: freed tables read in {bad} of {found.executions} executions; "
        f"the contract checker sees {seen} of it",
        found.complete,
    )


def undefined(*ops: Op) -> Measured:
    """How many ends two maps have, in VT-d's table."""
    found = explore(side_by_side(*ops, before=NEXT).on(BEFORE))
    told = sum(count for end, count in found.outcomes.items() if isinstance(end, tuple) and any(end[:2]))
    return Measured(
        len(found.outcomes) > 1,
        f"two maps at once: different ends {len(found.outcomes)}, executions {found.executions}, in which a "
        f"call fails {told}",
        found.complete,
    )


def live_under_freed(driver: type[IntelIommu], rounds: int = 80, seed: int = 0) -> Measured:
    """Runs of pages are mapped and unmapped at random: does every page that is mapped stay so?"""
    rng, pc = random.Random(seed), Computer(driver=driver, devices=["00:03.0"], checkers=())
    domain, runs, lost, freed = pc.new_domain(attach="00:03.0"), list[range](), 0, 0
    for number in range(rounds):
        first = rng.randrange(8 * 512)
        run = range(first, first + rng.choice((1, 7, 50, 300, 1100)))
        if number % 3 == 2 and runs:
            before, run = len(pc.machine.pages), runs.pop(rng.randrange(len(runs)))
            pc.unmap(domain, run.start * PAGE, len(run) * PAGE)
            freed += before - len(pc.machine.pages)
        elif not any(run.start < other.stop and other.start < run.stop for other in runs):
            pc.map(domain, run.start * PAGE, (run.start + APART_BY) * PAGE, len(run) * PAGE)
            runs.append(run)
        live = (page * PAGE for run in runs for page in (run.start, run.stop - 1))
        lost += sum(not pc.run(pc.core.iommu_iova_to_phys(domain, iova)) for iova in live)
    return Measured(
        not lost,
        f"{rounds} random maps and unmaps, {freed} tables freed; mapped and not found: {lost} times",
        complete=False,
    )


def resized(lock: bool) -> Measured:
    """Small pages become a large one while the range is unmapped."""
    found, seen = tried(side_by_side(PROMOTE, Op("unmap", 0, BLOCK), before=SMALL, lock=lock).on(BEFORE))
    bad = found.times("use-after-free")
    by = "each under the callers' lock" if lock else "without a lock"
    return Measured(
        bad > 0 and seen == found.executions,
        f"promote beside unmap, {by}: freed tables touched in {bad} of {found.executions} executions, the "
        f"contract checker objects in {seen}",
        found.complete,
    )


def range_locks(table: type[io_pagetable] = io_pagetable, limit: int | None = None) -> Measured:
    """iommufd: an area is unmapped, its dirty bits are read, and an area is mapped in the same place."""
    found, broken = tried(partial(ioas, BEFORE, table=table), limit)
    return Measured(
        not broken,
        f"iommufd, unmap, dirty read and map of one range: two calls at once on it in {broken} of "
        f"{found.executions} executions",
        found.complete,
    )


def rcu_is_enough(lock: bool) -> Measured:
    """Tables are freed by RCU: does an unmapped page come back when its table becomes a large page?"""
    scene = side_by_side(PROMOTE, Op("unmap", 5 * PAGE), before=SMALL, rcu=True, lock=lock)
    found = explore(scene.on(free_after_grace_period(BEFORE)))
    wrong = found.outcomes.get((0, PAGE, f"{LARGE + 5 * PAGE:#x}"), 0)
    return Measured(
        wrong > 0,
        f"tables freed by RCU{', calls under a lock' if lock else ''}: the unmap says a page is gone, and it "
        f"leads to memory, in {wrong} of {found.executions} executions",
        found.complete,
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        23,
        "Jason Gunthorpe, 31 May",
        "VFIO can map one guest with many threads (Daniel Jordan's RFC says: up to 12 times as fast)",
        "17",
        partial(faster, "padata"),
        partial(faster, "padata", lock_cache=0),
    ),
    Claim(
        24,
        "Jason Gunthorpe, 31 May",
        "iommufd avoids such serialisation, so that user space can map in parallel",
        "17",
        partial(faster, "iommufd"),
        partial(faster, "vfio"),
    ),
    Claim(
        25,
        "Jason Gunthorpe, 31 May",
        "if only one thread may work on a range at a time, the core has to hold a lock around the domain",
        "17",
        partial(needs_a_lock, APART),
        partial(needs_a_lock, (MEET,)),
    ),
    Claim(
        26,
        "Robin Murphy, 31 May",
        "forcing all of the interface to be serialised would kill performance",
        "17",
        partial(lock_costs, 16),
        partial(lock_costs, 1),
    ),
    Claim(
        27,
        "Jason Gunthorpe, 31 May",
        "the worry is not debugfs but booting virtual machines faster by loading domains in parallel",
        "17",
        why="what to worry about is nobody's experiment",
        opinion=True,
        beside=partial(faster, "iommufd"),
    ),
    Claim(
        28,
        "Jason Gunthorpe, 31 May",
        "the DMA API should keep a lock of its own outside, and the general interface should be safe",
        "17",
        why="who should hold a lock is a choice",
        opinion=True,
        beside=dma_api,
    ),
    Claim(
        32,
        "Robin Murphy, 31 May",
        "calls on one domain may run at once, but not on overlapping addresses nor while the domain is freed",
        "17",
        partial(harmed, APART),
        partial(harmed, (FREED,)),
    ),
    Claim(
        33,
        "Robin Murphy, 31 May",
        "simple drivers hold a lock of the domain, fast ones edit tables with atomics alone",
        "17",
        kinds_scale,
        partial(kinds_scale, 16),
    ),
    Claim(
        34,
        "Robin Murphy, 31 May",
        "debugfs is a side door that callers cannot know of: it is the driver that has to make it safe",
        "17",
        partial(dump, BEFORE),
        partial(dump, free_after_grace_period(BEFORE)),
    ),
    Claim(
        35,
        "Jason Gunthorpe, 31 May (a question)",
        "map and unmap may run at once unless their addresses overlap",
        "17",
        partial(harmed, APART[1:2]),
        partial(harmed, (MEET,)),
    ),
    Claim(
        36,
        "Robin Murphy, 31 May",
        "overlapping requests may be made, but what is mapped in the end is undefined, also if both succeed",
        "17",
        partial(undefined, Op("map"), Op("map", to=2 * ONE)),
        partial(undefined, Op("map"), Op("map", 2 * PAGE, to=2 * ONE)),
    ),
    Claim(
        37,
        "Jason Gunthorpe, 31 May (a question)",
        "a driver does not free a table in which another mapping begins or ends",
        "17",
        partial(live_under_freed, BEFORE),
        partial(live_under_freed, free_touched_tables(BEFORE)),
    ),
    Claim(
        66,
        "Jason Gunthorpe, 1 June",
        "who changes the size of pages needs a lock of the caller's, as map and unmap do",
        "17",
        partial(resized, False),
        partial(resized, True),
    ),
    Claim(
        67,
        "Jason Gunthorpe, 1 June",
        "a domain has range locks from outside: iommufd holds one of the area before any call on the domain",
        "17",
        range_locks,
        partial(range_locks, Unlocked, 20),
    ),
    Claim(
        68,
        "Joao Martins, 1 June",
        "RCU helps map and unmap as well, but changing page sizes may be another matter",
        "17",
        partial(rcu_is_enough, False),
        partial(rcu_is_enough, True),
    ),
)
