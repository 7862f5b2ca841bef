"""Loops of plain looks with nothing but time between them: who waits where, and who is stuck."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from tests.kernel.explored.naive import every_order
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explored.watch import NotAStep
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

Observer = Callable[[], Hashable]


class Flag(KObject):
    """Something that can be up."""

    up = shared(0)


#: what is looked at → what it is made of, whether it has changed, how it does, what one is told who waits
PLAIN: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], str]] = {
    "atomic": (lambda m: m.atomic("x"), lambda x: x.value, lambda x: x.store(1), "x"),
    "list": (lambda m: m.list_head("list"), lambda x: not x.empty(), lambda x: x.add("e"), "ListHead.items"),
    "page": (
        lambda m: m.run(m.alloc_page(name="page")),
        lambda x: x.words[3],
        lambda x: x.store(3, 1),
        r"page\[3\]",
    ),
    "field": (
        lambda m: m.run(m.kmalloc(Flag, "flag")),
        lambda x: x.up,
        lambda x: x.write_once(up=1),
        "Flag.up",
    ),
    "thread": (
        lambda m: m.spawn(m.atomic("y").load(), cpu=1, name="child"),
        lambda x: x.done,
        lambda x: x,
        "child",
    ),
}


def let_time_pass(machine: Machine) -> Any:
    """Some work."""
    return machine.work(5)


async def let_interrupts_in(machine: Machine) -> None:
    """Interrupts off, and on again."""
    flags = machine.irq.local_irq_save()
    await machine.irq.local_irq_restore(flags)


def looks_plainly(what: str, most: int, changes: bool, between: Any) -> Callable[[Machine], Observer]:
    """A loop of plain looks with nothing but time between them, which gives up after so many; 0: never."""

    def scenario(machine: Machine) -> Observer:
        make, changed, change, _ = PLAIN[what]
        thing = make(machine)

        async def waiter() -> str:
            tries = 0
            while not changed(thing):
                await between(machine)
                tries += 1
                if most and tries >= most:
                    return "gave up"
            return "saw"

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        if changes and what != "thread":
            machine.spawn(change(thing), cpu=1, name="storer")
        return lambda: waits.result

    return scenario


@pytest.mark.parametrize("between", [let_time_pass, let_interrupts_in])
@pytest.mark.parametrize("most", [0, 2, 6])
@pytest.mark.parametrize("what", PLAIN)
def test_a_loop_of_plain_looks_with_time_between_is_explored(what: str, most: int, between: Any) -> None:
    scenario = looks_plainly(what, most, True, between)
    found = explore(scenario)
    assert found.complete
    assert set(found.outcomes) == {"saw"} | ({"gave up"} if most else set())
    every = every_order(scenario, 400)
    assert every.ended
    assert set(every.outcomes) == set(found.outcomes)


@pytest.mark.parametrize("most", [0, 6])
@pytest.mark.parametrize("what", [what for what in PLAIN if what != "thread"])
def test_who_looks_plainly_at_what_nobody_changes_is_stuck_and_says_at_what(what: str, most: int) -> None:
    found = explore(looks_plainly(what, most, False, let_time_pass))
    assert (found.complete, len(found.outcomes)) == (True, 1)
    assert re.fullmatch(
        "gave up" if most else f"deadlock: waiter waits for {PLAIN[what][3]}", next(iter(found.outcomes))
    )


@pytest.mark.parametrize("what", ["page", "field"])
def test_a_loop_of_looks_that_cost_nothing_ends_while_simulated(what: str) -> None:
    """A table has many words, so many free looks are let pass; then each takes a nanosecond."""
    for costs in ({"costs": IDEAL}, {}):
        machine = Machine(cpus=2, **costs)
        make, _, change, _ = PLAIN[what]
        thing = make(machine)

        async def waiter(thing: Any = thing) -> str:
            while not await (thing.load(3) if what == "page" else thing.read_once("up")):
                pass
            return "saw"

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(change(thing), cpu=1, name="storer")
        machine.simulate()
        assert waits.result == "saw"


def test_what_time_it_is_is_no_question_where_every_order_is_tried() -> None:
    def scenario(machine: Machine) -> Observer:
        async def waiter() -> None:
            while machine.now < 100:
                await machine.work(10)

        machine.spawn(waiter(), cpu=0, name="waiter")
        return lambda: machine.now

    with pytest.raises(NotAStep, match="give up after a number of rounds, not at a time"):
        explore(scenario)
    machine = Machine(cpus=1)
    observe = scenario(machine)
    machine.simulate()
    assert observe() >= 100
