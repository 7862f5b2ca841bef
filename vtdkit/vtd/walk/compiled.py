"""A stage of page tables made ready for walking with arrays: the cell of every entry in one number.

The walk of a million addresses asks the same questions of the same few thousand entries. `compile_stage` asks
them once: each entry's cell (`cells.py`) becomes a 64-bit number that says where to go next, or which page it
maps, or why it refuses:

    62:46  row of the next table          45:6  page frame number          5  -
    4      stop: the entry refuses; the frame number is then the index of the labels
    3:2    size of the page: 0 4K, 1 2M, 2 1G          1:0  W, R

so that one level of the walk is one gather. A superpage leads on into a table that nobody wrote: its cells
add the page's inner frame number, level by level, and the sum of all frame numbers on the way is the result.
A cell that refuses leads to a row where every cell is itself. Hence every lane takes the same number of
steps. This module needs numpy; nothing else in the room does (but `many`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vtdkit.vtd.memory import WORD, AccessError, MemoryPort, read_page
from vtdkit.vtd.requests import WRITE

from .cells import Judge
from .job import Job, Refused
from .rules import ENTRY_ADDRESS
from .second_stage import asked_for_table, walk
from .space import Space

Words = npt.NDArray[np.uint64]
Cells = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

R, W, SIZE_2M, SIZE_1G, STOP = 1, 2, 1 << 2, 2 << 2, 1 << 4
FRAME_SHIFT, ROW_SHIFT = 6, 46
MAX_ROWS = 1 << 17


class TooLarge(ValueError):
    """More tables than a cell can number."""


@dataclass
class Stage:
    """One compiled stage: `cells` row by row, the row to start from.

    `labels` are why a cell stops: in itself, and where nothing is left of its rights. Three things that most
    tables have and that save work: `largest` is the highest level with a leaf;
    `uniform` says that only leaves restrict permissions; `compact` that a cell shifted right by 37 is its row
    times 512.
    """

    cells: Cells
    root: int
    levels: int
    labels: list[tuple[str, str]]
    largest: int
    uniform: bool
    compact: bool


@dataclass
class Table:
    """One table as read: its words, which of them could not be read (None: all could), may it be updated."""

    words: Words
    unreadable: Flags | None = None
    updatable: bool = True


# How to read a table: (address, is it the root) -> the table, or the label that keeps it from being read.
Reader = Callable[[int, bool], Table | str]


class _Rows:
    """Rows of cells while they are collected, and the rows that refuse."""

    def __init__(self) -> None:
        self.parts: list[Cells] = []
        self.count = 0
        self.sinks: dict[tuple[str, str, int], int] = {}

    def add(self, cells: Cells) -> int:
        """Append rows; returns the number of the first."""
        first, self.count = self.count, self.count + len(cells)
        if self.count > MAX_ROWS:
            raise TooLarge(f"more than {MAX_ROWS} tables")
        self.parts.append(cells)
        return first

    def stop(self, label: str, nothing: str = "", rights: int = 0) -> int:
        """The cell that refuses with `label`. It leads to a row of itself."""
        key = label, nothing or label, rights
        if key not in self.sinks:
            cell = self.count << ROW_SHIFT | len(self.sinks) << FRAME_SHIFT | STOP | rights
            self.sinks[key] = cell
            self.add(np.full((1, 512), cell, np.int64))
        return self.sinks[key]

    def inside_superpages(self) -> dict[int, int]:
        """The tables inside superpages: level of the leaf -> row to go on with. Row 0 is nobody's: it says
        that a cell leads nowhere.
        """
        index = np.arange(512, dtype=np.int64)[None, :]
        self.add(np.zeros((1, 512), np.int64))
        inside_2m = self.add(index << FRAME_SHIFT | SIZE_2M | R | W)
        last = self.add(index << FRAME_SHIFT | SIZE_1G | R | W)
        inside_1g = self.add(index << FRAME_SHIFT + 9 | last << ROW_SHIFT | R | W)
        return {1: 0, 2: inside_2m, 3: inside_1g}


def compile_stage(root: int, levels: int, judge: Judge, read: Reader) -> Stage:
    """Compile the tables below `root`, a level at a time. Raises TooLarge."""
    rows = _Rows()
    inside = rows.inside_superpages()
    largest, uniform = 1, True
    found = read(root, True)
    if isinstance(found, str):
        start = rows.stop(found) >> ROW_SHIFT
        tables: list[Table] = []
    else:
        start, tables = rows.count, [found]
    for level in range(levels, 0, -1):
        if not tables:
            break
        block = np.empty((len(tables), 512), np.int64)
        rows.add(block)
        words = np.stack([table.words for table in tables])
        cells, leaf = _judged(rows, words, level, judge, tables)
        if any(table.unreadable is not None for table in tables):
            _bar(rows, cells, tables, judge.unreadable[level < levels])
        address, onward = words & np.uint64(ENTRY_ADDRESS), cells & STOP == 0
        maps = leaf & onward
        if maps.any():
            largest = max(largest, level)
            frames = (address & np.uint64(-(8 << 9 * level) & WORD)).astype(np.int64) >> 12
            np.copyto(cells, cells | frames << FRAME_SHIFT | inside.get(level, 0) << ROW_SHIFT, where=maps)
        pointers = onward & ~leaf
        uniform = uniform and bool((cells[pointers] & 3 == 3).all())
        tables = _descend(rows, cells, pointers, address, read)
        block[:] = cells
    flat = np.concatenate(rows.parts).reshape(-1)
    onward = flat >> ROW_SHIFT != 0
    compact = not (flat[onward] >> ROW_SHIFT - 9 & 511).any()
    labels = [(label, nothing) for label, nothing, _ in rows.sinks]
    return Stage(flat, start, levels, labels, largest, uniform, compact)


def _judged(
    rows: _Rows, words: Words, level: int, judge: Judge, tables: Sequence[Table]
) -> tuple[Cells, Flags]:
    """Rights and refusals of all entries of one level; which of them are leaves.

    Entries that differ only in bits that make no difference are judged once.
    """
    plain, sized = (np.uint64(~judge.indifferent(level, sized=large) & WORD) for large in (False, True))
    shapes = np.where(words & np.uint64(0x80), words & sized, words & plain)
    shapes[words == WORD] = WORD
    cells, leaf = np.empty(words.shape, np.int64), np.empty(words.shape, np.bool_)
    for updatable in {table.updatable for table in tables}:
        part = np.array([table.updatable == updatable for table in tables])
        kinds = np.unique(shapes[part])
        verdicts = [judge.cell(level, int(kind), updatable=updatable) for kind in kinds]
        numbers = [v.rights if not v.label else rows.stop(v.label, v.nothing, v.rights) for v in verdicts]
        which = np.searchsorted(kinds, shapes[part])
        cells[part] = np.array(numbers, np.int64)[which]
        leaf[part] = np.array([verdict.leaf for verdict in verdicts], np.bool_)[which]
    return cells, leaf


def _bar(rows: _Rows, cells: Cells, tables: Sequence[Table], label: str) -> None:
    """Entries that cannot be read refuse with `label`."""
    for row, table in zip(cells, tables, strict=True):
        if table.unreadable is not None:
            row[table.unreadable] = rows.stop(label)


def _descend(rows: _Rows, cells: Cells, pointers: Flags, address: Words, read: Reader) -> list[Table]:
    """Read the tables that `pointers` lead to and point the cells at the rows they will have."""
    targets, which = np.unique(address[pointers], return_inverse=True)
    found = [read(int(target), False) for target in targets]
    tables = [table for table in found if isinstance(table, Table)]
    stops = {label: rows.stop(label) for label in found if isinstance(label, str)}
    numbers = iter(range(rows.count, rows.count + len(tables)))
    onward = [stops[f] >> ROW_SHIFT if isinstance(f, str) else next(numbers) for f in found]
    cells[pointers] |= np.array(onward, np.int64)[which] << ROW_SHIFT
    return tables


def read_table(memory: MemoryPort, address: int) -> Table:
    """The table at a host address. Raises AccessError when not one word of it can be read."""
    page = read_page(memory, address >> 12)
    if page is None:
        raise AccessError(address)
    if isinstance(page, array):
        return Table(np.frombuffer(page, np.uint64))
    bad = np.array([word is None for word in page])
    return Table(np.array([word or 0 for word in page], np.uint64), bad if bad.any() else None)


def plain_reader(memory: MemoryPort, access: tuple[str, str]) -> Reader:
    """Tables at host addresses."""

    def read(address: int, root: bool) -> Table | str:
        try:
            return read_table(memory, address)
        except AccessError:
            return access[0] if root else access[1]

    return read


def nested_reader(job: Job, space: Space, access: tuple[str, str]) -> Reader:
    """First-stage tables at guest addresses: the second stage says where each is."""
    plain = plain_reader(job.memory, access)

    def read(address: int, root: bool) -> Table | str:
        try:
            leaf = job.finish(walk(job, space, address, asked_for_table(space, root=root)))
        except Refused as refusal:
            return refusal.label
        found = plain(leaf.base | address & (1 << leaf.shift) - 1, root)
        return found if isinstance(found, str) else replace(found, updatable=bool(leaf.second & WRITE))

    return read
