"""The pages of a device's page tables as a record: every table that can be reached, entries that follow a
pattern told in one line.

Pages are kept by address, 512 words each, whatever they are used for; so tables that loop or are shared
cost nothing extra. What a browser gets is bounded: first the tables on the way to the address of
interest, then all others level by level, the nearest first, until `most` lines are used up. What was left
out is counted, and a walk that gets there says so.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.rules import ENTRY_ADDRESS

from .snapshot import Snapshot

WORD = (1 << 64) - 1
MOST = 20_000
"""Lines of a record: about 30 bytes each."""


@dataclass(frozen=True, slots=True, order=True)
class Table:
    """A page used as a table: `page` is its host address, `base` the first input address it
    is looked up for.
    """

    stage: str
    page: int
    level: int
    base: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A table entry that leads on. `child` is an address as the entry has it: guest physical when nested."""

    index: int
    leaf: bool
    child: int


class Reader:
    """Reads tables of one unit. `locate` turns the address of a first-stage table into a
    host address, or None.
    """

    def __init__(self, unit: RemappingUnit, locate: Callable[[int], int | None]) -> None:
        self.rules = unit.rules
        self.memory: Snapshot = unit.memory  # type: ignore[assignment]
        self.locate = locate
        self._counts: dict[tuple[str, int, int], int] = {}

    def words(self, page: int) -> Sequence[int | None] | None:
        return self.memory.page(page >> 12)

    def entries(self, table: Table) -> list[Entry]:
        """The entries of a table that lead on: present, and no reserved bit set."""
        first = table.stage == "first"
        rules, level = self.rules, table.level
        pointers = (rules.first_table if first else rules.second_table)[level]
        leaves = (rules.first_leaf if first else rules.second_leaf)[level]
        present = 1 if first else 3 << rules.permission_shift
        found = []
        for index, word in enumerate(self.words(table.page) or ()):
            if word is None or not word & present:
                continue
            leaf = level == 1 or bool(word & 0x80 and level <= 3)
            if not word & (leaves if leaf else pointers):
                found.append(Entry(index, leaf, word & ENTRY_ADDRESS))
        return found

    def below(self, table: Table) -> Iterable[Table]:
        """The tables that the entries of `table` lead to."""
        for entry in self.entries(table):
            if not entry.leaf:
                page = self.locate(entry.child) if table.stage == "first" else entry.child
                if page is not None:
                    shift = 3 + 9 * table.level
                    yield Table(table.stage, page, table.level - 1, table.base + (entry.index << shift))

    def mapped(self, table: Table) -> int:
        """How many 4 KiB pages are mapped by `table` and what is below it."""
        key = (table.stage, table.page, table.level)
        if key not in self._counts:
            self._counts[key] = 0  # a table that contains itself is not counted twice
            leaves = sum(1 << 9 * (table.level - 1) for entry in self.entries(table) if entry.leaf)
            self._counts[key] = leaves + sum(self.mapped(each) for each in self.below(table))
        return self._counts[key]


def collect(reader: Reader, roots: Sequence[Table], near: int, most: int = MOST) -> dict[str, Any]:
    """`pages` (address → what is in it), `absent` (tables where no memory is), `left_out` (how many
    tables were not read).
    """
    pages: dict[str, Any] = {}
    absent: set[str] = set()
    seen: set[tuple[str, int, int]] = set()
    lines = left_out = 0
    wave = [_turn(table, near) for table in roots]
    heapq.heapify(wave)
    while wave:
        table = heapq.heappop(wave)[-1]
        key = (table.stage, table.page, table.level)
        if key in seen:
            continue
        seen.add(key)
        made = pages.get(f"{table.page:#x}") or _page(reader, table)
        if made is None:
            absent.add(f"{table.page:#x}")
        elif f"{table.page:#x}" not in pages and lines + len(made["runs"]) > most:
            left_out += 1
        else:
            if f"{table.page:#x}" not in pages:
                lines += len(made["runs"])
                pages[f"{table.page:#x}"] = made
            _count_below(reader, table, made)
            for below in reader.below(table):
                heapq.heappush(wave, _turn(below, near))
    return {"pages": pages, "absent": sorted(absent), "left_out": left_out}


def _turn(table: Table, near: int) -> tuple[bool, int, int, int, Table]:
    """What is read first: the way to the address of interest down to its page, then upper levels,
    then what is near.
    """
    on_the_way = 0 <= near - table.base < 1 << 12 + 9 * table.level
    return not on_the_way, -table.level, abs(table.base - near), table.page, table


def _page(reader: Reader, table: Table) -> dict[str, Any] | None:
    words = reader.words(table.page)
    if words is None:
        return None
    made: dict[str, Any] = {"runs": runs(words), "under": {}}
    broken = [index for index, word in enumerate(words) if word is None]
    if broken:
        made["broken"] = broken
    if table.page >> 12 in reader.memory.freed:
        made["freed"] = True
    return made


def _count_below(reader: Reader, table: Table, made: dict[str, Any]) -> None:
    """For each entry that leads to a table: how many 4 KiB pages are mapped below it."""
    for below in reader.below(table):
        index = below.base - table.base >> 3 + 9 * table.level
        made["under"][str(index)] = reader.mapped(below)


def runs(words: Sequence[int | None]) -> list[list[Any]]:
    """The words that are not 0: `[index, value]`, or `[index, count, value, step]` for three and
    more in even steps.
    """
    found: list[list[Any]] = []
    index = 0
    while index < len(words):
        value = words[index]
        if not value:
            index += 1
            continue
        count, step = _even(words, index, value)
        found.append([index, f"{value:#x}"] if count == 1 else [index, count, f"{value:#x}", f"{step:#x}"])
        index += count
    return found


def _even(words: Sequence[int | None], index: int, value: int) -> tuple[int, int]:
    """How many words from `index` on grow in even steps, and the step (modulo 2^64). Fewer than
    three count as one.
    """
    follower = words[index + 1] if index + 1 < len(words) else None
    if not follower:
        return 1, 0
    step, count = (follower - value) & WORD, 2
    while (
        index + count < len(words)
        and words[index + count]
        and words[index + count] == (value + count * step) & WORD
    ):
        count += 1
    return (count, step) if count > 2 else (1, 0)
