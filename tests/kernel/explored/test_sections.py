"""Sections of a lock as single steps: what becomes one, what does not, and that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.explored.generated import _plain, _told
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore, replay
from vtdkit.kernel.explored.primitives import XSpinLock, _Located
from vtdkit.kernel.explored.sections import Sections
from vtdkit.kernel.explored.touching import Touching
from vtdkit.kernel.explored.watch import NotAStep
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


async def looks_at_the_lock(world: World) -> bool:
    return world.outer.owner is None


async def takes_it_twice(world: World) -> None:
    async with world.outer:
        await world.room.write(a=5)
        async with world.outer:
            await world.room.write(a=6)


@pytest.mark.parametrize(
    "other",
    [tries, dies_inside, never_lets_go, looks_at_the_lock, takes_it_twice],
    ids=lambda body: body.__name__,
)
def test_who_can_meet_a_taken_lock_does(other: Body) -> None:
    """Whether he comes first in the first order that is run, or last."""
    both(adds("a"), other)
    both(other, adds("a"))


async def looks_again(world: World) -> tuple[int, int]:
    async with world.outer:
        seen = await world.x.load()
        await world.room.write(c=await world.room.read("c") + 1)
        return seen, world.x.value


def test_a_plain_look_in_a_section_has_a_moment_of_its_own() -> None:
    _, other = both(looks_again, sets, adds("c"))
    assert {outcome[0] for outcome in other.outcomes} == {(0, 0), (0, 1), (1, 1)}


def if_not(field: str, first: str, second: str, then: str) -> Body:
    async def body(world: World) -> None:
        async with getattr(world, first):
            if not await world.room.read(field):
                async with getattr(world, second):
                    await world.room.write(**{then: 1})

    return body


def test_two_orders_that_no_single_run_of_sections_shows() -> None:
    """Who comes second finds what the first did, and takes but one lock."""
    _, other = both(if_not("a", "outer", "inner", "b"), if_not("b", "inner", "outer", "a"))
    assert other.deadlocks


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


# -- the tests themselves: sections with one rule less lose something --------


def _dedupes(self: Touching) -> None:
    self.running.loose = self.running.loose and 2


def _first_met(self: Sections, lock: Any) -> bool:
    self.locks.add(self.machine.location_of(lock))
    return WHOLE(self, lock)


WHOLE = Sections.whole

#: rule → what it is replaced by, and threads that show it
RULES: dict[str, tuple[tuple[tuple[type, str, Any], ...], tuple[Body, ...]]] = {
    "a lock is known before its first section": (
        ((XSpinLock, "__init__", _Located.__init__), (Sections, "whole", _first_met)),
        (looks_at_the_lock, adds("a")),
    ),
    "a section's moments are told apart": (
        ((Touching, "goes_past", _dedupes),),
        (looks_again, sets, adds("c")),
    ),
    "what others touch without the lock has one moment": (
        ((Sections, "_free", lambda *_: None),),
        (writes_twice, looks_without, looks_under),
    ),
    "locks in two orders are apart": (
        ((Sections, "_under", lambda *_: set()),),
        (nested("outer", "inner"), nested("inner", "outer")),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_sections_with_a_rule_less_are_found_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced, bodies = RULES[rule]
    both(*bodies)
    for cls, name, instead in replaced:
        monkeypatch.setattr(cls, name, instead)
    with pytest.raises((AssertionError, NotAStep)):  # it may be refused as one that shares a Python list
        both(*bodies)


def test_time_that_passes_in_a_section_lets_others_in_between_two_looks() -> None:
    def scenario(machine: Machine) -> Callable[[], Any]:
        lock, x, y = machine.spinlock("lock"), machine.atomic("x"), machine.atomic("y")

        async def looks() -> tuple[int, int]:
            async with lock:
                before = x.value
                await machine.work(5)
                return before, y.value

        async def stores() -> None:
            await x.store(1)
            await y.store(1)

        async def takes_it_too() -> None:
            async with lock:
                pass

        looker = machine.spawn(looks(), cpu=0, name="looks")
        machine.spawn(stores(), cpu=1, name="stores")
        machine.spawn(takes_it_too(), cpu=2, name="other")
        return lambda: looker.result

    ends = {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert set(explore(scenario).outcomes) == set(explore(scenario, sections=True).outcomes) == ends


@pytest.mark.parametrize("how", ["thread", "device", "interrupt", "softirq"])
def test_what_a_section_sets_off_may_come_in_before_its_end(how: str) -> None:
    def scenario(machine: Machine) -> Callable[[], Any]:
        lock, x = machine.spinlock("lock"), machine.atomic("x")
        line = machine.irq.line("line", lambda: looks(), cpu=2)
        seen = list[int]()

        async def looks() -> None:
            seen.append(await x.load())

        async def sets_off() -> None:
            async with lock:
                if how == "thread":
                    machine.spawn(looks(), cpu=2, name="looks")
                elif how == "device":
                    machine.spawn_device(looks(), "looks")
                elif how == "interrupt":
                    line.fire()
                else:
                    machine.irq.raise_softirq(machine.cpus[2], "looks", lambda: looks())
                await x.store(1)

        async def takes_it_too() -> None:
            async with lock:
                pass

        machine.spawn(sets_off(), cpu=0, name="sets off")
        machine.spawn(takes_it_too(), cpu=1, name="other")
        return lambda: tuple(seen)

    assert set(explore(scenario).outcomes) == {(0,), (1,)}
    assert set(explore(scenario, sections=True, trusted=True).outcomes) == {(0,), (1,)}


def test_locations_of_an_exploration_by_sections_do_not_ask_for_sections() -> None:
    def scenario(machine: Machine) -> Callable[[], Any]:
        lock, x, y = machine.spinlock("lock"), machine.atomic("x"), machine.atomic("y")

        async def stores(what: Any) -> None:
            async with lock:
                await what.store(1)

        for cpu, what in enumerate((x, y)):
            machine.spawn(stores(what), cpu=cpu, name=what.name)
        return lambda: 0

    whole = explore(scenario, sections=True)
    assert (whole.executions, explore(scenario, sections=True, shared=frozenset()).executions) == (1, 1)
    assert explore(scenario, shared=whole.shared).executions == explore(scenario).executions == 2
