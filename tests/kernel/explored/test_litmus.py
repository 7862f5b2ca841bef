"""RCU litmus tests, explored: what may never happen does not, and does once the grace
period is taken away.

The tests are those of the kernel's documentation and of paulmckrcu/litmus that plain RCU
decides, restated. Words are atomics, so nothing here is weak memory: only the grace period
stands between the two threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import pytest

from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine

Ask = Callable[[], Hashable]
Wait = Callable[[], Awaitable[None]]


class Test:
    """One litmus test on a machine: words by name, registers, and whether grace periods count."""

    __test__ = False

    def __init__(self, machine: Machine, rcu: bool, **words: int) -> None:
        self.machine = machine
        self.rcu = rcu
        self.words = {name: machine.atomic(name, value) for name, value in words.items()}
        self.registers: dict[str, int] = {}

    async def read(self, word: str, register: str) -> int:
        value = self.registers[register] = await self.words[word].load()
        return value

    async def write(self, word: str, value: int) -> None:
        await self.words[word].store(value)

    async def synchronize(self) -> None:
        if self.rcu:
            await self.machine.rcu.synchronize()

    def reading(self) -> Any:
        return self.machine.rcu.read()

    def threads(self, *coros: Any) -> None:
        for cpu, coro in enumerate(coros):
            self.machine.spawn(coro, cpu=cpu, name=f"P{cpu}")


def sync_read(machine: Machine, rcu: bool) -> Ask:
    """RCU+sync+read."""
    t = Test(machine, rcu, x=0, y=0)

    async def reader() -> None:
        async with t.reading():
            await t.read("x", "r0")
            await t.read("y", "r1")

    async def updater() -> None:
        await t.write("x", 1)
        await t.synchronize()
        await t.write("y", 1)

    t.threads(reader(), updater())
    return lambda: t.registers["r0"] == 0 and t.registers["r1"] == 1


def sync_free(machine: Machine, rcu: bool) -> Ask:
    """RCU+sync+free, C-RCU-remove: the pointer is changed, a grace period later what it
    led to is destroyed.
    """
    t = Test(machine, rcu, x=1, node1=1, node2=2)

    async def reader() -> None:
        async with t.reading():
            await t.read(f"node{await t.read('x', 'r0')}", "r1")

    async def updater() -> None:
        await t.write("x", 2)
        await t.synchronize()
        await t.write("node1", 0)

    t.threads(reader(), updater())
    return lambda: t.registers["r1"] == 0


def zx2c4(machine: Machine, rcu: bool) -> Ask:
    """C-zx2c4-RCU."""
    t = Test(machine, rcu, a=0, b=0)

    async def updater() -> None:
        await t.write("a", 1)
        await t.synchronize()
        await t.read("b", "r1")

    async def reader() -> None:
        async with t.reading():
            if await t.read("a", "r0") == 0:
                await t.write("b", 1)
                await t.write("b", 0)

    t.threads(updater(), reader())
    return lambda: t.registers["r1"] == 1


def rcunoderef(machine: Machine, rcu: bool) -> Ask:
    """C-S-rcunoderef-1 to -4."""
    t = Test(machine, rcu, a=0, b=0)

    async def updater() -> None:
        await t.write("a", 1)
        await t.synchronize()
        await t.write("b", 2)

    async def reader() -> None:
        async with t.reading():
            if await t.read("a", "r1") == 0:
                await t.write("b", 1)

    t.threads(updater(), reader())
    return lambda: t.words["b"].value != 2


def careful(machine: Machine, rcu: bool, again: bool = False) -> Ask:
    """C-PaulEMcKenney-psc+sr-{mbacq,mbonce,po,relacq,relonce}, and -sr with a second grace period."""
    t = Test(machine, rcu, x=0, y=0, be_careful=0)
    lock = machine.spinlock("cl")

    async def body() -> None:
        await t.read("x", "r2")
        await t.write("y", 1)
        await t.write("y", 0)

    async def reader() -> None:
        async with t.reading():
            if await t.read("be_careful", "r0"):
                async with lock:
                    await body()
            else:
                await body()

    async def updater() -> None:
        await t.write("be_careful", 1)
        await t.synchronize()
        async with lock:
            await t.write("x", 1)
            await t.write("x", 0)
            await t.read("y", "r1")
        if again:
            await t.synchronize()
        await t.write("be_careful", 0)

    t.threads(reader(), updater())
    return lambda: t.registers["r2"] == 1 or t.registers["r1"] == 1


def careful_again(machine: Machine, rcu: bool) -> Ask:
    """C-PaulEMcKenney-psc+sr-sr."""
    return careful(machine, rcu, again=True)


def cached_list(machine: Machine, rcu: bool) -> Ask:
    """C-RomanPenyaev-list-rcu-rr and -WA: a list v → w → x → y → z with a cached position; x is
    taken out and destroyed.
    """
    v, w, x, y, z = 1, 2, 3, 4, 5
    t = Test(machine, rcu, n1=w, n2=x, n3=y, n4=z, n5=9, n9=9, c=w)

    async def remove() -> None:
        await t.write(f"n{w}", y)
        await t.synchronize()
        if await t.read("c", "r1") == x:
            await t.write("c", 0)
            await t.synchronize()
        await t.write(f"n{x}", 0)

    async def walk() -> None:
        for i in range(2):
            async with t.reading():
                at = await t.read("c", f"at{i}") or await t.read(f"n{v}", f"at{i}")
                if at:
                    await t.write("c", await t.read(f"n{at}", f"next{i}"))

    t.threads(remove(), walk())
    return lambda: 0 in [value for name, value in t.registers.items() if name != "r1"]


NEVER = [sync_read, sync_free, zx2c4, rcunoderef, careful, careful_again, cached_list]


@pytest.mark.parametrize("litmus", NEVER)
def test_what_rcu_forbids_never_happens(litmus: Callable[[Machine, bool], Ask]) -> None:
    found = explore(lambda machine: litmus(machine, True))
    assert found.complete
    assert found.blocked == 0
    assert set(found.outcomes) == {False}


@pytest.mark.parametrize("litmus", NEVER)
def test_it_does_happen_without_the_grace_period(litmus: Callable[[Machine, bool], Ask]) -> None:
    found = explore(lambda machine: litmus(machine, False))
    assert found.complete
    assert set(found.outcomes) == {False, True}


def test_a_grace_period_is_an_interval() -> None:
    """gp-interval: two readers overlap, so a reader that the grace period need not wait for sees
    what comes after neither.
    """

    def gp_interval(machine: Machine) -> Ask:
        t = Test(machine, True, x=0, y=0, d=0)

        async def updater() -> None:
            await t.write("x", 1)
            await t.synchronize()
            await t.write("y", 1)

        async def early() -> None:
            async with t.reading():
                await t.read("x", "r1")
                await t.read("d", "r2")

        async def late() -> None:
            async with t.reading():
                await t.write("d", 1)
                await t.read("y", "r3")

        t.threads(updater(), early(), late())
        return lambda: tuple(t.registers[name] for name in ("r1", "r2", "r3"))

    found = explore(gp_interval)
    assert found.complete
    assert (0, 1, 1) in found.outcomes
    assert (0, 0, 1) in found.outcomes


def test_one_of_two_trylocks_may_fail() -> None:
    """C-trylock2, allowed: x is 1 at the end."""

    def trylock(machine: Machine) -> Ask:
        t = Test(machine, True, x=0)
        lock = machine.spinlock("s")

        async def add() -> None:
            if await lock.trylock():
                await t.write("x", await t.words["x"].load() + 1)
                await lock.release()

        t.threads(add(), add())
        return lambda: t.words["x"].value

    found = explore(trylock)
    assert found.complete
    assert set(found.outcomes) == {1, 2}


def test_same_order_of_executions_every_time() -> None:
    orders = []
    for _ in range(2):
        seen: list[str] = []

        def note(outcome: Any, schedule: Any, seen: list[str] = seen) -> None:
            seen.append(schedule.text)

        explore(lambda machine: careful(machine, True), on_outcome=note)
        orders.append(seen)
    assert orders[0] == orders[1]
