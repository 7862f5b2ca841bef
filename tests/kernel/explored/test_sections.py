"""Sections of a lock as single steps: what becomes one, what does not, and that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.explored.generated import _plain, _told
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore, replay
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

Body = Callable[["World"], Any]


class Room(KObject):
    """What the locks guard."""

    a, b, c = shared(0), shared(0), shared(0)


class World:
    """Two locks and a room."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.outer, self.inner = machine.spinlock("outer"), machine.spinlock("inner")
        self.room = Room(machine, "room")
        self.x = machine.atomic("x")


def scene(*bodies: Body) -> Callable[[Machine], Callable[[], Any]]:
    """Threads on CPUs of their own; the outcome is what they return, and what is left."""

    def build(machine: Machine) -> Callable[[], Any]:
        world = World(machine)
        threads = [machine.spawn(body(world), cpu=cpu, name=f"t{cpu}") for cpu, body in enumerate(bodies)]
        room = world.room
        return lambda: (*(thread.result for thread in threads), room.peek("a"), room.peek("b"), world.x.value)

    return build


def both(*bodies: Body) -> tuple[ScenarioExploration, ScenarioExploration]:
    """Step by step, and with sections: the same outcomes and findings."""
    one, other = explore(scene(*bodies)), explore(scene(*bodies), sections=True)
    assert one.complete
    assert other.complete
    assert _plain(one.outcomes) == _plain(other.outcomes)
    assert _told(one) == _told(other)
    return one, other


def adds(field: str, times: int = 1, lock: str = "outer") -> Body:
    async def body(world: World) -> None:
        for _ in range(times):
            async with getattr(world, lock):
                await world.room.write(**{field: await world.room.read(field) + 1})

    return body


def test_sections_that_touch_different_things_are_in_no_order() -> None:
    one, other = both(adds("a", 3), adds("b", 3))
    assert (one.executions, other.executions) == (20, 1)


def test_sections_that_touch_the_same_are_in_every_order() -> None:
    one, other = both(adds("a", 3), adds("a", 3))
    assert (one.executions, other.executions) == (20, 20)


def nested(first: str, second: str) -> Body:
    async def body(world: World) -> None:
        async with getattr(world, first):
            await world.room.write(a=1)
            async with getattr(world, second):
                await world.room.write(b=await world.room.read("b") + 1)

    return body


def test_a_section_inside_a_section_is_part_of_it() -> None:
    _, other = both(nested("outer", "inner"), nested("outer", "inner"))
    assert other.executions == 2


def test_two_locks_in_two_orders_are_a_deadlock() -> None:
    _, other = both(nested("outer", "inner"), nested("inner", "outer"))
    assert other.deadlocks


async def writes_twice(world: World) -> None:
    async with world.outer:
        await world.room.write(c=await world.room.read("c") + 1)
        await world.x.store(1)
        await world.x.store(2)


async def looks_without(world: World) -> int:
    return await world.x.load()


async def looks_under(world: World) -> int:
    async with world.outer:
        await world.room.write(c=await world.room.read("c") + 1)
        return await world.x.load()


def test_what_others_touch_without_the_lock_can_be_seen_half_done() -> None:
    _, other = both(writes_twice, looks_without, looks_under)
    assert {outcome[1] for outcome in other.outcomes} == {0, 1, 2}
    assert {outcome[2] for outcome in other.outcomes} == {0, 2}


async def plain_message(world: World) -> None:
    world.room.a = 1
    async with world.outer:
        world.room.b = 1


async def plain_answer(world: World) -> int:
    async with world.outer:
        seen: int = world.room.b
    return seen and world.room.a


def test_a_flag_under_the_lock_orders_what_was_written_before() -> None:
    """No data race: who reads the message has seen the flag."""
    _, other = both(plain_message, plain_answer)
    assert not other.findings


async def no_flag(world: World) -> int:
    async with world.outer:
        await world.room.write(c=await world.room.read("c") + 1)
    return world.room.a


def test_a_lock_that_shows_nothing_of_the_other_orders_nothing() -> None:
    _, other = both(plain_message, no_flag)
    assert {f.where for f in other.of("data-race")} == {"Room.a"}


async def tries(world: World) -> bool:
    taken: bool = await world.outer.trylock()
    if taken:
        await world.outer.release()
    return taken


async def dies_inside(world: World) -> None:
    async with world.outer:
        await world.room.write(a=7)
        world.machine.bug_on(True, "it ends here")


async def never_lets_go(world: World) -> None:
    await world.outer.acquire()
    await world.room.write(b=9)


async def sleeps_inside(world: World) -> None:
    async with world.outer:
        await world.room.write(a=5)
        await world.x.relax_while(0)


async def sets(world: World) -> None:
    await world.x.store(1)


@pytest.mark.parametrize("other", [tries, dies_inside, never_lets_go], ids=lambda body: body.__name__)
def test_who_can_meet_a_taken_lock_does(other: Body) -> None:
    both(adds("a"), other)


def test_who_waits_in_a_section_lets_others_see_it() -> None:
    both(sleeps_inside, sets, adds("a"))


async def interrupted(world: World) -> None:
    machine = world.machine
    machine.irq.interrupt(machine.cpus[0], "irq", lambda: adds("a")(world))


def test_an_interrupt_that_takes_the_lock_of_its_own_cpu_is_stuck() -> None:
    _, other = both(adds("a"), interrupted)
    assert other.deadlocks


def test_a_schedule_of_sections_is_replayed_as_sections() -> None:
    build = scene(adds("a"), no_flag)
    found = explore(build, sections=True)
    for outcome, schedule in found.examples.items():
        assert replay(build, schedule, shared=found.shared).outcome.value == outcome
