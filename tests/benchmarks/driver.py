"""How fast the driver runs: map and unmap of a page alone, and a real guest's maps and unmaps
on four simulated CPUs.

Run `python tests/benchmarks/driver.py` (two to three minutes; `--quick` a quarter, with part of the traces).
Figures are the least CPU time over several rounds, ours and the peer's in turn.

The peer is SimPy. Nobody publishes a driver simulator to hold ours against, so the same guest is replayed
there as its queueing network alone: a process for each CPU, a `Resource` for the queue's lock, one for the
unit, timeouts of the same length, and no page tables, no allocator, no checkers. Whoever wants the numbers of
waits and nothing else could have written that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import simpy
from _timing import best

from vtdkit.kernel.machine.costs import NEAR
from vtdkit.lab.computer import Computer
from vtdkit.series.mainline import versions as mainline

REALITY = Path(__file__).parent.parent / "reality"
sys.path.append(str(Path(__file__).parents[2] / "notebooks"))  # the replay is lesson 17's

from lessons.claims.users import maps  # noqa: E402
from lessons.lesson17.replay import replay  # noqa: E402
from lessons.lesson17.traces import MapTrace  # noqa: E402

DRIVER_LOCKS = (
    "device_domain_lock",
    "&iommu->lock",
    "&iommu->register_lock",
    "&domain->lock",
    "group->mutex",
)
Q = "&qi->q_lock"


# -- map and unmap ------------------------------------------------------------


def pairs(count: int, **options: Any) -> Callable[[], object]:
    """One page mapped, unmapped and flushed, `count` times."""
    pc = Computer(driver=mainline.RC5, **options)
    domain, core = pc.domain_of("00:03.0"), pc.core

    async def go() -> None:
        for _ in range(count):
            await core.iommu_map(domain, 0x10000, 0x5000000, 4096, 3)
            await core.iommu_unmap(domain, 0x10000, 4096)

    return lambda: pc.run(go())


def simpy_pairs(count: int) -> Callable[[], object]:
    """The same in SimPy: the times only."""
    env = simpy.Environment()
    lock, unit = simpy.Resource(env, 1), simpy.Resource(env, 1)

    def go() -> Iterator[Any]:
        for _ in range(count):
            yield env.timeout(4 * NEAR.table_word)
            yield env.timeout(4 * NEAR.table_word)
            yield from flush(env, lock, unit)

    env.process(go())
    return env.run


def flush(env: Any, lock: Any, unit: Any) -> Iterator[Any]:
    """`qi_submit_sync` as a queueing network: the lock, the unit's work, the lock again."""
    with lock.request() as request:
        yield request
        yield env.timeout(2 * NEAR.mmio)
    with unit.request() as turn:
        yield turn
        yield env.timeout(NEAR.iotlb_wait + NEAR.line_near)
    with lock.request() as request:
        yield request
        yield env.timeout(NEAR.line_near)


# -- a real guest -------------------------------------------------------------


def replaying(trace: MapTrace, **options: Any) -> Callable[[], object]:
    """Replay it, as fast as each CPU can."""
    return lambda: replay(trace, driver=mainline.RC5, **options)


def simpy_replay(trace: MapTrace) -> Callable[[], object]:
    """The strict guest's flushes on SimPy's processes."""
    env = simpy.Environment()
    lock, unit = simpy.Resource(env, 1), simpy.Resource(env, 1)

    def cpu(number: int) -> Iterator[Any]:
        for event in trace.events:
            if event.cpu == number:
                yield env.timeout(4 * NEAR.table_word)
                if event.op == "unmap":
                    yield from flush(env, lock, unit)

    for number in range(trace.cpus):
        env.process(cpu(number))
    return env.run


# -- the back-ends ------------------------------------------------------------


def backends(counts: Sequence[int], pages: int) -> dict[str, list[float]]:
    """Throughput of each back-end by CPUs: those that lock nothing against the one that does."""
    print(f"maps of a page on each back-end, million a second of virtual time\n  {'CPUs':<12}", end="")
    print(*(f"{count:>7}" for count in counts))
    rates = {}
    for name in ("intel", "arm", "amd", "simple"):
        rates[name] = [maps(name, count, pages=pages) for count in counts]
        print(f"  {name:<12}", *(f"{each:>7.2f}" for each in rates[name]))
    return rates


# -- what is printed ----------------------------------------------------------


def alone(rounds: int, count: int) -> tuple[float, float, float]:
    """Pairs a second with all checkers on, without and with a record, and SimPy's."""
    settings: dict[str, dict[str, Any]] = {
        "all checkers and statistics": {"record": False},
        "the same and a record": {},
        "lockdep and statistics": {"record": False, "checkers": ("lockdep",)},
        "nothing but the driver": {"record": False, "checkers": (), "statistics": False},
    }
    makers = [lambda options=options: pairs(count, **options) for options in settings.values()]
    peer, *ours = best(rounds, lambda: simpy_pairs(count), *makers)
    print(f"{'map + unmap of a page, alone':<44} {'thousand pairs/s':>17}")
    for name, seconds in zip(settings, ours, strict=True):
        print(f"  {name:<42} {count / seconds / 1e3:>17.1f}")
    print(f"  {'SimPy, the times only':<42} {count / peer / 1e3:>17.1f}")
    return count / ours[0], count / ours[1], count / peer


def guest(rounds: int, mode: str, part: int | None) -> tuple[float, float]:
    """Events a second of a recorded guest, and SimPy's; what was waited for."""
    trace = MapTrace.load(REALITY / f"maps_smp4_{mode}-s0")
    whole = trace if part is None else trace.part(part)
    result = replay(whole, driver=mainline.RC5, record=False)
    if result.wrong:
        raise SystemExit(f"{whole.name}: {result.wrong[0]}")
    peer, ours, recorded = best(
        rounds,
        lambda: simpy_replay(whole),
        lambda: replaying(whole, record=False),
        lambda: replaying(whole, record=True),
    )
    events = len(whole.events)
    others = sum(row.count for row in result.contended if row.lock not in (Q, *DRIVER_LOCKS))
    print(
        f"  {mode:<8} {events:>8,} {events / ours / 1e3:>9.1f} {events / recorded / 1e3:>9.1f} "
        f"{events / peer / 1e3:>9.1f}"
        f" {result.waits(Q):>9,} {sum(map(result.waits, DRIVER_LOCKS)):>9,} {others:>9,}"
    )
    return events / ours, events / peer


def flat(most: int) -> float:
    """Cost of an event from ten thousand events up: the slowest rate over the fastest."""
    rates, size = [], 10_000
    while size <= most:
        seconds = best(3 if size < 100_000 else 1, lambda size=size: side_by_side(size))[0]
        rates.append(size / seconds)
        print(f"  {size:>12,} events: {1e6 / rates[-1]:>7.1f} µs each")
        size *= 10
    return min(rates) / max(rates)


def side_by_side(events: int) -> Callable[[], object]:
    """Maps and unmaps of four CPUs in one domain, so many in all."""
    pc = Computer(driver=mainline.RC5, cpus=4, record=False)
    domain, core = pc.domain_of("00:03.0"), pc.core

    async def cpu(number: int) -> None:
        for turn in range(events // 8):
            iova = 0x100000 + (number << 30) + (turn % 512 << 12)
            await core.iommu_map(domain, iova, 0x5000000, 4096, 3)
            await core.iommu_unmap(domain, iova, 4096)

    for number in range(4):
        pc.machine.spawn(cpu(number), cpu=number)
    return pc.machine.simulate


def memory(part: int) -> float:
    """Bytes kept for each recorded event when a guest is replayed with a record."""
    trace = MapTrace.load(REALITY / "maps_smp4_strict-s0").part(part)
    replay(trace.part(100), driver=mainline.RC5)
    tracemalloc.start()
    without = replay(trace, driver=mainline.RC5, record=False)
    plain = tracemalloc.get_traced_memory()[0]
    result = replay(trace, driver=mainline.RC5, record=True)
    kept = tracemalloc.get_traced_memory()[0] - 2 * plain
    tracemalloc.stop()
    events = len(result.computer.machine.trace())
    print(
        f"  {events:,} events recorded: {kept / events:.0f} bytes each, beyond what the same replay keeps "
        "without a record"
    )
    assert without == result
    return kept / events


def main() -> None:
    """Print the tables; the last line is the replay of the strict guest against SimPy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, part of the traces")
    quick = parser.parse_args().quick
    ours, recorded, peer = alone(5 if quick else 15, 1000)
    print(
        f"{'replay on 4 CPUs':<19} {'thousand events a second':>29} "
        f"{'waits for locks: q_lock, driver, others':>29}"
    )
    part = 8000 if quick else None
    strict = guest(2 if quick else 3, "strict", part)
    lazy = guest(2 if quick else 3, "lazy", part)
    print("map and unmap on 4 CPUs, cost of an event")
    slowest = flat(100_000 if quick else 1_000_000)
    counts = (1, 4, 16, 64)
    throughput = backends(counts, 64 if quick else 256)
    print("memory")
    bytes_each = memory(4000 if quick else 20_000)
    line = {
        "benchmark": "driver",
        "ours": round(strict[0]),
        "peer": round(strict[1]),
        "ratio": round(strict[0] / strict[1], 2),
        "unit": "trace events/s, strict guest on 4 simulated CPUs, all checkers on; peer: SimPy, the waiting "
        "times alone",
        "lazy": round(lazy[0]),
        "pairs": round(ours),
        "pairs_recorded": round(recorded),
        "simpy_pairs": round(peer),
        "flat": round(slowest, 2),
        "bytes_per_event": round(bytes_each),
        "backends_64_cpus_to_1": {name: round(each[-1] / each[0], 1) for name, each in throughput.items()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
