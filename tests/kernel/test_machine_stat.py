"""Lock statistics of real runs: the identities of lock_stat, the contention views, and
both against the record.
"""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.loads import Exponential
from vtdkit.kernel.machine.costs import IDEAL, NEAR, Costs
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.kernel.record.lockstat import Side, contention_rows
from vtdkit.kernel.record.spans import waits_of
from vtdkit.kernel.record.trace import Trace


def contended(
    seed: int = 1, cpus: int = 4, costs: Costs = NEAR, record: bool = True
) -> tuple[Machine, Trace]:
    """Threads on a spin lock, a mutex and a reader-writer lock."""
    machine = Machine(cpus, seed=seed, costs=costs, record=record)
    spin, mutex, shared = machine.spinlock("spin"), machine.mutex("mutex"), machine.rwlock("shared")

    async def body(index: int) -> None:
        async with spin:
            await machine.work(machine.random.randrange(60))
        async with mutex:
            await machine.work(40)
        if index % 3:
            async with shared.read():
                await machine.work(100)
        else:
            async with shared.write():
                await machine.work(20)

    closed_loop(machine, body, threads=cpus + 1, think=Exponential(200), count=20)
    return machine, machine.simulate()


def identities(side: Side, elapsed: int, exclusive: bool) -> None:
    """What must hold of any side of any class (performance.md, /proc/lock_stat)."""
    assert side.con_bounces <= side.contentions <= side.acquisitions
    assert side.acq_bounces <= side.acquisitions
    if side.contentions:
        assert 0 < side.wait_min <= side.wait_total / side.contentions <= side.wait_max
        assert side.wait_avg == side.wait_total // side.contentions
    if side.acquisitions:
        assert side.hold_min <= side.hold_total / side.acquisitions <= side.hold_max
        assert side.hold_avg == side.hold_total // side.acquisitions
    if exclusive:
        assert side.hold_total <= elapsed


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5), st.sampled_from([NEAR, IDEAL, NEAR.but(spin_limit=30)]))
def test_the_identities_hold_on_every_run(seed: int, cpus: int, costs: Costs) -> None:
    machine, trace = contended(seed, cpus, costs)
    table = {row.name: row for row in machine.lock_stat()}
    threads = cpus + 1
    assert table["spin"].write.acquisitions == table["mutex"].write.acquisitions == 20 * threads
    writers = len(range(0, threads, 3))
    assert table["shared"].write.acquisitions == 20 * writers
    assert table["shared"].read.acquisitions == 20 * (threads - writers)
    for row in table.values():
        identities(row.write, trace.end, exclusive=True)
        identities(row.read, trace.end, exclusive=False)
        assert sum(count for _, count in row.points) == row.write.contentions + row.read.contentions
        assert sum(count for _, count in row.holders) <= row.write.contentions + row.read.contentions


def test_the_statistics_are_those_of_the_record() -> None:
    machine, trace = contended()
    began: dict[tuple[str, str], int] = {}
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])  # acquisitions, hold, contentions, wait
    for event in trace:
        key = event.context, event.object
        if event.kind == "spin":
            began[key] = event.time
        elif event.kind == "acquire":
            row, waited = counted[event.object], event.time - began.pop(key, event.time)
            row[0] += 1
            row[2] += waited > 0
            row[3] += waited
            began[key] = event.time
        elif event.kind == "release":
            counted[event.object][1] += event.time - began.pop(key)
    kept = {
        row.name: [
            sum(getattr(side, field) for side in (row.read, row.write))
            for field in ("acquisitions", "hold_total", "contentions", "wait_total")
        ]
        for row in machine.lock_stat()
    }
    assert kept == counted
    assert all(row[2] > 10 for row in kept.values())


def test_a_machine_without_a_record_keeps_the_same_statistics() -> None:
    machine, _ = contended()
    quiet, _ = contended(record=False)
    assert str(quiet.lock_stat()) == str(machine.lock_stat())
    assert str(machine.lock_stat()).startswith("lock_stat version 0.4\n")


def test_contention_adds_up_to_the_waits_of_all_locks_and_prints_as_perf_does() -> None:
    machine, trace = contended()
    table = machine.lock_stat()
    rows = contention_rows(table)
    assert sum(row.wait_total for row in rows) == sum(end - since for _, _, since, end in waits_of(trace))
    assert sum(row.contended for row in rows) == sum(row.contentions for row in table)
    assert {row.kind for row in rows} == {"spinlock", "mutex", "rwlock:R", "rwlock:W"}
    assert len(table.contention().splitlines()) == 2 + len(rows)
