"""Lesson 19: which pages were written. Dirty bits that hardware sets and software clears, and who waits while
it looks.

What is run is in `lessons.experiments.dirty` (who waits) and `lessons.scenes.dirty` (what is missed). What is
here says what came of it and declares the exercises.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from lessons.claims.report import decided
from lessons.experiments.dirty import Latencies
from lessons.scenes import dirty as scenes
from vtdkit.iommu.dirty import DIRTY_BIT, intel_iommu_read_and_clear_dirty
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.units import duration
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.shown import Table, table
from vtdkit.lab.operations import with_devices
from vtdkit.lab.scenarios.base import Observer, Scenario

PAGE, BLOCK = 4096, 1 << 21
TARGET = 0x4000_0000
ANSWERS = ("as short as without a sweep", "as long as one area is swept", "as long as the whole sweep")


def waits(found: Latencies, alone: Latencies, areas: int = 8) -> str:
    """How long the longest call took, as one of `ANSWERS`."""
    if found.longest < 2 * alone.longest:
        return ANSWERS[0]
    return ANSWERS[1] if found.longest < 2 * found.took / areas else ANSWERS[2]


def latencies(*found: Latencies) -> Table:
    """How long each sweep took, and the calls beside it."""
    rows = [(one.sweep, *map(duration, (one.took, one.median, one.longest))) for one in found]
    return table(["kept safe by", "the sweep", "median call", "longest call"], *rows)


def verdicts() -> Table:
    """The claims of this lesson, run now."""
    return decided(range(57, 66), otherwise=False)


# -- exercises ----------------------------------------------------------------


def writes(seed: int) -> list[int]:
    """Where the device of the first exercise writes: in the large page, in small ones, in one twice."""
    rng = random.Random(seed)
    large = [rng.randrange(BLOCK) & -8 for _ in range(rng.randrange(0, 3))]
    pages = rng.sample(range(256), rng.randrange(3, 7))
    small = [BLOCK + page * PAGE + rng.randrange(PAGE) // 8 * 8 for page in pages]
    again = [BLOCK + pages[0] * PAGE + rng.randrange(PAGE) // 8 * 8]
    every = large + small + again
    rng.shuffle(every)
    return every


def called_dirty(seed: int) -> int:
    """How many KiB are called dirty after them: by doing it."""
    scene = scenes.Tracked(Machine(cpus=1, checkers=(), record=False), BLOCK)
    pc = scene.pc
    pc.map(scene.domain, BLOCK, TARGET + 3 * PAGE, 256 * PAGE)  # not aligned: no large page fits
    for iova in writes(seed):
        pc.dma(scenes.DISK, iova, "write")
    look = intel_iommu_read_and_clear_dirty(pc.core, scene.domain, 0, 2 * BLOCK)
    return len(pc.run(look)) * PAGE // 1024


def _counts_small(seed: int, given: Any) -> str | None:
    pages = {iova // PAGE for iova in writes(seed)}
    if given == len(pages) * 4 and given != called_dirty(seed):
        return "that counts pages of 4 KiB; the large page has one dirty bit for all of it"
    return "some addresses lie in the same page" if given == len(writes(seed)) * 4 else None


TO_BE_COPIED = Exercise(
    "to be copied",
    lambda seed: (
        "0x0 to 0x1fffff is mapped by one page of 2 MiB, 0x200000 to 0x2fffff by pages of 4 KiB. Nothing is "
        f"dirty.\nThe device writes to {', '.join(f'{iova:#x}' for iova in writes(seed))}.\n"
        "How many KiB must be copied, by the dirty bits?"
    ),
    called_dirty,
    hints=[
        "one dirty bit for each leaf entry, whatever its size",
        "2 MiB are 2,048 KiB, once, however often the page is written; then count the small pages",
    ],
    mistakes=[_counts_small],
    why="A large page is dirty as a whole. That is why one would like to split large pages before migrating.",
)


async def read_and_clear_dirty(self: Any, domain: Any, iova: int, size: int) -> list[int]:
    """Test and clear the dirty bit of every leaf of a range; the addresses of the 4 KiB pages it covers."""
    dirty, end = list[int](), iova + size
    while iova < end:
        pte, level = await self.pfn_to_dma_pte(domain, iova >> 12, 0)
        after = (iova | (PAGE << 9 * (level - 1)) - 1) + 1
        if await pte.load() & 3 and await pte.page.test_and_clear_bit(pte.index, DIRTY_BIT):
            dirty += range(iova, min(after, end), PAGE)
        iova = after
    return dirty


class Tracks(IntelIommu):
    """The driver, with the function that the exercise is about."""

    title = "with dirty tracking"

    async def read_and_clear_dirty(self, domain: Any, iova: int, size: int) -> list[int]:
        return await read_and_clear_dirty(self, domain, iova, size)


def _marked(size: int, marks: list[int], first: int, length: int) -> Callable[[Computer], Work]:
    """`size` bytes are mapped from 0 on, by pages as large as fit; the unit has marked the pages at `marks`.
    A look at a part, then one at all.
    """

    def prepare(pc: Computer) -> Work:
        domain, _ = with_devices(pc, 0)
        dmar = pc.dmar(domain)
        pc.map(domain, 0, TARGET, size)
        for iova in marks:
            pte, _ = pc.run(pc.driver.pfn_to_dma_pte(dmar, iova >> 12, 0))
            assert pte is not None
            pc.run(pte.page.test_and_set_bit(pte.index, DIRTY_BIT))

        async def work() -> Any:
            part = await pc.driver.read_and_clear_dirty(dmar, first, length)
            return part, await pc.driver.read_and_clear_dirty(dmar, 0, 3 * BLOCK)

        return work

    return prepare


def _by_driver(core: Any, domain: Any, iova: int, size: int) -> Any:
    return core.driver.read_and_clear_dirty(domain.driver, iova, size)


def renewed(driver: type[IntelIommu], machine: Machine) -> Observer:
    """While software looks, the page is unmapped, and another is mapped in its place and written."""
    return scenes.new_map(machine, _by_driver, driver)


RENEWED = Scenario("dirty-new-map", "a page is unmapped and another one mapped in its place", renewed, cpus=2)


def _play(seed: int, function: Any) -> Table:
    found = explore(RENEWED.on(version_with(Tracks, function, "read_and_clear_dirty")), cpus=2, limit=200)
    return table(["executions", "how it ends"], *((times, end) for end, times in found.outcomes.items()))


LOOK_AND_CLEAR = CodeExercise(
    "look and clear",
    lambda seed: (
        "Write read_and_clear_dirty(self, domain, iova, size): the addresses of all dirty pages of 4 KiB in "
        "a range, in a list.\nAfterwards none is dirty. A leaf may map 4 KiB, 2 MiB or 1 GiB, and the range "
        "may begin or end inside it; there are\nholes. Others may unmap and map meanwhile. The dirty bit is "
        "bit 9."
    ),
    lambda seed: read_and_clear_dirty,
    hints=[
        "pte, level = await self.pfn_to_dma_pte(domain, iova >> 12, 0) finds the leaf, or the hole; an entry "
        "of level 1 covers 4 KiB, of level 2 512 times as much, and so on",
        "await pte.load() & 3 is 0 for a hole; await pte.page.test_and_clear_bit(pte.index, 9) says whether "
        "the bit was set, and clears it in one step",
        "go on at the first address behind the entry: (iova | span - 1) + 1",
    ],
    why="One atomic step for each leaf, no lock. What the caller needs to see to is that no table of the "
    "range is freed meanwhile.",
    base=Tracks,
    scenes=[
        Scene("small pages", _marked(PAGE * 8, [0, 3 * PAGE, 6 * PAGE], PAGE, 5 * PAGE), fails=False),
        Scene(
            "a large page and small ones", _marked(BLOCK + 3 * PAGE, [0, BLOCK], 5 * PAGE, BLOCK), fails=False
        ),
        Scene("a part of a large page", _marked(BLOCK, [0], 5 * PAGE, 3 * PAGE), fails=False),
        Scene("nothing is dirty", _marked(3 * PAGE, [], 0, 4 * PAGE), fails=False),
        Scene("holes alone", _marked(PAGE, [], BLOCK, BLOCK), fails=False),
    ],
    races=[RENEWED],
    play=_play,
)


progress, seed = of_lesson(globals())
