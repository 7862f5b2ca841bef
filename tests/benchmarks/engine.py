"""How fast the simulator is, beside SimPy's, in the same run: contended locks, plain timeouts,
and how it scales.

Run `python tests/benchmarks/engine.py` (two minutes; `--quick` a quarter). Figures are the least CPU time
over several rounds, ours and the peer's in turn; for the first two tables in several processes, since
where things happen to lie in memory makes one process up to 5 % slower than the next, for either side.

A *cycle* is: take the lock, hold it, give it back, think. SimPy does the same with its `Resource`.

- "checked": lock statistics and the lock validator on (no record)
- "bare": neither checkers nor statistics nor a record
- "all": everything on, as a notebook has it: all checkers, statistics, and a record
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import simpy
from _timing import best, timed

from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine

import_module(
    "numpy"
)  # now: its threads stay awake for a moment and would be counted with the first run that uses it
CHECKED = {"checkers": ("lockdep",), "record": False}
BARE: dict[str, Any] = {"checkers": (), "record": False, "statistics": False}
ALL: dict[str, Any] = {}
WORKLOADS = ((8, 1, 5), (8, 97, 1000), (64, 1, 5), (64, 97, 1000))  # tasks, hold, think


# -- the same work on both sides ----------------------------------------------


def simpy_cycles(tasks: int, hold: int, think: int, cycles: int) -> Callable[[], object]:
    """SimPy: `tasks` processes share a `Resource`."""
    env = simpy.Environment()
    lock = simpy.Resource(env, 1)

    def task() -> Iterator[Any]:
        for _ in range(cycles):
            with lock.request() as request:
                yield request
                yield env.timeout(hold)
            yield env.timeout(think)

    for _ in range(tasks):
        env.process(task())
    return env.run


def our_cycles(
    tasks: int, hold: int, think: int, cycles: int, options: dict[str, Any]
) -> Callable[[], object]:
    """Ours: one thread on each of `tasks` CPUs, one spin lock."""
    machine = Machine(tasks, costs=IDEAL, **options)
    lock = machine.spinlock("lock")

    async def task() -> None:
        for _ in range(cycles):
            async with lock:
                await machine.work(hold)
            await machine.work(think)

    for cpu in range(tasks):
        machine.spawn(task(), cpu=cpu)
    return machine.simulate


def simpy_timeouts(tasks: int, count: int) -> Callable[[], object]:
    """SimPy: each task waits `count` times, each its own delay."""
    env = simpy.Environment()

    def task(delay: int) -> Iterator[Any]:
        for _ in range(count):
            yield env.timeout(delay)

    for index in range(tasks):
        env.process(task(1000 + index))
    return env.run


def our_timeouts(tasks: int, count: int) -> Callable[[], object]:
    """Ours, likewise."""
    machine = Machine(tasks, costs=IDEAL, **CHECKED)

    async def task(delay: int) -> None:
        for _ in range(count):
            await machine.work(delay)

    for cpu in range(tasks):
        machine.spawn(task(1000 + cpu), cpu=cpu)
    return machine.simulate


# -- what is printed ----------------------------------------------------------


def in_processes(processes: int, measure: str, *numbers: int) -> list[float]:
    """What one of `MEASURES` returns, the least of each over several processes."""
    command = [sys.executable, __file__, "--only", measure, *map(str, numbers)]
    told = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(processes)
    ]
    return [min(times) for times in zip(*map(json.loads, told), strict=True)]


def cycle_times(rounds: int, tasks: int, hold: int, think: int, cycles: int) -> list[float]:
    """CPU seconds of SimPy's cycles and of ours with each set of options."""
    work = (tasks, hold, think, cycles)
    ours = [lambda options=options: our_cycles(*work, options) for options in (CHECKED, BARE, ALL)]
    return best(rounds, lambda: simpy_cycles(*work), *ours)


def timeout_times(rounds: int, tasks: int, count: int) -> list[float]:
    """CPU seconds of SimPy's sleepers and of ours."""
    return best(rounds, lambda: simpy_timeouts(tasks, count), lambda: our_timeouts(tasks, count))


MEASURES: dict[str, Callable[..., list[float]]] = {"cycles": cycle_times, "timeouts": timeout_times}


def locks(processes: int, rounds: int, total: int) -> dict[str, tuple[float, float, float]]:
    """Cycles a second on each workload: SimPy's, ours, the ratio, for each set of options."""
    out = {}
    print(f"{'contended lock, thousand cycles/s':<40} {'SimPy':>8} {'checked':>14} {'bare':>14} {'all':>14}")
    for tasks, hold, think in WORKLOADS:
        peer, *ours = in_processes(processes, "cycles", rounds, tasks, hold, think, total // tasks)
        cells = [f"{total / seconds / 1000:>7.0f} {peer / seconds:>4.2f} x" for seconds in ours]
        print(
            f"  {tasks:>3} tasks, hold {hold}, think {think:<16} {total / peer / 1000:>8.0f} "
            + " ".join(cells)
        )
        for name, seconds in zip(("checked", "bare", "all"), ours, strict=True):
            out[f"{name} {tasks}/{hold}/{think}"] = total / seconds, total / peer, peer / seconds
    return out


def timeouts(processes: int, rounds: int, total: int) -> tuple[float, float, float]:
    """Wake-ups a second with 100 sleepers."""
    peer, ours = in_processes(processes, "timeouts", rounds, 100, total // 100)
    print(
        f"{'timeouts, 100 tasks, thousand/s':<40} {total / peer / 1000:>8.0f} {total / ours / 1000:>7.0f} "
        f"{peer / ours:>4.2f} x"
    )
    return total / ours, total / peer, peer / ours


def flat(most: int) -> float:
    """Events a second from ten thousand events up: the slowest over the fastest."""
    speeds, size = [], 10_000
    while size <= most:
        cycles = size // 3 // 16
        seconds = best(
            3 if size < 1_000_000 else 1, lambda cycles=cycles: our_cycles(16, 97, 1000, cycles, CHECKED)
        )[0]
        speeds.append(cycles * 16 * 3 / seconds)
        print(f"  {size:>12,} events: {speeds[-1] / 1000:>8.0f} thousand events/s")
        size *= 10
    return min(speeds) / max(speeds)


def memory(events: int) -> float:
    """Bytes kept for each recorded event, with the record of a million events in hand."""
    tracemalloc.start()
    run = our_cycles(8, 97, 1000, events // 16, {"checkers": ("lockdep",)})
    before = tracemalloc.get_traced_memory()[0]
    trace: Any = run()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept, most = (after - before) / len(trace), (peak - before) / len(trace)
    print(f"  {len(trace):,} events recorded: {kept:.0f} bytes each, {most:.0f} at most")
    return most


def crowd(acquisitions: int) -> float:
    """1024 CPUs on one lock."""
    seconds = timed(our_cycles(1024, 97, 1000, acquisitions // 1024, CHECKED))
    print(f"  1024 CPUs, {acquisitions // 1024 * 1024:,} acquisitions: {seconds:.1f} s of CPU time")
    return seconds


def main() -> None:
    """Print the tables, and the figure that has a budget: the worst ratio with
    validator and statistics on.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--only", nargs="+", metavar="MEASURE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure, *numbers = arguments.only
        print(json.dumps(MEASURES[measure](*map(int, numbers))))
        return
    quick = arguments.quick
    ratios = locks(2 if quick else 5, 3 if quick else 7, 40_000)
    awake = timeouts(2 if quick else 5, 3 if quick else 7, 60_000)
    print("flat?")
    slowest = flat(1_000_000 if quick else 10_000_000)
    print("memory, size")
    bytes_each = memory(200_000 if quick else 1_000_000)
    crowd(100_000 if quick else 1_000_000)
    worst = min(
        (value for name, value in ratios.items() if name.startswith("checked")), key=lambda value: value[2]
    )
    line = {
        "benchmark": "engine",
        "ours": round(worst[0]),
        "peer": round(worst[1]),
        "ratio": round(worst[2], 2),
        "unit": "contended lock cycles/s, statistics and lockdep on, worst of four workloads",
        "everything": round(min(value[2] for name, value in ratios.items() if name.startswith("all")), 2),
        "bare": round(min(value[2] for name, value in ratios.items() if name.startswith("bare")), 2),
        "timeouts": round(awake[2], 2),
        "flat": round(slowest, 2),
        "bytes_per_event": round(bytes_each),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
