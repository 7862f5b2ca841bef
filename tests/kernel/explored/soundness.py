"""The nightly job, `make soundness`: the explorer against other ways to run 20,000 random programs.

    python -m tests.kernel.explored.soundness 20000 --seed 0 --jobs 2

Programs have three, four and five operations in turn, each with every pair of primitives. They are compared
in segments of seeds; what came of a segment is a line of a file (`build/soundness.jsonl`). One that has its
line, made with the same sources and share of time, is not run again: begun anew, the job goes on where it
stopped. A seed that differs is printed. A program that needs more time, memory or executions than its share
is cut short; how many were stands beside each primitive in the table of what took part. It fails if a
program differs, if a pair of primitives was never compared, or if more programs were cut short than one in
five.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import vtdkit.kernel
from tests.kernel.explored.generated import (
    PAIRS,
    PRIMITIVES,
    Effort,
    Program,
    TooMany,
    compare,
    generate,
    met,
)

EFFORT = Effort(limit=200, runs=2000, beside=30, simulations=4, most=300)
SECONDS, BYTES = 4, 3 << 30  # a program's share of a core, a process's of memory
MOST_CUT = 0.2  # of all programs
SEGMENT = 100
KEPT = Path("build/soundness.jsonl")


class _TimeIsUp(BaseException):
    """A program has had its share."""


def program_of(seed: int) -> Program:
    """The program of a seed: all pairs with three operations, then all with four, with five, and again."""
    return generate(seed, 3 + seed // len(PAIRS) % 3)


class _Watch:
    """Ends a program whose time is up. What ends it may be lost in a destructor, so that it is noted here."""

    over = False

    def __call__(self, *_: object) -> None:
        self.over = True
        raise _TimeIsUp


def judge(program: Program, effort: Effort, seconds: float = SECONDS) -> str:
    """How far a comparison went, or with "differs: ..." what is wrong."""
    watch = _Watch()
    signal.signal(signal.SIGPROF, watch)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    try:
        compared = compare(program, effort)
        return "every order" if compared.every else "every class" if compared.classes else "random orders"
    except (_TimeIsUp, MemoryError, TooMany):
        return "cut short"
    except Exception as error:  # where the time was up meanwhile, what it says is the doing of that
        return "cut short" if watch.over else f"differs: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.settrace(None)  # as it was, wherever the program was cut short
        gc.enable()


def segment(first: int, count: int, effort: Effort, seconds: float) -> dict[str, Any]:
    """Compare programs `first`, `first` + 1, ...: what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    seeds = range(first, first + count)
    return {"first": first, "told": [judge(program_of(seed), effort, seconds) for seed in seeds]}


def sources() -> str:
    """What the comparison depends on, in a few letters: the kernel room and what programs are made of."""
    digest = blake2b(digest_size=6)
    for room in (Path(vtdkit.kernel.__file__).parent, Path(__file__).parent):
        for path in sorted(room.rglob("*.py")):
            if not path.name.startswith("test_"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _known(path: Path, of: str) -> dict[int, list[str]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["first"]: line["told"] for line in map(json.loads, lines) if line["of"] == of}


def run(seeds: range, jobs: int, effort: Effort, seconds: float, kept: Path) -> dict[int, list[str]]:
    """Compare the programs of all seeds that were not compared yet; first seed of a segment → its words."""
    of = f"{sources()} {seconds:g}s"
    known = _known(kept, of)
    firsts = [first for first in seeds[::SEGMENT] if first not in known]
    kept.parent.mkdir(parents=True, exist_ok=True)
    # each segment has a process of its own: what one leaves behind takes no memory from the next
    each = {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("spawn")}
    with ProcessPoolExecutor(jobs, **each) as executor, kept.open("a") as file:
        work = partial(segment, count=SEGMENT, effort=effort, seconds=seconds)
        for done in as_completed([executor.submit(work, first) for first in firsts]):
            result = done.result()
            known[result["first"]] = result["told"]
            print(json.dumps({"of": of, **result}), file=file, flush=True)
            for seed, told in enumerate(result["told"], result["first"]):
                if told.startswith("differs"):
                    print(f"seed {seed} {told}", flush=True)
            print(f"  {len(known) * SEGMENT} programs: {dict(_ways(known))}", flush=True)
    return {first: known[first] for first in seeds[::SEGMENT]}


def _ways(known: dict[int, list[str]]) -> Counter[str]:
    return Counter(told.partition(":")[0] for part in known.values() for told in part)


def table(pairs: Counter[tuple[str, str]], cut: Counter[str] | None = None) -> Iterator[str]:
    """How often each primitive was compared, and each pair; how many programs with it were cut short."""
    cut, width = cut or Counter(), max(map(len, PRIMITIVES))
    yield f"{'':{width}} {'cut':>6} {'alone':>6} " + " ".join(f"{name[:6]:>6}" for name in PRIMITIVES)
    for one in PRIMITIVES:
        row = (pairs[min(one, other), max(one, other)] * (one != other) for other in PRIMITIVES)
        counts = " ".join(f"{count:>6}" for count in row)
        yield f"{one:{width}} {cut[one]:>6} {pairs[one, one]:>6} {counts}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare many programs; the table of what took part, and every seed that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=int, help=f"how many, in segments of {SEGMENT}")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a core, for each program")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where the lines are")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.programs)
    known = run(seeds, options.jobs, EFFORT, options.seconds, options.kept)
    pairs, cut = Counter[tuple[str, str]](), Counter[str]()
    for first, words in known.items():
        for seed, told in enumerate(words, first):
            program = program_of(seed)
            if told == "cut short":
                cut.update(program.primitives)
            else:
                pairs.update(met(program))
    print(*table(pairs, cut), sep="\n")
    gaps = [pair for pair in PAIRS if not pairs[pair]]
    ways = _ways(known)
    print(f"seeds {seeds[0]} to {seeds[-1]}, compared in {dict(ways)}; pairs never: {gaps or 'none'}")
    return int(ways["differs"] > 0 or bool(gaps) or ways["cut short"] > MOST_CUT * ways.total())


if __name__ == "__main__":
    sys.exit(main())
