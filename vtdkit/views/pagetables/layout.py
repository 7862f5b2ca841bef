"""Where things stand in the explorer's picture on paper: strips of table entries, as plain data
computed from the record.

`strips(record, walk)` gives one strip a table on the way. The kinds of entries and their heights are
those of `pagetables_rows.js`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from vtdkit.views.shared.record import Record
from vtdkit.vtd.walk.trace import Step, Walk

from .cells import equal_runs
from .words import PURPOSE

Block = tuple[int, int, str, float]
"""Equal entries: the index of the first, how many, their kind (table, both, read, write, wrong or out), and
how full they are, 0 to 1.
"""


@dataclass(frozen=True, slots=True)
class Strip:
    """One table: what it is called, how many entries it has, which one the walk used, and what that says."""

    name: str
    says: str
    size: int
    lit: int
    stopped: bool
    blocks: tuple[Block, ...]


def strips(record: Record, walk: Walk) -> tuple[Strip, ...]:
    """The tables of one walk from the top, second-stage walks on behalf of first-stage tables left out."""
    return tuple(_strip(record, step) for step in walk.steps if not step.inner)


def _strip(record: Record, step: Step) -> Strip:
    kind, stopped = step.structure.name, bool(step.label)
    if step.level:
        stage = "second" if kind.startswith("SS") else "first"
        found = blocks_of(record, stage, step.level, step.address & ~0xFFF)
        return Strip(f"Level {step.level}", step.why, 512, step.index, stopped, found)
    front = {each["kind"]: each for each in record["now"]["steps"]}[kind]
    blocks = tuple((index, 1, "table", 1.0) for index in front["present"])
    lit = step.index - front["first"]
    return Strip(PURPOSE[kind][0], step.why, front["entries"], lit, stopped, blocks)


def blocks_of(record: Record, stage: str, level: int, page: int) -> tuple[Block, ...]:
    """The entries of one page that lead somewhere, equal neighbours together."""
    kept = record["pages"].get(f"{page:#x}")
    numbers = [n for _, count, n in kept["cells"][f"{stage} {level}"] for _ in range(count)] if kept else []
    cells = (
        _cell(record["shapes"][number]["look"], level, kept["under"].get(str(index)))
        for index, number in enumerate(numbers)
    )
    return tuple((index, count, *cell) for index, count, cell in equal_runs(cells) if cell[0])


def _cell(look: str, level: int, under: int | None) -> tuple[str, float]:
    """The kind of an entry and how full it is: how much of what it covers is mapped, on a scale on which one
    page can still be seen.
    """
    if look != "table":
        return look, 1.0
    full = (1 + log2(under)) / (1 + 9 * (level - 1)) if under else 0.0
    return "out" if under is None else "table", full
