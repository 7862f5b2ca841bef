"""Loops of plain looks, and of rounds that differ: who waits where, and who is stuck."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from tests.kernel.explored.naive import every_order
from vtdkit.kernel.explored.exploring import explore, sample
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


# -- rounds of many kinds -----------------------------------------------------


def shut_out(kind: str, awaited: bool) -> Callable[[Machine], Observer]:
    """Each round looks with interrupts, softirqs or preemption off, and lets them in before the next; what
    it waits for is done by who is shut out meanwhile.
    """

    def scenario(machine: Machine) -> Observer:
        x, y, irq = machine.atomic("x"), machine.atomic("y"), machine.irq
        line = irq.line("line", lambda: x.store(1), cpu=0)

        async def waiter() -> str:
            while True:
                flags = irq.local_irq_save() if kind == "irq" else None
                (irq.local_bh_disable if kind == "bh" else irq.preempt_disable)()
                await machine.work(5)
                up = (await x.load() and await y.load()) if awaited else x.value and y.value
                await machine.work(5)
                await (irq.local_bh_enable if kind == "bh" else irq.preempt_enable)()
                if flags is not None:
                    await irq.local_irq_restore(flags)
                if up:
                    return "saw"

        async def other() -> None:
            await y.store(1)
            if kind == "irq":
                line.fire(0)
            elif kind == "bh":
                irq.raise_softirq(machine.cpus[0], "softirq", lambda: x.store(1))
            else:
                machine.spawn(x.store(1), cpu=0, name="storer")

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    return scenario


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("kind", ["irq", "bh", "preemption"])
def test_who_spins_waits_where_its_rounds_let_others_in(kind: str, awaited: bool) -> None:
    found = explore(shut_out(kind, awaited), limit=5000)
    assert (set(found.outcomes), found.complete, found.of("deadlock")) == ({"saw"}, True, [])


def lets_in_now_and_then(kind: str, every: int, plainly: bool) -> Callable[[Machine], Observer]:
    """So many looks with somebody shut out, who is let in between them and does what is waited for."""

    def scenario(machine: Machine) -> Observer:
        x, irq = machine.atomic("x"), machine.irq
        line = irq.line("line", lambda: x.store(1), cpu=0)

        async def waiter() -> str:
            while True:
                flags = irq.local_irq_save() if kind == "irq" else None
                (irq.local_bh_disable if kind == "bh" else irq.preempt_disable)()
                for _ in range(every):
                    if up := x.value if plainly else await x.load():
                        break
                    await machine.work(5)
                await (irq.local_bh_enable if kind == "bh" else irq.preempt_enable)()
                if flags is not None:
                    await irq.local_irq_restore(flags)
                if up:
                    return "saw"

        async def other() -> None:
            if kind == "irq":
                line.fire(0)
            elif kind == "bh":
                irq.raise_softirq(machine.cpus[0], "softirq", lambda: x.store(1))
            else:
                machine.spawn(x.store(1), cpu=0, name="storer")

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    return scenario


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize("every", [7, 10, 60])
@pytest.mark.parametrize("kind", ["irq", "bh", "preemption"])
def test_who_lets_others_in_after_many_looks_waits_there(kind: str, every: int, plainly: bool) -> None:
    found = explore(lets_in_now_and_then(kind, every, plainly), limit=200)
    assert (set(found.outcomes), found.complete) == ({"saw"}, True)


def test_who_let_more_in_before_its_rounds_than_in_any_waits_where_most_can_come_in() -> None:
    def scenario(machine: Machine) -> Observer:
        x, irq = machine.atomic("x"), machine.irq
        line = irq.line("line", lambda: x.store(1), cpu=0)

        async def waiter() -> str:
            if await x.load():
                return "saw"
            irq.preempt_disable()
            one = two = 0
            while not (one and two):
                flags = irq.local_irq_save()
                one = await x.load()
                await machine.work(1)
                two = await x.load()
                await irq.local_irq_restore(flags)
            await irq.preempt_enable()
            return "saw"

        async def other() -> None:
            line.fire(0)

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    found = explore(scenario, limit=200)
    assert (set(found.outcomes), found.complete) == ({"saw"}, True)


def test_a_trial_begins_where_the_thread_stands() -> None:
    """Its replay knows what came of the trials before it."""

    def scenario(machine: Machine) -> Observer:
        x, z, lock = machine.atomic("x"), machine.atomic("z"), machine.mutex("lock")
        line = machine.irq.line("line", lambda: x.store(1), cpu=0)

        async def waiter() -> str:
            async with lock:
                up = 0
                while not up:
                    flags = machine.irq.local_irq_save()
                    for _ in range(10):
                        if up := x.value:
                            break
                        await machine.work(2)
                        await machine.work(3)
                    await machine.irq.local_irq_restore(flags)
            while z.value < 2:
                await machine.work(5)
            return "saw"

        async def other() -> None:
            line.fire(0)
            async with lock:
                await z.store(1)
            await z.store(2)

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    found = explore(scenario, limit=500)
    assert (set(found.outcomes), found.complete) == ({"saw"}, True)


def test_who_never_lets_others_in_is_stuck() -> None:
    def scenario(machine: Machine) -> Observer:
        x = machine.atomic("x")

        async def waiter() -> None:
            await x.load()
            machine.irq.preempt_disable()
            while not await x.load():
                await machine.work(1)

        machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(x.store(1), cpu=0, name="storer")
        return lambda: "ended"

    found = explore(scenario)
    assert found.complete
    assert len(found.outcomes) == 2


def test_a_loop_of_plain_looks_in_a_section_lets_others_in() -> None:
    def scenario(machine: Machine) -> Observer:
        lock, y = machine.mutex("lock"), machine.atomic("y")

        async def waiter() -> int:
            async with lock:
                child = machine.spawn(y.store(5), cpu=2, name="child")
                while not child.done:
                    await machine.work(5)
                return await y.load()

        async def other() -> None:
            async with lock:
                await y.add_return(1)

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: (waits.result, y.value)

    found, coarse = explore(scenario), explore(scenario, sections=True)
    assert set(found.outcomes) == set(coarse.outcomes) == {(5, 5), (5, 6)}
    assert found.complete
    assert coarse.complete


@pytest.mark.parametrize("changes", [True, False])
@pytest.mark.parametrize("period", [4, 7])
def test_rounds_that_differ_are_rounds(period: int, changes: bool) -> None:
    """Each comes to lines of its own, and comes there again: nobody gives up."""

    def scenario(machine: Machine) -> Observer:
        x = machine.atomic("x")

        async def waiter() -> str:
            number = 0
            while not x.value:
                await machine.work(1)
                number = (number + 1) % period
                if number == 1:
                    sign = "|"
                elif number == 2:
                    sign = "/"
                elif number == 3:
                    sign = "-"
                else:
                    sign = "+"
            return sign[:0] + "saw" if number else "saw"

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        if changes:
            machine.spawn(x.store(1), cpu=1, name="storer")
        return lambda: waits.result

    found = explore(scenario, limit=500)
    assert found.complete
    assert set(found.outcomes) == {"saw" if changes else "deadlock: waiter waits for x"}


def test_who_sets_something_off_at_last_gives_up() -> None:
    def scenario(machine: Machine) -> Observer:
        x, number = machine.atomic("x"), 0

        async def waiter() -> None:
            nonlocal number
            number = 0
            while not x.value:
                await machine.work(5)
                number += 1
                _ = machine.spawn(x.store(1), cpu=2, name="child") if number == 8 else None

        machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(x.load(), cpu=1, name="other")
        return lambda: number

    found = explore(scenario)
    assert (found.complete, found.of("deadlock")) == (True, [])
    assert min(map(int, map(str, found.outcomes))) >= 8


# -- rounds that change something ----------------------------------------------


def takes_a_lock_to_look(machine: Machine) -> Observer:
    """Each round takes a lock."""
    lock, x = machine.mutex("lock"), machine.atomic("x")

    async def waiter() -> str:
        while True:
            async with lock:
                if x.value:
                    return "saw"
            await machine.work(5)

    async def other() -> None:
        async with lock:
            await x.store(1)

    waits = machine.spawn(waiter(), cpu=0, name="waiter")
    machine.spawn(other(), cpu=1, name="other")
    return lambda: waits.result


def counts_its_looks(machine: Machine) -> Observer:
    """Each round writes."""
    x, y = machine.atomic("x"), machine.atomic("y")

    async def waiter() -> str:
        while not await x.load():
            await y.add_return(1)
        return "saw"

    waits = machine.spawn(waiter(), cpu=0, name="waiter")
    machine.spawn(x.store(1), cpu=1, name="other")
    return lambda: waits.result


@pytest.mark.parametrize("scenario", [takes_a_lock_to_look, counts_its_looks])
def test_rounds_that_change_something_are_explored_as_deep_as_asked(
    scenario: Callable[[Machine], Observer], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explore(scenario, depth=20)
    assert (set(found.outcomes), found.complete) == ({"saw", "cut short"}, False)
    assert set(sample(scenario, runs=20).outcomes) == {"saw"}
    monkeypatch.setattr("vtdkit.kernel.explored.scenario.MOST", 2000)
    with pytest.raises(
        NotAStep, match=r"more than 2000 steps or 500 threads, the last step by waiter: .* `depth=` bounds"
    ):
        explore(scenario)


@pytest.mark.parametrize("sections", [False, True])
def test_a_loop_in_a_section_that_nobody_ends_is_refused(sections: bool) -> None:
    def scenario(machine: Machine) -> Observer:
        lock, x, y = machine.mutex("lock"), machine.atomic("x"), machine.atomic("y")

        async def waiter() -> None:
            async with lock:
                while not await x.load():
                    await y.add_return(1)

        async def other() -> None:
            async with lock:
                await y.load()

        machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: "ended"

    with pytest.raises(NotAStep, match="waiter has done 100000 things, and no other thread could see one"):
        explore(scenario, sections=sections)


# -- who is set off while it is kept off -----------------------------------------

KINDS = ["irq", "bh", "preemption"]


def set_off(kind: str, lets_in: bool) -> Callable[[Machine], Observer]:
    """A thread shuts somebody out, sets it off and looks, all in one step; then it lets it in, or waits."""

    def scenario(machine: Machine) -> Observer:
        x, irq = machine.atomic("x"), machine.irq
        line = irq.line("line", lambda: x.store(1), cpu=0)

        async def thread() -> tuple[int, int]:
            flags = irq.local_irq_save() if kind == "irq" else 0
            (irq.local_bh_disable if kind == "bh" else irq.preempt_disable)()
            if kind == "irq":
                line.fire(0)
            elif kind == "bh":
                irq.raise_softirq(machine.cpus[0], "softirq", lambda: x.store(1))
            else:
                machine.spawn(x.store(1), cpu=0, name="storer")
            while not lets_in and not x.value:
                await machine.work(5)
            before = await x.load()
            await (irq.local_bh_enable if kind == "bh" else irq.preempt_enable)()
            if kind == "irq":
                await irq.local_irq_restore(flags)
            return before, await x.load()

        thread_ = machine.spawn(thread(), cpu=0, name="thread")
        return lambda: thread_.result

    return scenario


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_set_off_while_it_is_kept_off_comes_in_when_it_is_let_in(kind: str) -> None:
    found = explore(set_off(kind, lets_in=True))
    assert {before for before, _ in found.outcomes} == {0}
    assert (0, 1) in found.outcomes


def test_who_is_set_off_before_it_is_shut_out_may_come_in_before() -> None:
    def scenario(machine: Machine) -> Observer:
        x, irq = machine.atomic("x"), machine.irq

        async def thread() -> int:
            irq.raise_softirq(machine.cpus[0], "softirq", lambda: x.store(1))
            flags = irq.local_irq_save()
            seen = await x.load()
            await irq.local_irq_restore(flags)
            return seen

        thread_ = machine.spawn(thread(), cpu=0, name="thread")
        return lambda: thread_.result

    assert set(explore(scenario).outcomes) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_for_whom_it_keeps_off_waits_for_ever(kind: str) -> None:
    assert set(explore(set_off(kind, lets_in=False)).outcomes) == {"deadlock: thread waits for x"}


def test_a_loop_that_sets_something_off_in_each_round_is_explored_as_deep_as_asked() -> None:
    def scenario(machine: Machine) -> Observer:
        x = machine.atomic("x")
        timer = machine.irq.timer("timer", lambda: x.add_return(1), cpu=0)

        async def waiter() -> str:
            while not x.value:
                timer.mod(50)
                await machine.work(5)
            return "saw"

        waits = machine.spawn(waiter(), cpu=1, name="waiter")
        return lambda: waits.result

    assert set(explore(scenario, depth=6, limit=500).outcomes) == {"saw", "cut short"}
    with pytest.raises(NotAStep, match="or 500 threads, the last step by waiter"):
        explore(scenario)
