"""Loops whose rounds differ, shut others out or change something: who waits where, and who is stuck."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest

from vtdkit.kernel.explored.exploring import explore, sample
from vtdkit.kernel.explored.watch import NotAStep
from vtdkit.kernel.machine.machine import Machine

Observer = Callable[[], Hashable]


# -- rounds of many kinds -----------------------------------------------------

KINDS = ["irq", "bh", "preemption"]


class ShutOut:
    """Who can be kept off CPU 0 and set `x` there: the handler of an interrupt, a softirq, another thread."""

    def __init__(self, machine: Machine, kind: str) -> None:
        self.machine, self.irq, self.kind = machine, machine.irq, kind
        self.x = machine.atomic("x")
        self.line = self.irq.line("line", lambda: self.x.store(1), cpu=0)
        self.flags = 0

    def shut(self) -> None:
        """Keep it off."""
        if self.kind == "irq":
            self.flags = self.irq.local_irq_save()
        (self.irq.local_bh_disable if self.kind == "bh" else self.irq.preempt_disable)()

    async def let_in(self) -> None:
        """Let it in again."""
        await (self.irq.local_bh_enable if self.kind == "bh" else self.irq.preempt_enable)()
        if self.kind == "irq":
            await self.irq.local_irq_restore(self.flags)

    def set_off(self) -> None:
        """It is to come."""
        if self.kind == "irq":
            self.line.fire(0)
        elif self.kind == "bh":
            self.irq.raise_softirq(self.machine.cpus[0], "softirq", lambda: self.x.store(1))
        else:
            self.machine.spawn(self.x.store(1), cpu=0, name="storer")


def shut_out(kind: str, awaited: bool) -> Callable[[Machine], Observer]:
    """Each round looks with interrupts, softirqs or preemption off, and lets them in before the next; what
    it waits for is done by who is shut out meanwhile.
    """

    def scenario(machine: Machine) -> Observer:
        shut_out, y = ShutOut(machine, kind), machine.atomic("y")
        x = shut_out.x

        async def waiter() -> str:
            while True:
                shut_out.shut()
                await machine.work(5)
                up = (await x.load() and await y.load()) if awaited else x.value and y.value
                await machine.work(5)
                await shut_out.let_in()
                if up:
                    return "saw"

        async def other() -> None:
            await y.store(1)
            shut_out.set_off()

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    return scenario


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_who_spins_waits_where_its_rounds_let_others_in(kind: str, awaited: bool) -> None:
    found = explore(shut_out(kind, awaited), limit=5000)
    assert (set(found.outcomes), found.complete, found.of("deadlock")) == ({"saw"}, True, [])


def lets_in_now_and_then(kind: str, every: int, plainly: bool) -> Callable[[Machine], Observer]:
    """So many looks with somebody shut out, who is let in between them and does what is waited for."""

    def scenario(machine: Machine) -> Observer:
        shut_out = ShutOut(machine, kind)
        x = shut_out.x

        async def waiter() -> str:
            while True:
                shut_out.shut()
                for _ in range(every):
                    if up := x.value if plainly else await x.load():
                        break
                    await machine.work(5)
                await shut_out.let_in()
                if up:
                    return "saw"

        async def other() -> None:
            shut_out.set_off()

        waits = machine.spawn(waiter(), cpu=0, name="waiter")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: waits.result

    return scenario


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize("every", [7, 10, 60])
@pytest.mark.parametrize("kind", KINDS)
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


def set_off(kind: str, lets_in: bool) -> Callable[[Machine], Observer]:
    """A thread shuts somebody out, sets it off and looks, all in one step; then it lets it in, or waits."""

    def scenario(machine: Machine) -> Observer:
        shut_out = ShutOut(machine, kind)
        x = shut_out.x

        async def thread() -> tuple[int, int]:
            shut_out.shut()
            shut_out.set_off()
            while not lets_in and not x.value:
                await machine.work(5)
            before = await x.load()
            await shut_out.let_in()
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
