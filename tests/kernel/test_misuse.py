"""Every way to hold it wrong, and the one sentence that answers; it names the line of whoever did it.

A row is a function that does something wrong, and what must be said. Errors that are raised stop the run,
findings do not: a kernel goes on after a warning, and so does the simulated one.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

import pytest

from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explored.watch import NotAStep
from vtdkit.kernel.locks.sync import Completion, SeqCount
from vtdkit.kernel.machine import patience
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.workload import closed_loop
from vtdkit.kernel.memory.objects import KObject, shared

HERE = r"test_misuse\.py:\d+"
Wrong = Callable[[], Any]
RAISED: list[tuple[Wrong, type[BaseException], str]] = []
FOUND: list[tuple[Callable[[], Machine], str, str]] = []


def raises(error: type[BaseException], sentence: str) -> Callable[[Wrong], Wrong]:
    """A row: this raises, and says that."""

    def enter(wrong: Wrong) -> Wrong:
        RAISED.append((wrong, error, sentence))
        return wrong

    return enter


def finds(kind: str, sentence: str) -> Callable[[Callable[[], Machine]], Callable[[], Machine]]:
    """A row: the machine it gives back has found this, and says that."""

    def enter(wrong: Callable[[], Machine]) -> Callable[[], Machine]:
        FOUND.append((wrong, kind, sentence))
        return wrong

    return enter


# -- a forgotten await --------------------------------------------------------

machine_of_helper = Machine()


async def helper() -> None:
    machine_of_helper.work(100)


async def asks_for_help() -> None:
    await helper()


async def forgets_help() -> None:
    helper()


@raises(TypeError, rf"lock\.acquire\(\) without await does nothing, at thread \(.*{HERE}\); write")
def acquire_without_await() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def thread() -> None:
        lock.acquire()

    machine.spawn(thread(), cpu=0)


@raises(TypeError, rf"lock\.trylock\(\) without await does nothing, at thread \(.*{HERE}\)")
def trylock_without_await_in_a_condition() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def thread() -> None:
        if not lock.trylock():
            await machine.work(5)

    machine.run(thread())


@raises(TypeError, rf"machine\.work\(7\) without await does nothing, at handler \(.*{HERE}\)")
def work_without_await_in_a_handler() -> None:
    machine = Machine()

    async def handler() -> None:
        machine.work(7)

    machine.irq.line("nic", handler).fire()
    machine.simulate()


@raises(TypeError, rf"machine_of_helper\.work\(100\) without await does nothing, at helper \(.*{HERE}\)")
def work_without_await_in_a_function_that_the_thread_calls() -> None:
    Machine().run(asks_for_help())


@raises(TypeError, rf"helper\(\) without await does nothing, at forgets_help \(.*{HERE}\)")
def an_async_function_called_and_not_awaited() -> None:
    Machine().run(forgets_help())


# -- no coroutine where one is needed -------------------------------------------


@raises(TypeError, rf"a thread is a coroutine.*got <function .*thread.*; call it: thread\(\), at .*{HERE}")
def a_function_for_a_thread() -> None:
    async def thread() -> None: ...

    Machine().spawn(thread, cpu=0)  # type: ignore[arg-type]


@raises(TypeError, rf"a thread is a coroutine.*got None, at .*{HERE}")
def a_plain_function_called() -> None:
    def thread() -> None: ...

    Machine().run(thread())  # type: ignore[func-returns-value,arg-type]


@raises(TypeError, r"the handler of nic is a coroutine.*got None")
def a_plain_function_for_a_handler() -> None:
    machine = Machine()
    machine.irq.line("nic", lambda: None).fire()  # type: ignore[arg-type,return-value]
    machine.simulate()


@raises(TypeError, r"the handler of timer is a coroutine.*got 5")
def a_plain_function_for_a_timer() -> None:
    machine = Machine()
    machine.irq.timer("timer", lambda: 5).mod(10)  # type: ignore[arg-type,return-value]
    machine.simulate()


@raises(TypeError, r"the handler of later is a coroutine.*got None")
def a_plain_function_for_call_rcu() -> None:
    machine = Machine(costs=IDEAL)

    async def thread() -> None:
        machine.rcu.call(lambda: None, "later")  # type: ignore[arg-type,return-value]

    machine.run(thread())
    machine.simulate()


@raises(
    TypeError, rf"thread/1 awaits what is no primitive of this machine, at .*{HERE}|raised in task thread/1"
)
def a_thread_that_awaits_something_of_another_loop() -> None:
    machine = Machine()
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()

    async def thread() -> None:
        await future

    machine.spawn(thread(), cpu=0)
    machine.simulate()


# -- another machine's things -----------------------------------------------------


def of_another(use: Callable[[Any], Any], make: Callable[[Machine], Any]) -> Wrong:
    """One machine's thread uses what another machine made."""

    def wrong() -> None:
        mine, other = Machine(), Machine()
        thing = make(other)

        async def thread() -> None:
            await use(thing)

        mine.run(thread())

    return wrong


async def hold(lock: Any) -> None:
    async with lock:
        pass


OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[Machine], Any]]] = {
    "spinlock lock": (hold, lambda machine: machine.spinlock("lock")),
    "spinlock saved": (lambda lock: hold(lock.irqsave()), lambda machine: machine.spinlock("saved")),
    "spinlock tried": (lambda lock: lock.trylock(), lambda machine: machine.spinlock("tried")),
    "spinlock given": (lambda lock: lock.release(), lambda machine: machine.spinlock("given")),
    "mutex sleeps": (hold, lambda machine: machine.mutex("sleeps")),
    "mutex given": (lambda lock: lock.release(), lambda machine: machine.mutex("given")),
    "rwlock shared": (lambda lock: hold(lock.read()), lambda machine: machine.rwlock("shared")),
    "rwsem shared": (lambda lock: hold(lock.write()), lambda machine: machine.rwsem("shared")),
    "RCU": (hold, lambda machine: machine.rcu.read()),
    "Atomic read": (lambda atomic: atomic.load(), lambda machine: machine.atomic("read")),
    "Atomic set": (lambda atomic: atomic.store(1), lambda machine: machine.atomic("set")),
    "Atomic changed": (lambda atomic: atomic.add_return(1), lambda machine: machine.atomic("changed")),
    "Page read": (lambda page: page.load(3), lambda machine: a_page(machine, "read")),
    "Page written": (lambda page: keep(page.store(3, 1)), lambda machine: a_page(machine, "written")),
    "Page changed": (lambda page: page.cmpxchg(3, 0, 1), lambda machine: a_page(machine, "changed")),
    "Pair a": (lambda pair: pair.read("one"), lambda machine: Pair(machine, "a")),
    "ListHead list": (lambda head: head.add("x"), lambda machine: machine.list_head("list")),
    "Completion done": (lambda done: done.complete(), lambda machine: machine.make(Completion, "done")),
    "Completion never": (lambda done: done.wait(), lambda machine: machine.make(Completion, "never")),
}


class Pair(KObject):
    """A driver object."""

    one = shared(0)


def a_page(machine: Machine, name: str) -> Any:
    return machine.run(machine.alloc_page(name=name))


async def keep(thing: Any) -> None:
    await thing


@pytest.mark.parametrize("what", OTHERS)
def test_what_another_machine_made_is_refused(what: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{what} is used by code of another machine, at .*{HERE}"):
        of_another(*OTHERS[what])()


@raises(RuntimeError, rf"the Atomic theirs is used by code of another machine, at thread \(.*{HERE}\)")
def an_atomic_of_another_machine_in_an_explored_thread() -> None:
    def scene(machine: Machine) -> Callable[[], int]:
        atomic = explored[0].atomic("theirs")
        explored.append(machine)

        async def thread() -> None:
            await atomic.load()

        machine.spawn(thread(), cpu=0)
        return lambda: 0

    explored = [Machine()]
    explore(scene)


@raises(RuntimeError, rf"the spinlock lock is used by the device dma, at dma \(.*{HERE}\)")
def a_device_that_takes_a_lock() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def dma() -> None:
        async with lock:
            pass

    machine.run(dma(), cpu=None, name="dma")


# -- time that is not the machine's, and scenes without an end to tell ---------------


@raises(
    TypeError,
    rf"asyncio\.sleep\(0\.1\) knows nothing of a machine's time, at thread \(.*{HERE}\); write `await",
)
def asyncio_sleep_in_a_thread() -> None:
    async def thread() -> None:
        await asyncio.sleep(0.1)

    Machine().run(thread())


@raises(TypeError, rf"time\.sleep\(1\) knows nothing of a machine's time, at thread \(.*{HERE}\)")
def time_sleep_in_a_thread() -> None:
    async def thread() -> None:
        time.sleep(1)

    Machine().spawn(thread(), cpu=0)


def scene_of(observer: Any, body: Any = helper) -> Wrong:
    """A scene of one thread, explored."""

    def scene(machine: Machine) -> Any:
        machine.spawn(body(), cpu=0, name="thread")
        return observer

    return lambda: explore(scene)


async def at_the_end() -> int:
    return 0


async def another_loop() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    await future


async def does_nothing() -> None: ...


SCENES: dict[str, tuple[Wrong, str]] = {
    "no observer": (
        scene_of(None, does_nothing),
        r"the scenario returned None; return an observer",
    ),
    "a value": (scene_of("end", does_nothing), r"the scenario returned 'end'; return an observer"),
    "an async one": (
        scene_of(at_the_end, does_nothing),
        r"the scenario returned an async function; r",
    ),
    "a list": (
        scene_of(lambda: [1], does_nothing),
        r"the observer returned \[1\], and outcomes",
    ),
    "a loop": (scene_of(int, another_loop), rf"awaits what is no primitive of this machine, at .*{HERE}"),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_ends_in_something_that_can_be_counted(scene: str) -> None:
    wrong, sentence = SCENES[scene]
    with pytest.raises(TypeError, match=sentence):
        wrong()


def test_an_observer_looks_when_all_is_over() -> None:
    """What it reads is no data race with the threads."""

    def scene(machine: Machine) -> Callable[[], int]:
        pair = Pair(machine, "pair")
        lock = machine.spinlock("lock")

        async def thread() -> None:
            async with lock:
                await pair.write(one=pair.one + 1)

        for cpu in (0, 1):
            machine.spawn(thread(), cpu=cpu)
        return lambda: pair.one

    found = explore(scene)
    assert (found.outcomes, found.findings) == ({2: 2}, ())


# -- the machine started where it runs ------------------------------------------


@raises(RuntimeError, r"machine\.run cannot be called from code that runs on the machine; await it instead")
def run_in_a_thread() -> None:
    machine = Machine()

    async def thread() -> None:
        machine.run(hold(None))

    machine.run(thread())


@raises(RuntimeError, r"machine\.simulate cannot be called from code that runs on the machine")
def simulate_in_a_thread() -> None:
    machine = Machine()

    async def thread() -> None:
        machine.simulate()

    machine.run(thread())


# -- errors and loops without an end ------------------------------------------------


@raises(ZeroDivisionError, r"by zero")
def an_error_in_a_thread() -> None:
    machine = Machine()

    async def thread() -> None:
        await machine.work(5)
        print(1 // 0)

    machine.spawn(thread(), cpu=0, name="divides")
    machine.simulate()


def test_an_error_says_which_thread_raised_it_when_and_where_and_the_machine_can_go_on() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        an_error_in_a_thread()
    (note,) = caught.value.__notes__
    assert re.fullmatch(rf"raised in task divides at 5 ns, at thread \(.*{HERE}\)", note)

    machine = Machine()
    log: list[int] = []

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> None:
        await machine.work(50)
        log.append(machine.now)

    machine.spawn(fails(), cpu=0)
    machine.spawn(works(), cpu=0)
    with pytest.raises(ValueError, match="no"):
        machine.simulate()
    machine.simulate()
    assert log == [50 + NEAR.switch]


ENDLESS = rf"no end after 30,000 steps, at \d+ ns: thread/?1? still runs, at \S+ \(.*{HERE}\)"


def endless(body: Callable[[Machine], Any], **options: Any) -> Wrong:
    """A thread that does the same for ever."""

    def wrong() -> None:
        machine = Machine(cpus=2, step_limit=30_000, **options)

        async def thread() -> None:
            step = body(machine)
            while True:
                await step()

        machine.spawn(thread(), cpu=0)
        machine.simulate()

    return wrong


LOOPS: dict[str, Callable[[Machine], Any]] = {
    "work": lambda machine: lambda: machine.work(10),
    "work of no length": lambda machine: lambda: machine.work(0),
    "a look at an atomic": lambda machine: machine.atomic("x").load,
    "a lock": lambda machine: partial(hold, machine.spinlock("lock")),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_without_an_end_is_stopped_and_named(loop: str) -> None:
    with pytest.raises(KernelBug, match=ENDLESS):
        endless(LOOPS[loop])()


@pytest.mark.parametrize("loop", LOOPS)
def test_so_is_one_that_runs_alone(loop: str) -> None:
    machine = Machine(cpus=2, step_limit=30_000)

    async def thread() -> None:
        step = LOOPS[loop](machine)
        while True:
            await step()

    with pytest.raises(KernelBug, match=ENDLESS):
        machine.run(thread())


async def computes() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    "ways",
    [
        lambda: Machine().run(computes(), name="thread"),
        scene_of(int, computes),
    ],
    ids=["run", "explore"],
)
def test_a_step_without_an_end_is_stopped_and_named(ways: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.05)
    with pytest.raises((KernelBug, NotAStep), match=rf"thread computes for ever, at computes \(.*{HERE}\)"):
        ways()


def test_a_thread_that_runs_alone_and_waits_now_and_then_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone it goes on without the loop of the engine, and yet each `work` is a step."""
    monkeypatch.setattr(patience, "SECONDS", 0.05)
    machine, until = Machine(checkers=(), record=False), process_time() + 2.5  # it looks once a second

    async def goes_on() -> None:
        while process_time() < until:
            await machine.work(1)

    machine.run(goes_on())


def test_ten_million_steps_are_the_limit_unless_somebody_says_otherwise() -> None:
    assert Machine().sched.limit == 10_000_000


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "a lock"])
def test_time_goes_on_beside_a_loop_that_only_looks(loop: str) -> None:
    """Also for `simulate(until=...)`: what is due comes, and the run ends."""
    machine = Machine(cpus=2, costs=IDEAL, record=False)
    log: list[str] = []

    async def looks() -> None:
        step = LOOPS[loop](machine)
        while True:
            await step()

    async def works() -> None:
        await machine.work(20)
        log.append("worked")

    machine.spawn(looks(), cpu=0)
    machine.spawn(works(), cpu=1)
    machine.simulate(until=30)
    assert (log, machine.now) == (["worked"], 30)


def test_a_loop_around_a_trylock_gets_the_lock_in_the_end() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock = machine.spinlock("lock")

    async def owner() -> None:
        async with lock:
            await machine.work(50)

    async def tries() -> None:
        await machine.work(1)
        while not await lock.trylock():
            pass
        await lock.release()

    machine.spawn(owner(), cpu=0)
    machine.spawn(tries(), cpu=1)
    machine.simulate()
    assert machine.now in (50, 51)
    assert not machine.findings


def test_a_hundred_thousand_threads_are_no_trouble() -> None:
    machine = Machine(cpus=4, record=False)
    done: list[int] = []

    async def one(number: int) -> None:
        await machine.work(1)
        done.append(number)

    for number in range(100_000):
        machine.spawn(one(number))
    machine.simulate()
    assert len(done) == 100_000
    assert not machine.findings


# -- sizes and types -----------------------------------------------------------------


@raises(ValueError, r"a machine has 1 to 1024 CPUs, not -1")
def cpus_below_none() -> None:
    Machine(cpus=-1)


@raises(ValueError, r"a machine has 1 to 1024 CPUs, not '4'")
def cpus_as_text() -> None:
    Machine(cpus="4")  # type: ignore[arg-type]


@raises(ValueError, r"2 CPUs cannot be spread over 3 sockets")
def more_sockets_than_cpus() -> None:
    Machine(cpus=2, sockets=3)


@raises(ValueError, r"a machine has a page frame or more on each socket, not -5 in all")
def pages_below_none() -> None:
    Machine(pages=-5)


@raises(TypeError, r"costs= takes Costs, for instance NEAR\.but\(lock=20\), not 'near'")
def costs_as_text() -> None:
    Machine(costs="near")  # type: ignore[arg-type]


@raises(ValueError, r"no checker kassan; there are lockdep")
def a_checker_that_there_is_not() -> None:
    Machine(checkers=("kassan",))


@raises(ValueError, r"no CPU 3; this machine has 2, numbered from 0")
def a_thread_on_no_cpu() -> None:
    Machine(2).spawn(hold(None), cpu=3)


@raises(ValueError, r"no CPU '0'; this machine has 2, numbered from 0")
def a_cpu_as_text() -> None:
    Machine(2).spawn(hold(None), cpu="0")  # type: ignore[arg-type]


@raises(ValueError, r"no CPU 9; this machine has 1")
def an_interrupt_line_to_no_cpu() -> None:
    Machine().irq.line("nic", helper, cpu=9)


def works(ns: Any, costs: Any = NEAR) -> Wrong:
    def wrong() -> None:
        machine = Machine(costs=costs)

        async def thread() -> None:
            await machine.work(ns)

        machine.spawn(thread(), cpu=0)
        machine.simulate()

    return wrong


LENGTHS: dict[str, tuple[Any, type[BaseException], str]] = {
    "negative": (-5, ValueError, rf"work takes 0 ns or more, not -5, at thread \(.*{HERE}\)"),
    "a fraction": (2.5, TypeError, rf"work takes a whole number of ns, not 2\.5, at thread \(.*{HERE}\)"),
    "no number": (float("nan"), TypeError, r"work takes a whole number of ns, not nan"),
    "text": ("5 ns", TypeError, r"work takes a whole number of ns, not 5 ns"),
    "nothing": (None, TypeError, r"work takes a whole number of ns, not None"),
    "a list": ([1] * 100, TypeError, r"work takes a whole number of ns, not \[1, 1.{60,80}, at"),
}


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_of_time_is_a_whole_number(length: str) -> None:
    ns, error, sentence = LENGTHS[length]
    with pytest.raises(error, match=sentence):
        works(ns)()
    machine = Machine()

    async def alone() -> None:
        await machine.work(ns)

    with pytest.raises(error, match=sentence.replace("thread", "alone")):
        machine.run(alone())
    assert machine.now == 0


@raises(ValueError, r"timer takes 0 ns or more, not -5")
def a_timer_in_the_past() -> None:
    Machine().irq.timer("timer", helper).mod(-5)


@raises(ValueError, r"fire takes 0 ns or more, not -1")
def an_interrupt_in_the_past() -> None:
    Machine().irq.line("nic", helper).fire(-1)


@raises(ValueError, r"until= takes 0 ns or more, not -1")
def a_run_into_the_past() -> None:
    Machine().simulate(until=-1)


@raises(TypeError, r"until= takes a whole number of ns, not nan")
def a_run_until_no_number() -> None:
    Machine().simulate(until=float("nan"))  # type: ignore[arg-type]


@raises(ValueError, rf"an allocation is of 1 page or more, not -2, at .*{HERE}")
def an_allocation_below_nothing() -> None:
    machine = Machine()

    async def thread() -> None:
        await machine.alloc_pages(-2)

    machine.run(thread())


@raises(ValueError, r"a count of 0 or more, not -1")
def a_load_of_less_than_nothing() -> None:
    closed_loop(Machine(), hold, threads=1, count=-1)


@raises(ValueError, r"no spin lock of kind 'mcs'; there are queued, ticket, test-and-set")
def a_spin_lock_of_no_kind() -> None:
    Machine().spinlock("lock", kind="mcs")


@raises(TypeError, r"a spinlock's name is text, not 7")
def a_lock_named_by_a_number() -> None:
    Machine().spinlock(7)  # type: ignore[arg-type]


@raises(RuntimeError, r"thread: preempt_enable without preempt_disable")
def preemption_on_that_was_not_off() -> None:
    machine = Machine()

    async def thread() -> None:
        await machine.irq.preempt_enable()

    machine.run(thread(), name="thread")


@pytest.mark.parametrize(("wrong", "error", "sentence"), RAISED, ids=[row[0].__name__ for row in RAISED])
def test_it_raises_one_sentence(wrong: Wrong, error: type[BaseException], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        wrong()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400


# -- what a kernel reports and goes on --------------------------------------------------


def run(body: Callable[[Machine, Any], Any], **options: Any) -> Machine:
    machine = Machine(costs=IDEAL, **options)
    machine.spawn(body(machine, machine.spinlock("lock")), cpu=0, name="thread")
    machine.simulate()
    return machine


@finds("note: exited with irqs disabled", r"thread has ended; hard interrupts were switched off here")
def interrupts_left_off() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        machine.irq.local_irq_save()

    return run(body)


@finds("note: exited with preempt_count", r"thread has ended; preemption was switched off here")
def preemption_left_off() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        machine.irq.preempt_disable()

    return run(body)


@finds("note: exited with preempt_count", r"softirqs were switched off here")
def softirqs_left_off() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        machine.irq.local_bh_disable()

    return run(body)


@finds("note: exited with preempt_count", r"preemption was switched off here")
def a_seqcount_left_odd() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        await machine.make(SeqCount, "seq").write_begin()

    return run(body)


@finds("WARNING: still has locks held!", r"thread has ended")
def a_lock_left_taken() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        await lock.acquire()

    return run(body)


@finds("bad unlock balance detected!", r"thread releases lock, which nobody holds")
def a_lock_given_up_twice() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        await lock.acquire()
        await lock.release()
        await lock.release()

    return run(body)


@finds("INFO: task blocked for more than 120 seconds", r"thread waits for done")
def a_completion_that_nobody_completes() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        await machine.make(Completion, "done").wait()

    return run(body)


@finds("BUG: sleeping function called from invalid context", r"in_atomic\(\): 1")
def a_mutex_under_a_spin_lock() -> Machine:
    async def body(machine: Machine, lock: Any) -> None:
        async with lock, machine.mutex("mutex"):
            pass

    return run(body)


@pytest.mark.parametrize(("wrong", "kind", "sentence"), FOUND, ids=[row[0].__name__ for row in FOUND])
def test_it_is_found_and_the_run_goes_on(wrong: Callable[[], Machine], kind: str, sentence: str) -> None:
    (found, *_) = [finding for finding in wrong().findings if finding.kind == kind]
    assert re.search(sentence, found.text)
    if found.sites:
        assert found.sites[0].file.endswith("test_misuse.py")


# -- what is printed of it -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spinlock", "raw_spinlock", "mutex", "rwlock", "rwsem"])
@pytest.mark.parametrize("writes", [True, False])
def test_a_contended_lock_prints_who_has_it_and_who_waits(kind: str, writes: bool) -> None:
    machine = Machine(cpus=3, costs=IDEAL)
    lock = getattr(machine, kind)("lock")
    shown: list[str] = []

    def side(alone: bool) -> Any:
        return lock if not kind.startswith("rw") else lock.write() if alone else lock.read()

    async def owner() -> None:
        async with side(writes):
            await machine.work(100)
            shown.append(repr(lock))

    async def waiter() -> None:
        await machine.work(10)
        async with side(True):
            pass

    machine.spawn(owner(), cpu=0, name="owner")
    for cpu in (1, 2):
        machine.spawn(waiter(), cpu=cpu, name=f"waiter{cpu}")
    machine.simulate()
    assert shown == [f"<{kind} lock: held by owner, 2 waiting: waiter1, waiter2>"]
    assert repr(lock) == f"<{kind} lock: free>"


@pytest.mark.parametrize("kind", ["rwlock", "rwsem"])
@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True)])
def test_a_deadlock_on_shared_locks_says_who_waits_for_whom(kind: str, sides: tuple[bool, bool]) -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    a, b = (getattr(machine, kind)(name) for name in "ab")

    async def both(first: Any, second: Any) -> None:
        async with first.write() if sides[0] else first.read():
            await machine.work(10)
            async with second.write() if sides[0] or sides[1] else second.read():
                pass

    machine.spawn(both(a, b), cpu=0, name="one")
    machine.spawn(both(b, a), cpu=1, name="two")
    machine.simulate()
    texts = [
        finding.text for finding in machine.findings if "blocked" in finding.kind or "lockup" in finding.kind
    ]
    assert any("one waits for b held by two, two waits for a held by one" in text for text in texts)


def test_a_thread_that_is_put_away_gives_up_nothing_and_says_nothing() -> None:
    """Python closes the coroutine of a thread that never goes on, some time; that is no event of the run."""
    machine = Machine(cpus=2, costs=IDEAL)
    locks = [
        machine.spinlock("spin"),
        machine.mutex("mutex"),
        machine.rwsem("sem").read(),
        machine.rcu.read(),
    ]
    never = machine.make(Completion, "never")

    async def thread() -> None:
        async with locks[1], locks[2], locks[0].irqsave(), locks[3]:
            await never.wait()

    machine.spawn(thread(), cpu=0)
    machine.simulate()
    before = list(machine.findings)
    for context in machine.sched.contexts:
        context.coro = context.send = None  # type: ignore[assignment]
    gc.collect()
    assert list(machine.findings) == before


def test_names_are_text_in_what_is_printed_and_recorded() -> None:
    name = "<img src=x onerror=alert(1)>&\"'"
    machine = Machine(cpus=1, costs=IDEAL)
    lock = machine.spinlock(name)

    async def thread() -> None:
        async with lock:
            await machine.work(5)

    machine.spawn(thread(), cpu=0, name=name)
    trace = machine.simulate()
    assert name in trace.objects
    assert name in repr(lock)
    events = trace.perfetto()["traceEvents"]
    assert {event["name"] for event in events if event.get("cat") == "holding"} == {name}
