"""Interrupts on top of threads, softirqs, timers, run queues: when each runs and what it
costs the one below.
"""

from __future__ import annotations

import pytest

from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine

FREE = IDEAL.but(irq=0)


def test_a_handler_runs_on_top_and_the_thread_below_loses_that_time() -> None:
    machine = Machine(costs=FREE)
    log: list[tuple[int, str]] = []

    async def handler() -> None:
        log.append((machine.now, "irq"))
        await machine.work(30)
        log.append((machine.now, "irq done"))

    async def thread() -> None:
        await machine.work(100)
        log.append((machine.now, "thread done"))

    machine.irq.line("nic", handler).fire(50)
    machine.spawn(thread(), cpu=0)
    machine.simulate()
    assert log == [(50, "irq"), (80, "irq done"), (130, "thread done")]


def test_two_interrupts_during_one_piece_of_work_add_up() -> None:
    machine = Machine(costs=FREE)
    ended: list[int] = []

    async def handler() -> None:
        await machine.work(30)

    async def thread() -> None:
        await machine.work(100)
        ended.append(machine.now)

    line = machine.irq.line("nic", handler)
    line.fire(50)
    line.fire(90)
    machine.spawn(thread(), cpu=0)
    machine.simulate()
    assert ended == [160]


def test_an_interrupt_waits_until_interrupts_are_back_on() -> None:
    machine = Machine(costs=FREE)
    lock = machine.spinlock("lock")
    log: list[tuple[int, str]] = []

    async def handler() -> None:
        log.append((machine.now, "irq"))

    async def thread() -> None:
        async with lock.irqsave():
            await machine.work(100)
        log.append((machine.now, "thread"))

    machine.irq.line("nic", handler).fire(10)
    machine.spawn(thread(), cpu=0, name="thread")
    machine.simulate()
    assert log == [(100, "irq"), (100, "thread")]
    assert machine.irq.irqsoff("thread").longest == 100
    assert machine.irq.irqsoff("thread").began.function == "thread"


def test_how_long_interrupts_were_off_is_known_by_context_and_of_all_with_both_places() -> None:
    machine = Machine(cpus=2, costs=IDEAL)

    async def keeps_them_off(*lengths: int) -> None:
        for ns in lengths:
            flags = machine.irq.local_irq_save()
            await machine.work(ns)
            await machine.irq.local_irq_restore(flags)

    machine.spawn(keeps_them_off(10, 30, 20), cpu=0, name="one")
    machine.spawn(keeps_them_off(100), cpu=1, name="two")
    machine.simulate()
    one, two, both = machine.irq.irqsoff("one"), machine.irq.irqsoff("two"), machine.irq.irqsoff()
    assert [(off.count, off.total, off.longest) for off in (one, two, both)] == [
        (3, 60, 30),
        (1, 100, 100),
        (4, 160, 100),
    ]
    assert both.began.function == both.ended.function == "keeps_them_off"
    assert both.ended.line == both.began.line + 2
    assert machine.irq.irqsoff("nobody").count == 0


def test_a_spinning_thread_below_an_interrupt_gets_the_lock_but_goes_on_later() -> None:
    machine = Machine(cpus=2, costs=FREE)
    lock = machine.spinlock("lock")
    log: list[tuple[int, str]] = []

    async def holder() -> None:
        async with lock:
            await machine.work(100)

    async def waiter() -> None:
        await machine.work(1)
        async with lock:
            log.append((machine.now, "got it"))

    async def handler() -> None:
        await machine.work(80)

    machine.spawn(holder(), cpu=0)
    machine.spawn(waiter(), cpu=1)
    machine.irq.line("nic", handler, cpu=1).fire(50)
    machine.simulate()
    assert log == [(130, "got it")]


def test_a_handler_that_takes_the_lock_of_the_thread_below_hangs_and_says_so() -> None:
    machine = Machine(costs=FREE)
    lock = machine.spinlock("domain->lock")

    async def handler() -> None:
        async with lock:
            pass

    async def thread() -> None:
        async with lock:
            await machine.work(100)

    machine.irq.line("nvme", handler).fire(50)
    machine.spawn(thread(), cpu=0, name="attach")
    machine.simulate()
    (hang,) = machine.findings.of("hard LOCKUP")
    assert hang.where == "domain->lock"
    assert hang.functions == ("handler", "thread")
    assert machine.findings.of("inconsistent lock state")


def test_softirqs_wait_for_the_handler_and_for_bottom_halves() -> None:
    machine = Machine(costs=FREE)
    log: list[tuple[int, str]] = []

    async def softirq() -> None:
        log.append((machine.now, "softirq"))
        assert machine.sched.current.kind == "softirq"

    async def handler() -> None:
        machine.irq.raise_softirq(machine.cpus[0], "net_rx", softirq)
        await machine.work(20)
        log.append((machine.now, "irq done"))

    async def thread() -> None:
        machine.irq.local_bh_disable()
        await machine.work(100)
        log.append((machine.now, "bh on"))
        await machine.irq.local_bh_enable()
        log.append((machine.now, "thread"))

    machine.irq.line("nic", handler).fire(50)
    machine.spawn(thread(), cpu=0)
    machine.simulate()
    assert log == [(70, "irq done"), (120, "bh on"), (120, "softirq"), (120, "thread")]


def test_a_timer_fires_in_softirq_context_and_can_be_stopped() -> None:
    machine = Machine(costs=FREE)
    fired: list[int] = []

    async def expire() -> None:
        fired.append(machine.now)
        assert machine.sched.current.kind == "softirq"

    async def arm() -> None:
        timer.mod(100)
        timer.mod(300)
        other.mod(50)
        other.delete()

    timer = machine.irq.timer("fq", expire)
    other = machine.irq.timer("other", expire)
    machine.run(arm())
    machine.advance(1000)
    assert fired == [300]
    assert not timer.pending
    assert machine.now == 1000


def test_run_leaves_timers_for_later() -> None:
    machine = Machine(costs=NEAR)
    fired: list[int] = []

    async def expire() -> None:
        fired.append(machine.now)

    async def arm() -> int:
        machine.irq.timer("t", expire).mod(10_000)
        await machine.work(500)
        return machine.now

    assert machine.run(arm()) == 500
    assert fired == []
    machine.simulate()
    assert fired == [10_000 + NEAR.irq_entry]


def test_two_threads_on_one_cpu_share_it_by_time_slices() -> None:
    machine = Machine(costs=IDEAL.but(slice=100))
    done: dict[str, int] = {}

    async def thread(name: str) -> None:
        await machine.work(250)
        done[name] = machine.now

    machine.spawn(thread("A"), cpu=0)
    machine.spawn(thread("B"), cpu=0)
    machine.simulate()
    assert done == {"A": 450, "B": 500}


def test_a_thread_with_a_spin_lock_keeps_its_cpu_until_it_lets_go() -> None:
    machine = Machine(costs=IDEAL.but(slice=100))
    lock = machine.spinlock("lock")
    log: list[tuple[int, str]] = []

    async def first() -> None:
        async with lock:
            await machine.work(250)
            log.append((machine.now, "unlock"))
        log.append((machine.now, "first"))

    async def second() -> None:
        log.append((machine.now, "second"))

    machine.spawn(first(), cpu=0)
    machine.spawn(second(), cpu=0)
    machine.simulate()
    assert log == [(250, "unlock"), (250, "second"), (250, "first")]


def test_without_preemption_a_thread_runs_until_it_sleeps() -> None:
    machine = Machine(costs=IDEAL.but(slice=100), preempt=False)
    done: list[str] = []

    async def thread(name: str) -> None:
        await machine.work(250)
        done.append(name)

    machine.spawn(thread("A"), cpu=0)
    machine.spawn(thread("B"), cpu=0)
    machine.simulate()
    assert done == ["A", "B"]


def test_a_woken_thread_moves_to_an_idle_cpu_unless_it_is_pinned() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    done = machine.make(Completion, "done")
    where: dict[str, int] = {}

    async def waiter(name: str) -> None:
        await done.wait()
        where[name] = machine.cpu()

    async def busy() -> None:
        await machine.work(10)
        await done.complete_all()
        await machine.work(1000)

    free = machine.spawn(waiter("free"))
    machine.spawn(waiter("pinned"), cpu=0)
    machine.spawn(busy(), cpu=0)
    assert free.cpu_id == 0
    machine.simulate()
    assert where == {"free": 1, "pinned": 0}


@pytest.mark.parametrize("cpus", [1, 7, 1024])
def test_the_machine_takes_any_sensible_number_of_cpus(cpus: int) -> None:
    machine = Machine(cpus=cpus, costs=IDEAL)
    lock = machine.spinlock("lock")

    async def thread() -> None:
        async with lock:
            await machine.work(1)

    for cpu in range(cpus):
        machine.spawn(thread(), cpu=cpu)
    assert machine.simulate().end == cpus


def test_senseless_machines_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        Machine(cpus=0)
    with pytest.raises(ValueError, match="sockets"):
        Machine(cpus=2, sockets=3)
    with pytest.raises(ValueError, match="kasam"):
        Machine(checkers=("kasam",))
    machine = Machine(cpus=2)

    async def nothing() -> None: ...

    with pytest.raises(ValueError, match="no CPU 3"):
        machine.spawn(nothing(), cpu=3)


@pytest.mark.parametrize(
    ("off", "kind"),
    [(False, "watchdog: BUG: soft lockup"), (True, "NMI watchdog: Watchdog detected hard LOCKUP")],
)
def test_a_cpu_that_spins_with_interrupts_off_is_a_hard_lockup(off: bool, kind: str) -> None:
    """§1.6: the soft-lockup detector needs the timer interrupt; with interrupts off it is silent."""
    machine = Machine(cpus=2, costs=FREE)
    lock = machine.spinlock("lock")

    async def leaves_it_taken() -> None:
        await lock.acquire()

    async def spins() -> None:
        await machine.work(10)
        async with lock.irqsave() if off else lock:
            pass

    machine.spawn(leaves_it_taken(), cpu=0)
    machine.spawn(spins(), cpu=1)
    machine.simulate()
    assert [each.kind for each in machine.findings if "ock" in each.kind.split(": ")[-1].lower()][-1] == kind
    assert not machine.findings.of("soft lockup" if off else "hard LOCKUP")


def test_a_device_waits_until_the_interrupts_of_all_lines_have_been_handled() -> None:
    machine = Machine(costs=NEAR)
    done: list[int] = []

    async def handler() -> None:
        await machine.work(700)
        done.append(machine.now)

    line = machine.irq.line("nic", handler)

    async def device() -> int:
        line.fire()
        line.fire(30)
        await line.quiet()
        return machine.now

    assert machine.run(device(), None, "nic") == done[-1]
    assert len(done) == 2
    assert machine.run(device(), None, "nic") > done[1]
    assert len([context for context in machine.sched.contexts if context.kind == "agent"]) <= 3
