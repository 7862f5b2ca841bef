"""A stage of page tables made ready for walking with arrays: every entry judged once, in one number.

The walk of a million addresses asks the same questions of the same few thousand entries. `compile_stage` asks
them once: each entry becomes a 64-bit *cell* that says where to go next, or which page it maps, or why it
refuses. A cell:

    62:46  row of the next table          45:6  page frame number          5  -
    4      stop: the entry refuses; the frame number is then the index of the label
    3:2    size of the page: 0 4K, 1 2M, 2 1G          1:0  W, R

so that one level of the walk is one gather. A superpage leads on into a table that nobody wrote: its cells
add the page's inner frame number, level by level, and the sum of all frame numbers on the way is the result.
A cell that refuses leads to a row where every cell is itself. Hence every lane takes the same number of
steps.

What is judged, and in which order, mirrors `second.walk` and `first.walk`; a test holds them together. This
module needs numpy; nothing else in the room does (but `many`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vtdkit.vtd.memory import WORD, AccessError, MemoryPort
from vtdkit.vtd.requests import READ, WRITE

from .job import Job, Leaf, Refused, Space
from .rules import ENTRY_ADDRESS
from .second_stage import Ask, Sites, walk

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

    Three things that most tables have and that save work: `largest` is the highest level with a leaf;
    `uniform` says that only leaves restrict permissions; `compact` that a cell shifted right by 37 is its row
    times 512.
    """

    cells: Cells
    root: int
    levels: int
    labels: list[str]
    largest: int
    uniform: bool
    compact: bool


# What entries are judged by: words and level of some tables, which of them may not be updated (None: all
# may) -> refusals in order, permission bits, is it a leaf.
Judge = Callable[[Words, int, Flags | None], tuple[list[tuple[str, Flags]], Cells, Flags]]


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
        self.labels: list[str] = []
        self._sinks: list[int] = []

    def add(self, cells: Cells) -> int:
        """Append rows; returns the number of the first."""
        first, self.count = self.count, self.count + len(cells)
        if self.count > MAX_ROWS:
            raise TooLarge(f"more than {MAX_ROWS} tables")
        self.parts.append(cells)
        return first

    def stop(self, label: str) -> int:
        """The cell that refuses with `label`. It leads to a row of itself."""
        if label not in self.labels:
            number = len(self.labels)
            self.labels.append(label)
            cell = self.count << ROW_SHIFT | number << FRAME_SHIFT | STOP
            self._sinks.append(cell)
            self.add(np.full((1, 512), cell, np.int64))
        return self._sinks[self.labels.index(label)]

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


def compile_stage(root: int, levels: int, judge: Judge, read: Reader, access: tuple[str, str]) -> Stage:
    """Compile the tables below `root`, a level at a time. Raises TooLarge.

    `access` are the labels of a failed read: of the root, and of a lower table.
    """
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
        cells, leaf, stopped, words = _judged(
            rows, tables, level, judge, access[0] if level == levels else access[1]
        )
        address = words & np.uint64(ENTRY_ADDRESS)
        if leaf.any():
            largest = max(largest, level) if (leaf & ~stopped).any() else largest
            frames = (address & np.uint64(-(8 << 9 * level) & WORD)).astype(np.int64) >> 12
            np.copyto(
                cells,
                cells | frames << FRAME_SHIFT | inside.get(level, 0) << ROW_SHIFT,
                where=leaf & ~stopped,
            )
        pointers = ~leaf & ~stopped
        uniform = uniform and bool((cells[pointers] & 3 == 3).all())
        tables = _descend(rows, cells, pointers, address, read)
        block[:] = cells
    flat = np.concatenate(rows.parts).reshape(-1)
    onward = flat >> ROW_SHIFT != 0
    compact = not (flat[onward] >> ROW_SHIFT - 9 & 511).any()
    return Stage(flat, start, levels, rows.labels, largest, uniform, compact)


def _judged(
    rows: _Rows, tables: list[Table], level: int, judge: Judge, access: str
) -> tuple[Cells, Flags, Flags, Words]:
    """Cells of the tables of one level, with permissions and refusals; which are leaves, which refuse; the
    words.
    """
    words = np.stack([table.words for table in tables])
    fixed = (
        np.array([not table.updatable for table in tables])[:, None]
        if not all(t.updatable for t in tables)
        else None
    )
    refusals, cells, leaf = judge(words, level, fixed)
    if any(table.unreadable is not None for table in tables):
        nothing = np.zeros(512, np.bool_)
        bad = np.stack([nothing if table.unreadable is None else table.unreadable for table in tables])
        refusals = [(access, bad), *refusals]
    stopped = np.zeros(words.shape, np.bool_)
    for label, mask in refusals:
        fresh = mask & ~stopped
        if fresh.any():
            cells[fresh] = rows.stop(label)
            stopped |= fresh
    return cells, leaf, stopped, words


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
    bulk = getattr(memory, "read_page", None)
    page = bulk(address >> 12) if bulk else None
    if page is not None:
        return Table(np.frombuffer(page, np.uint64) if isinstance(page, array) else np.array(page, np.uint64))
    words, bad = np.zeros(512, np.uint64), np.zeros(512, np.bool_)
    for i in range(512):
        try:
            words[i] = memory.read64(address + 8 * i)
        except AccessError:
            bad[i] = True
    if bad.all():
        raise AccessError(address)
    return Table(words, bad if bad.any() else None)


def _bits(words: Words, mask: int) -> Flags:
    bits: Flags = (words & np.uint64(mask)) != 0
    return bits


def _leaves(words: Words, level: int) -> Flags:
    if level == 1:
        return np.ones(words.shape, np.bool_)
    return _bits(words, 0x80) if level <= 3 else np.zeros(words.shape, np.bool_)


def second_judge(job: Job, space: Space, need: int, sites: Sites) -> Judge:
    """The checks of `second.walk` on 512 entries at once."""
    rules = job.rules
    absent = sites.absent or (sites.write if job.request.writes else sites.read)

    def judge(words: Words, level: int, fixed: Flags | None) -> tuple[list[tuple[str, Flags]], Cells, Flags]:
        here = (words >> np.uint64(rules.permission_shift) & np.uint64(3)).astype(np.int64)
        leaf = _leaves(words, level)
        reserved = np.where(
            leaf, _bits(words, rules.second_leaf[level]), _bits(words, rules.second_table[level])
        )
        refusals = [(absent, here == 0)]
        if rules.caps.reserved_first:
            refusals.append((sites.reserved, reserved))
        if need & WRITE:
            refusals.append((sites.write, here & W == 0))
        if need & READ:
            refusals.append((sites.read, here & R == 0))
        refusals.append((sites.reserved, reserved))
        if space.ssade and not space.snooped and not rules.quirks.flags_without_snoop:
            dirty = leaf & (here & W != 0) & job.wants_write
            refusals.append((sites.unsnooped, ~_bits(words, 1 << 8) | dirty & ~_bits(words, 1 << 9)))
        return refusals, here, leaf

    return judge


def first_judge(job: Job, space: Space) -> Judge:
    """The checks of `first.walk` on 512 entries at once."""
    rules, supervisor = job.rules, job.supervisor
    always_writable = supervisor and not space.wpe
    accessed = 1 << 5
    extended = 1 << 10 if space.eafe else 0

    def judge(words: Words, level: int, fixed: Flags | None) -> tuple[list[tuple[str, Flags]], Cells, Flags]:
        leaf = _leaves(words, level)
        writable = np.ones(words.shape, np.bool_) if always_writable else _bits(words, 2)
        reserved = np.where(
            leaf, _bits(words, rules.first_leaf[level]), _bits(words, rules.first_table[level])
        )
        refusals = [("SFS.2", ~_bits(words, 1))]
        if rules.caps.reserved_first:
            refusals.append(("SFS.3", reserved))
        if not supervisor:
            refusals.append(("SGN.2", ~_bits(words, 4)))
        if job.request.writes:
            refusals.append(("SGN.6", ~writable))
        refusals.append(("SFS.3", reserved))
        lacking = ~_bits(words, accessed)
        if extended:
            lacking |= ~_bits(words, extended)
        if job.wants_write:
            lacking |= leaf & writable & ~_bits(words, 1 << 6)
        if not space.snooped and not rules.quirks.flags_without_snoop:
            refusals.append(("SFS.9", lacking))
        elif fixed is not None:
            refusals.append(("SFS.8", lacking & fixed))
        if space.path == "NEST":
            beyond = (words & np.uint64(ENTRY_ADDRESS)) >= np.uint64(space.second_limit)
            refusals.append(("SFS.5", beyond))
        return refusals, np.int64(R) | np.where(writable, np.int64(W), np.int64(0)), leaf

    return judge


def plain_reader(memory: MemoryPort, access: tuple[str, str]) -> Reader:
    """Tables at host addresses."""

    def read(address: int, root: bool) -> Table | str:
        try:
            return read_table(memory, address)
        except AccessError:
            return access[0] if root else access[1]

    return read


def nested_reader(job: Job, space: Space, ask: Callable[[bool], Ask], access: tuple[str, str]) -> Reader:
    """First-stage tables at guest addresses: the second stage says where each is."""
    plain = plain_reader(job.memory, access)

    def read(address: int, root: bool) -> Table | str:
        try:
            leaf: Leaf = job.unit.finish(walk(job, space, address, ask(root)))
        except Refused as refusal:
            return refusal.label
        found = plain(leaf.base | address & (1 << leaf.shift) - 1, root)
        return found if isinstance(found, str) else replace(found, updatable=leaf.second_writable)

    return read
