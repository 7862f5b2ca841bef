"""Loops that look until somebody has changed something: who gives up in the end, and who spins on what."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from tests.kernel.explored.naive import every_order, random_orders
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine

Observer = Callable[[], Hashable]


async def poll(x: Any, most: int) -> str:
    """Look until it is there, or so often; 0: for ever."""
    tries = 0
    while not await x.load():
        tries += 1
        if most and tries >= most:
            return "gave up"
    return "saw"


def bound_by_another(first: int, then: int) -> Callable[[Machine], Observer]:
    """How often one thread looks is what another one has stored by then."""

    def scenario(machine: Machine) -> Observer:
        x, bound = machine.atomic("x"), machine.atomic("bound", first)

        async def spinner() -> str:
            return await poll(x, await bound.load())

        spins = machine.spawn(spinner(), cpu=0, name="spinner")
        machine.spawn(bound.store(then), cpu=1, name="setter")
        machine.spawn(x.store(1), cpu=2, name="storer")
        return lambda: spins.result

    return scenario


@pytest.mark.parametrize(("first", "then"), [(0, 8), (8, 0), (0, 0), (8, 5)])
def test_whether_a_loop_gives_up_is_asked_of_each_run_through_it(first: int, then: int) -> None:
    scenario = bound_by_another(first, then)
    found = explore(scenario)
    assert found.complete
    assert set(found.outcomes) == {"saw", "gave up"} - (set() if first or then else {"gave up"})
    assert set(random_orders(scenario, 200, 1).outcomes) <= set(found.outcomes)


def two_calls(*bounds: int) -> Callable[[Machine], Observer]:
    """One helper, called twice from one place; what it looks for comes and goes."""

    def scenario(machine: Machine) -> Observer:
        x, saw = machine.atomic("x"), list[str]()

        async def spinner() -> None:
            for most in bounds:
                saw.append(await poll(x, most))

        async def storer() -> None:
            await x.store(1)
            await x.store(0)

        machine.spawn(spinner(), cpu=0, name="spinner")
        machine.spawn(storer(), cpu=1, name="storer")
        return lambda: tuple(saw)

    return scenario


STUCK = "deadlock: spinner waits for x"


@pytest.mark.parametrize(
    ("bounds", "ends"),
    [
        ((0, 8), {("saw", "saw"), ("saw", "gave up"), STUCK}),
        ((8, 0), {("saw", "saw"), ("gave up", "saw"), STUCK}),
        ((8, 5), {("saw", "saw"), ("saw", "gave up"), ("gave up", "saw"), ("gave up", "gave up")}),
    ],
)
def test_a_loop_that_is_gone_through_twice_is_judged_twice(
    bounds: tuple[int, ...], ends: set[Hashable]
) -> None:
    found = explore(two_calls(*bounds))
    assert (set(found.outcomes), found.complete) == (ends, True)


def two_places(machine: Machine) -> Observer:
    """A loop with two looks, at one of which nothing ever changes."""
    x, y = machine.atomic("x"), machine.atomic("y")

    async def spinner() -> None:
        while not (await x.load() or await y.load()):
            await machine.work(1)

    machine.spawn(spinner(), cpu=0, name="spinner")
    machine.spawn(y.store(1), cpu=1, name="storer")
    return lambda: "ended"


def thread_ends(machine: Machine) -> Observer:
    """Until a thread has ended, looked at plainly beside an awaited look."""
    x = machine.atomic("x")
    child = machine.spawn(x.load(), cpu=1, name="child")

    async def waiter() -> None:
        while not child.done:
            await x.load()

    machine.spawn(waiter(), cpu=0, name="waiter")
    return lambda: "ended"


def plain_value(machine: Machine) -> Observer:
    """Until one of two atomics is set, the second looked at plainly."""
    x, y = machine.atomic("x"), machine.atomic("y")

    async def waiter() -> None:
        while not (await x.load() or y.value):
            await machine.work(1)

    machine.spawn(waiter(), cpu=0, name="waiter")
    machine.spawn(y.store(1), cpu=1, name="storer")
    return lambda: "ended"


def list_fills(machine: Machine) -> Observer:
    """Until a list is not empty."""
    x, entries = machine.atomic("x"), machine.list_head("list")

    async def waiter() -> None:
        while entries.empty():
            await x.load()

    machine.spawn(waiter(), cpu=0, name="waiter")
    machine.spawn(entries.add("entry"), cpu=1, name="storer")
    return lambda: "ended"


@pytest.mark.parametrize("scenario", [two_places, thread_ends, plain_value, list_fills])
def test_who_spins_goes_on_when_any_of_what_the_loop_looks_at_changes(
    scenario: Callable[[Machine], Observer],
) -> None:
    found = explore(scenario)
    assert (set(found.outcomes), found.complete, found.of("deadlock")) == ({"ended"}, True, [])
    assert set(every_order(scenario, 200).outcomes) == {"ended"}
    machine = Machine(cpus=2)
    end = scenario(machine)
    machine.simulate()
    assert end() == "ended"
