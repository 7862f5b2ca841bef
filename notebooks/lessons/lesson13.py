"""Lesson 13: the debate. Claims of the thread of May and June 2022 about page tables without a lock,
put to the model.

A claim is judged by what `vtdkit.kernel.explore` found in a scenario of `vtdkit.lab.scenarios` made for it:

    found = explore(QUESTIONS["maps-apart"].on(driver))
    judged("no lock needed", found)

A verdict is about our model of the driver before the series, in every order that matters or in as many as the
exploration says, on a memory where one operation comes after the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from lessons.claims.catalogue import CLAIMS
from lessons.claims.claim import Measured, Verdict
from lessons.claims.report import Verdicts
from lessons.scenes import QUESTIONS
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore, shortest
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, Table, table
from vtdkit.lab.operations import with_devices
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at
from vtdkit.vtd.capabilities import Capabilities

PAGE, BLOCK = 4096, 512 * 4096
LARGE, SMALL = "0x40000000", "0x6000000"  # where the large page and the page inside it lead to
KASAN = "use-after-free"

# -- claims -------------------------------------------------------------------

Against = Callable[[ScenarioExploration], int]


def _ends(wrong: Callable[[Any], bool]) -> Against:
    return lambda found: sum(times for value, times in found.outcomes.items() if wrong(value))


def _findings(kind: str) -> Against:
    return lambda found: found.times(kind)


def _unless(holds: Callable[[ScenarioExploration], bool]) -> Against:
    return lambda found: 0 if holds(found) else found.executions


#: the seven: number in the thread's catalogue, and how many executions of its scene speak against it
SEVEN: dict[str, tuple[int, Against]] = {
    "no lock needed": (14, _ends(lambda end: end != (0, 0, "0x5000000", SMALL, 0))),
    "no promise": (36, _unless(lambda found: len(found.outcomes) > 1)),
    "cannot guard freeing": (42, _unless(lambda found: _findings(KASAN)(found) > 0)),
    "block wins": (49, _ends(lambda end: end[2] != LARGE)),
    "useless output": (16, _findings(KASAN)),
    "invalidate, then free": (44, _findings(KASAN)),
    "test and clear": (62, _ends(lambda end: not (end == "not written" or end.startswith("written, found")))),
}


def judged(name: str, found: ScenarioExploration, driver: str = "as it was") -> Verdict:
    """What an exploration says of one of the seven; `driver` says what was changed in it."""
    number, against = SEVEN[name]
    wrong, orders = against(found), "every order" if found.complete else "not every order"
    said = f"against it {wrong} of {found.executions + found.deadlocks} executions, {orders}"
    return CLAIMS[number].judged(Measured(not wrong, said, found.complete).word, said, on=driver)


def ends(found: ScenarioExploration, *head: str) -> Table:
    """How an exploration's executions ended: how many each way; `head` names the parts of an end."""
    rows = [
        (times, *(value if isinstance(value, tuple) else (value,))) for value, times in found.outcomes.items()
    ]
    return table(
        ["executions", *head], *(tuple("-" if part is None else part for part in row) for row in rows)
    )


#: these take more than half a second each; the verb `claims` runs them too
LONG = (4, 25, 59, 62, 67, 69)


def every_claim() -> Verdicts:
    """All claims of the thread, run now, but for the longest."""
    return Verdicts(
        claim.judged("not run here", f"python -m vtdkit claims {number}")
        if number in LONG
        else claim.verdict(otherwise=False)
        for number, claim in CLAIMS.items()
    )


# -- the page that wins -------------------------------------------------------


def page_wins(driver: type[IntelIommu], found: ScenarioExploration) -> Steps:
    """A short order in which the large page is said to be mapped and is not;
    `found`: block-and-page, explored.

    Raises LookupError if there was none.
    """
    scene = QUESTIONS["block-and-page"].on(driver)
    for end, schedule in found.examples.items():
        if isinstance(end, tuple) and end[0] == 0 and end[2] != LARGE:
            # what is asked for is how it ends, so that the finding on the way may be any
            short = shortest(
                scene, schedule, lambda outcome, end=end: outcome.value == end, shared=found.shared
            )
            return record_schedule(
                scene, short, shared=found.shared, title="a block and a page in it, mapped at once"
            )
    raise LookupError("no execution ended with the page in place of the block")


# -- exercises ----------------------------------------------------------------


def unmapped(seed: int) -> tuple[int, int]:
    """First address and length of the unmap of the first exercise: whole pages, neither end at a
    border of a table.
    """
    rng = random.Random(seed)
    first = rng.randrange(1, 4) * BLOCK + rng.randrange(1, 512) * PAGE
    return first, rng.randrange(3, 9) * BLOCK + rng.randrange(1, 512) * PAGE


def covered(iova: int, length: int) -> int:
    """How many last-level tables of 2 MiB lie wholly inside a range."""
    return max(0, (iova + length) // BLOCK - -(-iova // BLOCK))


def tables_freed(driver: type[IntelIommu], iova: int, length: int) -> int:
    """The same by doing it: map the range page by page, and a page before and after it,
    unmap, count table pages.
    """
    pc = Computer(driver=driver, devices=["00:03.0"], checkers=NO_RACES)
    domain = pc.new_domain(attach="00:03.0")
    pc.map(
        domain, iova - PAGE, BLOCK + PAGE, length + 2 * PAGE
    )  # no target is at a border of 2 MiB where its address is
    before = len(pc.machine.pages)
    pc.unmap(domain, iova, length)
    return before - len(pc.machine.pages)


def _touched(seed: int, given: Any) -> str | None:
    iova, length = unmapped(seed)
    if given == (iova + length - 1) // BLOCK - iova // BLOCK + 1:
        return "so many tables have an entry in the range; the first and the last of them have others too"
    return (
        "that is the length in tables; neither end of the range is at a border"
        if given == length // BLOCK
        else None
    )


TABLES_FREED = Exercise(
    "tables freed",
    lambda seed: (
        "One call unmaps {:#x} bytes from {:#x} on, mapped page by page; the pages before and after stay.\n"
        "How many page-table pages can it free?".format(*reversed(unmapped(seed)))
    ),
    lambda seed: covered(*unmapped(seed)),
    hints=[
        "a last-level table maps 512 pages, 2 MiB",
        "a table may be freed only if all of its 2 MiB are in the range",
    ],
    mistakes=[_touched],
    why="The borders of 2 MiB inside the range, less one. A table across an end of the range still maps a "
    "neighbour.",
)


async def insert_table(self: Any, domain: Any, pte: Any, level: int) -> int:
    """The new table goes in if the entry is still empty; else it is given back, and the other one is used."""
    page = await self.alloc_pgtable_page(domain.nid, "a table")
    if page is None:
        return 0
    await self.domain_flush_cache(domain, 512)  # for units that do not see the CPU's caches
    value: int = page.address | 3
    found: int = await pte.cmpxchg(0, value)
    if found:
        await self.free_pgtable_page(page)
        return found
    await self.domain_flush_cache(domain, 1)
    return value


def _play(seed: int, function: Any) -> Table:
    version = version_with(driver_at(0), function, "insert_table")
    found = explore(QUESTIONS["maps-apart"].on(version), limit=60)
    return ends(found, "map 0x0", "map 0x1000", "0x0", "0x1000", "lost")


def _insert(level: int, taken: bool = False) -> Callable[[Computer], Work]:
    """A table is put under the first entry of a domain's root; or somebody was quicker."""

    def prepare(pc: Computer) -> Work:
        domain, _ = with_devices(pc, 0)
        if taken:
            pc.map(domain, 0, 0x5000000)
        dmar = pc.dmar(domain)
        dmar.preset(nid=1)
        return lambda: pc.driver.insert_table(dmar, dma_pte(dmar.pgd, 0), level)

    return prepare


def _map(pc: Computer) -> Work:
    """A page is mapped where no table is."""
    domain, _ = with_devices(pc, 0)
    return lambda: pc.core.iommu_map(domain, 0x10000, 0x5000000, PAGE, 3)


PUT_IT_IN = CodeExercise(
    "put it in",
    lambda seed: (
        "Write insert_table(self, domain, pte, level): another CPU may put a table in at the same time. "
        "Return the value\n"
        "of the entry afterwards, whoever wrote it, or 0 if there is no memory. Two CPUs map, in every "
        "order; nothing may be lost.\nSome units do not look into the CPU's caches. So that they never "
        "read what was there before, the new table is written\nback to memory before anybody finds it, and "
        "the entry afterwards: await self.domain_flush_cache(domain, number of entries)."
    ),
    lambda seed: insert_table,
    hints=[
        "page = await self.alloc_pgtable_page(domain.nid, 'a table') gives a page or None; an entry is "
        "page.address | 3",
        "found = await pte.cmpxchg(0, value) writes value if the entry is 0, and "
        "returns what was there before",
        "if somebody was quicker, nobody has seen your page: await self.free_pgtable_page(page), "
        "and return what was found",
    ],
    why="The first of three ways in which a table is freed in a living domain, and the only race between "
    "honest callers.",
    base=driver_at(0),
    scenes=[
        Scene("an empty entry", _insert(4)),
        Scene("somebody was quicker", _insert(4, taken=True), fails=False),  # who looks first needs no memory
        Scene("an empty entry, a unit that sees no caches", _insert(4), Capabilities(C=0)),
        Scene("a page is mapped", _map),
        Scene("a page is mapped, scalable mode", _map, SCALABLE, scalable=True),
    ],
    races=[QUESTIONS["maps-apart"]],
    play=_play,
)


progress, seed = of_lesson(globals())
