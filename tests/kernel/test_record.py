"""The record: its parts; the same whatever Python hashes by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vtdkit
from vtdkit.kernel.record.trace import Trace

RUN = """
from vtdkit.kernel import Machine, closed_loop

def busy_machine(seed=7):
    machine = Machine(4, seed=seed, sockets=2)
    lock, mutex, sem = machine.spinlock("lock"), machine.mutex("mutex"), machine.rwsem("sem")
    shared = machine.list_head("shared")

    async def body(index):
        page = await machine.alloc_page(name="table")
        async with lock.irqsave():
            await machine.work(machine.random.randrange(200))
        async with mutex:
            await machine.work(50)
            async with sem.read():
                await page.store(index, index)
        await machine.free_page(page)
        if index == 2:
            machine.stat.mark("thread 2 \\N{EM DASH} again")
            await lock.release()

    closed_loop(machine, body, threads=6, think=lambda stream: round(stream.expovariate(1 / 300)), count=5)
    async def on_irq():
        async with lock:
            await machine.work(30)
    machine.irq.line("nic", on_irq, cpu=1).fire(500)
    return machine
"""
scope: dict[str, Any] = {}
exec(compile(RUN, "tests/busy.py", "exec"), scope)


def busy() -> Trace:
    """A record with every sort of thing in it: locks of three kinds, pages,
    an interrupt, notes, findings.
    """
    trace = scope["busy_machine"]().simulate()
    assert isinstance(trace, Trace)
    return trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return busy()


# -- parts --------------------------------------------------------------------


def test_the_run_has_every_sort_of_event_that_matters_here(trace: Trace) -> None:
    kinds = {event.kind for event in trace}
    assert kinds >= {
        "run",
        "end",
        "spin",
        "acquire",
        "release",
        "irq_off",
        "irq_on",
        "irq_enter",
        "irq_exit",
        "alloc",
        "free",
        "mark",
        "finding",
    }
    assert any("bad unlock balance" in finding.kind for finding in trace.findings)


def test_where_picks_the_same_events_as_looking_at_each(trace: Trace) -> None:
    def picked(part: Trace) -> list[Any]:
        return list(part)

    events = list(trace)
    assert picked(trace.where(kind="acquire")) == [e for e in events if e.kind == "acquire"]
    assert picked(trace.where(kind=("spin", "mark"), cpu=2)) == [
        e for e in events if e.kind in ("spin", "mark") and e.cpu == 2
    ]
    assert picked(trace.where(object="lock", context="thread3")) == [
        e for e in events if "lock" in e.object and "thread3" in e.context
    ]
    assert picked(trace[10:20:3]) == events[10:20:3]
    assert trace[-1] == events[-1]
    assert picked(trace.where()) == events


def test_a_wrong_name_or_index_says_what_there_is(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"no kind of event 'aquire'; there are run, .*acquire"):
        trace.where(kind="aquire")
    with pytest.raises(KeyError, match="no column 'times'; its columns are time, cpu"):
        trace.column("times")
    with pytest.raises(IndexError, match=f"of a trace of {len(trace)}"):
        trace[len(trace)]


def test_an_event_is_kept_in_thirty_one_bytes(trace: Trace) -> None:
    assert sum(column.itemsize for column in trace.columns) == 31
    assert [column.itemsize * len(column) for column in trace.columns] == [
        len(trace) * n for n in (8, 2, 4, 1, 4, 4, 8)
    ]


def test_the_same_seed_gives_the_same_bytes_whatever_python_hashes_by(tmp_path: Path) -> None:
    script = (
        RUN
        + """import json, sys
trace = busy_machine(int(sys.argv[2])).simulate()
names = {name: value for name, value in vars(trace).items() if name != "columns"}
open(sys.argv[1], "wb").write(b"".join(map(bytes, trace.columns)) + repr(names).encode())
trace.perfetto(sys.argv[1] + ".json")
"""
    )
    files = []
    for number, (hashing, seed) in enumerate((("0", "7"), ("1234", "7"), ("0", "8"))):
        path = tmp_path / f"{number}.trace"
        root = str(Path(vtdkit.__file__).parent.parent)
        env = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": root}
        (tmp_path / "busy.py").write_text(script, encoding="utf-8")
        subprocess.run(
            [sys.executable, str(tmp_path / "busy.py"), str(path), seed], env=env, check=True, timeout=60
        )
        files.append(path.read_bytes() + path.with_suffix(".trace.json").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]
