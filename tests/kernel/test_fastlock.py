"""The spin locks written for speed, held against the one to read: same schedule,
same statistics, same findings.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.locks.fastlock import BareSpinLock, StraightSpinLock
from vtdkit.kernel.locks.spinlock import QueuedSpinLock
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.lockstat import LockStat

QUIET: dict[str, Any] = {"record": False, "checkers": ("lockdep",)}
BARE: dict[str, Any] = {"record": False, "checkers": (), "statistics": False}
WAYS = st.sampled_from(["lock", "irqsave", "bh", "nested", "calls"])
STEPS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40), WAYS), max_size=6)
THREADS = st.lists(st.tuples(st.integers(0, 2), STEPS), min_size=1, max_size=5)


def play(
    options: dict[str, Any], threads: list[tuple[int, Any]], handover: int | None, irqs: list[int]
) -> tuple[Any, Machine]:
    """Threads that take two locks in several ways, and interrupts that take one of
    them: what happened when.
    """
    costs = NEAR.but(handover=handover, slice=70) if handover is not None else NEAR.but(slice=70)
    machine = Machine(3, sockets=2, costs=costs, **options)
    outer, inner, log = machine.spinlock("outer"), machine.spinlock("inner"), []

    async def hold(name: str, ns: int) -> None:
        log.append((machine.now, name, "in"))
        await machine.work(ns)
        log.append((machine.now, name, "out"))

    async def thread(name: str, steps: Any) -> None:
        for pause, ns, way in steps:
            await machine.work(pause)
            if way == "nested":
                async with outer.irqsave(), inner:
                    await hold(name, ns)
            elif way == "calls":
                await outer.acquire()
                await hold(name, ns)
                await outer.release()
            else:
                async with {"lock": outer, "irqsave": outer.irqsave(), "bh": outer.bh()}[way]:
                    await hold(name, ns)
        log.append((machine.now, name, "end"))

    async def handler() -> None:
        async with inner:
            await hold("irq", 5)

    line = machine.irq_line("nic", handler)
    for when in irqs:
        line.fire(when)
    for number, (cpu, steps) in enumerate(threads):
        machine.spawn(thread(f"t{number}", steps), cpu=cpu)
    machine.simulate()
    return log, machine


def statistics(machine: Machine) -> list[tuple[Any, ...]]:
    """Lock statistics without their places' lines: the test's own are the same anyway."""

    def row(stat: LockStat) -> tuple[Any, ...]:
        return stat.name, stat.write, stat.read, stat.points, stat.holders

    return [row(stat) for stat in machine.lock_stat()]


def test_the_machine_picks_the_lock() -> None:
    assert type(Machine().spinlock("l")) is QueuedSpinLock
    assert type(Machine(**QUIET).spinlock("l")) is StraightSpinLock
    assert type(Machine(**BARE).raw_spinlock("l")) is BareSpinLock
    assert type(Machine(record=False, checkers=()).spinlock("l")) is StraightSpinLock


@settings(deadline=None, max_examples=60)
@given(THREADS, st.sampled_from([0, 7, None]), st.lists(st.integers(0, 2000), max_size=3))
def test_all_three_give_the_same_schedule_and_two_the_same_statistics(
    threads: list[tuple[int, Any]],
    handover: int | None,
    irqs: list[int],
) -> None:
    log, machine = play({}, threads, handover, irqs)
    straight_log, straight = play(QUIET, threads, handover, irqs)
    bare_log, bare = play(BARE, threads, handover, irqs)
    assert straight_log == log
    assert bare_log == log
    assert (machine.now, straight.now, bare.now) == (machine.now,) * 3
    assert statistics(straight) == statistics(machine)
    assert straight.irqsoff() == machine.irqsoff()
    assert straight.preemptoff().longest == machine.preemptoff().longest
    assert [f.key for f in straight.findings] == [f.key for f in machine.findings]


@pytest.mark.parametrize("options", [QUIET, BARE])
def test_release_and_errors_work_as_on_the_slow_lock(options: dict[str, Any]) -> None:
    machine = Machine(2, costs=IDEAL, **options)
    lock, log = machine.spinlock("lock"), []

    async def fails() -> None:
        async with lock:
            raise KeyError

    async def vandal() -> None:
        await lock.release()

    async def tries() -> None:
        log.append(await lock.trylock())
        log.append(await lock.trylock())
        await lock.release()
        log.append(lock.owner)

    with pytest.raises(KeyError):
        machine.run(fails())
    machine.run(vandal())
    machine.run(tries())
    assert log == [True, False, None]
    assert [f.kind for f in machine.findings] == (
        ["bad unlock balance detected!"] if options is QUIET else []
    )


def test_a_machine_without_statistics_says_so_when_asked() -> None:
    with pytest.raises(RuntimeError, match="keeps no lock statistics; make it with Machine"):
        Machine(**BARE).lock_stat()
