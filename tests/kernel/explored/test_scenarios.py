"""Scenarios on the explored machine, interrupts among them: the same classes as an
explorer that tries everything.
"""

from __future__ import annotations

import pytest

from lessons.scenes import QUESTIONS
from tests.kernel.explored import naive
from vtdkit.kernel.explored.exploring import explore, replay, shortest
from vtdkit.kernel.explored.scenario import MachineSystem
from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.findings.looking import VERSIONS
from vtdkit.lab.scenarios.catalogue import SCENARIOS

SMALL = [
    ("fault-bus", "v0"),
    ("fault-bus", "v4"),
    ("unmap-irq", "v0"),
    ("unmap-irq", "m11"),
    ("unmap-timer", "v12"),
    ("flush-queue", "v0"),
    ("fault-remove", "v4"),
    ("dump-free", "v1"),
    ("dump-unmap", "v0"),
    ("publish", "v12"),
    ("hot-remove", "v0"),
    ("probe-remove", "v8"),
    ("unmap-unmap", "m13"),
]


@pytest.mark.parametrize(("name", "version"), SMALL)
def test_the_classes_of_executions_are_those_of_trying_everything(name: str, version: str) -> None:
    scenario = SCENARIOS[name].on(VERSIONS[version])
    found = explore(scenario)
    everything = naive.explore(scenario, found.shared)
    assert found.complete
    assert found.blocked == 0
    assert (found.executions, found.deadlocks) == (everything.executions, everything.deadlocks)
    assert dict(found.outcomes) == dict(everything.outcomes)
    assert {(one.finding.kind, one.finding.where) for one in found.findings} == everything.findings  # type: ignore[attr-defined]


def irq_program(machine: Machine, off: bool, softirq: bool = False) -> object:
    """A thread adds one in two steps, with interrupts on or off; an interrupt on its CPU adds one too."""
    total = machine.atomic("total")
    lock = machine.spinlock("lock")

    async def add() -> None:
        value = await total.load()
        await total.store(value + 1)

    async def thread() -> None:
        if off:
            async with lock.irqsave():
                await add()
        else:
            await add()

    async def device() -> None:
        (machine.irq.raise_softirq if softirq else machine.irq.interrupt)(machine.cpus[0], "irq", add)

    machine.spawn(thread(), cpu=0, name="thread")
    machine.spawn(device(), cpu=1, name="device")
    return lambda: total.value


@pytest.mark.parametrize("softirq", [False, True])
def test_an_interrupt_comes_in_anywhere_but_where_they_are_off(softirq: bool) -> None:
    found = explore(lambda machine: irq_program(machine, False, softirq))  # type: ignore[arg-type, return-value]
    assert found.complete
    assert set(found.outcomes) == {1, 2}  # 1: between load and store
    safe = explore(lambda machine: irq_program(machine, True, softirq))  # type: ignore[arg-type, return-value]
    assert set(safe.outcomes) == {2}


def test_an_interrupt_runs_to_its_end_before_its_cpu_goes_on() -> None:
    """The other way round the thread would see the middle of the handler."""

    def program(machine: Machine) -> object:
        word = machine.atomic("word")
        seen: list[int] = []

        async def handler() -> None:
            await word.store(1)
            await word.store(2)

        async def thread() -> None:
            seen.append(await word.load())
            seen.append(await word.load())

        async def device() -> None:
            machine.irq.interrupt(machine.cpus[0], "irq", handler)

        machine.spawn(thread(), cpu=0)
        machine.spawn(device(), cpu=1)
        return lambda: tuple(seen)

    found = explore(program)  # type: ignore[arg-type]
    assert set(found.outcomes) == {(0, 0), (0, 2), (2, 2)}


def test_a_lock_that_an_interrupt_takes_too_is_a_deadlock_with_its_cycle() -> None:
    def program(machine: Machine) -> object:
        lock = machine.spinlock("lock")

        async def locked() -> None:
            async with lock:
                pass

        async def device() -> None:
            machine.irq.interrupt(machine.cpus[0], "irq", locked)

        machine.spawn(locked(), cpu=0, name="thread")
        machine.spawn(device(), cpu=1, name="device")
        return lambda: "done"

    found = explore(program)  # type: ignore[arg-type]
    assert found.deadlocks == 1
    (deadlock,) = found.of("deadlock")
    assert deadlock.where == "lock"
    assert deadlock.text == "thread waits for its CPU, which irq has; irq waits for lock, held by thread"
    schedule = shortest(program, found.schedule_of(deadlock), deadlock, shared=found.shared)  # type: ignore[arg-type]
    assert deadlock in replay(program, schedule, shared=found.shared).outcome.findings  # type: ignore[arg-type]


def test_threads_spawned_before_set_up_has_ended_are_refused() -> None:
    def program(machine: Machine) -> object:
        async def nothing() -> None:
            pass

        machine.spawn(nothing(), cpu=0, name="early")
        machine.run(nothing())  # begun too late
        return lambda: None

    with pytest.raises(ValueError, match=r"set-up runs on after threads were spawned \(early\)"):
        explore(program)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["maps-apart", "maps-same-page", "map-in-unmap"])
def test_questions_about_tables_too(name: str) -> None:
    scenario = QUESTIONS[name].on(VERSIONS["v0"])
    found = explore(scenario)
    everything = naive.explore(scenario, found.shared)
    assert (found.executions, dict(found.outcomes)) == (everything.executions, dict(everything.outcomes))


def test_a_location_has_one_number_whoever_uses_it_first() -> None:
    """A thing made during set-up and first used by one thread or the other is the same
    location in both executions.
    """

    def program(machine: Machine) -> object:
        lock, word, done = machine.spinlock("lock"), machine.atomic("word"), machine.make(Completion, "done")
        machine.kept = lock, word, done, machine.rcu  # type: ignore[attr-defined]

        async def use() -> None:
            async with lock:
                await word.store(1)
            await done.complete()

        machine.spawn(use(), cpu=0)
        machine.spawn(use(), cpu=1)
        return lambda: None

    numbers = []
    for first in (0, 1):
        system = MachineSystem(program, grow=True)  # type: ignore[arg-type]
        system.start()
        while enabled := system.enabled():
            system.step(enabled[min(first, len(enabled) - 1)])
        kept: list[object] = list(system.machine.kept)[:3]  # type: ignore[attr-defined]
        numbers.append([system.machine.location_of(thing) for thing in kept])
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0])) == 3
