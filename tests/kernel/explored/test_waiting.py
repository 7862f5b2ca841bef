"""Working, sleeping, being woken: what passes at once, what is two steps, and who can never go on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from tests.kernel.explored.naive import explore as every_order
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.locks.sync import WaitQueue
from vtdkit.kernel.machine.machine import Machine

Observer = Callable[[], Hashable]


def working(machine: Machine) -> Observer:
    """Two threads that work under a lock and outside."""
    lock, log = machine.spinlock("lock"), list[str]()

    async def body(name: str) -> None:
        await machine.work(100)
        async with lock:
            await machine.work(20)
            log.append(name)

    for cpu, name in enumerate("ab"):
        machine.spawn(body(name), cpu=cpu, name=name)
    return lambda: "".join(log)


def test_time_spent_working_is_no_conflict() -> None:
    found = explore(working)
    assert (dict(found.outcomes), found.complete) == ({"ab": 1, "ba": 1}, True)


def sleeping(wakers: str, sleepers: int = 1) -> Callable[[Machine], Observer]:
    """Threads that sleep until a flag is up; one that does what its letters say: (s)et it, (w)ake them."""

    def scenario(machine: Machine) -> Observer:
        flag, queue = machine.atomic("flag"), machine.make(WaitQueue, "queue")

        async def sleeper() -> None:
            await queue.wait_event(lambda: bool(flag.value))

        async def waker() -> None:
            for letter in wakers:
                await (flag.store(1) if letter == "s" else queue.wake_up())

        for cpu in range(sleepers):
            machine.spawn(sleeper(), cpu=cpu, name=f"sleeper{cpu}")
        machine.spawn(waker(), cpu=sleepers, name="waker")
        return lambda: "all awake"

    return scenario


@pytest.mark.parametrize("wakers", ["ws", "s"])
def test_a_wake_up_that_comes_too_early_is_lost_and_told(wakers: str) -> None:
    found = explore(sleeping(wakers))
    assert found.complete
    assert set(found.outcomes) == {"all awake", "deadlock: sleeper0 waits for queue"}
    assert [finding.kind for finding in found.of("deadlock")] == ["deadlock"]
    assert "sleeper0 waits for queue" in str(found.of("deadlock")[0])


@pytest.mark.parametrize("wakers", ["sw", "wsw", "wwsw"])
def test_who_is_woken_after_the_condition_holds_never_sleeps_for_ever(wakers: str) -> None:
    found = explore(sleeping(wakers))
    assert (set(found.outcomes), found.findings, found.complete) == ({"all awake"}, (), True)


@pytest.mark.parametrize("sleepers", [1, 2])
@pytest.mark.parametrize("wakers", ["w", "s", "sw", "ws", "wsw", "sws"])
def test_sleepers_have_the_outcomes_that_every_order_has(wakers: str, sleepers: int) -> None:
    scenario = sleeping(wakers, sleepers)
    found = explore(scenario)
    naive: Any = every_order(scenario, found.shared)
    assert (found.executions, found.deadlocks) == (naive.executions, naive.deadlocks)
    assert set(found.outcomes) == set(naive.outcomes)


def spinning(others: str) -> Callable[[Machine], Observer]:
    """A thread that fails to take a lock and then spins on a word; one that does what its letters say:
    (L)ock, (T)ry to lock, (U)nlock, write a number.
    """

    def scenario(machine: Machine) -> Observer:
        lock, word, saw = machine.mutex("lock"), machine.atomic("word"), list[tuple[int, int]]()

        async def spinner() -> None:
            if await lock.trylock():
                await lock.release()
                return
            looks = 1
            while not (seen := await word.load()):
                await machine.work(5)
                looks += 1
            saw.append((seen, looks))

        async def other() -> None:
            for letter in others:
                if letter == "L":
                    await lock.acquire()
                elif letter == "T":
                    await lock.trylock()
                elif letter == "U":
                    await lock.release()
                else:
                    await word.store(int(letter))

        machine.spawn(spinner(), cpu=0, name="spinner")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: tuple(saw)

    return scenario


@pytest.mark.parametrize("others", ["L12U", "TU12", "LULU", "LUL12U", "L1U2", "L102U"])
def test_who_spins_goes_on_while_a_lock_it_has_looked_at_is_held_again(others: str) -> None:
    """What it waits for is a change; that somebody holds the lock does not shut it out."""
    scenario = spinning(others)
    found = explore(scenario)
    naive: Any = every_order(scenario, found.shared)
    assert (found.executions, found.deadlocks) == (naive.executions, naive.deadlocks)
    assert set(found.outcomes) == set(naive.outcomes)


def test_a_plain_look_at_an_atomic_is_seen() -> None:
    def scenario(machine: Machine) -> Observer:
        lock, word, users = machine.spinlock("lock"), machine.atomic("word"), machine.refcount("users")
        seen = list[int]()

        async def looks() -> None:
            async with lock:
                seen.extend((word.value, users.value))

        async def writes() -> None:
            await word.store(7)
            await users.get()

        machine.spawn(looks(), cpu=0, name="looks")
        machine.spawn(writes(), cpu=1, name="writes")
        return lambda: tuple(seen)

    assert set(explore(scenario).outcomes) == {(0, 1), (7, 1), (7, 2)}
