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

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .job import Job, Leaf, Refused, Space
from .memory import AccessError, MemoryPort
from .requests import READ, WRITE
from .rules import ENTRY_ADDRESS
from .second import Ask, Sites, walk

Words = npt.NDArray[np.uint64]
Cells = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

R, W, SIZE_2M, SIZE_1G, STOP = 1, 2, 1 << 2, 2 << 2, 1 << 4
FRAME_SHIFT, ROW_SHIFT = 6, 46
MAX_ROWS = 1 << 17


class TooLarge(Exception):
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


@dataclass
class _Build:
    """Rows while they are collected. Row 0 to 2 are the inner tables of superpages."""

    rows: list[Cells] = field(default_factory=list)
    sinks: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    known: dict[tuple[int, int], int] = field(default_factory=dict)
    largest: int = 1
    uniform: bool = True

    def add(self, cells: Cells) -> int:
        if len(self.rows) >= MAX_ROWS:
            raise TooLarge
        self.rows.append(cells)
        return len(self.rows) - 1

    def sink(self, label: str) -> int:
        """The row whose every cell refuses with `label`."""
        if label not in self.sinks:
            self.labels.append(label)
            row = self.sinks[label] = len(self.rows)
            self.add(np.full(512, stop_cell(row, len(self.labels) - 1), np.int64))
        return self.sinks[label]

    def stop(self, label: str) -> int:
        row = self.sink(label)
        return stop_cell(row, self.labels.index(label))


def stop_cell(row: int, label: int) -> int:
    return row << ROW_SHIFT | label << FRAME_SHIFT | STOP


def _inner_rows(build: _Build) -> tuple[int, int]:
    """The tables inside superpages; returns the rows to go on with after a 2M and after a 1G leaf."""
    index = np.arange(512, dtype=np.int64)
    inside_2m = build.add(index << FRAME_SHIFT | SIZE_2M | R | W)
    last_1g = build.add(index << FRAME_SHIFT | SIZE_1G | R | W)
    inside_1g = build.add(index << FRAME_SHIFT + 9 | last_1g << ROW_SHIFT | R | W)
    return inside_2m, inside_1g


# What one entry is judged by: entries of a level -> (refusals in order, permission bits, is a leaf)
Judge = Callable[[Words, int, Flags | None], tuple[list[tuple[str, Flags]], Cells, Flags]]
# How to read a table: (address, is it the root) -> words, which of them cannot be read, may it be updated;
# or the label that keeps it from being read.
Reader = Callable[[int, bool], tuple[Words, Flags | None, bool] | str]


def compile_stage(root: int, levels: int, judge: Judge, read: Reader, access: tuple[str, str]) -> Stage:
    """Compile the tables below `root`. `access`: the labels of a failed read of the root, of a lower
    table.
    """
    build = _Build()
    inside = _inner_rows(build)
    start = _row(build, root, levels, levels, judge, read, access, inside)
    cells = np.concatenate(build.rows)
    onward = cells >> ROW_SHIFT != 0
    compact = not (cells[onward] >> 37 & 511).any()
    return Stage(cells, start, levels, build.labels, build.largest, build.uniform, compact)


def _row(
    build: _Build,
    table: int,
    level: int,
    levels: int,
    judge: Judge,
    read: Reader,
    access: tuple[str, str],
    inside: tuple[int, int],
) -> int:
    """The row of the table at `table`, compiled if it is new. Recursion is as deep as the levels."""
    known = build.known.get((level, table))
    if known is not None:
        return known
    found = read(table, level == levels)
    if isinstance(found, str):
        row = build.known[level, table] = build.sink(found)
        return row
    words, unreadable, updatable = found
    refusals, permissions, leaf = judge(words, level, None if updatable else np.ones(512, np.bool_))
    cells = permissions.copy()
    address = words & np.uint64(ENTRY_ADDRESS)
    if leaf.any():
        frames = (address & np.uint64(-(1 << 3 + 9 * level) & (1 << 64) - 1)).astype(np.int64) >> 12
        onward = 0 if level == 1 else inside[level - 2] << ROW_SHIFT
        cells = np.where(leaf, cells | frames << FRAME_SHIFT | onward, cells)
        build.largest = max(build.largest, level)
    stopped = np.zeros(512, np.bool_)
    if unreadable is not None:
        refusals = [(access[0] if level == levels else access[1], unreadable), *refusals]
    for label, mask in refusals:
        fresh = mask & ~stopped
        if fresh.any():
            cells[fresh] = build.stop(label)
            stopped |= fresh
    row = build.known[level, table] = build.add(cells)
    pointers = ~leaf & ~stopped
    build.uniform &= not (cells[pointers] & 3 != 3).any()
    for target in np.unique(address[pointers]):
        below = _row(build, int(target), level - 1, levels, judge, read, access, inside)
        cells[pointers & (address == target)] |= np.int64(below << ROW_SHIFT)
    return row


def page_words(memory: MemoryPort, address: int) -> tuple[Words, Flags | None]:
    """The 512 words of a table, and which of them could not be read. Raises AccessError when none could."""
    bulk = getattr(memory, "read_page", None)
    page = bulk(address >> 12) if bulk else None
    if page is not None:
        return np.array(page, dtype=np.uint64), None
    words, bad = np.zeros(512, np.uint64), np.zeros(512, np.bool_)
    for i in range(512):
        try:
            words[i] = memory.read64(address + 8 * i)
        except AccessError:
            bad[i] = True
    if bad.all():
        raise AccessError(address)
    return words, bad if bad.any() else None


def _bits(words: Words, mask: int) -> Flags:
    bits: Flags = (words & np.uint64(mask)) != 0
    return bits


def _leaves(words: Words, level: int) -> Flags:
    if level == 1:
        return np.ones(512, np.bool_)
    return _bits(words, 0x80) if level <= 3 else np.zeros(512, np.bool_)


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
        writable = np.ones(512, np.bool_) if always_writable else _bits(words, 2)
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

    def read(address: int, root: bool) -> tuple[Words, Flags | None, bool] | str:
        try:
            words, bad = page_words(memory, address)
        except AccessError:
            return access[0] if root else access[1]
        return words, bad, True

    return read


def nested_reader(job: Job, space: Space, ask: Callable[[bool], Ask], access: tuple[str, str]) -> Reader:
    """First-stage tables at guest addresses: the second stage says where each is."""
    plain = plain_reader(job.memory, access)

    def read(address: int, root: bool) -> tuple[Words, Flags | None, bool] | str:
        try:
            leaf: Leaf = job.unit.finish(walk(job, space, address, ask(root)))
        except Refused as refusal:
            return refusal.label
        found = plain(leaf.base | address & (1 << leaf.shift) - 1, root)
        return found if isinstance(found, str) else (found[0], found[1], leaf.second_writable)

    return read
