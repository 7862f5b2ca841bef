"""The spin lock, held against a plain one that is written to be read: same schedule, same statistics,
same findings, with and without a record, checkers and statistics.
"""

from __future__ import annotations

from collections.abc import Generator
from sys import _getframe
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.checkers.watchdog import spins_for_ever
from vtdkit.kernel.locks.spinlock import SpinLock
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.lockstat import LockStat
from vtdkit.kernel.record.record import RELEASE

QUIET: dict[str, Any] = {"record": False, "checkers": ("lockdep",)}
BARE: dict[str, Any] = {"record": False, "checkers": (), "statistics": False}
WAYS = st.sampled_from(["lock", "irqsave", "bh", "nested", "calls"])
STEPS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40), WAYS), max_size=6)
THREADS = st.lists(st.tuples(st.integers(0, 2), STEPS), min_size=1, max_size=5)


class PlainLock(SpinLock):
    """Who waits is woken by whoever gives the lock up, and does its own books then; nothing is at hand."""

    @coroutine
    def take(self, place: Any = None) -> Generator[int | None, None, None]:
        context, place = self.sched.current, place or self.log.spots.at(_getframe(1))
        context.preempt += 1
        self.comes(context, self.key, place)
        if self.owner is None:
            cost = self.fetch_cost(context.cpu_id)
            self.granted(context, place)
            if cost:
                yield cost
        else:
            began, holder, bounced = self.waits(context, place)
            if self.owner.cpu is context.cpu:
                spins_for_ever(self.machine, context, self, place)
            context.waiting = self
            self.queue.append(context)
            yield None
            context.waiting = None
            self.log.waited(self.sched.now - began, place, holder, bounced)
            self.granted(context, place)
        self.taken(context)

    __aenter__ = acquire = take  # type: ignore[assignment]

    @coroutine
    def drop(self, place: Any = None) -> Generator[int | None, None, None]:
        context = self.sched.current
        if context.innermost is self:
            context.innermost = self.below
            if self.key >= 0:
                context.chain = context.chain.parent  # type: ignore[assignment]
        elif not self.release_out_of_order(context, place):
            return
        assert self.place is not None
        self.place.holds.append(self.sched.now - self.since)
        self.note(context, RELEASE, self.id)
        self.order.release(context, self)
        if not self.queue:
            self.owner = None
        else:
            self.owner = heir = self.queue.popleft()
            cost = self.line_cost(heir)
            if not cost:
                self.granted(heir, heir.spot)
            self.sched.at(heir, cost)
            if cost:
                yield cost
        if self.flags.preempt_on(context):
            yield from self.sched.opened()

    release = drop  # type: ignore[assignment]

    def __aexit__(self, *_: Any, place: Any = None) -> Any:
        return self.drop(place)


class PlainMachine(Machine):
    _made = {SpinLock: PlainLock}  # noqa: RUF012


def play(
    options: dict[str, Any],
    threads: list[tuple[int, Any]],
    handover: int | None,
    irqs: list[int],
    kind: type[Machine] = Machine,
) -> tuple[Any, Machine]:
    """Threads that take two locks in several ways, and interrupts that take one of
    them: what happened when.
    """
    costs = NEAR.but(handover=handover, slice=70) if handover is not None else NEAR.but(slice=70)
    machine = kind(3, sockets=2, costs=costs, **options)
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

    line = machine.irq.line("nic", handler)
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


@settings(deadline=None, max_examples=60)
@given(THREADS, st.sampled_from([0, 7, None]), st.lists(st.integers(0, 2000), max_size=3))
def test_the_schedule_and_the_statistics_are_those_of_the_plain_lock_whatever_is_on(
    threads: list[tuple[int, Any]],
    handover: int | None,
    irqs: list[int],
) -> None:
    log, plain = play({}, threads, handover, irqs, PlainMachine)
    for options in ({}, QUIET, BARE):
        ours, machine = play(options, threads, handover, irqs)
        assert ours == log
        assert machine.now == plain.now
        if options is not BARE:
            assert statistics(machine) == statistics(plain)
            assert machine.irq.irqsoff() == plain.irq.irqsoff()
            assert list(machine.findings) == list(plain.findings)


@settings(deadline=None, max_examples=30)
@given(THREADS, st.sampled_from([0, 7, None]), st.lists(st.integers(0, 2000), max_size=3))
def test_the_record_has_the_same_events_at_the_same_times(
    threads: list[tuple[int, Any]], handover: int | None, irqs: list[int]
) -> None:
    """Events of one instant may come in another order: who gives a lock up enters its heir's too."""
    (_, ours), (_, plain) = (play({}, threads, handover, irqs, kind) for kind in (Machine, PlainMachine))
    assert sorted(map(str, ours.trace())) == sorted(map(str, plain.trace()))


@pytest.mark.parametrize("options", [{}, QUIET, BARE])
def test_release_trylock_and_errors(options: dict[str, Any]) -> None:
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
    assert [f.kind for f in machine.findings] == ([] if options is BARE else ["bad unlock balance detected!"])


def test_a_machine_without_statistics_says_so_when_asked() -> None:
    with pytest.raises(RuntimeError, match="keeps no lock statistics; make it with Machine"):
        Machine(**BARE).lock_stat()
