"""Translate a whole array of addresses at once.

`translate_many` gives for each address what `RemappingUnit.from_memory` gives for it: the answer from memory
alone, faults included, with nothing changed. The walk of a million addresses asks the same questions of the
same few thousand entries, so they are asked once: what the walk makes of an entry (`stage.objection`) becomes
a number, its cell:

    63:24  frame number of the page; of a refusal, the number of its condition
    23:9   row of the next table
    4      stop: the entry refuses        3:2   size of the page: 0 4K, 1 2M, 2 1G          1:0  W, R

so that one level of the walk is one gather, in blocks that fit the processor's cache, and the OR of all cells
on the way is the answer. A superpage leads on into a table that nobody wrote, whose cells are the numbers of
the frames inside it; a cell that refuses leads into row 0, where nothing is. Hence every lane takes the same
number of steps. A table below entries of different rights has a row for each.

What page tables alone do not tell (the interrupt range, protected memory, a table that can only be read in
part) is asked of the walk itself, once a page. The arrays have one element per address. This module needs
numpy; nothing else in the room does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from vtdkit.vtd.memory import WORD, read_page
from vtdkit.vtd.requests import Fault, Kind, Request, Translation

from . import engine
from . import second_stage as second
from .first_stage import First
from .job import Job, Refused
from .rules import ENTRY_ADDRESS, INTERRUPT_HIGH, INTERRUPT_LOW
from .second_stage import Second
from .space import ALL, Space
from .stage import objection

if TYPE_CHECKING:
    from vtdkit.vtd.state import State

Addresses = npt.NDArray[np.uint64]
Signed = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
BLOCK = 1 << 14
R, W, SIZE_2M, SIZE_1G, STOP = 1, 2, 1 << 2, 2 << 2, 1 << 4
ROW_SHIFT, FRAME_SHIFT = 9, 24
MAX_ROWS = 1 << FRAME_SHIFT - ROW_SHIFT
ROWS = MAX_ROWS - 1 << ROW_SHIFT
#: Conditions go by their place in a list. Its first two are no conditions: granted, and to be asked.
ASK = "ask"
_GRANTED, _ASKED = 0, 1
_SHIFTS = np.array([12, 21, 30, 0], np.uint64)
_SIZES = {1 << 12: 0, 1 << 21: SIZE_2M, 1 << 30: SIZE_1G}

# The first rows of every stage: nothing, the inside of a 2M page, and of a 1G page (its upper level).
_FIXED = np.zeros((3, 512), np.int64)
_FIXED[1] = np.arange(512) << FRAME_SHIFT
_FIXED[2] = np.arange(512) << FRAME_SHIFT + 9 | 1 << ROW_SHIFT
# What a leaf of each level adds to its rights: the size of the page, and the row of its inside.
_LEAVES = {1: 0, 2: SIZE_2M | 1 << ROW_SHIFT, 3: SIZE_1G | 2 << ROW_SHIFT}
#: the row of the root table, in the place that a cell has for it
ROOT = len(_FIXED) << ROW_SHIFT

_Way: TypeAlias = tuple[int, bool]
"""What the entries above a table allow, and whether the walk may write to the table."""


class TooLarge(ValueError):
    """More tables than a cell can number."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The answers, as arrays.

    `address` is the result (0 where refused). `label` is an index into `labels`: 0 is granted, others name
    the condition that refused. `flags` packs permissions and page size as a cell does.
    """

    unit: State
    request: Request
    iova: Addresses
    address: Addresses
    flags: Bytes
    label: Bytes
    labels: list[str]

    @property
    def granted(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.label, _GRANTED)

    def __getitem__(self, index: int) -> Translation | Fault:
        """One answer in full, worked out again by the walk."""
        request = replace(self.request, address=int(self.iova[index]))
        return Job.finish(engine.answer(Job(self.unit, request, None, commit=False, trace=None)))


def translate_many(
    unit: State,
    sid: int,
    iovas: Sequence[int] | Addresses,
    kind: Kind = "read",
    pasid: int | None = None,
) -> Batch:
    """Answer an untranslated request of one byte for each of `iovas`, from memory alone.

    `iovas` is an array of unsigned 64-bit addresses or a sequence of numbers. Raises BadRequest for a source
    id, kind or PASID that is none, TooLarge for more than 32,768 tables.
    """
    iova = np.ascontiguousarray(iovas, dtype=np.uint64)
    request = Request(sid, 0, kind, pasid=pasid, length=1)
    flags, label = np.full(len(iova), R | W, np.uint8), np.zeros(len(iova), np.uint8)
    batch = Batch(unit, request, iova, np.empty_like(iova), flags, label, ["", ASK])
    job, space, walkers = Job(unit, request, None, commit=False, trace=None), None, list[Walker]()
    try:
        if unit.translating:
            space = job.finish(engine.find_space(job))
            walkers = [Walker(stage, batch.labels) for stage in _stages(job, space)]
    except Refused as refusal:  # the device gets no page tables at all
        label.fill(_number(batch.labels, refusal.label))
    for start in range(0, len(iova), BLOCK):
        part = slice(start, start + BLOCK)
        _follow(batch, part, walkers)
        _doubt(batch, part, space)
    _ask(batch)
    refused = np.flatnonzero(label)
    flags[refused] = 0
    batch.address[refused] = 0
    return batch


def _number(labels: list[str], label: str) -> int:
    """The place of a condition among `labels`, a new one if it is the first of its kind."""
    if label not in labels:
        labels.append(label)
    return labels.index(label)


def _stages(job: Job, space: Space) -> list[First | Second]:
    """The stages that a request of `space` goes through, in order."""
    first, other = First(job, space), second.asked(job, space)
    every: dict[str, list[First | Second]] = {"FS": [first], "SS": [other], "NEST": [first, other]}
    return every.get(space.path, [])


def _follow(batch: Batch, part: slice, walkers: Sequence[Walker]) -> None:
    """Walk one block, through one stage after the other."""
    address, label, flags = batch.iova[part], batch.label[part], batch.flags[part]
    for walker in walkers:
        found = walker.run(address.view(np.int64))
        told = found.astype(np.uint8)
        stopped = np.flatnonzero((told & STOP != 0) & (label == _GRANTED))
        label[stopped] = found[stopped] >> FRAME_SHIFT
        # Of both stages, the smaller page and what both allow.
        flags[:] = told if walker is walkers[0] else np.minimum(flags & 12, told & 12) | flags & told & 3
        address = found.view(np.uint64) >> np.uint64(12) & ~np.uint64(0xFFF) | address & np.uint64(0xFFF)
    batch.address[part] = address


def _doubt(batch: Batch, part: slice, space: Space | None) -> None:
    """Refuse what is too wide an address, and mark the lanes that page tables alone do not tell."""
    unit, iova, address, label = batch.unit, batch.iova[part], batch.address[part], batch.label[part]
    low, span = np.uint64(INTERRUPT_LOW), np.uint64(INTERRUPT_HIGH - INTERRUPT_LOW)
    doubtful = iova - low < span
    if space is not None:
        start, end, condition = space.outside
        if int(iova.max()) >= start:  # too wide an address is refused before any table is read
            label[(iova >= start) & (iova <= end - 1)] = _number(batch.labels, condition)
        doubtful |= address - low < span
        if unit.quirks.interrupt_page:  # the whole page that the result lies in counts
            shift = _SHIFTS[batch.flags[part] >> 2 & 3]
            base = address >> shift << shift
            doubtful |= (base < low + span) & (base + (np.uint64(1) << shift) > low)
    for start, end in unit.protected_regions():
        doubtful |= (address >= start) & (address < end)
    label[doubtful] = _ASKED


def _ask(batch: Batch) -> None:
    """Ask the walk about the lanes that are marked, once for each page."""
    lanes = np.flatnonzero(batch.label == _ASKED)
    _, firsts, which = np.unique(batch.iova[lanes] >> 12, return_index=True, return_inverse=True)
    for number, first in enumerate(firsts):
        answer, alike = batch[lanes[first]], lanes[which == number]
        if isinstance(answer, Fault):
            batch.label[alike] = _number(batch.labels, answer.label)
            continue
        batch.label[alike] = _GRANTED
        batch.flags[alike] = _SIZES[answer.size] | R * answer.readable | W * answer.writable
        batch.address[alike] = batch.iova[alike] + np.uint64(answer.address - answer.request.address & WORD)


class Walker:
    """One stage of page tables as rows of cells, and the walk of many addresses through it. Conditions are
    numbered by their place in `labels`.

    Raises Refused where no address gets past the root, and TooLarge.
    """

    def __init__(self, stage: First | Second, labels: list[str]) -> None:
        self.stage = stage
        self.labels = labels
        self.buffers: Signed = np.empty((4, BLOCK), np.int64)
        self.cells = np.concatenate([_FIXED, *self._compile()]).reshape(-1)

    def run(self, iova: Signed) -> Signed:
        """The OR of the cells on the way of each lane. Overwritten by the next run."""
        found: Signed
        index, row, cell, found = self.buffers[:, : len(iova)]
        row.fill(ROOT)
        found.fill(0)
        for level in range(self.stage.levels, 0, -1):
            np.right_shift(iova, 3 + 9 * level, out=index)
            np.bitwise_and(index, 511, out=index)
            np.add(index, row, out=index)
            np.take(self.cells, index, out=cell, mode="clip")
            np.bitwise_or(found, cell, out=found)
            np.bitwise_and(cell, ROWS, out=row)
        return found

    def _compile(self) -> list[Signed]:
        """The rows of all tables, a level at a time."""
        made, count, level = list[Signed](), len(_FIXED), self.stage.levels
        tables = [self._table(self.stage.root, ALL, root=True)]
        while tables:
            words = np.stack([words for words, _ in tables])
            cells, leaf = self._judged(level, words, [way for _, way in tables])
            made.append(cells)
            count += len(cells)
            maps, leads = leaf & (cells & STOP == 0), ~leaf & (cells & STOP == 0)
            frames = words[maps] & np.uint64(ENTRY_ADDRESS & -(8 << 9 * level))
            cells[maps] |= frames.view(np.int64) << FRAME_SHIFT - 12
            # A pointer's cell holds the rights so far: with its address, that is a table of the next level.
            pointers = words[leads] & np.uint64(ENTRY_ADDRESS) | cells[leads].view(np.uint64)
            targets, which = np.unique(pointers, return_inverse=True)
            tables, rows = [], list[int]()
            for target in map(int, targets):
                try:
                    tables.append(self._table(target & ENTRY_ADDRESS, target & ALL, root=False))
                    rows.append(count + len(tables) - 1 << ROW_SHIFT)
                except Refused as refusal:
                    rows.append(self._stop(refusal.label))
            cells[leads] = np.array(rows, np.int64)[which]
            if count + len(tables) > MAX_ROWS:
                raise TooLarge(f"more than {MAX_ROWS} tables")
            level -= 1
        return made

    def _table(self, address: int, allowed: int, *, root: bool) -> tuple[Addresses, _Way]:
        """The words of a table, and the way to it; where the first stage is nested, the second one says where
        in memory it is. Raises Refused.
        """
        stage, updatable = self.stage, True
        if stage.locate is not None:
            address, updatable = stage.job.finish(stage.locate(address, root))
        page = read_page(stage.job.unit.memory, address >> 12)
        if page is None:
            raise Refused(stage.sites[not root])
        if not isinstance(page, array) and None in page:
            raise Refused(ASK)
        return np.asarray(page, np.uint64), (allowed, updatable)

    def _judged(self, level: int, words: Addresses, ways: list[_Way]) -> tuple[Signed, npt.NDArray[np.bool_]]:
        """The cells of all entries of one level, and which of them are leaves.

        Entries that differ only in bits that make no difference are judged once.
        """
        plain, sized = (
            np.uint64(~self.stage.indifferent(level, sized=large) & WORD) for large in (False, True)
        )
        shapes = np.where(words & np.uint64(0x80), words & sized, words & plain)
        shapes[words == WORD] = WORD
        verdicts = np.empty((*words.shape, 2), np.int64)
        for way in dict.fromkeys(ways):
            part = np.array([each == way for each in ways])
            flat = shapes[part].ravel()
            # Neighbours are mostly alike: runs are told apart first, and there are few.
            starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
            kinds, of_run = np.unique(flat[starts], return_inverse=True)
            which = np.repeat(of_run, np.diff(starts, append=len(flat))).reshape(-1, 512)
            verdicts[part] = np.array([self._cell(level, int(kind), way) for kind in kinds])[which]
        return verdicts[:, :, 0], verdicts[:, :, 1] != 0

    def _cell(self, level: int, raw: int, way: _Way) -> tuple[int, bool]:
        """What is told of an entry before it is known where it leads, and whether it is a leaf."""
        stage, (above, updatable) = self.stage, way
        said = leaf, rights, _, _ = stage.decode(stage.rules, level, raw)
        label, allowed = objection(stage, level, raw, said, above, updatable), above & rights
        if label:
            return self._stop(label), leaf
        return (stage.granted(allowed) | _LEAVES[level] if leaf else allowed), leaf

    def _stop(self, label: str) -> int:
        return _number(self.labels, label) << FRAME_SHIFT | STOP
