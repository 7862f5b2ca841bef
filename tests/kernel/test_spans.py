"""A record as stretches of time, and as a file for a trace viewer."""

from __future__ import annotations

import json
import time
from array import array
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.loads import Exponential
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.kernel.record.record import TYPES
from vtdkit.kernel.record.spans import OCCUPATION, Span
from vtdkit.kernel.record.trace import Trace


def story() -> Trace:
    """CPU 0: holds a lock for 100, interrupts off, an interrupt waiting. CPU 1: spins for it from 40. CPU 2:
    waits for a word.
    """
    machine = Machine(3, costs=IDEAL)
    lock, word = machine.spinlock("lock"), machine.atomic("status")

    async def holder() -> None:
        await machine.work(10)
        async with lock.irqsave():
            await machine.work(100)
        await word.store(1)
        await machine.work(5)

    async def spinner() -> None:
        await machine.work(40)
        async with lock:
            await machine.work(20)

    async def waits() -> None:
        await word.relax_while(0)

    async def handler() -> None:
        await machine.work(7)

    machine.irq.line("nic", handler, cpu=0).fire(30)
    for cpu, (name, coro) in enumerate((("holder", holder()), ("spinner", spinner()), ("waits", waits()))):
        machine.spawn(coro, cpu=cpu, name=name)
    return machine.simulate()


def lines(trace: Trace, cpu: int, states: tuple[str, ...]) -> list[tuple[int, int, str, str, str]]:
    return [
        (s.start, s.end, s.state, s.object, s.context)
        for s in trace.spans()
        if s.cpu == cpu and s.state in states
    ]


def test_each_cpus_time_is_divided_into_what_it_did() -> None:
    trace = story()
    assert lines(trace, 0, OCCUPATION) == [
        (0, 110, "running", "", "holder"),
        (110, 117, "in interrupt", "", "nic"),
        (117, 122, "running", "", "holder"),
        (122, 130, "idle", "", ""),
    ]
    assert lines(trace, 1, OCCUPATION) == [
        (0, 40, "running", "", "spinner"),
        (40, 110, "spinning", "lock", "spinner"),
        (110, 130, "running", "", "spinner"),
    ]
    assert lines(trace, 2, OCCUPATION) == [
        (0, 117, "waiting for hardware", "status", "waits"),
        (117, 130, "idle", "", ""),
    ]


def test_locks_held_and_interrupts_off_lie_over_that() -> None:
    trace = story()
    over = ("holding", "irqs off")
    assert lines(trace, 0, over) == [
        (10, 110, "holding", "lock", "holder"),
        (10, 110, "irqs off", "", "holder"),
    ]
    assert lines(trace, 1, over) == [(110, 130, "holding", "lock", "spinner")]


def random_run(seed: int, cpus: int, threads: int, count: int = 4) -> Trace:
    machine = Machine(
        cpus, seed=seed, costs=IDEAL.but(lock=3, wake=20, switch=5, slice=200, line_near=4, irq_entry=2)
    )
    spin, mutex, shared = machine.spinlock("spin"), machine.mutex("mutex"), machine.rwsem("shared")

    async def body(index: int) -> None:
        async with spin.irqsave():
            await machine.work(machine.random.randrange(50))
        async with mutex, shared.read() if index % 2 else shared.write():
            await machine.work(machine.random.randrange(50))

    async def handler() -> None:
        await machine.work(11)

    closed_loop(machine, body, threads=threads, think=Exponential(60), count=count)
    for when in range(0, 600, 70):
        machine.irq.line("nic", handler, cpu=when % cpus).fire(when)
    return machine.simulate()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 7))
def test_occupation_has_no_gap_and_no_overlap_and_holds_are_those_of_lock_stat(
    seed: int, cpus: int, threads: int
) -> None:
    trace = random_run(seed, cpus, threads)
    lanes: dict[int, list[Span]] = defaultdict(list)
    for span in trace.spans():
        assert span.end >= span.start
        if span.state in OCCUPATION:
            lanes[span.cpu].append(span)
    for lane in lanes.values():
        assert lane[0].start == 0
        assert lane[-1].end == trace.end
        assert all(before.end == after.start for before, after in pairwise(lane))
    assert len(lanes) == cpus
    held = sum(
        span.end - span.start for span in trace.spans() if span.state == "holding" and span.object == "spin"
    )
    took, total = {}, 0
    for event in trace.where(kind=("acquire", "release"), object="spin"):
        if event.kind == "acquire":
            took[event.context] = event.time
        else:
            total += event.time - took.pop(event.context)
    assert held == total > 0


def test_a_hundred_thousand_events_are_turned_into_spans_quickly() -> None:
    trace = random_run(1, 4, 8, count=50)
    times = -(-100_000 // len(trace))
    columns = [array(code) for code in TYPES]
    for turn in range(times):
        for column, more in zip(columns, trace.columns, strict=True):
            column.extend(
                array(column.typecode, (value + turn * trace.end for value in more))
                if column is columns[0]
                else more
            )
    long = Trace(
        tuple(columns),
        trace.contexts,
        trace.objects,
        trace.sites,
        trace.cpus,
        trace.end * times,
        kinds=trace.kinds,
        context_kinds=trace.context_kinds,
    )
    began = time.process_time()
    spans = long.spans()
    assert (
        time.process_time() - began < 10
    )  # a quarter of a second on an idle machine; this catches what grows with the square
    assert len(spans) > 50_000


# -- the viewer's format ------------------------------------------------------

NEEDED = {
    "X": {"dur", "ts"},
    "i": {"s", "ts"},
    "b": {"id", "ts", "cat"},
    "e": {"id", "ts", "cat"},
    "M": {"args"},
}


def tracks(document: dict[str, Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    found: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in document["traceEvents"]:
        if event["ph"] == "X":
            found[event["pid"], event["tid"]].append(event)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_json_keeps_to_the_trace_event_format(seed: int) -> None:
    document = random_run(seed, 3, 6).perfetto()
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    opened: dict[int, float] = {}
    for event in document["traceEvents"]:
        assert NEEDED[event["ph"]] | {"name", "pid", "tid", "ph"} <= set(event)
        assert type(event["pid"]) is type(event["tid"]) is int
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] == "b":
            opened[event["id"]] = event["ts"]
        elif event["ph"] == "e":
            assert opened.pop(event["id"]) <= event["ts"]
    assert not opened
    stamps = [event["ts"] for event in document["traceEvents"] if event["ph"] != "M"]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("seed", range(4))
def test_complete_events_of_one_track_follow_or_nest(seed: int) -> None:
    for events in tracks(random_run(seed, 3, 6).perfetto()).values():
        open_until: list[int] = []
        for event in events:
            start = round(event["ts"] * 1000)
            end = start + round(event["dur"] * 1000)
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or end <= open_until[-1]
            open_until.append(end)


def test_every_track_has_a_name_and_lanes_carry_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    trace = story()
    document = trace.perfetto(path)
    assert json.loads(path.read_text(encoding="utf-8")) == document
    names = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"
    }
    groups = {e["pid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"}
    shown = {
        (groups[pid], names[pid, tid]): [(e["name"], e["ts"], e["dur"]) for e in events]
        for (pid, tid), events in tracks(document).items()
    }
    assert shown["CPUs", "CPU 0"] == [("holder", 0.0, 0.11), ("nic", 0.11, 0.007), ("holder", 0.117, 0.005)]
    assert shown["CPUs", "CPU 1"][1] == ("spinner: spinning lock", 0.04, 0.07)
    assert shown["Locks", "lock"] == [("holder", 0.01, 0.1), ("spinner", 0.11, 0.02)]
    assert shown["Threads", "spinner"] == [("waits for lock", 0.04, 0.07)]
    assert shown["Interrupts off", "holder"] == [("irqs off", 0.01, 0.1)]


def test_marks_and_findings_are_instants() -> None:
    machine = Machine(costs=IDEAL)
    lock = machine.spinlock("lock")

    async def thread() -> None:
        await machine.work(5)
        machine.stat.mark("here")
        lock.assert_held()

    machine.spawn(thread(), cpu=0)
    instants = [e for e in machine.simulate().perfetto()["traceEvents"] if e["ph"] == "i"]
    assert [(e["name"], e["ts"], e["cat"]) for e in instants] == [
        ("here", 0.005, "mark"),
        ("WARNING: lockdep_assert_held", 0.005, "finding"),
    ]
