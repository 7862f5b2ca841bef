"""Lesson 18: addresses from a cache. Where the DMA API takes the addresses from that it maps, and why no lock
is in the way.

The scene stands in the notebook; `lessons.experiments.addresses` makes its computer. What is here says what
came of a run and declares the exercises.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from lessons.claims.report import decided
from lessons.experiments.addresses import DISK
from lessons.scenes import QUESTIONS
from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.dma_fq import IOVA_FQ_SIZE, FlushQueue
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iova import iova_domain
from vtdkit.iommu.iova_rcache import IOVA_MAG_SIZE
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import Run
from vtdkit.lab.lesson.shown import Table, table
from vtdkit.lab.scaling import Scaling
from vtdkit.lab.scenarios.base import Observer, Scenario, computer
from vtdkit.series.catalogue import driver_at

LIMIT = (1 << 20) - 1  # the last page below 4 GiB
TREE_LOCK = "&iovad->iova_rbtree_lock"
ANSWERS = ("hardly sooner", "in about half the time", "in a quarter of the time or less")


def times_as_fast(tree: Run, magazines: Run) -> str:
    """How much sooner the second run is over, as one of `ANSWERS`."""
    ratio = tree.length / magazines.length
    return ANSWERS[0] if ratio < 1.5 else ANSWERS[1] if ratio < 3.5 else ANSWERS[2]


def rates(points: Scaling) -> Table:
    """Million maps and unmaps a second, a row for each way, a column for each number of CPUs."""
    counts = sorted({point.cpus for point in points})
    ways = list(dict.fromkeys(point.version for point in points))
    rows = [[way, *(f"{points.at(way, cpus).ops_per_second / 1e6:.1f}" for cpus in counts)] for way in ways]
    return table(["million a second, CPUs", *map(str, counts)], *rows)


def verdicts() -> Table:
    """The claims of this lesson, run now."""
    return decided([29, 30, 31])


def guarded() -> Table:
    """A CPU's cache under three kinds of guard, each in every order, with an interrupt on that CPU."""
    names = {
        "a lock, interrupts off": "cache-irq",
        "the lock alone": "cache-irq-on",
        "nothing, it is per CPU": "cache-irq-unlocked",
    }
    rows = []
    for guard, name in names.items():
        found = explore(QUESTIONS[name].on(driver_at(0)), cpus=2)
        rows.append((guard, found.executions + found.deadlocks, found.deadlocks, _lost(found)))
    return table(["guard", "orders", "deadlocks", "an address is lost"], *rows)


def _lost(found: ScenarioExploration) -> int:
    return found.outcomes.get("an address is lost", 0)


# -- exercises ----------------------------------------------------------------


def buffers(seed: int) -> int:
    """How many buffers of one page the first exercise has."""
    return random.Random(seed).randrange(5, 12) * 128 + random.Random(seed + 1).randrange(1, 128)


def in_depot(count: int) -> int:
    """How many magazines are in the depot after CPU 1 has given back `count` pages that CPU 0 took: by doing
    it.
    """
    machine = Machine(cpus=2, checkers=(), record=False)
    space = iova_domain(machine)

    async def take() -> list[int]:
        return [await space.alloc_iova_fast(1, LIMIT) for _ in range(count)]

    async def give(taken: list[int]) -> None:
        for pfn in taken:
            await space.free_iova_fast(pfn, 1)

    machine.run(space.iova_domain_init_rcaches())
    machine.run(give(machine.run(take(), 0)), 1)
    return len(space.rcaches.of_order[0].peek("depot"))


def _forgets_its_own(seed: int, given: Any) -> str | None:
    whole = buffers(seed) // IOVA_MAG_SIZE
    return "a CPU keeps two magazines for itself" if given in (whole, whole + 1) else None


def _forgets_the_second(seed: int, given: Any) -> str | None:
    return (
        "the CPU puts one away only when both of its magazines are full"
        if given == in_depot(buffers(seed)) + 1
        else None
    )


IN_THE_DEPOT = Exercise(
    "in the depot",
    lambda seed: (
        f"Strict mode, all caches empty. CPU 0 maps {buffers(seed):,} buffers of one page; then CPU 1 unmaps "
        f"all of them.\nA magazine holds {IOVA_MAG_SIZE}. How many magazines are in the depot in the end?"
    ),
    lambda seed: in_depot(buffers(seed)),
    hints=[
        "what CPU 1 frees goes into its loaded magazine; when that is full, into the other one",
        "only when both are full does one go to the depot, and a new, empty one is taken",
    ],
    mistakes=[_forgets_its_own, _forgets_the_second],
    why="Two magazines stay with the CPU, the last of them not quite full. CPU 0 had nothing to do with it: "
    "what it maps next it finds in the depot, 128 at a time.",
)


class Lazy(IntelIommu):
    """The driver, with the function of the flush queue that the exercise is about."""

    title = "the flush queue"

    async def fq_ring_free(self, queue: FlushQueue, fq: Any) -> None:
        await FlushQueue.fq_ring_free(queue, fq)


async def fq_ring_free(self: Any, queue: Any, fq: Any) -> None:
    """Free what a finished flush covers, oldest first."""
    finished = await queue.fq_flush_finish_cnt.load()
    while fq.head != fq.tail:
        pfn, pages, freelist, started = fq.entries[fq.head]
        if started >= finished:
            break
        await self.put_pages_list(freelist)
        await queue.iovad.free_iova_fast(pfn, pages)
        fq.head = (fq.head + 1) % IOVA_FQ_SIZE


def lazy_disk(pc: Computer) -> FlushQueue:
    """The flush queue of a device, which calls the driver's `fq_ring_free`."""
    DmaApi(pc.core)
    pc.add_device(DISK)
    queue: Any = pc.domain_of(DISK).cookie.fq
    queue.fq_ring_free = partial(pc.driver.fq_ring_free, queue)
    return queue  # type: ignore[no-any-return]


def under_a_flush(driver: type[IntelIommu], machine: Machine) -> Observer:
    """An address waits in CPU 1's ring. CPU 0 flushes, and meanwhile CPU 1 unmaps one more. What the unit may
    still remember must not be given out again; a flush reaches what was unmapped before it began.
    """
    pc = computer(driver, machine, devices=[], default_type="dma-fq")
    queue: Any = lazy_disk(pc)
    first, second = (pc.run(queue.iovad.alloc_iova_fast(1, LIMIT)) for _ in range(2))
    remembered, early, tables = {first, second}, list[int](), machine.atomic("the tables", 2)
    unmapped = {first}

    async def flush_iotlb_all(domain: Any) -> None:
        await tables.load()
        reached = set(unmapped)
        await tables.load()
        remembered.difference_update(reached)

    async def free_iova_fast(pfn: int, size: int) -> None:
        early.extend(remembered & {pfn})

    async def unmap() -> None:
        await tables.store(0)
        unmapped.add(second)
        await queue.queue_iova(second, 1, [])

    pc.core.ops.flush_iotlb_all = flush_iotlb_all
    queue.iovad.free_iova_fast = free_iova_fast
    queue.fq_timer = SimpleNamespace(mod=lambda ns: None)  # it does not go off now
    pc.run(queue.queue_iova(first, 1, []), cpu=1)
    machine.spawn(queue.fq_flush_iotlb(), cpu=0, name="flush")
    machine.spawn(unmap(), cpu=1, name="unmap")
    return lambda: "used again while the unit remembers it" if early else "every flush came first"


REUSE = Scenario("ring-reuse", "a buffer is unmapped lazily while another CPU flushes", under_a_flush, cpus=2)


def _unmapped(count: int, flush: bool, flushes: int = 0, size: int = 1) -> Callable[[Computer], Work]:
    """So many addresses wait, the first and the last with a table; then a flush, or not; then one more comes.
    `flushes`: how many there were in the morning; `size`: of how many pages each is.
    """

    def prepare(pc: Computer) -> Work:
        queue, driver = lazy_disk(pc), pc.driver
        ring = queue.rings.of_cpu[0]

        async def one(pages: list[Any]) -> None:
            await queue.queue_iova(await queue.iovad.alloc_iova_fast(size, LIMIT), size, pages)

        async def work() -> Any:
            for _ in range(flushes):
                await queue.fq_flush_iotlb()
            for number in range(count):
                ends = number in (0, count - 1)
                await one([await driver.alloc_pgtable_page(-1, "a table")] if ends else [])
            if flush:
                await queue.fq_flush_iotlb()
            await one([])
            return (
                [entry[:2] for entry in ring.queued()],
                queue.iovad.cached(),
                f"{len(pc.machine.pages)} pages",
                await queue.iovad.alloc_iova_fast(size, LIMIT),  # one that came back, if it came back whole
            )

        return work

    return prepare


def _play(seed: int, function: Any) -> Table:
    found = explore(REUSE.on(version_with(Lazy, function, "fq_ring_free")), cpus=2, limit=200)
    return table(["executions", "how it ends"], *((times, end) for end, times in found.outcomes.items()))


LAZY_OPTIONS = {"default_type": "dma-fq"}

WHEN_IT_MAY_GO = CodeExercise(
    "when it may go",
    lambda seed: (
        "Write fq_ring_free(self, queue, fq): give back the addresses of a ring that no device can reach "
        "any more,\noldest first. The caller holds fq.lock. An entry of fq.entries is (pfn, pages, freelist, "
        "started); the last says\nhow many flushes had been begun when it was put in. "
        "await queue.fq_flush_finish_cnt.load() says how many have ended.\n"
        "await self.put_pages_list(freelist) and await queue.iovad.free_iova_fast(pfn, pages) give back."
    ),
    lambda seed: fq_ring_free,
    hints=[
        "the oldest entry is fq.entries[fq.head]; with fq.head == fq.tail there is none; after 255 comes 0",
        "which of the flushes that have ended began after the entry was put in?",
        "for each entry: give back the tables of its freelist, then its addresses, and move fq.head on",
    ],
    why="A flush that had begun when the entry was put in may have passed its address already; only one that "
    "began later covers it, and only when it has ended. So its last number is "
    "less than the number of flushes that ended.",
    base=Lazy,
    scenes=[
        Scene("three wait, no flush", _unmapped(3, False), options=LAZY_OPTIONS, fails=False),
        Scene("three wait, one flush", _unmapped(3, True, 2), options=LAZY_OPTIONS, fails=False),
        Scene("four pages each", _unmapped(3, True, size=4), options=LAZY_OPTIONS, fails=False),
        Scene(
            "round the end of the ring", _unmapped(IOVA_FQ_SIZE + 30, True), options=LAZY_OPTIONS, fails=False
        ),
    ],
    races=[REUSE],
    play=_play,
)


progress, seed = of_lesson(globals())
