"""Lesson 16: who may walk page tables while others free them.

What the scenes of the lesson come to; claims of the thread with their verdicts (the experiments are in
`lessons.claims.readers`); what each way to make the dump safe costs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from lessons.claims import catalogue
from lessons.claims.claim import Verdict
from lessons.claims.readers import CLAIMS, times, tried
from lessons.claims.report import in_words
from lessons.experiments.readers import HeldBack, held_back, stale
from lessons.scenes import QUESTIONS
from lessons.scenes.readers import HOLES, dump_disk, mm_race, told
from lessons.variants.readers import read_under_rcu
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore, shortest
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.memory.sections import SECTION_SIZE, MemoryMap
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import Table, duration, table
from vtdkit.lab.operations import with_devices
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at

from .lesson13 import ends

__all__ = ["HOLES", "ends", "seed", "stale", "told"]

PAGE, BLOCK, MIB = 4096, 1 << 21, 1 << 20
OOPS, KASAN = "unable to handle page fault", "use-after-free"

# -- the scene ----------------------------------------------------------------


def into(scene: Any, found: ScenarioExploration, end: str) -> Steps:
    """A short order in which the scene ends so. Raises LookupError if none did."""
    for value, schedule in found.examples.items():
        if value == end:
            short = shortest(scene, schedule, lambda outcome: outcome.value == end, shared=found.shared)
            return record_schedule(scene, short, shared=found.shared, title="the reader walks into a file")
    raise LookupError(f"no execution ended with {end!r}")


# -- claims -------------------------------------------------------------------


@cache
def claim(number: int) -> Verdict:
    """A claim of the thread, run with its counter-experiment."""
    return catalogue.CLAIMS[number].verdict()


def claims() -> Table:
    """All claims of this lesson."""
    return in_words(claim(each.number) for each in CLAIMS)


# -- what was proposed --------------------------------------------------------


def proposed(ways: Mapping[str, Any]) -> Table:
    """Each way in two scenes: a table is unmapped during the dump; the dump goes into a file on a disk."""
    rows = []
    for name, driver in ways.items():
        stuck, slept = (tried(dump_disk, driver, kind=kind) for kind in ("deadlock", "sleeping function"))
        disk = "deadlock" if stuck.bad else "an interrupt sleeps" if slept.bad else "written"
        rows.append((name, repr(tried(SCENARIOS["dump-unmap"].build, driver)), disk))
    return table(["the dump", "a freed table is read in", "into a file on the disk"], *rows)


def waits(driver: Any) -> Table:
    """The dump goes into a file on the disk, and nobody can go on: who waits for what, and who has it."""
    scene = QUESTIONS["dump-disk"].on(driver)
    found = explore(scene, cpus=2)
    (stuck,) = found.findings
    steps = record_schedule(scene, stuck.schedule, shared=found.shared, budget=0, cpus=2)
    stands = [steps.stand(len(steps), number) for number in range(len(steps.threads))]
    rows = zip(
        steps.threads, (one.next for one in stands), (", ".join(one.held) for one in stands), strict=True
    )
    return table(["", "in the end", "holding"], *rows)


def price(ways: Mapping[str, Any], **options: int) -> Table:
    """Each way under load: four CPUs map and unmap a table each; a dump is read meanwhile."""
    rows = [(name, *_price(held_back(driver, **options))) for name, driver in ways.items()]
    head = ["map with unmap", "dump takes", "tables wait, on average", "at most", "callbacks"]
    return table(["the dump", *head], *rows)


def _price(run: HeldBack) -> tuple[object, ...]:
    average = round(sum(run.waiting) / len(run.waiting))
    return duration(run.ns), duration(run.printed), average, run.peak, run.callbacks


def freed(found: ScenarioExploration) -> str:
    """In how many executions a freed table was read."""
    return repr(times(found))


# -- the memory manager -------------------------------------------------------


def gather() -> Table:
    """A walk without a lock, beside an unmap that frees its tables: who reads a freed one, by machine."""
    rows = []
    for how, flush, rcu in (
        ("an interrupt to each CPU, then free", "interrupt", False),
        ("an instruction, then free", "instruction", False),
        ("an instruction, then a grace period, then free", "instruction", True),
    ):
        off, on = (tried(partial(mm_race, flush=flush, rcu=rcu, irqs_off=irqs)) for irqs in (True, False))
        rows.append((how, off, on))
    return table(["TLB flush", "interrupts off", "interrupts on"], *rows)


# -- exercises ----------------------------------------------------------------


def memory_of(seed: int) -> tuple[MemoryMap, int, int, int]:
    """The memory of the first exercise; in MiB: where RAM ends, where its hole begins, how long it is."""
    rng = random.Random(seed)
    end = 128 * rng.randrange(9, 15) + rng.randrange(8, 120)
    hole, size = 128 * rng.randrange(2, 7) + rng.randrange(8, 60), rng.randrange(3, 40)
    ram = ((0, hole), (hole + size, end))
    return MemoryMap(tuple((first * MIB, last * MIB) for first, last in ram)), end, hole, size


def trapped(seed: int) -> int:
    """MiB that pass `pfn_valid` and cannot be read."""
    return sum(last - first for first, last in memory_of(seed)[0].traps()) // MIB


def _memory_mistake(seed: int, given: Any) -> str | None:
    _, end, _, size = memory_of(seed)
    if given == size:
        return "that is the hole; RAM does not end at the end of a section either"
    if given == -end % (SECTION_SIZE // MIB):
        return "that is the rest of the last section; the hole is in a section that was there at boot, too"
    return None


PASSES = Exercise(
    "passes and cannot be read",
    lambda seed: (
        "At boot a machine has RAM from 0 to {1} MiB, but for a hole of {3} MiB at {2} MiB. Sections "
        "are of 128 MiB.\nHow many MiB pass pfn_valid and cannot be read?".format(*memory_of(seed))
    ),
    trapped,
    hints=[
        "a section with any RAM in it at boot counts as a whole",
        "two pieces: the hole, and what is left of the last section",
    ],
    mistakes=[_memory_mistake],
    why="The hole and the rest of the last section have struct pages, and no mapping.",
)


class Waiting(read_under_rcu(driver_at(1))):  # type: ignore[misc]
    """The driver of the second exercise: its dump reads under RCU, and it counts the tables that wait."""

    waiting = 0


async def put_pages_list(self: Any, freelist: list[Page]) -> None:
    """The tables that an unmap took out are freed by one callback, after a grace period."""
    pages = list(freelist)
    freelist.clear()
    if not pages:
        return

    async def free() -> None:
        for page in pages:
            await self.free_pgtable_page(page)
        self.waiting -= len(pages)

    self.waiting += len(pages)
    self.machine.rcu.call(free, "free_pages_rcu")


def _unmap(tables: int) -> Callable[[Computer], Work]:
    """An unmap that takes out so many tables; none: a page of a table that stays."""

    def prepare(pc: Computer) -> Work:
        domain, _ = with_devices(pc, 0)
        for block in range(max(tables, 1)):
            pc.map(domain, block * BLOCK, 0x5001000, 2 * PAGE)
        return lambda: pc.core.iommu_unmap(domain, 0, tables * BLOCK or PAGE)

    return prepare


def _patience(seed: int, function: Any) -> str | None:
    """What no scene sees: how often RCU is asked, which tables wait, what becomes of the list."""
    pc = Computer(driver=version_with(Waiting, function, "put_pages_list"), checkers=("kasan",))
    driver, machine = pc.driver, pc.machine
    freelist = machine.pages.take_run(3, -1, "a table", None)
    pages, before = list(freelist), machine.rcu.begun

    async def give(tables: list[Page]) -> None:
        await driver.put_pages_list(tables)

    pc.run(give([]))
    if machine.rcu.begun != before or driver.waiting:
        return "an empty list was given to RCU all the same"
    pc.run(give(freelist))
    if (calls := machine.rcu.begun - before) != 1:
        return f"for a list of 3 tables RCU is asked {calls} times; once will do"
    if freelist:
        return "the list is not empty afterwards: its owner would free the tables again"
    if driver.waiting != 3 or any(page.freed for page in pages):
        return f"3 tables wait for the grace period; self.waiting says {driver.waiting}"
    machine.simulate()
    if driver.waiting:
        return f"after the grace period no table waits; self.waiting says {driver.waiting}"
    return None


def _play(seed: int, function: Any) -> Table:
    version = version_with(Waiting, function, "put_pages_list")
    found = explore(partial(SCENARIOS["dump-unmap"].build, version), limit=60)
    run = held_back(version, cpus=1, pairs=20, leaves=8)
    return table(["a freed table is read in", "tables wait, at most"], (freed(found), run.peak))


FREE_LATER = CodeExercise(
    "free later",
    lambda seed: (
        "Write put_pages_list(self, freelist): free the tables of a list, all by one callback, when "
        "everybody who reads now is done.\nThe list is empty afterwards; an empty list costs nothing. "
        "self.waiting is the number of tables that wait.\n"
        "self.machine.rcu.call(function, 'a name') has `await function()` run after a grace period; "
        "await self.free_pgtable_page(page) gives one back."
    ),
    lambda seed: put_pages_list,
    hints=[
        "one function for all of them: define it inside of yours, and hand it over once",
        "the caller goes on and uses its list again: keep the pages in a list of your own",
        "self.waiting goes up before, and down when the pages have been given back",
    ],
    why="One callback for a list needs a place for the list while RCU has it: that is why the list and RCU "
    "must not share bytes of a struct page.",
    base=Waiting,
    scenes=[
        Scene("an unmap takes a table out", _unmap(1), fails=False),
        Scene("an unmap takes three tables out", _unmap(3), fails=False),
        Scene("an unmap of a page", _unmap(0), fails=False),
    ],
    races=[SCENARIOS["dump-unmap"]],
    judge=_patience,
    play=_play,
)


progress, seed = of_lesson(globals())
