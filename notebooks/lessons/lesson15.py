"""Lesson 15: three back-ends. What Intel's, AMD's and Arm's page tables make of the same calls, and who frees
what.

The scenes stand in the notebook and in `lessons.scenes.backends`; what is here says what came of them,
and declares the exercises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from lessons.claims.report import decided
from lessons.experiments.backend_matrix import CASES, answer, tables_freed
from lessons.scenes import backends as scenes
from vtdkit.iommu.backends.arm_lpae import ArmLpae
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.driver import on_core
from vtdkit.iommu.backends.kinds import BACKENDS, amd
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore, shortest
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.lesson.base import Table, table
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.lab.steps.schedule import Steps, record_schedule

PAGE = 4096
THREE = {"Intel": "intel", "AMD": "amd", "Arm": "arm"}
UAF = "use-after-free"


def looked_at(backs: Mapping[str, Backend], iova: int) -> Table:
    """What each unit reads on the way to an address: how many entries, the last of them, the page that it
    tells, and how many entries of its table are in use.
    """
    rows = []
    for name, back in backs.items():
        machine = back.machine
        back.run(back.core.iommu_flush_iotlb_all(back.domain))
        answer = back.run(back.walk(iova))
        if answer.looked:
            leaf = answer.looked[-1]
            words = cast(Page, machine.pages.page(leaf.address)).words
            rows.append(
                (name, len(answer.looked), f"{leaf.raw:#x}", f"{answer.size:#x}", sum(map(bool, words)))
            )
    return table(["", "entries read", "the last of them", "page it tells", "in use in its table"], *rows)


def in_table(found: Mapping[str, ScenarioExploration], kind: str = UAF) -> Table:
    """For each exploration: executions, and in how many of them something freed was used."""
    rows = [(name, each.executions, each.times(kind)) for name, each in found.items()]
    return table(["", "orders", "a freed table is used in"], *rows)


def matrix(*names: str) -> Table:
    """These cases of `CASES` on every back-end, a row each."""
    kinds = {**THREE, "simple": "simple"}
    rows = [(name, *(repr(answer(CASES[name], BACKENDS[kind])) for kind in kinds.values())) for name in names]
    return table(["one call", *kinds], *rows)


def freeing() -> Table:
    """How many tables each driver gives back in each of the three cases."""
    rows = [(name, *tables_freed(BACKENDS[kind])) for name, kind in THREE.items()]
    return table(["tables freed", "1: a lost race", "2: a block over a table", "3: a block unmapped"], *rows)


def astray(found: ScenarioExploration) -> Steps:
    """A short order in which the map below 512 GiB fails though there is memory; `found`: `grow`, explored.

    Raises LookupError if there was none.
    """
    scene = partial(scenes.grow, amd)
    for end, schedule in found.examples.items():
        if isinstance(end, tuple) and end[1]:
            short = shortest(
                scene, schedule, lambda outcome, end=end: outcome.value == end, shared=found.shared
            )
            return record_schedule(
                scene, short, shared=found.shared, title="a table grows while another CPU reads its root"
            )
    raise LookupError("no execution ended with a map that failed")


def verdicts() -> Table:
    """The claims of this lesson, run now."""
    return decided([12, *range(38, 42), *range(43, 51)])


# -- exercises ----------------------------------------------------------------


def pieces(iova: int, target: int, size: int) -> list[tuple[int, int]]:
    """The pages that AMD's table makes of one map, as (address, bytes): each the largest power of two that
    fits.
    """
    found, left = [], size
    while left:
        merged = iova | target
        piece = min(1 << left.bit_length() - 1, merged & -merged)
        found.append((iova, piece))
        iova, target, left = iova + piece, target + piece, left - piece
    return found


def mapped(seed: int) -> tuple[int, int, int, int]:
    """The map of the first exercise (address, target, bytes), and the page that is unmapped."""
    rng = random.Random(seed)
    iova, pages = rng.randrange(1, 16) * PAGE, rng.randrange(40, 90)
    size = pages * PAGE
    large = [at for at, piece in pieces(iova, 0x4000_0000 + iova, size) if piece >= 8 * PAGE]
    page = rng.choice(large) + rng.randrange(1, 8) * PAGE
    return iova, 0x4000_0000 + iova, size, page


def gone(iova: int, target: int, size: int, page: int) -> int:
    """How many bytes go when one page of a map is unmapped from AMD's table."""
    return next(piece for at, piece in pieces(iova, target, size) if at <= page < at + piece)


def gone_by_doing_it(iova: int, target: int, size: int, page: int) -> int:
    """The same on the table itself."""
    back = amd(Machine())
    back.run(back.map(iova, target, size))
    return cast(int, back.run(back.unmap(page, PAGE)))


def _other(seed: int, given: Any) -> str | None:
    return {
        PAGE: "so much goes from Arm's table, which maps the rest anew",
        mapped(seed)[2]: "the core cuts a map into pages whose address is a multiple of their size",
    }.get(given)


HOW_MUCH = Exercise(
    "how much goes",
    lambda seed: (
        "In AMD's table one call maps {2:#x} bytes from {0:#x} on, to {1:#x} and what follows.\n"
        "Another unmaps the page at {3:#x}. How many bytes are not mapped any more?".format(*mapped(seed))
    ),
    lambda seed: gone(*mapped(seed)),
    hints=[
        "AMD's table takes nearly every power of two as a page size; the core takes the largest that fits",
        "a page of 2^n bytes begins at a multiple of 2^n, and so does what it maps to; write the pages "
        "down, one after another",
    ],
    mistakes=[_other],
    form=lambda value: f"{value:#x}" if isinstance(value, int) else repr(value),
    why="The page goes as a whole, with all its replicas: an entry does not say who asked for it, only its "
    "size.",
)


async def clear_entry(
    self: Any, gather: Any, table: Any, index: int, level: int, below: Any, iova: int
) -> None:
    """Nothing leads there any more; then the unit forgets that something did; then the table goes."""
    await table.store(index, 0)
    if below is None:
        await self.tlb_add_page(gather, iova, 0x1000 if level == 3 else 0x200000)
    else:
        await self.walker.invalidate(iova, iova + 0x1FFFFF)
        await self._arm_lpae_free_pgtable(level + 1, below)


def _scene(scene: Callable[..., Observer], version: Any, machine: Machine) -> Observer:
    """A scene on a version of Arm's table; in the end the device looks once more, and tables are counted."""
    kept: list[Backend] = []

    def make(machine: Machine) -> Backend:
        kept.append(on_core(machine, version(machine)))
        return kept[0]

    end = scene(make, machine)

    def whole() -> tuple[Any, ...]:
        back, seen = kept[0], end()
        answers = [back.run(back.walk(page * PAGE)).address for page in (0, 1, 8, 511)]
        return seen, *answers, scenes.tables(machine)

    return whole


def _play(seed: int, function: Any) -> Table:
    version = version_with(cast(Any, ArmLpae), function, "clear_entry")
    return in_table({race.name: explore(partial(race.build, version), limit=60) for race in RACES})


RACES = [
    Scenario("case 2", "a block is mapped over an empty table", partial(_scene, scenes.block_over_table)),
    Scenario("case 3", "2 MiB of pages are unmapped at once", partial(_scene, scenes.unmap_of_a_block)),
    Scenario("pages", "two pages are unmapped", partial(_scene, scenes.unmap_of_pages)),
]

TAKE_IT_OUT = CodeExercise(
    "take it out",
    lambda seed: (
        "Write clear_entry(self, gather, table, index, level, below, iova) for Arm's table: entry index of "
        "table maps\nfrom iova on and goes. At level 3 it maps 4 KiB. At level 2 it leads to the table "
        "below, which goes too, or it is\na block of 2 MiB; for a page and a block below is None. A "
        "device reads there all the while."
    ),
    lambda seed: clear_entry,
    hints=[
        "await table.store(index, 0) clears the entry; await self.tlb_add_page(gather, iova, size) adds a "
        "page or block to what\nis flushed together, later; await self.walker.invalidate(first, last) makes "
        "the "
        "unit forget these addresses, upper entries\ntoo, and waits until walks that had begun are over; "
        "await self._arm_lpae_free_pgtable(level + 1, below) frees",
        "a table may be given back when nobody can get there: neither by the entry, nor from memory of it",
        "what the unit is told to forget it learns again, as long as the entry is there",
    ],
    why="Clear, invalidate, free: any other order leaves a moment in which the unit can reach a freed page. "
    "A leaf leads\nto no table, so its flush may wait for others.",
    base=cast(Any, ArmLpae),
    races=RACES,
    play=_play,
)


progress, seed = of_lesson(globals())
