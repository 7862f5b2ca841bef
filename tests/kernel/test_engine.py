"""The engine and the ways to run: order of events, time, what an error leaves behind, recipes, presets."""

from __future__ import annotations

import pytest

from vtdkit.kernel.checkers.findings import Deadlock
from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.costs import IDEAL, NEAR, Costs
from vtdkit.kernel.machine.machine import Machine


def test_things_due_at_one_instant_happen_in_order_of_creation() -> None:
    machine = Machine(cpus=3, costs=IDEAL)
    log: list[str] = []

    async def thread(name: str, first: int) -> None:
        await machine.work(first)
        await machine.work(100 - first)
        log.append(name)

    for cpu, (name, first) in enumerate((("A", 90), ("B", 10), ("C", 50))):
        machine.spawn(thread(name, first), cpu=cpu)
    machine.simulate()
    assert log == ["A", "B", "C"]
    assert machine.now == 100


def test_simulate_until_stops_before_what_is_due_then_and_goes_on_later() -> None:
    machine = Machine(costs=IDEAL)
    log: list[int] = []

    async def thread() -> None:
        for _ in range(3):
            await machine.work(100)
            log.append(machine.now)

    machine.spawn(thread(), cpu=0)
    machine.simulate(until=200)
    assert (log, machine.now) == ([100], 200)
    machine.simulate(until=200)
    assert log == [100]
    machine.simulate()
    assert log == [100, 200, 300]


def test_time_reaches_until_even_if_nothing_happens_and_never_goes_back() -> None:
    machine = Machine()
    machine.simulate(until=500)
    assert machine.now == 500
    machine.advance(250)
    assert machine.now == 750
    with pytest.raises(ValueError, match="it is 750 ns already; 10 ns has passed"):
        machine.simulate(until=10)


def test_a_cancelled_call_does_not_make_time_run_on() -> None:
    machine = Machine(costs=IDEAL)
    called: list[int] = []
    cancel = machine.sched.call_in(10_000, lambda: called.append(machine.now))
    machine.sched.call_in(50, cancel)
    machine.sched.call_in(70, lambda: called.append(machine.now))
    machine.simulate()
    assert (called, machine.now) == ([70], 70)
    cancel()
    assert not machine.sched.heap


def test_the_records_of_short_lived_contexts_are_used_again() -> None:
    machine = Machine(costs=IDEAL)
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(machine.now)
        if len(ticks) < 1000:
            machine.sched.call_in(5, tick, "tick")

    machine.sched.call_in(5, tick, "tick")
    machine.simulate()
    assert ticks == list(range(5, 5001, 5))

    async def nothing() -> None: ...

    for _ in range(100):
        machine.run(nothing())
    assert len(machine.sched.contexts) < 10


def test_an_error_goes_to_the_caller_and_the_machine_goes_on_working() -> None:
    machine = Machine(cpus=2)
    lock = machine.spinlock("lock")

    async def fails() -> None:
        async with lock:
            raise KeyError("wrong")

    async def works() -> str:
        async with lock:
            return "done"

    with pytest.raises(KeyError):
        machine.run(fails(), cpu=1)
    assert machine.run(works(), cpu=1) == "done"
    machine.spawn(fails(), cpu=0)
    with pytest.raises(KeyError):
        machine.simulate(until=1000)
    machine.spawn(works(), cpu=0)
    machine.simulate()
    assert not machine.findings
    assert machine.now < 1000


def test_an_error_in_a_handler_gives_the_cpu_back_to_the_thread_below() -> None:
    machine = Machine(costs=IDEAL)
    done: list[int] = []

    async def handler() -> None:
        raise ZeroDivisionError

    async def thread() -> None:
        await machine.work(100)
        done.append(machine.now)

    machine.irq.line("nic", handler).fire(50)
    machine.spawn(thread(), cpu=0)
    with pytest.raises(ZeroDivisionError):
        machine.simulate()
    machine.simulate()
    assert done == [100]


def test_code_that_runs_on_the_machine_cannot_start_it_again() -> None:
    machine = Machine()

    async def inner() -> None: ...

    async def outer() -> None:
        machine.run(inner())

    with pytest.raises(
        RuntimeError, match=r"machine\.run cannot be called from code that runs on the machine"
    ):
        machine.run(outer())
    with pytest.raises(TypeError, match="a thread is a coroutine"):
        machine.spawn(lambda: None)  # type: ignore[arg-type]


def test_running_alone_takes_no_heap_operation_while_nothing_else_is_due() -> None:
    machine = Machine(costs=IDEAL)
    due: list[int] = []
    machine.sched.call_in(1_000, lambda: due.append(machine.now), "hardware")

    async def thread() -> list[object]:
        seen: list[object] = []
        for _ in range(3):
            await machine.work(400)
            seen.append((machine.now, len(machine.sched.heap), list(due)))
        return seen

    assert machine.run(thread()) == [(400, 1, []), (800, 1, []), (1200, 1, [1000])]


def test_circles_of_waiting_threads_are_reported_when_time_runs_out() -> None:
    machine = Machine(cpus=3, costs=IDEAL)
    a, b = machine.mutex("a"), machine.mutex("b")

    async def both(first: object, second: object) -> None:
        async with first:  # type: ignore[attr-defined]
            await machine.work(10)
            async with second:  # type: ignore[attr-defined]
                pass

    async def clock() -> None:
        while True:
            await machine.work(1000)

    machine.spawn(both(a, b), cpu=0, name="ab")
    machine.spawn(both(b, a), cpu=1, name="ba")
    machine.spawn(clock(), cpu=2)
    machine.simulate(until=5000)
    hung = machine.findings.of("blocked for more than 120 seconds")
    assert [finding.where for finding in hung] == ["b", "a"]
    assert hung[0].text == "ab waits for b held by ba, ba waits for a held by ab"
    assert hung[0].contexts == ("task ab on CPU0",)


def test_a_finding_says_how_to_get_it_again() -> None:
    machine = Machine(cpus=2, seed=7, costs=NEAR.but(iotlb_wait=5000))
    lock = machine.spinlock("lock")

    async def wrong() -> None:
        lock.assert_held()

    machine.run(wrong())
    (finding,) = machine.findings
    expected = (
        "the same threads on Machine(2, seed=7, sockets=1, costs=NEAR.but(iotlb_wait=5000), preempt=True)"
    )
    assert finding.replay == expected
    assert f"replay: {expected}" in str(finding)


def test_costs_are_whole_nanoseconds_and_an_ideal_machine_has_none() -> None:
    with pytest.raises(
        ValueError, match=r"Costs.lock must be a whole number of nanoseconds, 0 or more; it is -1"
    ):
        Costs(lock=-1)
    with pytest.raises(ValueError, match=r"Costs.irq must be a whole number"):
        NEAR.but(irq=1.5)
    with pytest.raises(ValueError, match=r"Costs.lock .* it is None"):
        NEAR.but(lock=None)
    assert NEAR.but(handover=None, spin_limit=None) == NEAR
    assert (str(NEAR), str(IDEAL), str(NEAR.but(lock=1))) == ("NEAR", "IDEAL", "NEAR.but(lock=1)")
    charged = {name: getattr(IDEAL, name) for name in Costs.__slots__ if name != "slice"}
    assert set(charged.values()) == {0}


def test_run_names_what_can_never_end() -> None:
    machine = Machine()
    done = machine.make(Completion, "never")

    async def waits() -> None:
        await done.wait()

    with pytest.raises(Deadlock, match="waits cannot go on: waits waits for never"):
        machine.run(waits())
