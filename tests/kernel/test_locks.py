"""Spin locks, mutexes, shared locks: order of events, hand-over, who sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vtdkit.kernel.checkers.findings import Deadlock, KernelBug
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.locks.rwlock import RwSemaphore
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject

SPIN = ("queued", "ticket", "test-and-set")


def lock_of(machine: Machine, kind: str) -> Any:
    return machine.mutex("lock") if kind == "mutex" else machine.spinlock("lock", kind=kind)


@pytest.mark.parametrize("kind", [*SPIN, "mutex"])
def test_two_threads_take_turns(kind: str) -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock = lock_of(machine, kind)
    log: list[tuple[int, str, str]] = []

    async def thread(name: str) -> None:
        async with lock:
            log.append((machine.now, name, "in"))
            await machine.work(40)
            log.append((machine.now, name, "out"))

    for cpu, name in enumerate("AB"):
        machine.spawn(thread(name), cpu=cpu)
    machine.simulate()
    assert log == [(0, "A", "in"), (40, "A", "out"), (40, "B", "in"), (80, "B", "out")]
    assert not machine.findings


@pytest.mark.parametrize(
    ("kind", "handover"), [("queued", 50), ("ticket", 50 * 3 // 2), ("test-and-set", 50 * 3)]
)
def test_handover_is_charged_at_release_from_the_number_waiting(kind: str, handover: int) -> None:
    machine = Machine(cpus=4, costs=IDEAL.but(handover=50))
    lock = machine.spinlock("lock", kind=kind)
    entered: list[int] = []

    async def thread() -> None:
        async with lock:
            entered.append(machine.now)
            await machine.work(100)

    for cpu in range(4):
        machine.spawn(thread(), cpu=cpu)
    machine.simulate()
    assert entered[1] == 100 + handover


def test_uncontended_lock_costs_more_when_its_line_is_elsewhere() -> None:
    machine = Machine(cpus=4, sockets=2, costs=NEAR)
    lock = machine.spinlock("lock")

    async def take() -> int:
        began = machine.now
        async with lock:
            return machine.now - began

    times = [machine.run(take(), cpu=cpu) for cpu in (0, 0, 1, 2)]
    assert times == [NEAR.lock, NEAR.lock, NEAR.lock + NEAR.line_near, NEAR.lock + NEAR.line_far]


def test_a_lock_is_released_when_the_block_raises() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def fails() -> None:
        async with lock.irqsave():
            raise KeyError("no")

    with pytest.raises(KeyError):
        machine.run(fails())
    assert lock.owner is None
    assert not machine.findings


def test_irqsave_puts_back_what_was() -> None:
    machine = Machine()
    lock, inner = machine.spinlock("outer"), machine.spinlock("inner")
    seen: list[bool] = []

    async def nest() -> None:
        async with lock.irqsave():
            async with inner.irqsave():
                seen.append(bool(machine.sched.current.irqstate & 1))
            seen.append(bool(machine.sched.current.irqstate & 1))
        seen.append(bool(machine.sched.current.irqstate & 1))

    machine.run(nest())
    assert seen == [True, True, False]
    off = machine.irq.irqsoff()
    assert off.count == 1
    assert off.longest == off.total > 0


def test_a_mutex_waiter_spins_while_the_owner_runs_up_to_the_limit_if_there_is_one() -> None:
    machine = Machine(cpus=3, costs=NEAR.but(spin_limit=4000))
    mutex = machine.mutex("m")

    async def hold(ns: int) -> None:
        async with mutex:
            await machine.work(ns)

    machine.spawn(hold(1000), cpu=0, name="short")
    machine.spawn(hold(100_000), cpu=1, name="spinner")
    machine.spawn(hold(10), cpu=2, name="sleeper")
    trace = machine.simulate()
    assert {event.context for event in trace.where(kind="sleep")} == {"sleeper"}


def test_a_mutex_passes_first_come_first_served_to_sleepers() -> None:
    machine = Machine(cpus=5, costs=NEAR.but(spin_limit=0))
    mutex = machine.mutex("m")
    order: list[str] = []

    async def thread(name: str, start: int) -> None:
        await machine.work(start)
        async with mutex:
            order.append(name)
            await machine.work(50_000)

    for cpu, name in enumerate("ABCDE"):
        machine.spawn(thread(name, cpu * 100), cpu=cpu)
    machine.simulate()
    assert order == list("ABCDE")


def test_a_sleeper_that_lost_a_race_is_handed_the_mutex() -> None:
    machine = Machine(cpus=2, costs=NEAR.but(spin_limit=0))
    mutex = machine.mutex("m")
    got = []

    async def greedy() -> None:
        for _ in range(50):
            async with mutex:
                await machine.work(5000)

    async def modest() -> None:
        await machine.work(10)
        async with mutex:
            got.append(machine.now)

    machine.spawn(greedy(), cpu=0)
    machine.spawn(modest(), cpu=1)
    machine.simulate()
    assert got
    assert got[0] < 25_000


def test_readers_share_and_a_waiting_writer_stops_later_readers() -> None:
    machine = Machine(cpus=4, costs=IDEAL)
    lock = machine.rwlock("rw")
    log: list[tuple[int, str]] = []

    async def reader(name: str, start: int) -> None:
        await machine.work(start)
        async with lock.read():
            log.append((machine.now, name))
            await machine.work(100)

    async def writer() -> None:
        await machine.work(10)
        async with lock.write():
            log.append((machine.now, "W"))
            await machine.work(5)

    machine.spawn(reader("R1", 0), cpu=0)
    machine.spawn(reader("R2", 5), cpu=1)
    machine.spawn(writer(), cpu=2)
    machine.spawn(reader("R3", 20), cpu=3)
    machine.simulate()
    assert log == [(0, "R1"), (5, "R2"), (105, "W"), (110, "R3")]


def turns(work: int) -> tuple[list[int], list[int]]:
    """Two threads that read for `work` ns and then write for a moment, again and again: in which order they
    began to write, and when.
    """
    machine = Machine(cpus=2, checkers=())
    sem = machine.rwsem("sem")
    order: list[int] = []
    began: list[int] = []

    async def loop(number: int) -> None:
        for _ in range(20):
            async with sem.read():
                await machine.work(work)
            async with sem.write():
                order.append(number)
                began.append(machine.now)
                await machine.work(10)

    for number in range(2):
        machine.spawn(loop(number), cpu=number)
    machine.simulate()
    return order, began


def test_rwsem_is_stolen_from_a_sleeping_writer_until_it_has_waited_for_4_ms() -> None:
    order, began = turns(500_000)
    first = order[0]
    alone = next(i for i, number in enumerate(order) if number != first)
    assert began[alone] - began[0] == pytest.approx(RwSemaphore.TIMEOUT, rel=0.15)
    assert alone >= 8  # so often it was taken before the sleeper got there
    assert sorted(order) == [0] * 20 + [1] * 20


def test_rwsem_that_is_held_longer_than_a_wake_up_takes_is_not_starved() -> None:
    machine = Machine(cpus=3)
    sem = machine.rwsem("sem")
    done: list[str] = []

    async def reader(name: str, begins: int) -> None:
        await machine.work(begins)
        async with sem.read():
            await machine.work(1_000)
        done.append(name)

    async def writer() -> None:
        await machine.work(100)
        async with sem.write():
            done.append("writer")

    machine.spawn(reader("first", 0), cpu=0)
    machine.spawn(writer(), cpu=1)
    machine.spawn(reader("behind", 500), cpu=2)  # a reader has it, but somebody waits: it waits too
    machine.simulate()
    assert done == ["first", "writer", "behind"]
    assert not machine.findings


def test_rwsem_waiters_sleep_and_readers_go_in_one_batch() -> None:
    machine = Machine(cpus=4, costs=IDEAL)
    sem = machine.rwsem("sem")
    log: list[tuple[int, str]] = []

    async def writer() -> None:
        async with sem.write():
            await machine.work(100)

    async def reader(name: str) -> None:
        await machine.work(1)
        async with sem.read():
            log.append((machine.now, name))
            await machine.work(10)

    machine.spawn(writer(), cpu=0)
    for cpu, name in enumerate("ABC", start=1):
        machine.spawn(reader(name), cpu=cpu)
    trace = machine.simulate()
    assert log == [(100, "A"), (100, "B"), (100, "C")]
    assert len(trace.where(kind="sleep")) == 3


def test_abba_is_reported_and_ends_in_a_real_deadlock() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    a, b = machine.spinlock("a"), machine.spinlock("b")

    async def both(first: Any, second: Any) -> None:
        async with first:
            await machine.work(10)
            async with second:
                pass

    machine.spawn(both(a, b), cpu=0, name="ab")
    machine.spawn(both(b, a), cpu=1, name="ba")
    machine.simulate()
    kinds = [finding.kind for finding in machine.findings]
    assert "WARNING: possible circular locking dependency detected" in kinds
    stuck = machine.findings.of("soft lockup")
    assert {finding.where for finding in stuck} == {"a", "b"}
    assert "ab waits for b held by ba, ba waits for a held by ab" in stuck[0].text


def test_run_raises_when_a_coroutine_can_never_end() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def twice() -> None:
        async with lock, lock:
            pass

    with pytest.raises(Deadlock, match="lock"):
        machine.run(twice())
    assert machine.findings.of("possible recursive locking")


def test_unlocking_somebody_elses_lock_is_reported_and_does_nothing() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock = machine.spinlock("lock")

    async def holder() -> None:
        async with lock:
            await machine.work(100)

    async def vandal() -> None:
        await machine.work(10)
        await lock.release()

    machine.spawn(holder(), cpu=0)
    machine.spawn(vandal(), cpu=1)
    machine.simulate()
    (finding,) = machine.findings
    assert finding.kind == "bad unlock balance detected!"
    assert finding.functions == ("vandal",)


def test_locks_may_be_released_in_any_order() -> None:
    machine = Machine()
    a, b = machine.spinlock("a"), machine.spinlock("b")

    async def hand_over_hand() -> None:
        await a.acquire()
        await b.acquire()
        await a.release()
        await b.release()

    machine.run(hand_over_hand())
    assert not machine.findings
    assert a.owner is None
    assert b.owner is None


@pytest.mark.parametrize("kind", [*SPIN, "mutex"])
def test_trylock_never_waits(kind: str) -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock = lock_of(machine, kind)
    got: list[bool] = []

    async def holder() -> None:
        async with lock:
            await machine.work(100)

    async def tries() -> None:
        await machine.work(10)
        got.append(await lock.trylock())
        await machine.work(200)
        got.append(await lock.trylock())
        await lock.release()

    machine.spawn(holder(), cpu=0)
    machine.spawn(tries(), cpu=1)
    machine.simulate()
    assert got == [False, True]
    assert not machine.findings


def test_sleeping_in_atomic_context_is_reported_with_both_places() -> None:
    machine = Machine()
    lock, mutex = machine.spinlock("spin"), machine.mutex("mutex")

    async def wrong() -> None:
        async with lock, mutex:
            pass

    machine.run(wrong())
    (finding,) = machine.findings.of("sleeping function called from invalid context")
    assert finding.where == "spin"
    assert finding.functions == ("wrong",)
    assert "preempt_count: 1" in finding.text
    assert machine.findings.of("Invalid wait context")


def test_assert_held_speaks_up() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def without() -> None:
        lock.assert_held()

    async def with_it() -> None:
        async with lock:
            lock.assert_held()

    machine.run(with_it())
    assert not machine.findings
    machine.run(without())
    assert machine.findings[0].kind == "WARNING: lockdep_assert_held"
    assert machine.findings[0].functions == ("without",)


def test_a_spin_lock_names_its_state() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock = machine.spinlock("iommu->lock")
    seen: list[str] = []

    async def holder() -> None:
        async with lock:
            await machine.work(100)
            seen.append(repr(lock))

    machine.spawn(holder(), cpu=0, name="attach")
    machine.spawn(holder(), cpu=1, name="detach")
    machine.simulate()
    assert seen[0] == "<spinlock iommu->lock: held by attach, 1 waiting: detach>"
    assert repr(lock) == "<spinlock iommu->lock: free>"


def test_a_spin_lock_that_nobody_holds_is_a_kernel_bug_and_the_run_goes_on() -> None:
    machine = Machine(cpus=2, costs=IDEAL, checkers=())
    lock, log = machine.spinlock("device_domain_lock"), []

    async def needs_it(name: str) -> None:
        lock.assert_spin_locked()
        log.append(name)

    async def holder() -> None:
        async with lock:
            await machine.work(100)

    machine.spawn(holder(), cpu=0)
    machine.spawn(needs_it("somebody holds it"), cpu=1)
    machine.simulate()
    assert not machine.findings
    machine.run(needs_it("nobody does"))
    assert log == ["somebody holds it", "nobody does"]
    (found,) = machine.findings
    assert (found.kind, found.where, found.functions) == (
        "kernel BUG: assert_spin_locked",
        "device_domain_lock",
        ("needs_it",),
    )


def test_where_bugs_end_their_thread_nothing_comes_after_the_failed_assertion() -> None:
    def scene(machine: Machine, names: str = "ab") -> Callable[[], tuple[str, ...]]:
        lock, log = machine.spinlock("device_domain_lock"), list[str]()
        machine.check.bugs_end = True

        async def needs_it(name: str) -> None:
            lock.assert_spin_locked()
            log.append(name)

        for cpu, name in enumerate(names):
            machine.spawn(needs_it(name), cpu=cpu, name=name)
        return lambda: tuple(log)

    found = explore(scene)
    assert (dict(found.outcomes), found.complete) == ({(): 1}, True)
    assert [finding.kind for finding in found.of("assert")] == ["kernel BUG: assert_spin_locked"]
    machine = Machine(cpus=2, costs=IDEAL)
    scene(machine, "a")
    with pytest.raises(KernelBug, match="device_domain_lock must be held here, and is free"):
        machine.simulate()


@pytest.mark.parametrize(
    "options", [{}, {"record": False, "checkers": ("lockdep",)}, {"record": False, "checkers": ()}]
)
@pytest.mark.parametrize("kind", ["queued", "ticket", "test-and-set"])
def test_three_threads_that_take_a_lock_at_time_zero_wait_for_the_line_that_is_still_being_fetched(
    kind: str,
    options: dict[str, Any],
) -> None:
    """The first owns the lock while its line is still on the way: those behind it must find
    a place to blame.
    """
    machine = Machine(cpus=3, costs=NEAR, **options)
    lock, log = machine.spinlock("lock", kind=kind), []

    async def thread(index: int) -> None:
        async with lock:
            log.append((machine.now, index))
            await machine.work(10)

    for cpu in (1, 2, 0):
        machine.spawn(thread(cpu), cpu=cpu)
    machine.simulate()
    assert sorted(index for _, index in log) == [0, 1, 2]
    assert log[0] == (NEAR.lock + NEAR.line_near, 1)
    (row,) = machine.lock_stat()
    assert (row.write.acquisitions, row.write.contentions) == (3, 2)
    assert [count for _, count in row.holders] == [2]


def test_a_lock_freed_while_held_is_reported() -> None:
    machine = Machine(cpus=2, costs=IDEAL)

    class owner(KObject):
        def __init__(self, machine: Machine) -> None:
            super().__init__(machine)
            self.lock = machine.spinlock("owner->lock")

    async def thread() -> None:
        obj = await machine.kmalloc(owner)
        assert obj is not None
        async with obj.lock:
            await machine.kfree(obj)

    machine.run(thread())
    assert "held lock freed!" in [finding.kind for finding in machine.findings]


def test_a_thread_that_ends_with_a_lock_held_is_reported() -> None:
    machine = Machine(costs=IDEAL)
    lock = machine.spinlock("lock")

    async def forgets() -> None:
        await lock.acquire()

    machine.run(forgets())
    (found,) = machine.findings.of("still has locks held")
    assert (found.where, found.functions) == ("lock", ("forgets",))


@pytest.mark.parametrize("kind", ["rwlock", "rwsem"])
@pytest.mark.parametrize("first_writes", [True, False])
def test_a_deadlock_on_a_shared_lock_is_reported_with_who_holds_it(kind: str, first_writes: bool) -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    a, b = getattr(machine, kind)("a"), getattr(machine, kind)("b")

    async def both(first: Any, second: Any) -> None:
        async with first.write() if first_writes else first.read():
            await machine.work(10)
            async with second.write():
                pass

    machine.spawn(both(a, b), cpu=0, name="ab")
    machine.spawn(both(b, a), cpu=1, name="ba")
    machine.simulate()
    stuck = [each for each in machine.findings if "blocked" in each.kind or "lockup" in each.kind]
    assert [each.where for each in stuck][:1] == ["b"]
    assert "ab waits for b held by ba, ba waits for a held by ab" in stuck[0].text


def test_a_contended_shared_lock_says_who_has_it_and_who_waits() -> None:
    machine = Machine(cpus=3, costs=IDEAL)
    lock = machine.rwlock("lock")

    async def reader() -> None:
        async with lock.read():
            await machine.work(100)

    async def writer() -> None:
        await machine.work(10)
        async with lock.write():
            pass

    machine.spawn(reader(), cpu=0, name="r1")
    machine.spawn(reader(), cpu=1, name="r2")
    machine.spawn(writer(), cpu=2, name="w")
    machine.simulate(until=50)
    assert repr(lock) == "<rwlock lock: held by r1, r2, 1 waiting: w>"
