"""How many executions a second the explorer runs, beside frontrun, in the same run; and
the large published counts.

    python tests/benchmarks/explorer.py [--quick]

Three tables: small programs of three threads (the figure that others build on), the large members of the
published families with their counts checked, and frontrun 0.7 (a DPOR explorer for Python threads) on
`readers` and `inc`. frontrun runs real threads under a tracer where we run generators, so the ratio says
what a model buys, not that its engine is slow. It treats two reads as ordered, so it runs more executions
than there are classes; its own executions are what is counted for it.

Figures are the best of several rounds: CPU time in the first two tables, the clock on the wall beside
frontrun (both in turn). The last line is one JSON object, for the program on which
we are least ahead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "kernel"))

from explorer.families import Family  # type: ignore[import-not-found]

from vtdkit.kernel.explorer.search import explore_system

SMALL = [
    ("inc(N)", 3),
    ("ainc(N)", 3),
    ("binc(N)", 3),
    ("lockinc(N)", 3),
    ("lock2inc(N)", 3),
    ("philosophers(N) complete", 3),
]
LARGE = [
    ("filesystem(N)", 19, 64),
    ("indexer(N)", 15, 4096),
    ("readers(N)", 13, 8192),
    ("cinc(N)", 4, 13824),
    ("casw(N)", 5, 32880),
    ("CoA(k extra)", 4, 49776),
    ("lastzero(N)", 15, 147456),
]
PEER = [("readers", 2), ("readers", 4), ("inc", 2), ("inc", 3)]


def small(seconds: float) -> None:
    print(f"{'three threads':28}{'classes':>9}{'executions/s':>14}{'steps/s':>12}")
    for name, n in SMALL:
        rate, steps, found = 0.0, 0.0, None
        end = time.process_time() + seconds
        while time.process_time() < end:
            began = time.process_time()
            for _ in range(20):
                found = explore_system(Family(name, n))
            took = (time.process_time() - began) / 20
            if (found.executions + found.deadlocks) / took > rate:
                rate, steps = (found.executions + found.deadlocks) / took, found.steps / took
        print(f"{name + ' ' + str(n):28}{found.executions:>9}{rate:>14,.0f}{steps:>12,.0f}")


def large(quick: bool) -> None:
    print(f"\n{'large':28}{'classes':>9}{'blocked':>9}{'seconds':>9}{'executions/s':>14}")
    for name, n, expected in LARGE:
        if quick and expected > 10_000:
            continue
        began = time.process_time()
        found = explore_system(Family(name, n))
        took = time.process_time() - began
        assert found.executions == expected, f"{name} {n}: {found.executions} executions, {expected} classes"
        speed = found.executions / took
        print(f"{name + ' ' + str(n):28}{found.executions:>9}{found.blocked:>9}{took:>9.1f}{speed:>14,.0f}")


class Shared:
    """The variable of frontrun's programs, and how often it was set up: once an execution."""

    made = 0

    def __init__(self) -> None:
        Shared.made += 1
        self.x = 0


def frontrun(name: str, n: int) -> tuple[int, float]:
    """Return how many executions frontrun runs, and in how many seconds."""
    import frontrun

    def read(shared: Shared) -> None:
        _ = shared.x

    def write(shared: Shared) -> None:
        shared.x = 1

    def add(shared: Shared) -> None:
        shared.x += 1

    workers: list[Any] = [write, *[read] * n] if name == "readers" else [add] * n
    Shared.made = 0
    began = time.perf_counter()
    frontrun.explore(
        Shared, workers, lambda shared: True, preemption_bound=None, stop_on_first=False, detect_io=False
    )
    return Shared.made, time.perf_counter() - began


def peer_run(name: str, n: int) -> tuple[int, float]:
    """The same in a process of its own: frontrun wants to be started by its own command."""
    command = [
        str(Path(sys.executable).parent / "frontrun"),
        sys.executable,
        __file__,
        "--peer",
        name,
        str(n),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    made, took = json.loads(told)
    return made, took


def beside(rounds: int) -> dict[str, Any]:
    """Run both on the same programs, in turn."""
    print(
        f"\n{'beside frontrun':16}{'classes':>9}{'ours/s':>12}{'its executions':>16}{'its/s':>9}{'ratio':>9}"
    )
    pairs = []
    for name, n in PEER:
        ours = peer = 0.0
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(50):
                found = explore_system(Family(f"{name}(N)", n))
            ours = max(ours, 50 * found.executions / (time.perf_counter() - began))
            made, took = peer_run(name, n)
            peer = max(peer, made / took)
        print(
            f"{name + ' ' + str(n):16}{found.executions:>9}{ours:>12,.0f}"
            f"{made:>16}{peer:>9,.0f}{ours / peer:>9,.0f}"
        )
        pairs.append((ours, peer))
    ours, peer = min(pairs, key=lambda pair: pair[0] / pair[1])  # the program on which we are least ahead
    figures = {"ours": round(ours), "peer": round(peer, 1), "ratio": round(ours / peer)}
    return {"benchmark": "explorer", **figures, "unit": "executions/s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than a few seconds")
    parser.add_argument("--peer", nargs=2, metavar=("PROGRAM", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(frontrun(options.peer[0], int(options.peer[1]))))
        return
    small(0.3 if options.quick else 1.5)
    large(options.quick)
    print(json.dumps(beside(1 if options.quick else 3)))


if __name__ == "__main__":
    main()
