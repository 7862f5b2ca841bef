"""Translate a whole array of addresses at once.

`translate_many` gives for each address what `RemappingUnit.from_memory` gives for it: the answer from memory
alone, faults included, with nothing changed. The walk of a million addresses asks the same questions of the
same few thousand entries, so they are asked once: each entry's cell (`stage.cell`) becomes a 64-bit number
that says where to go next, which page it maps, or that it refuses:

    62:46  row of the next table          45:6  page frame number; of a refusal, its level
    4      stop: the entry refuses        3:2   size of the page: 0 4K, 1 2M, 2 1G          1:0  W, R

so that one level of the walk is one gather, in blocks that fit the processor's cache. A superpage leads on
into a table that nobody wrote: its cells add the page's inner frame number, level by level, and the sum of
all frame numbers on the way is the result. A cell that refuses leads to a row where every cell is itself.
Hence every lane takes the same number of steps.

Why an address is refused is asked of the walk itself, once for all addresses that end at the same entry. The
arrays have one element per address. This module needs numpy; nothing else in the room does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vtdkit.vtd.memory import WORD, read_page
from vtdkit.vtd.requests import Fault, Kind, Request, Translation
from vtdkit.vtd.state import Walked

from . import engine
from . import second_stage as second
from .first_stage import First
from .job import Job, Refused
from .rules import ENTRY_ADDRESS, INTERRUPT_HIGH, INTERRUPT_LOW
from .second_stage import Second
from .space import TOP, Space
from .stage import cell

Addresses = npt.NDArray[np.uint64]
Signed = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
BLOCK = 1 << 14
MAX_ROWS = 1 << 17
R, W, SIZE_2M, SIZE_1G, STOP = 1, 2, 1 << 2, 2 << 2, 1 << 4
FRAME_SHIFT, ROW_SHIFT = 6, 46
_FRAMES = ((1 << 40) - 1) << FRAME_SHIFT
_SHIFTS = np.array([12, 21, 30, 0], np.uint8)
_SIZES = {1 << 12: 0, 1 << 21: SIZE_2M, 1 << 30: SIZE_1G}
_REFUSED = 3 << 2
_BY_PAGE, _ALL_ALIKE = 6, 7

# The first rows of every stage. Row 0 is nobody's: it says that a cell leads nowhere. Then the insides of a
# 2M page, of a 1G page (its lower level and its upper), and for each level the row of what is refused there.
_FIXED = np.zeros((9, 512), np.int64)
_FIXED[1] = np.arange(512) << FRAME_SHIFT | SIZE_2M | R | W
_FIXED[2] = np.arange(512) << FRAME_SHIFT | SIZE_1G | R | W
_FIXED[3] = np.arange(512) << FRAME_SHIFT + 9 | 2 << ROW_SHIFT | R | W
_INSIDE = {1: 0, 2: 1, 3: 3}


def _stop(level: int) -> int:
    """The cell of an entry of `level` that refuses."""
    return 3 + level << ROW_SHIFT | level << FRAME_SHIFT | STOP


_FIXED[4:] = np.array([_stop(level) for level in range(1, 6)])[:, None]


class TooLarge(ValueError):
    """More tables than a cell can number."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The answers, as arrays.

    `address` is the result (0 where refused). `label` is an index into `labels`: 0 is granted, others name
    the condition that refused; `codes` gives the fault reason code of each label. `flags` packs permissions
    and page size.
    """

    unit: Walked
    request: Request
    iova: Addresses
    address: Addresses
    flags: Bytes
    label: Bytes
    labels: list[str]
    codes: list[int | None]

    def __len__(self) -> int:
        return len(self.iova)

    @property
    def granted(self) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = self.label == 0
        return mask

    @property
    def permissions(self) -> Bytes:
        """READ and WRITE bits."""
        return self.flags & np.uint8(3)

    @property
    def shift(self) -> Bytes:
        """The page size as a power of two; 0 where refused."""
        shift: Bytes = _SHIFTS[self.flags >> 2 & 3]
        return shift

    def counts(self) -> dict[str, int]:
        """How many addresses met each condition; "" is granted."""
        found = np.bincount(self.label, minlength=len(self.labels))
        return {name: int(count) for name, count in zip(self.labels, found, strict=True) if count}

    def __getitem__(self, index: int) -> Translation | Fault:
        """One answer in full, worked out again by the walk."""
        request = replace(self.request, address=int(self.iova[index]))
        return Job.finish(engine.answer(Job(self.unit, request, None, commit=False, trace=None)))

    def __repr__(self) -> str:
        counts = self.counts()
        parts = [f"{counts.pop('', 0)} granted", *(f"{count} {label}" for label, count in counts.items())]
        return f"<Batch of {len(self)}: {', '.join(parts)}>"


def translate_many(
    unit: Walked,
    sid: int,
    iovas: Sequence[int] | Addresses,
    kind: Kind = "read",
    pasid: int | None = None,
) -> Batch:
    """Answer an untranslated request of one byte for each of `iovas`, from memory alone.

    `iovas` is an array of unsigned 64-bit addresses or a sequence of numbers. Raises BadRequest for a source
    id, kind or PASID that is none, TooLarge for more than 131,072 tables.
    """
    iova = np.ascontiguousarray(iovas, dtype=np.uint64)
    request = Request(sid, 0, kind, pasid=pasid, length=1)
    flags, label = np.full(len(iova), R | W, np.uint8), np.zeros(len(iova), np.uint8)
    batch = Batch(unit, request, iova, np.empty_like(iova), flags, label, [""], [None])
    job, space, walkers = Job(unit, request, None, commit=False, trace=None), None, list[Walker]()
    told = 0  # a key for every lane, if the device gets no page tables at all
    try:
        if unit.translating:
            space = job.finish(engine.find_space(job))
            walkers = [compile_stage(stage) for stage in stages(job, space)]
    except Refused:
        told = _ALL_ALIKE
    for start in range(0, len(iova), BLOCK):
        part = slice(start, min(start + BLOCK, len(iova)))
        keys = np.full(part.stop - start, told, np.uint64)
        _follow(batch, part, walkers, keys)
        _doubt(batch, part, space, keys)
        _ask(batch, part, keys)
    return batch


def stages(job: Job, space: Space) -> list[First | Second]:
    """The stages that a request of `space` goes through, in order."""
    first, other = First(job, space), second.asked(job, space)
    every: dict[str, list[First | Second]] = {"FS": [first], "SS": [other], "NEST": [first, other]}
    return every.get(space.path, [])


def _follow(batch: Batch, part: slice, walkers: Sequence[Walker], keys: Addresses) -> None:
    """Walk one block. A lane that was refused gets a key: lanes of one key are refused alike."""
    iova, flags = batch.iova[part], None
    address = iova.view(np.int64)
    for walker in walkers:
        cell, told, address = walker.run(address)
        stopped = np.flatnonzero((told & STOP != 0) & (keys == 0))
        # Who stopped at one entry was refused alike. Under nesting every page has a way of its own.
        level = cell[stopped] >> FRAME_SHIFT & 7 if flags is None else np.ones(len(stopped), np.int64)
        keys[stopped] = iova[stopped] >> (3 + 9 * level).astype(np.uint64) << 3 | level.astype(np.uint64)
        flags = told if flags is None else np.minimum(flags & 12, told & 12) | flags & told & 3
    batch.address[part] = address.view(np.uint64)
    if flags is not None:
        batch.flags[part] = flags
        if batch.request.kind == "zero-length read":
            # Entries that each allow something may leave nothing together.
            nothing = (flags & 3 == 0) & (keys == 0)
            keys[nothing] = iova[nothing] >> 12 << 3 | _BY_PAGE


def _doubt(batch: Batch, part: slice, space: Space | None, keys: Addresses) -> None:
    """Give a key to lanes whose answer page tables alone do not tell, so that the walk is asked."""
    unit, iova, address = batch.unit, batch.iova[part], batch.address[part]
    low, span = np.uint64(INTERRUPT_LOW), np.uint64(INTERRUPT_HIGH - INTERRUPT_LOW)
    doubtful = iova - low < span
    if space is not None:
        start, end, _ = space.outside
        if start < TOP and iova.max() >= start:  # too wide an address is refused before any table is read
            keys[(iova >= start) & (iova <= end - 1)] = _ALL_ALIKE
        if unit.quirks.interrupt_page:
            shift = _SHIFTS[batch.flags[part] >> 2 & 3].astype(np.uint64)
            base = address >> shift << shift
            doubtful |= (base < low + span) & (base + (np.uint64(1) << shift) > low)
        else:
            doubtful |= address - low < span
    for start, end in unit.protected_regions():
        doubtful |= (address >= start) & (address < end)
    if doubtful.any():
        keys[doubtful] = iova[doubtful] >> 12 << 3 | _BY_PAGE


def _ask(batch: Batch, part: slice, keys: Addresses) -> None:
    """Ask the walk about the lanes that have a key, once for each key."""
    lanes = np.flatnonzero(keys)
    if not len(lanes):
        return
    _, firsts, which = np.unique(keys[lanes], return_index=True, return_inverse=True)
    told = [_told(batch, part.start + int(lanes[first])) for first in firsts]
    label, flags, moved = (np.array(column)[which] for column in zip(*told, strict=True))
    address = batch.iova[part][lanes] + moved.astype(np.uint64)
    batch.label[part][lanes], batch.flags[part][lanes] = label, flags
    batch.address[part][lanes] = np.where(label == 0, address, 0)


def _told(batch: Batch, lane: int) -> tuple[int, int, np.uint64]:
    """What the walk says of one lane: number of the label, flags, and the way from address to result."""
    answer = batch[lane]
    if isinstance(answer, Fault):
        if answer.label not in batch.labels:
            batch.labels.append(answer.label)
            batch.codes.append(answer.code)
        return batch.labels.index(answer.label), _REFUSED, np.uint64(0)
    rights = R * answer.readable | W * answer.writable
    return 0, _SIZES[answer.size] | rights, np.uint64(answer.address - int(batch.iova[lane]) & WORD)


def compile_stage(stage: First | Second) -> Walker:
    """The cells of all tables of a stage, a level at a time. Raises TooLarge."""
    parts, count = [_FIXED], len(_FIXED)
    largest, uniform = 1, True
    root = _table(stage, stage.root, root=True)
    start, tables, level = (count, [root], stage.levels) if root else (3 + stage.levels, [], 0)
    while tables:
        words = np.stack([words for words, _ in tables])
        cells, leaf = _judged(stage, level, words, np.array([updatable for _, updatable in tables]))
        address, onward = words & np.uint64(ENTRY_ADDRESS), cells & STOP == 0
        maps, pointers = leaf & onward, onward & ~leaf
        if maps.any():
            largest = max(largest, level)
            frames = (address & np.uint64(-(8 << 9 * level) & WORD)).astype(np.int64) >> 12
            cells[maps] |= (frames << FRAME_SHIFT | _INSIDE[level] << ROW_SHIFT)[maps]
        uniform = uniform and bool((cells[pointers] & 3 == 3).all())
        parts.append(cells)
        count += len(cells)
        targets, which = np.unique(address[pointers], return_inverse=True)
        found = [_table(stage, int(target), root=False) for target in targets]
        tables = [table for table in found if table]
        if count + len(tables) > MAX_ROWS:
            raise TooLarge(f"more than {MAX_ROWS} tables")
        numbers = iter(range(count, count + len(tables)))
        # A table that cannot be read refuses as each of its entries would.
        rows = np.array([next(numbers) if table else 2 + level for table in found], np.int64)
        cells[pointers] |= rows[which] << ROW_SHIFT
        level -= 1
    flat = np.concatenate(parts).reshape(-1)
    compact = not (flat[flat >> ROW_SHIFT != 0] >> ROW_SHIFT - 9 & 511).any()
    return Walker(flat, start, stage.levels, largest, uniform, compact)


def _table(stage: First | Second, address: int, *, root: bool) -> tuple[Addresses, bool] | None:
    """The words of a table (0 for one that cannot be read) and whether it may be updated; None for no table.
    Where the first stage is nested, the second one says where in memory it is.
    """
    updatable = True
    try:
        if stage.locate is not None:
            address, updatable = stage.job.finish(stage.locate(address, root))
    except Refused:
        return None
    page = read_page(stage.job.memory, address >> 12)
    words = page if isinstance(page, array) else [word or 0 for word in page or ()]
    return (np.asarray(words, np.uint64), updatable) if page is not None else None


def _judged(
    stage: First | Second, level: int, words: Addresses, updatable: npt.NDArray[np.bool_]
) -> tuple[Signed, npt.NDArray[np.bool_]]:
    """The cells of all entries of one level, and which of them are leaves.

    Entries that differ only in bits that make no difference are judged once.
    """
    plain, sized = (np.uint64(~stage.indifferent(level, sized=large) & WORD) for large in (False, True))
    shapes = np.where(words & np.uint64(0x80), words & sized, words & plain)
    shapes[words == WORD] = WORD
    cells, leaf = np.empty(words.shape, np.int64), np.empty(words.shape, np.bool_)
    for may in np.unique(updatable):
        part = updatable == may
        flat = shapes[part].ravel()
        # Neighbours are mostly alike: runs are told apart first, and there are few.
        starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
        kinds, of_run = np.unique(flat[starts], return_inverse=True)
        which = np.repeat(of_run, np.diff(starts, append=len(flat)))
        verdicts = [cell(stage, level, int(kind), updatable=bool(may)) for kind in kinds]
        numbers = np.array([_stop(level) if v.label else v.rights for v in verdicts], np.int64)
        cells[part] = numbers[which].reshape(-1, 512)
        leaf[part] = np.array([v.leaf for v in verdicts], np.bool_)[which].reshape(-1, 512)
    return cells, leaf


@dataclass(eq=False)
class Walker:
    """Walks blocks of addresses through one stage: `cells` row by row, the row to start from.

    Three things that most tables have and that save work: `largest` is the highest level with a leaf;
    `uniform` says that only leaves restrict permissions; `compact` that a cell shifted right by 37 is its row
    times 512.
    """

    cells: Signed
    root: int
    levels: int
    largest: int
    uniform: bool
    compact: bool
    buffers: Signed = field(default_factory=lambda: np.empty((5, BLOCK), np.int64), repr=False)

    def run(self, iova: Signed) -> tuple[Signed, Bytes, Signed]:
        """The last cell of each lane; STOP, size, and the permissions of the whole way; and the address it
        leads to. Cells and addresses are overwritten by the next run.
        """
        index, row, cell, allowed, frames = self.buffers[:, : len(iova)]
        allowed.fill(3)
        frames.fill(0)
        for level in range(self.levels, 0, -1):
            np.right_shift(iova, 3 + 9 * level, out=index)
            np.bitwise_and(index, 511, out=index)
            if level == self.levels:
                np.add(index, self.root << 9, out=index)
            else:
                np.right_shift(cell, ROW_SHIFT - 9, out=row)
                if not self.compact:
                    np.bitwise_and(row, ~511, out=row)
                np.add(index, row, out=index)
            np.take(self.cells, index, out=cell, mode="clip")
            if level == 1 or not self.uniform or level <= self.largest:
                np.bitwise_and(allowed, cell, out=allowed)
            if level <= self.largest > 1:
                np.bitwise_and(cell, _FRAMES, out=row)
                np.add(frames, row, out=frames)
        if self.largest == 1:
            np.bitwise_and(cell, _FRAMES, out=frames)
        np.left_shift(frames, 12 - FRAME_SHIFT, out=frames)
        np.bitwise_and(iova, 0xFFF, out=row)
        np.bitwise_or(frames, row, out=frames)
        np.bitwise_and(cell, 12 | STOP, out=row)
        np.bitwise_or(row, allowed, out=row)
        return cell, row.astype(np.uint8), frames
