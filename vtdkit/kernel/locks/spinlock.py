"""Spin locks: the queued lock of today's Linux, and the two it replaced, each with the hand-over
cost of its kind.

A waiter keeps its CPU and spins. What differs is who is next and what passing the lock on costs. That is
charged when the holder releases, from the number waiting then, and the releasing CPU is busy with it as
long as the next owner waits for it: so the published model counts (Boyd-Wickizer et al., OLS 2012:
hand-over is part of the service), and `tests/benchmarks/validate.py` meets it.

- `QueuedSpinLock` (qspinlock: the first waiter watches the lock word, later ones queue, each on a line of
  its own): one line transfer however many wait. First come, first served.
- `TicketLock`: all waiters re-read one line; the next owner's answer comes half way through: `line
  * waiting / 2`.
- `TestAndSetLock`: all waiters fight for the line, anybody may win (drawn from the machine's seed).

Use: `async with lock:`, `async with lock.irqsave():` (also `.irq()`, `.bh()`), or `await
lock.acquire()` and `await lock.release()` where the kernel's code is not a block. Taking a lock
disables preemption; irqsave also interrupts.

Guards: `owner`, `queue`, `saved` belong to the lock itself: they change only in `acquire` and `release`,
one step each. Mirrors include/linux/spinlock.h, kernel/locking/qspinlock.c. `fastlock` has the same
queued lock written for speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Generator
from sys import _getframe
from types import TracebackType, coroutine
from typing import TYPE_CHECKING

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.record.sites import Spot, here

from .base import Lock

if TYPE_CHECKING:
    from vtdkit.kernel.machine.machine import Machine

Wait = Generator[int | None, None, None]


class QueuedSpinLock(Lock):
    """Linux's spin lock. `raw=True` is a raw_spinlock_t: the same here, but it may be taken
    under another raw one.
    """

    __slots__ = ("_bh", "_irq", "_irqsave", "direct", "queue", "saved")
    sleeps = False
    fair = True  #: first come, first served

    def __init__(self, machine: Machine, name: str, *, raw: bool = False, subclass: int = 0) -> None:
        super().__init__(machine, name, "raw_spinlock" if raw else "spinlock", subclass)
        self.queue: deque[Context] = deque()
        self.saved = 0
        self.direct = self.handover == 0 and self.fair  # pass it on at once, to the first in the queue
        self._irqsave = _IrqSave(self)
        self._irq = _Irq(self)
        self._bh = _Bh(self)

    def irqsave(self) -> _IrqSave:
        """`spin_lock_irqsave` … `spin_unlock_irqrestore` as a block: interrupts off, then
        back as they were.
        """
        return self._irqsave

    def irq(self) -> _Irq:
        """`spin_lock_irq` … `spin_unlock_irq` as a block: interrupts off, then on whatever they were."""
        return self._irq

    def bh(self) -> _Bh:
        """`spin_lock_bh` … `spin_unlock_bh` as a block: softirqs off."""
        return self._bh

    @coroutine
    def acquire(self, place: Spot | None = None) -> Wait:
        """`spin_lock`: returns when this context owns the lock."""
        machine = self.machine
        context = machine.current
        if place is None:
            place = self.log.spots.at(_getframe(1))
        if not context.preempt:
            context.preempt_at, context.preempt_site = machine.now, place
        context.preempt += 1
        key = self.key
        if key >= 0:
            node = context.chain.next[context.irqstate].get(key)
            context.chain = node if node is not None else machine.chain_of(context, key, place)
        if self.owner is None:
            cost = self.fetch_cost(context.cpu_id)
            self.granted(context, place)
            if cost and not (machine.alone and machine.skip(cost)):
                yield cost
        else:
            began, holder, bounced = self.waits(context, place)
            if self.owner.cpu is context.cpu:
                machine.spins_for_ever(context, self, place)
            context.waiting = self
            self.queue.append(context)
            yield None
            context.waiting = None
            self.log.waited(machine.now - began, place, holder, bounced)
            self.granted(context, place)
        self.taken(context)

    @coroutine
    def release(self, place: Spot | None = None) -> Wait:
        """`spin_unlock`: the next waiter, if any, owns the lock after the hand-over."""
        machine = self.machine
        context = machine.current
        if context.innermost is self:
            context.innermost = self.below
            if self.key >= 0:
                context.chain = context.chain.parent  # type: ignore[assignment]
        elif not self.release_out_of_order(context, place):
            return
        self.given_up(context)
        if not self.queue:
            self.owner = None
        else:
            cost = self.pass_on()
            if cost:
                yield cost
        if machine.preempt_on(context, place):
            yield from machine.opened()

    def pass_on(self) -> int:
        """The first in the queue owns the lock from now on and goes on after the hand-over;
        how long that takes.
        """
        self.owner = heir = self.queue.popleft()
        cost = self.line_cost(heir)
        if not cost:
            self.granted(heir, heir.spot)
        self.machine.at(heir, cost)
        return cost

    @coroutine
    def trylock(self) -> Generator[int | None, None, bool]:
        """`spin_trylock`: take it if it is free, never wait. True if taken."""
        if self.owner is not None:
            return False
        self.take_unwaited(self.machine.current, self.log.spots.at(_getframe(1)))
        return True
        yield

    def __aenter__(self) -> Awaitable[None]:
        return self.acquire()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> Awaitable[None]:
        return self.release()


class TicketLock(QueuedSpinLock):
    """The ticket lock Linux used from 2008 to 2015: fair, but every waiter re-reads one
    line at each hand-over.
    """

    __slots__ = ()

    def pass_on(self) -> int:
        waiting = len(self.queue)
        self.owner = heir = self.queue.popleft()
        cost = self.line_cost(heir) * waiting // 2
        self.machine.at(heir, cost)
        return cost


class TestAndSetLock(QueuedSpinLock):
    """The oldest lock: one word, everybody tries to set it. Unfair, and the release has to fight
    for the line too.
    """

    __slots__ = ()
    fair = False
    __test__ = False  # not a test, whatever pytest thinks of the name

    def pass_on(self) -> int:
        waiting = len(self.queue)
        index = self.machine.random.randrange(waiting)
        self.owner = heir = self.queue[index]
        del self.queue[index]
        cost = self.line_cost(heir) * waiting
        self.machine.at(heir, cost)
        return cost


class _IrqSave:
    """What `lock.irqsave()` gives: used with `async with`. The saved flags live in the lock, which
    only its owner touches.
    """

    __slots__ = ("lock",)

    def __init__(self, lock: QueuedSpinLock) -> None:
        self.lock = lock

    @coroutine
    def __aenter__(self) -> Wait:
        lock = self.lock
        place = lock.log.spots.at(_getframe(1))
        flags = lock.machine.local_irq_save(place)
        yield from lock.acquire(place)
        lock.saved = flags

    @coroutine
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Wait:
        lock = self.lock
        place = here()
        flags = lock.saved
        yield from lock.release(place)
        yield from lock.machine.local_irq_restore(flags, place)


class _Irq(_IrqSave):
    """What `lock.irq()` gives."""

    __slots__ = ()

    @coroutine
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Wait:
        place = here()
        yield from self.lock.release(place)
        yield from self.lock.machine.local_irq_restore(0, place)


class _Bh:
    """What `lock.bh()` gives."""

    __slots__ = ("lock",)

    def __init__(self, lock: QueuedSpinLock) -> None:
        self.lock = lock

    @coroutine
    def __aenter__(self) -> Wait:
        place = self.lock.log.spots.at(_getframe(1))
        self.lock.machine.local_bh_disable(place)
        yield from self.lock.acquire(place)

    @coroutine
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Wait:
        place = here()
        yield from self.lock.release(place)
        yield from self.lock.machine.local_bh_enable(place)
