"""Lesson 17: a machine that boots in parallel. A guest's memory is mapped with many CPUs at once: what they
wait for, by which rule they may, and who checks it.

The scene, a VFIO container that is filled, stands in the notebook; `pieces` is the guest's memory. `curve`
measures the same with up to 64 CPUs, `met` puts pairs of calls before the contract checker, `compared` lays
what real kernels waited for beside a replay of what they did: `traces` reads what was recorded of them,
`replay` makes the same calls on a simulated computer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from lessons.claims import catalogue
from lessons.claims.report import in_words
from lessons.claims.users import FREED, MEET, PROMOTE, SAME, SMALL
from lessons.experiments.loading import MIB, load
from lessons.scenes.pairs import BLOCK, LARGE, PAGE, Op, side_by_side
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.lesson.base import Table, table
from vtdkit.lab.scaling import ScalingPoint
from vtdkit.lab.scenarios.base import Scenario
from vtdkit.lab.steps.schedule import Steps, record_schedule

from .replay import Replayed
from .traces import LockTrace

CPUS = (1, 4, 16, 64)
HALF = BLOCK // 2

# -- loading ---------------------------------------------------------------------


def pieces(size: int, piece: int = 2 * MIB) -> list[tuple[int, int, int]]:
    """A guest's memory in pieces that are apart: for each its address in the process, first page frame,
    pages.
    """
    pages = piece // PAGE
    return [(at, (1 << 20) + 2 * pages * (at // piece), pages) for at in range(0, size, piece)]


def times(alone: int, together: int) -> str:
    """How many times as fast, as one of the answers of the question in the notebook."""
    return min(
        ("hardly faster", "twice as fast", "four times as fast"),
        key=lambda text: abs(
            {"hardly faster": 1, "twice as fast": 2, "four times as fast": 4}[text] - alone / together
        ),
    )


def curve(name: str, way: str, cpus: Iterable[int] = CPUS, **options: Any) -> list[ScalingPoint]:
    """Pages mapped in a second with so many CPUs, for the figure."""
    return [
        ScalingPoint(
            name, count, done.size / PAGE * 1e9 / done.duration, min(done.share, 1.0), 0.0, done.locks
        )
        for count in cpus
        for done in [load(way, count, **options)]
    ]


def waits(points: Iterable[ScalingPoint]) -> Table:
    """For each curve: how many times as much with the most CPUs, and what they wait for then."""
    rows: dict[str, list[ScalingPoint]] = {}
    for point in points:
        rows.setdefault(str(point.version), []).append(point)
    return table(
        [
            "",
            *(f"{point.cpus} CPU{'s' * (point.cpus > 1)}" for point in next(iter(rows.values()))),
            "waiting for",
        ],
        *(
            [
                name,
                *(f"{point.ops_per_second / line[0].ops_per_second:.1f} times" for point in line),
                line[-1].bottleneck if line[-1].wait_share >= 0.01 else "nothing",
            ]
            for name, line in rows.items()
        ),
    )


# -- the rule -----------------------------------------------------------------------

PAIRS: dict[str, Scenario] = {
    "map a page, unmap the one beside it": side_by_side(
        Op("map", PAGE), Op("unmap"), before=[Op("map"), Op("map", 2 * PAGE)]
    ),
    "map a page, map the same page": SAME,
    "map a page, unmap the 2 MiB around it": MEET,
    "look a page up, look it up": side_by_side(Op("look up"), Op("look up"), before=[Op("map")]),
    "look a page up, unmap the 2 MiB around it": side_by_side(
        Op("look up"), Op("unmap", 0, BLOCK), before=[Op("map")]
    ),
    "map a page, free the domain": FREED,
    "dump the tables, unmap 2 MiB": side_by_side(Op("dump"), Op("unmap", 0, BLOCK), before=[Op("map")]),
}


def met(driver: type[IntelIommu], pairs: Mapping[str, Scenario] = PAIRS) -> Table:
    """Pairs of calls at once, in every order: how many ends, and what the checkers say."""
    rows = []
    for name, scene in pairs.items():
        found = explore(scene.on(driver))
        said = "objects" if found.of("contract") else "is silent"
        rows.append((name, found.executions, len(found.outcomes), found.times("use-after-free"), said))
    return table(["at once", "orders", "ends", "touch freed memory", "the contract checker"], *rows)


def promoted(driver: type[IntelIommu], lock: bool = False) -> ScenarioExploration:
    """Small pages are made a large one, and one of them is unmapped: every order."""
    return explore(_promote(lock).on(driver))


def _promote(lock: bool) -> Scenario:
    return side_by_side(PROMOTE, Op("unmap", 5 * PAGE), before=SMALL, lock=lock)


def comes_back(driver: type[IntelIommu], found: ScenarioExploration) -> Steps:
    """An order in which a page that was unmapped is mapped in the end; `found`: `promoted`, explored. Raises
    KeyError if there is none.
    """
    schedule = found.examples[0, PAGE, f"{LARGE + 5 * PAGE:#x}"]
    # No search for a point of no return: the contract is broken in every order, the page comes back in some.
    return record_schedule(
        _promote(False).on(driver), schedule, shared=found.shared, title="A page comes back", budget=0
    )


# -- real guests ----------------------------------------------------------------------


def compared(seen: Mapping[str, LockTrace], done: Mapping[str, Replayed], events: Mapping[str, int]) -> Table:
    """Waits for a thousand events: the real kernel's and the replay's; `events` of each whole trace."""
    ours = {row.function for one in done.values() for row in one.contended}
    names = sorted({"qi_submit_sync"} | ours, key=lambda name: (name != "qi_submit_sync", name))
    rows = []
    for name in names:
        row: list[object] = [name]
        for mode in seen:
            row.append(round(1000 * seen[mode].waits.get(name, 0) / events[mode]))
            replayed = done[mode]
            count = sum(each.count for each in replayed.contended if each.function == name)
            row.append(round(1000 * count / replayed.events))
        rows.append(row)
    head = [f"{mode}: {who}" for mode in seen for who in ("kernel", "replay")]
    return table(["waits in, for 1,000 events", *head], *rows)


def verdicts(*numbers: int) -> Table:
    """What running says of some claims, and what the experiment in which it comes out the other way says."""
    return in_words(catalogue.verdicts(numbers))


# -- exercises ------------------------------------------------------------------------


def chunks(seed: int) -> tuple[int, int]:
    """Size of a guest and of a chunk in MiB: some borders of chunks fall inside large pages, some do not."""
    rng = random.Random(seed)
    chunk = rng.choice((3, 5, 7, 9))
    return chunk * rng.choice((6, 8, 10)), chunk


def cut(size: int, chunk: int) -> int:
    """How many pages of 2 MiB a border of chunks falls into; sizes in MiB."""
    return sum(border % 2 for border in range(chunk, size, chunk))


def _all_borders(seed: int, given: Any) -> str | None:
    size, chunk = chunks(seed)
    return "every second border lies between two large pages" if given == size // chunk - 1 else None


LARGE_PAGES_CUT = Exercise(
    "large pages cut",
    lambda seed: (
        "A guest of {} MiB lies in memory as one piece, so it could be mapped with pages of 2 MiB alone.\n"
        "Helpers take it in chunks of {} MiB. How many last-level tables does that cost? Answer with a "
        "number.".format(*chunks(seed))
    ),
    lambda seed: cut(*chunks(seed)),
    hints=[
        "where a border of two chunks falls inside 2 MiB, no large page fits, and a table is needed there",
        "chunks begin at multiples of their size; which of these are odd?",
    ],
    mistakes=[_all_borders],
    why="One for each border at an odd number of MiB. That is why the RFC aligned its chunks to 2 MiB, and "
    "what Jason Gunthorpe's first answer was about: with pages of 1 GiB it happens one level up.",
)


def may_meet(one: tuple[str, int, int], two: tuple[str, int, int]) -> bool:
    """May two calls run at once? Each is (what, first address, bytes)."""
    readers = {"look up", "dirty read"}
    apart = one[1] + one[2] <= two[1] or two[1] + two[2] <= one[1]
    return apart or {one[0], two[0]} <= readers


def _cases(seed: int) -> list[tuple[Any, ...]]:
    rng = random.Random(seed)
    base = rng.randrange(1, 100) * BLOCK
    calls = [
        ("map", base, BLOCK),
        ("unmap", base + BLOCK, BLOCK),
        ("unmap", base + BLOCK - PAGE, PAGE),
        ("look up", base + 5 * PAGE, PAGE),
        ("dirty read", base, 2 * BLOCK),
        ("demote", base, BLOCK),
        ("map", base - PAGE, PAGE),
    ]
    rng.shuffle(calls)
    return [(one, two) for one in calls for two in calls if one is not two]


WHO_MAY_MEET = Exercise(
    "who may meet",
    lambda seed: (
        "Write may_meet(one, two): may these two calls on one domain run at the same time? A call is a\n"
        "tuple (what, first address, bytes); what is 'map', 'unmap', 'look up', 'dirty read', 'demote' or\n"
        "'promote'. Return True or False."
    ),
    lambda seed: may_meet,
    hints=[
        "two ranges are apart if one ends before the other begins; it ends at first address plus bytes",
        "which calls only read? Two of those may share a range",
    ],
    cases=_cases,
    why="It is a reader-writer lock on each range of addresses, and whoever calls has to hold it. "
    "generic_pt's comments say it function by function.",
)


progress, seed = of_lesson(globals())
