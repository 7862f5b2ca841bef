"""Waiting and counting without a lock: completions, wait queues, sequence counters, atomics,
reference and per-CPU counters.

Mirrors include/linux/completion.h, wait.h, seqlock.h, atomic.h, refcount.h, percpu_counter.h. Guards:
each object's fields are its own; they change only in one step of a primitive.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.record.sites import Spot, here


@dataclass(slots=True, eq=False, repr=False)
class WaitQueue:
    """`wait_queue_head_t`: threads sleep in `wait_event(condition)`; `wake_up` has them look again."""

    machine: Host
    name: str
    queue: list[Context] = field(default_factory=list)
    vc: dict[int, int] | None = None

    @coroutine
    def wait_event(self, condition: Callable[[], bool]) -> Wait:
        """Return when `condition()` is true; it is looked at first, and after each `wake_up`. Sleeps."""
        machine = self.machine
        machine.sched.mine(self)
        machine.check.might_sleep(here())
        # nobody gets in between the look and the queue: no wake-up is lost
        while not condition():
            self.queue.append(machine.sched.current)
            yield from machine.sched.sleep_on(self)
        machine.check.order.observe(machine.sched.current, self)

    def wake_up(self) -> Any:
        """Wake every waiter. Await it at once."""
        return self._wake(len(self.queue))

    def _wake(self, how_many: int) -> Any:
        machine = self.machine
        machine.sched.mine(self)
        machine.check.order.publish(machine.sched.current, self)
        for context in self.queue[:how_many]:
            machine.sched.wake(context)
        self.queue = self.queue[how_many:]
        return DONE

    def __repr__(self) -> str:
        return f"<wait queue {self.name}: {len(self.queue)} waiting>"


@dataclass(slots=True, eq=False, repr=False)
class Completion(WaitQueue):
    """`struct completion`: threads sleep in `wait` until somebody says `complete` (once
    for each) or `complete_all`.
    """

    count: int = 0
    all: bool = False

    @coroutine
    def wait(self) -> Wait:
        """`wait_for_completion`. Sleeps."""
        yield from self.wait_event(lambda: self.all or self.count > 0)
        if not self.all:
            self.count -= 1

    def complete(self) -> Any:
        """Let one waiter go on (now or later). Allowed anywhere. Await it at once."""
        self.count += 1
        return self._wake(1)

    def complete_all(self) -> Any:
        """Let every waiter go on, now and later. Await it at once."""
        self.all = True
        return self._wake(len(self.queue))

    def __repr__(self) -> str:
        done = "all" if self.all else self.count
        return f"<completion {self.name}: {done} done, {len(self.queue)} waiting>"


class SeqCount:
    """`seqcount_t`: a writer (serialised by a lock of its own) makes the count odd and
    even again; readers retry.
    """

    def __init__(self, machine: Host, name: str) -> None:
        self.machine = machine
        self.name = name
        self.word = machine.make(Atomic, name)

    @coroutine
    def write_begin(self) -> Wait:
        """The count becomes odd; preemption is off until `write_end`."""
        self.machine.irq.preempt_disable(here())
        yield from self.word.add_return(1)

    @coroutine
    def write_end(self) -> Wait:
        """The count becomes even again."""
        yield from self.word.add_return(1)
        yield from self.machine.irq.preempt_enable()

    @coroutine
    def read_begin(self) -> Generator[int | None, None, int]:
        """Wait until no writer is at it; returns the count to give to `read_retry`."""
        while True:
            count = yield from self.word.load()
            if not count & 1:
                return count
            yield from self.word.relax_while(count)

    @coroutine
    def read_retry(self, count: int) -> Generator[int | None, None, bool]:
        """True if a writer came in between: what was read is not to be used."""
        return (yield from self.word.load()) != count


@dataclass(slots=True, eq=False, repr=False)
class Atomic:
    """`atomic_t`, `atomic_long_t`: one number with atomic steps, on a cache line of its own."""

    machine: Host
    name: str
    value: int = 0
    lines: dict[int, int] = field(default_factory=dict)  # its cache line: a bit mask of the CPUs that have it
    watchers: list[Context] = field(default_factory=list)
    vc: dict[int, int] | None = None

    @coroutine
    def _pay(self, write: bool) -> Wait:
        sched = self.machine.sched
        if cost := sched.line(self, 0, write, self.machine.costs.atomic if write else 0) or sched.beat():
            yield cost

    @coroutine
    def load(self) -> Generator[int | None, None, int]:
        """Read it (READ_ONCE)."""
        yield from self._pay(False)
        return self.value

    @coroutine
    def store(self, value: int) -> Wait:
        """Write it (WRITE_ONCE)."""
        yield from self._pay(True)
        self._set(value)

    @coroutine
    def modify(self, change: Callable[[int], int]) -> Generator[int | None, None, tuple[int, int]]:
        """Any read-modify-write in one step; returns (before, after). Fully ordered."""
        yield from self._pay(True)
        before = self.value
        self._set(change(before))
        self.machine.check.order.full_barrier(self.machine.sched.current, self)
        return before, self.value

    def _set(self, value: int) -> None:
        self.value = value
        watchers, self.watchers = self.watchers, []
        for context in watchers:
            self.machine.sched.at(context, self.machine.costs.line_near)

    @coroutine
    def add_return(self, n: int) -> Generator[int | None, None, int]:
        """Add and return the new value."""
        return (yield from self.modify(lambda value: value + n))[1]

    @coroutine
    def xchg(self, value: int) -> Generator[int | None, None, int]:
        """Write and return the old value."""
        return (yield from self.modify(lambda _: value))[0]

    @coroutine
    def cmpxchg(self, old: int, new: int) -> Generator[int | None, None, int]:
        """Write `new` if it is `old`; returns what it was before."""
        return (yield from self.modify(lambda value: new if value == old else value))[0]

    @coroutine
    def relax_while(self, seen: int) -> Wait:
        """`cpu_relax` in a loop while the value is `seen`; the CPU stays busy."""
        while self.value == seen:
            self.machine.sched.line(self, 0, False, 0)
            self.watchers.append(self.machine.sched.current)
            yield from self.machine.sched.busy_wait(self.name)

    def __repr__(self) -> str:
        return f"<atomic {self.name} = {self.value}>"


class RefCount:
    """`refcount_t`/`kref`: counts users; what happens at zero is the caller's
    `release`. Misuse is reported.
    """

    def __init__(self, machine: Host, name: str, value: int = 1) -> None:
        self.machine = machine
        self.name = name
        self.initial = value
        self.count = machine.make(Atomic, name, value)
        self.last_get: Spot | None = None  # for the leak report
        machine.check.counts.add(self)

    @coroutine
    def get(self) -> Wait:
        """Take one more reference; on a count of zero that is "refcount_t:
        addition on 0; use-after-free".
        """
        self.last_get = here()
        before, _ = yield from self.count.modify(lambda value: value + 1)
        if before <= 0:
            self.machine.check.report(
                "refcount_t: addition on 0; use-after-free", self.name, (self.last_get,)
            )

    @coroutine
    def put(self) -> Generator[int | None, None, bool]:
        """Give one back; True if it was the last."""
        before, after = yield from self.count.modify(lambda value: value - 1)
        if before <= 0:
            self.machine.check.report("refcount_t: underflow; use-after-free", self.name, (here(),))
        return after == 0

    @property
    def value(self) -> int:
        """The count now: for observers."""
        return self.count.value

    def __repr__(self) -> str:
        return f"<refcount {self.name} = {self.value}>"


class PerCpuCounter:
    """`percpu_counter`: each CPU adds to its own slot and folds it into the shared count every
    `batch`; reads are approximate.
    """

    def __init__(self, machine: Host, name: str, batch: int = 32) -> None:
        self.machine = machine
        self.name = name
        self.batch = batch
        self.shared = machine.make(Atomic, name)
        self.local = [0] * len(machine.sched.cpus)

    @coroutine
    def add(self, n: int) -> Wait:
        """Add on this CPU."""
        self.machine.irq.preempt_disable(here())
        cpu = self.machine.sched.current.cpu_id
        self.local[cpu] += n
        if abs(self.local[cpu]) >= self.batch:
            amount, self.local[cpu] = self.local[cpu], 0
            yield from self.shared.add_return(amount)
        yield from self.machine.irq.preempt_enable()

    def read(self) -> int:
        """The shared count: off by less than `batch` for each CPU."""
        return self.shared.value

    def sum(self) -> int:
        """The exact count, if nobody adds meanwhile."""
        return self.shared.value + sum(self.local)
