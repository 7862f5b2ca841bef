"""Run queues and interrupts where they meet: preemption over an interrupt, idle CPUs,
self-interrupts, sleeping handlers.
"""

from __future__ import annotations

from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine

FREE = IDEAL.but(slice=100)


def test_a_slice_that_ends_under_an_interrupt_loses_no_work() -> None:
    machine = Machine(costs=FREE)
    done: dict[str, int] = {}

    async def thread(name: str) -> None:
        await machine.work(150)
        done[name] = machine.now

    async def handler() -> None:
        await machine.work(60)

    machine.irq.line("nic", handler).fire(80)  # from 80 to 140; the slice ends at 100
    machine.spawn(thread("A"), cpu=0)
    machine.spawn(thread("B"), cpu=0)
    machine.simulate()
    # A works 0..80, B 140..240, A 240..310 (its 70), B 310..360 (its 50)
    assert done == {"A": 310, "B": 360}


def test_an_interrupt_during_an_interrupts_wait_adds_up() -> None:
    machine = Machine(costs=IDEAL)
    log: list[tuple[int, str]] = []

    async def handler() -> None:
        await machine.work(30)
        log.append((machine.now, "irq"))

    async def softirq() -> None:
        await machine.work(50)
        log.append((machine.now, "softirq"))

    async def thread() -> None:
        await machine.work(100)
        log.append((machine.now, "thread"))

    line = machine.irq.line("nic", handler)
    machine.spawn(thread(), cpu=0)
    machine.sched.call_in(10, lambda: machine.irq.raise_softirq(machine.cpus[0], "net", softirq))
    line.fire(20)  # on top of the softirq, which stands still from 20 to 50
    machine.simulate()
    assert log == [(50, "irq"), (90, "softirq"), (180, "thread")]


def test_an_idle_cpu_takes_a_waiting_thread_that_may_move() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    where: dict[str, int] = {}

    async def thread(name: str, ns: int) -> None:
        await machine.work(ns)
        where[name] = machine.cpu()

    machine.spawn(thread("long", 1000), cpu=0)
    machine.spawn(thread("short", 100), cpu=1)
    stays = machine.spawn(thread("stays", 10), cpu=0)
    moves = machine.spawn(thread("moves", 10))
    assert (stays.cpu_id, moves.cpu_id) == (0, 1)
    moves.cpu, moves.cpu_id = machine.cpus[0], 0
    machine.cpus[1].queue.remove(moves)
    machine.cpus[0].queue.append(moves)
    machine.simulate()
    assert where == {"long": 0, "short": 1, "stays": 0, "moves": 1}


def test_a_thread_that_raises_a_softirq_on_its_own_cpu_is_interrupted_at_once() -> None:
    machine = Machine(costs=IDEAL)
    log: list[str] = []

    async def softirq() -> None:
        log.append("softirq")

    async def thread() -> None:
        machine.irq.raise_softirq(machine.cpus[0], "net", softirq)
        log.append("raised")
        await machine.work(10)
        log.append("thread")

    async def last_step() -> None:
        machine.irq.raise_softirq(machine.cpus[0], "net", softirq)

    machine.run(thread())
    assert log == ["raised", "softirq", "thread"]
    machine.run(last_step())
    machine.simulate()
    assert log[3:] == ["softirq"]


def test_a_handler_that_would_sleep_is_reported_and_keeps_its_cpu() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    mutex = machine.mutex("m")
    log: list[tuple[int, str]] = []

    async def holder() -> None:
        async with mutex:
            await machine.work(100)

    async def handler() -> None:
        async with mutex:
            log.append((machine.now, "handler"))

    async def below() -> None:
        await machine.work(50)
        log.append((machine.now, "thread"))

    machine.spawn(holder(), cpu=0)
    machine.spawn(below(), cpu=1)
    machine.irq.line("nic", handler, cpu=1).fire(20)
    machine.simulate()
    assert log == [(100, "handler"), (130, "thread")]
    assert machine.findings.of("sleeping function called from invalid context")


def test_a_spinner_gives_up_its_cpu_when_somebody_else_wants_it_and_does_not_get_the_mutex_while_off() -> (
    None
):
    machine = Machine(cpus=2, costs=FREE.but(spin_limit=None))
    mutex = machine.mutex("m")
    log: list[tuple[int, str]] = []

    async def holder() -> None:
        async with mutex:
            await machine.work(500)

    async def spinner() -> None:
        await machine.work(10)
        async with mutex:
            log.append((machine.now, "spinner"))

    async def other() -> None:
        await machine.work(50)
        log.append((machine.now, "other"))

    machine.spawn(holder(), cpu=0)
    machine.spawn(spinner(), cpu=1)
    machine.spawn(other(), cpu=1)
    trace = machine.simulate()
    assert log == [(150, "other"), (500, "spinner")]
    assert [event.context for event in trace.where(kind="sleep")] == ["spinner/2"]


def test_spinners_for_a_mutex_go_to_sleep_when_its_owner_loses_the_cpu() -> None:
    machine = Machine(cpus=2, costs=FREE.but(spin_limit=None))
    mutex = machine.mutex("m")

    async def holder() -> None:
        async with mutex:
            await machine.work(150)

    async def other() -> None:
        await machine.work(1000)

    async def spinner() -> None:
        await machine.work(10)
        async with mutex:
            pass

    machine.spawn(holder(), cpu=0)
    machine.spawn(other(), cpu=0)
    machine.spawn(spinner(), cpu=1)
    trace = machine.simulate()
    assert [(event.time, event.context) for event in trace.where(kind="sleep")] == [(100, "spinner/4")]


def test_a_mutex_owner_that_waits_for_hardware_still_runs_so_others_spin() -> None:
    machine = Machine(cpus=2, costs=NEAR)
    mutex, word = machine.mutex("m"), machine.atomic("status")

    async def holder() -> None:
        async with mutex:
            await word.relax_while(0)

    async def spinner() -> None:
        await machine.work(100)
        async with mutex:
            pass

    async def hardware() -> None:
        await machine.work(5000)
        await word.store(1)

    machine.spawn(holder(), cpu=0)
    machine.spawn(spinner(), cpu=1)
    machine.spawn_device(hardware(), "unit")
    trace = machine.simulate()
    assert not trace.where(kind="sleep")
    assert [(e.time, e.object) for e in trace.where(kind="wait_end")] == [(5000 + NEAR.line_near, "status")]


def test_a_device_may_wait_for_a_completion() -> None:
    machine = Machine(costs=IDEAL)
    go, log = machine.make(Completion, "go"), []

    async def device() -> None:
        await go.wait()
        log.append(machine.now)

    async def driver() -> None:
        await machine.work(40)
        await go.complete()

    machine.spawn_device(device(), "engine")
    machine.run(driver())
    machine.simulate()
    assert log == [40]
    assert not machine.findings


def test_bottom_halves_count_as_preemption_off_and_softirqs_run_under_a_spin_lock() -> None:
    machine = Machine(costs=IDEAL)
    lock, log = machine.spinlock("lock"), []

    async def softirq() -> None:
        log.append((machine.now, "softirq"))

    async def thread() -> None:
        async with lock:
            machine.irq.local_bh_disable()
            await machine.work(100)
            await machine.irq.local_bh_enable()
            log.append((machine.now, "bh on"))
            await machine.work(10)
        machine.irq.local_bh_disable()
        await machine.work(300)
        await machine.irq.local_bh_enable()

    machine.sched.call_in(50, lambda: machine.irq.raise_softirq(machine.cpus[0], "net", softirq))
    machine.spawn(thread(), cpu=0, name="thread")
    machine.simulate()
    assert log == [(100, "softirq"), (100, "bh on")]


def test_a_million_threads_may_come_and_go() -> None:
    machine = Machine(cpus=2, costs=IDEAL, checkers=(), record=False)

    async def one() -> None:
        await machine.work(1)

    for _ in range(300):
        machine.spawn(one(), once=True)
        machine.simulate()
    assert len(machine.sched.contexts) < 5
