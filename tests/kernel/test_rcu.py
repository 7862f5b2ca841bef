"""RCU: grace periods are intervals that readers inside prolong; what is freed after one;
what the rules forbid.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

QUICK = IDEAL.but(grace_period=10, grace_period_expedited=1)


class node(KObject):
    """Something readers look at."""

    value = shared(0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 200), st.booleans()), max_size=6),
    st.integers(0, 300),
)
def test_a_grace_period_ends_when_the_last_reader_that_was_inside_has_left(
    readers: list[tuple[int, int, bool]],
    start: int,
) -> None:
    machine = Machine(cpus=len(readers) + 1, costs=QUICK)
    ended: list[int] = []

    async def reader(begin: int, length: int, nested: bool) -> None:
        await machine.work(begin)
        async with machine.rcu.read():
            if nested:
                async with machine.rcu.read():
                    await machine.work(length // 2)
                await machine.work(length - length // 2)
            else:
                await machine.work(length)

    async def updater() -> None:
        await machine.work(start)
        await machine.rcu.synchronize()
        ended.append(machine.now)

    for cpu, (begin, length, nested) in enumerate(readers):
        machine.spawn(reader(begin, length, nested), cpu=cpu)
    machine.spawn(updater(), cpu=len(readers))
    machine.simulate()
    # a reader that enters in the very nanosecond comes before the updater: it was spawned before it
    inside = [begin + length for begin, length, _ in readers if begin <= start < begin + length]
    assert ended == [max([start, *inside]) + 10]
    assert not machine.findings


def test_a_grace_period_is_an_interval_so_that_two_readers_may_overlap_it() -> None:
    """P0: x=1, synchronize, y=1. P1 reads x then d. P2 writes d, then reads y. r1=0, r2=1, r3=1 is
    allowed: the readers overlap.
    """
    machine = Machine(cpus=3, costs=IDEAL)
    x, y, d = machine.atomic("x"), machine.atomic("y"), machine.atomic("d")
    seen: dict[str, int] = {}

    async def p0() -> None:
        await machine.work(20)
        await x.store(1)
        await machine.rcu.synchronize()
        await y.store(1)

    async def p1() -> None:
        async with machine.rcu.read():
            seen["r1"] = await x.load()
            await machine.work(40)
            seen["r2"] = await d.load()

    async def p2() -> None:
        await machine.work(30)  # after the grace period has begun: it does not wait for this one
        async with machine.rcu.read():
            await d.store(1)
            await machine.work(30)
            seen["r3"] = await y.load()

    for cpu, coro in enumerate((p0(), p1(), p2())):
        machine.spawn(coro, cpu=cpu)
    machine.simulate()
    assert seen == {"r1": 0, "r2": 1, "r3": 1}


@pytest.mark.parametrize(
    ("expedited", "takes"), [(False, NEAR.grace_period), (True, NEAR.grace_period_expedited)]
)
def test_without_readers_a_grace_period_takes_what_the_machinery_takes(expedited: bool, takes: int) -> None:
    machine = Machine(costs=NEAR)

    async def updater() -> int:
        began = machine.now
        await machine.rcu.synchronize(expedited=expedited)
        return machine.now - began

    assert machine.run(updater()) == takes + NEAR.wake


@pytest.mark.parametrize("late", [False, True])
def test_kfree_rcu_frees_only_after_the_readers_have_left(late: bool) -> None:
    machine = Machine(cpus=2, costs=QUICK)
    head: list[Any] = []

    async def reader() -> None:
        async with machine.rcu.read():
            obj = machine.rcu.dereference(head[0])
            await machine.work(100)
            assert await obj.read_once("value") == 7

    async def updater() -> None:
        obj = await machine.kmalloc(node)
        assert obj is not None
        await obj.write_once(value=7)
        head.append(obj)
        await machine.work(10 if late else 60)
        head.append(None)
        machine.rcu.kfree_rcu(obj)

    async def start() -> None:
        await machine.work(50)
        await reader()

    machine.spawn(updater(), cpu=0)
    machine.spawn(start(), cpu=1)
    machine.simulate()
    freed_first = machine.findings.of("slab-use-after-free")
    assert len(freed_first) == (1 if late else 0)
    assert len(machine.findings) == len(freed_first)
    assert head[0].freed is not None


def test_callbacks_run_in_the_order_of_their_calls_and_none_is_left() -> None:
    machine = Machine(costs=QUICK)
    log: list[int] = []

    async def updater() -> None:
        for number in range(3):

            async def callback(number: int = number) -> None:
                log.append(number)

            machine.rcu.call(callback)
        assert not log
        assert machine.rcu.pending_callbacks == 3
        assert [leak.kind for leak in machine.check.leaks()] == ["RCU callback"]

    machine.spawn(updater(), cpu=0)
    machine.simulate()
    assert log == [0, 1, 2]
    assert machine.rcu.pending_callbacks == 0
    assert machine.check.leaks() == ()


def test_waiting_for_readers_from_inside_one_is_reported_and_hangs() -> None:
    machine = Machine(costs=QUICK)

    async def wrong() -> None:
        async with machine.rcu.read():
            await machine.rcu.synchronize()

    machine.spawn(wrong(), cpu=0)
    machine.simulate()
    kinds = [finding.kind for finding in machine.findings]
    assert kinds[0] == "WARNING: suspicious RCU usage"
    assert "Illegal synchronize_rcu" in machine.findings[0].where
    assert kinds[-1] == "INFO: task blocked for more than 120 seconds"


def test_a_section_left_open_or_left_twice_is_reported() -> None:
    machine = Machine(costs=QUICK)

    async def stays() -> None:
        await machine.rcu.read_lock()

    async def leaves() -> None:
        await machine.rcu.read_unlock()

    machine.run(stays())
    machine.run(leaves())
    assert [finding.where for finding in machine.findings] == [
        "a read-side section was left open",
        "rcu_read_unlock without rcu_read_lock",
    ]


def test_a_grace_period_orders_a_readers_plain_access_before_what_follows_it() -> None:
    def run(wait: bool) -> list[str]:
        machine = Machine(cpus=2, costs=QUICK)

        async def both() -> None:
            obj = await machine.kmalloc(node)
            assert obj is not None

            async def reader() -> None:
                async with machine.rcu.read():
                    await machine.work(50)
                    await obj.read("value")

            machine.spawn(reader(), cpu=1)
            await machine.work(10)
            if wait:
                await machine.rcu.synchronize()
            else:
                await machine.work(100)
            await obj.write(value=1)

        machine.spawn(both(), cpu=0)
        machine.simulate()
        return [finding.kind for finding in machine.findings]

    assert run(wait=True) == []
    assert run(wait=False) == ["BUG: KCSAN: data-race"]
