"""How fast translations are: one at a time, and a million at once against the plainest numpy that could do
it.

    python tests/benchmarks/translate.py [FOLDER]

The peer of `translate_many` is numpy itself: the same walk over the same flattened tables with nothing but
its gathers, one `take` per level into a preallocated buffer. No permission, reserved bit, width, page size,
interrupt range or fault is looked at, superpages are not put together, no answer is kept but the last cell.
`translate_many` starts from the machine's memory each time.

FOLDER is an image of a machine (default: the one with 4K, 2M and 1G pages). Prints a table, then one line of
JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reality_check.oracle import Oracle
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import Request, sid
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import legacy
from vtdkit.vtd.walk import second_stage as second
from vtdkit.vtd.walk.job import Job
from vtdkit.vtd.walk.many import BLOCK, FRAME_SHIFT, ROOT, ROWS, Walker

REALITY = Path(__file__).parent.parent / "reality"
MILLION = 1_000_000
ROUNDS = 15
DEVICE = sid("00:09.0")


def main(arguments: list[str]) -> int:
    image = Image.load(arguments[0] if arguments else REALITY / "superpage_1g-s0-quiet")
    unit = image.unit_as(cached=False)
    iovas = addresses(unit)
    job = Job(unit, Request(DEVICE, 0), None, commit=False, trace=None)
    floor = Floor(Walker(second.asked(job, job.finish(legacy.find(job))), [""]))
    check(unit, iovas, floor)
    ours, peer = race(lambda: unit.translate_many(DEVICE, iovas), lambda: floor.run(iovas))
    scalar = scalar_rate(Image.load(REALITY / "legacy48_lazy-s0-busy"))
    print(f"{image.name}, {MILLION:,} addresses, processor time, best of {ROUNDS}")
    print(f"  numpy gathers alone                 {peer:7.1f} ns an address")
    print(f"  translate_many                      {ours:7.1f} ns an address  ({ours / peer:.2f} times)")
    print("legacy48_lazy-s0-busy, 4 levels, no caches, one core")
    print(f"  translate                           {scalar:7,.0f} a second")
    result = {"benchmark": "translate_many", "ours": round(ours, 2), "peer": round(peer, 2)}
    result |= {"ratio": round(ours / peer, 2), "unit": "ns per address", "scalar_per_second": round(scalar)}
    print(json.dumps(result))
    return 0


def addresses(unit: RemappingUnit) -> np.ndarray:
    """A million addresses in random order, all mapped, each page as likely as any other."""
    survey = Survey(unit)
    space, _ = survey.space(DEVICE)
    assert space is not None
    ranges = [np.arange(r.iova, r.iova + r.size, 4096, dtype=np.uint64) for r in survey.ranges(space)]
    rng = np.random.default_rng(1)
    pages = rng.choice(np.concatenate(ranges), MILLION)
    return pages + rng.integers(0, 4096, MILLION, dtype=np.uint64)


def race(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Nanoseconds of processor time per address of both: best rounds, run in turn to share good moments."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for run, kept in zip((ours, peer), times, strict=True):
            started = time.process_time()
            run()
            kept.append((time.process_time() - started) / MILLION * 1e9)
    return min(times[0]), min(times[1])


class Floor:
    """The gathers alone."""

    def __init__(self, stage: Walker) -> None:
        self.stage = stage
        self.index, self.row, self.cell = (np.empty(BLOCK, np.int64) for _ in range(3))

    def run(self, iovas: np.ndarray) -> np.ndarray:
        """The last cell of each walk."""
        stage, signed, result = self.stage, iovas.view(np.int64), np.empty(len(iovas), np.int64)
        for start in range(0, len(signed), BLOCK):
            iova = signed[start : start + BLOCK]
            index, row, cell = (buffer[: len(iova)] for buffer in (self.index, self.row, self.cell))
            row.fill(ROOT)
            for level in range(stage.stage.levels, 0, -1):
                np.right_shift(iova, 3 + 9 * level, out=index)
                np.bitwise_and(index, 511, out=index)
                np.add(index, row, out=index)
                np.take(stage.cells, index, out=cell, mode="clip")
                np.bitwise_and(cell, ROWS, out=row)
            result[start : start + len(iova)] = cell
        return result


def check(unit: RemappingUnit, iovas: np.ndarray, floor: Floor) -> None:
    """Both must have walked the same way: the last cell holds the low part of the page's number."""
    batch = unit.translate_many(DEVICE, iovas)
    assert batch.granted.all()
    inner = floor.run(iovas) >> FRAME_SHIFT & 511
    assert (inner == (batch.address >> np.uint64(12) & np.uint64(511)).astype(np.int64)).all()


def scalar_rate(image: Image) -> float:
    """Translations a second, one at a time, each from memory; best of several rounds."""
    unit = image.unit_as(cached=False)
    requests = [
        Request(part.sid, part.iova + offset)
        for part in Oracle(image).vfio_live
        for offset in range(0, part.size, 4096)
    ]
    random.Random(1).shuffle(requests)
    rates = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for request in requests:
            unit.translate(request)
        rates.append(len(requests) / (time.process_time() - started))
    return max(rates)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
