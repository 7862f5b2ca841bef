"""Translate a whole array of addresses at once.

`translate_many` gives for each address what `RemappingUnit.from_memory` gives for it: the answer from memory
alone, faults included, with nothing changed. The tables are compiled once per call, or once for as long as a
memory that counts its changes (`version`) has not changed; then every address takes one gather per level, in
blocks that fit the processor's cache.

The arrays have one element per address. This module needs numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vtdkit.vtd.faults.reasons import REASONS
from vtdkit.vtd.quirks import reported_code
from vtdkit.vtd.registers.file import RegisterFile
from vtdkit.vtd.requests import Fault, Kind, Request, Translation
from vtdkit.vtd.state import Walked

from . import cells, compiled, engine, legacy, scalable
from . import second_stage as second
from .compiled import FRAME_SHIFT, ROW_SHIFT, STOP, R, Stage, W
from .job import Job, Refused
from .rules import INTERRUPT_HIGH, INTERRUPT_LOW
from .space import TOP, Space

Addresses = npt.NDArray[np.uint64]
Signed = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
BLOCK = 1 << 14
_SHIFTS = np.array([12, 21, 30, 0], np.uint8)
_REFUSED = 3 << 2
_KEPT_STAGES = 8
_FRAMES = ((1 << 40) - 1) << FRAME_SHIFT


class Source(Walked, Protocol):
    """The unit as an array of requests sees it. It keeps compiled stages from one call to the next."""

    registers: RegisterFile
    compiled_stages: dict[object, Stage]

    def from_memory(self, request: Request) -> Translation | Fault:
        """The answer of the tables to one request."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """The answers, as arrays.

    `address` is the result (0 where refused). `label` is an index into `labels`: 0 is granted, others name
    the condition that refused; `codes` gives the fault reason code of each label. `flags` packs permissions
    and page size.
    """

    unit: Source
    request: Request
    iova: Addresses
    address: Addresses
    flags: Bytes
    label: Bytes
    labels: tuple[str, ...]
    codes: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.iova)

    @property
    def granted(self) -> Mask:
        mask: Mask = self.label == 0
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
        """One answer in full, worked out again by the scalar walk."""
        return self.unit.from_memory(_request_like(self.request, int(self.iova[index])))

    def __repr__(self) -> str:
        counts = self.counts()
        parts = [f"{counts.pop('', 0)} granted", *(f"{count} {label}" for label, count in counts.items())]
        return f"<Batch of {len(self)}: {', '.join(parts)}>"


def translate_many(
    unit: Source,
    sid: int,
    iovas: Sequence[int] | Addresses,
    kind: Kind = "read",
    pasid: int | None = None,
) -> Batch:
    """Answer an untranslated request of one byte for each of `iovas`, from memory alone.

    `iovas` is an array of unsigned 64-bit addresses or a sequence of numbers. Raises BadRequest for a source
    id, kind or PASID that is none.
    """
    iova = np.ascontiguousarray(iovas, dtype=np.uint64)
    request = Request(sid, 0, kind, pasid=pasid, length=1)
    lanes = _Lanes(unit, request, iova)
    lanes.fill()
    return lanes.batch()


def _request_like(request: Request, address: int) -> Request:
    return Request(request.sid, address, request.kind, pasid=request.pasid, length=1)


class _Lanes:
    """The arrays while they are filled. One call of `translate_many`; no sharing."""

    def __init__(self, unit: Source, request: Request, iova: Addresses) -> None:
        self.unit, self.request, self.iova = unit, request, iova
        self.address = np.zeros(len(iova), np.uint64)
        self.flags = np.zeros(len(iova), np.uint8)
        self.label = np.zeros(len(iova), np.uint8)
        self.labels = [""]
        self.job = Job(unit, request, None, commit=False, trace=None)
        self.space: Space | None = None
        self.walkers: list[_Walker] = []

    def fill(self) -> None:
        refusal = ""
        try:
            if self.unit.translating:
                self._find_space()
        except Refused as refused:
            refusal = refused.label
        window = self.request.pasid is None and self.unit.translating
        for start in range(0, len(self.iova), BLOCK):
            part = slice(start, min(start + BLOCK, len(self.iova)))
            if refusal:
                self.label[part], self.flags[part] = self._number(refusal), _REFUSED
            else:
                self._block(part)
            if window:
                self._window(part)

    def batch(self) -> Batch:
        codes = tuple(map(self._code, self.labels))
        arrays = (self.iova, self.address, self.flags, self.label)
        return Batch(self.unit, self.request, *arrays, tuple(self.labels), codes)

    def _code(self, label: str) -> int | None:
        if not label:
            return None
        code = REASONS[label].code
        first_only = self.space is not None and self.space.path == "FS"
        return reported_code(
            self.unit.quirks, label, code, write=self.request.writes, second_stage=not first_only
        )

    def _number(self, label: str) -> int:
        if label not in self.labels:
            self.labels.append(label)
        return self.labels.index(label)

    def _find_space(self) -> None:
        """The page tables of the device, compiled; the refusal of its context or PASID entry raises
        Refused.
        """
        engine.root_table_register(self.job)
        finder = legacy if self.unit.mode == engine.LEGACY_MODE else scalable
        space = self.space = self.job.finish(finder.find(self.job))
        if space.path in ("FS", "NEST"):
            self.walkers.append(_Walker(self, self._compiled("first", self._first_stage)))
        if space.path in ("SS", "NEST"):
            self.walkers.append(_Walker(self, self._compiled("second", self._second_stage)))

    def _compiled(self, which: str, compile_it: Callable[[Space], Stage]) -> Stage:
        """A stage, compiled now or remembered from a call that found the same memory."""
        assert self.space is not None
        version = getattr(self.unit.memory, "version", None)
        if version is None:
            return compile_it(self.space)
        key = (which, version, self.unit.rules, self.space, self.request.kind, self.job.supervisor)
        kept = self.unit.compiled_stages
        if key not in kept:
            if len(kept) >= _KEPT_STAGES:
                kept.clear()
            kept[key] = compile_it(self.space)
        return kept[key]

    def _second_stage(self, space: Space) -> Stage:
        judge = cells.Second(self.job, space, second.asked(self.job, space))
        reader = compiled.plain_reader(self.job.memory, judge.unreadable)
        return compiled.compile_stage(space.second_root, space.second_levels, judge, reader)

    def _first_stage(self, space: Space) -> Stage:
        judge = cells.First(self.job, space)
        reader = compiled.plain_reader(self.job.memory, judge.unreadable)
        if space.path == "NEST":
            reader = compiled.nested_reader(self.job, space, judge.unreadable)
        return compiled.compile_stage(space.first_root, space.first_levels, judge, reader)

    def _block(self, part: slice) -> None:
        """One block of addresses, start to end."""
        iova, label = self.iova[part], self.label[part]
        if self.space is None or self.space.path == "PT":
            address, flags = iova.copy(), np.full(len(iova), R | W, np.uint8)
        else:
            address, flags = self._walk(iova.view(np.int64), label)
        if self.space is not None:
            self._check_input(self.space, iova, label)
            self._check_result(self.space, address, flags, label)
        if self.unit.registers["PMEN"] & 1:
            self._protected(address, label)
        refused = label != 0
        if refused.any():
            address[refused] = 0
            flags[refused] = _REFUSED
        self.address[part], self.flags[part] = address, flags

    def _walk(self, iova: Signed, label: Bytes) -> tuple[Addresses, Bytes]:
        cell, address = self.walkers[0].run(iova, label)
        if len(self.walkers) > 1:
            inner = cell & 0x3F
            cell, address = self.walkers[1].run(address, label)
            cell = inner & cell & 3 | np.minimum(inner & 12, cell & 12)
        flags = cell.astype(np.uint8)
        if self.request.kind == "zero-length read":
            self._settle_zero_length(iova, flags, label)
        return address.view(np.uint64), flags

    def refuse(self, label: Bytes, mask: Mask, condition: str) -> None:
        """Lanes in `mask` that have not been refused for anything the walk met are refused for
        `condition`.
        """
        if mask.any():
            label[mask & (label == 0)] = self._number(condition)

    def _check_input(self, space: Space, iova: Addresses, label: Bytes) -> None:
        """Conditions of the address itself. They come before any the walk can meet."""
        low, high, condition = space.outside
        if low < TOP and iova.max() >= low:
            outside = iova >= np.uint64(low)
            if high < TOP:
                outside &= iova < np.uint64(high)
            if outside.any():
                label[outside] = self._number(condition)

    def _check_result(self, space: Space, address: Addresses, flags: Bytes, label: Bytes) -> None:
        """Results in the interrupt range."""
        low, high = np.uint64(INTERRUPT_LOW), np.uint64(INTERRUPT_HIGH)
        if self.unit.quirks.interrupt_page:
            size = np.uint64(1) << _SHIFTS[flags >> 2 & 3].astype(np.uint64)
            base = address & ~(size - np.uint64(1))
            inside = (base < high) & (base + size > low)
        else:
            inside = address - low < high - low
        self.refuse(label, inside, engine.interrupt_label(self.job, space))

    def _settle_zero_length(self, iova: Signed, flags: Bytes, label: Bytes) -> None:
        """Entries that each allow something may leave nothing together; which one refuses, the walk can
        tell.
        """
        for lane in np.flatnonzero((flags & 3 == 0) & (label == 0)):
            address = int(iova.view(np.uint64)[lane])
            answer = self.unit.from_memory(_request_like(self.request, address))
            assert isinstance(answer, Fault)
            label[lane] = self._number(answer.label)

    def _protected(self, address: Addresses, label: Bytes) -> None:
        for lane in np.flatnonzero(label == 0):
            if self.unit.protected(int(address[lane]), int(address[lane]) + 1):
                label[lane] = self._number("PMR")

    def _window(self, part: slice) -> None:
        """Requests for the interrupt range itself are all answered alike, before any table is looked at."""
        iova = self.iova[part]
        inside = iova - np.uint64(INTERRUPT_LOW) < np.uint64(INTERRUPT_HIGH - INTERRUPT_LOW)
        if not inside.any():
            return
        answer = self.unit.from_memory(_request_like(self.request, INTERRUPT_LOW))
        refused = isinstance(answer, Fault)
        self.label[part][inside] = self._number(answer.label) if isinstance(answer, Fault) else 0
        self.address[part][inside] = 0 if refused else iova[inside]
        self.flags[part][inside] = _REFUSED if refused else R | W


class _Walker:
    """Walks blocks of addresses through one stage, in buffers of its own."""

    def __init__(self, lanes: _Lanes, stage: Stage) -> None:
        self.stage = stage
        numbers = [[lanes._number(label) for label in pair] for pair in stage.labels]
        self.numbers = np.array(numbers or [[0, 0]], np.uint8)
        self.buffers = tuple(np.empty(BLOCK, np.int64) for _ in range(5))

    def run(self, iova: Signed, label: Bytes) -> tuple[Signed, Signed]:
        """The last cell of each lane with the permissions of the whole way, and the address it leads to.

        Lanes that stopped get their label, unless they have one. Both arrays are overwritten by the next run.
        """
        stage, n = self.stage, len(iova)
        index, row, cell, allowed, frames = (buffer[:n] for buffer in self.buffers)
        allowed.fill(3)
        frames.fill(0)
        for level in range(stage.levels, 0, -1):
            np.right_shift(iova, 3 + 9 * level, out=index)
            np.bitwise_and(index, 511, out=index)
            if level == stage.levels:
                np.add(index, stage.root << 9, out=index)
            else:
                np.right_shift(cell, ROW_SHIFT - 9, out=row)
                if not stage.compact:
                    np.bitwise_and(row, ~511, out=row)
                np.add(index, row, out=index)
            np.take(stage.cells, index, out=cell, mode="clip")
            if level == 1 or not stage.uniform or level <= stage.largest:
                np.bitwise_and(allowed, cell, out=allowed)
            if 1 < level <= stage.largest or (level == 1 and stage.largest > 1):
                np.bitwise_and(cell, _FRAMES, out=row)
                np.add(frames, row, out=frames)
        if stage.largest == 1:
            np.bitwise_and(cell, _FRAMES, out=frames)
        self._label_stopped(cell, allowed, row, label)
        np.left_shift(frames, 12 - FRAME_SHIFT, out=frames)
        np.bitwise_and(iova, 0xFFF, out=row)
        np.bitwise_or(frames, row, out=frames)
        np.bitwise_and(cell, 0x3C, out=row)
        np.bitwise_or(row, allowed, out=row)
        return row, frames

    def _label_stopped(self, cell: Signed, allowed: Signed, scratch: Signed, label: Bytes) -> None:
        np.bitwise_and(cell, STOP, out=scratch)
        if scratch.any():
            stopped = (scratch != 0) & (label == 0)
            nothing = (allowed[stopped] == 0).astype(np.int64)
            label[stopped] = self.numbers[cell[stopped] >> FRAME_SHIFT & 0xFF, nothing]
