"""Spin locks: the queued lock of today's Linux, and the two it replaced, each with the hand-over
cost of its kind.

A waiter keeps its CPU and spins. What differs is who is next and what passing the lock on costs. That is
charged when the holder releases, from the number waiting then, and the releasing CPU is busy with it as
long as the next owner waits for it: so the published model counts (Boyd-Wickizer et al., OLS 2012:
hand-over is part of the service), and `tests/benchmarks/validate.py` meets it.

- `SpinLock` (qspinlock: the first waiter watches the lock word, later ones queue, each on a line of
  its own): one line transfer however many wait. First come, first served.
- `TicketLock`: all waiters re-read one line; the next owner's answer comes half way through: `line
  * waiting / 2`.
- `TestAndSetLock`: all waiters fight for the line, anybody may win (drawn from the machine's seed).

Use: `async with lock:`, `async with lock.irqsave():` (also `.irq()`, `.bh()`), or `await
lock.acquire()` and `await lock.release()` where the kernel's code is not a block. Taking a lock
disables preemption; irqsave also interrupts.

Entering and leaving a block are plain functions, `take` and `drop`. They do what can be done at once and
answer with something to await, mostly with something that is at hand (`DONE`, or `WAIT`), so that no frame
is made for it: measured, twice as fast as a coroutine each. What a waiter has to enter in the books when it
gets the lock (`settle`), whoever gives the lock up enters for it where the hand-over takes no time
(`direct`): both happen at one instant then. Only a waiter that stands still at that moment, with an
interrupt on top of it, does it itself when it goes on (`Context.unsettled`).

Guards: `owner` and `queue` belong to the lock itself: they change only in its steps. Mirrors
include/linux/spinlock.h, kernel/locking/qspinlock.c.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from sys import _getframe
from types import TracebackType, coroutine

from vtdkit.kernel.checkers.watchdog import spins_for_ever
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.engine import DONE, WAIT
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.record.record import ACQUIRE, RELEASE, SPIN
from vtdkit.kernel.record.sites import Spot

from .base import Blocks, OwnedLock


class SpinLock(Blocks, OwnedLock):
    """Linux's spin lock. `raw=True` is a raw_spinlock_t: the same here, but it may be taken
    under another raw one.
    """

    __slots__ = ("direct", "spots")
    fair = True  #: first come, first served

    def __init__(self, machine: Host, name: str, *, raw: bool = False, subclass: int = 0) -> None:
        super().__init__(machine, name, "raw_spinlock" if raw else "spinlock", subclass)
        self.queue: deque[Context] = deque()
        self.spots = self.log.spots.first
        self.direct = self.handover == 0 and self.fair  # pass it on at once, to the first in the queue

    # -- taking it -----------------------------------------------------------

    def take(self, place: Spot | None = None) -> Awaitable[None]:
        """`spin_lock`, as far as it goes at once; await the answer at once."""
        sched = self.sched
        context = sched.current
        if place is None:
            frame = _getframe(1)
            place = self.spots.get(frame.f_lasti)
            if place is None or place.code is not frame.f_code:
                place = self.log.spots.at(frame)
                self.spots.setdefault(frame.f_lasti, place)
        context.preempt += 1  # before it waits: a thread that loses its CPU here would keep others waiting
        if self.key >= 0:
            # the validator is told before it waits: it finds a circle of locks also where nobody is stuck
            try:
                context.chain = context.chain.next[context.irqstate][self.key]
            except KeyError:  # a chain of locks never seen before
                context.chain = self.check.locking.chain_of(context, self.key, place)
        owner, cpu = self.owner, context.cpu_id
        if cpu < 0:
            self.no_cpu()
        if owner is not None:
            if owner.cpu_id == cpu:
                spins_for_ever(self.machine, context, self, place)
            context.waiting = self
            context.since, context.spot = sched.now, place
            context.blocker, context.bounced = self.place, cpu != self.last_cpu
            if self.recording:
                self.emit((sched.now, cpu, context.id, SPIN, self.id, place, 0))
            self.queue.append(context)
            return WAIT if self.direct else self._waited(context)
        self.owner, self.place = context, place
        cost = self.cost_own
        if cpu != self.last_cpu:
            cost = self.fetch_cost(cpu)
            self.last_cpu = cpu
            self.log.acq_bounces += 1
        if cost and not (sched.alone and sched.skip(cost)):
            return self._fetched(cost, context)
        self.taken(context)
        return DONE

    __aenter__ = take

    @coroutine
    def _fetched(self, cost: int, context: Context) -> Wait:
        """The end of an acquisition that did not wait, but has to fetch the line."""
        yield cost
        self.taken(context)

    @coroutine
    def _waited(self, context: Context) -> Wait:
        """The end of one that waited, where the hand-over takes time."""
        yield None
        self.settle(context)

    def settle(self, heir: Context) -> None:
        """`heir`, who waited, has the lock from this instant on."""
        heir.waiting = None
        self.log.waited(self.sched.now - heir.since, heir.spot, heir.blocker, heir.bounced)
        self.granted(heir, heir.spot)
        self.taken(heir)

    # -- giving it back ------------------------------------------------------

    def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        tb: TracebackType | None = None,
        place: Spot | None = None,
    ) -> Awaitable[None]:
        """`drop`: a block is left in the same way, whatever ends it."""
        sched = self.sched
        context = sched.current
        if context.innermost is self:
            context.innermost = self.below
            if self.key >= 0:
                context.chain = context.chain.parent  # type: ignore[assignment]
        elif not self.release_out_of_order(context, place):
            return DONE
        now = sched.now
        self.place.holds.append(now - self.since)  # type: ignore[union-attr]
        if self.recording:
            self.emit((now, context.cpu_id, context.id, RELEASE, self.id, None, 0))
        if self.order.on:
            self.order.release(context, self)
        if not self.queue:
            self.owner = None
        elif self.direct:
            self.owner = heir = self.queue.popleft()
            if heir.suspended:
                heir.unsettled = self
            else:  # `settle`, written out: under contention it comes with every release
                heir.waiting = None
                self.place, self.since = heir.spot, now
                if now > heir.since:
                    heir.spot.waits.append(now - heir.since)
                    heir.blocker.blocked += 1
                    self.log.con_bounces += heir.bounced
                if heir.cpu_id != self.last_cpu:
                    self.last_cpu = heir.cpu_id
                    self.log.acq_bounces += 1
                self.below = heir.innermost
                heir.innermost = self
                if self.recording:
                    self.emit((now, heir.cpu_id, heir.id, ACQUIRE, self.id, heir.spot, 0))
                if self.vc is not None and self.known_to is not heir.vc:
                    self.order.acquire(heir, self)
            sched.ready.append(heir)
        else:
            self.owner, cost = self.next_owner()
            sched.at(self.owner, cost)
            if cost:
                return self._handed_over(cost, context)
        context.preempt -= 1  # `preempt_on`, written out: it comes with every lock
        pending = not context.preempt and context.cpu.pending  # type: ignore[union-attr]
        return sched.opened() if pending else DONE

    def drop(self, place: Spot | None = None) -> Awaitable[None]:
        """`spin_unlock`, as far as it goes at once: the next waiter, if any, owns the lock after the
        hand-over. Await the answer at once.
        """
        return self.__aexit__(place=place)

    @coroutine
    def _handed_over(self, cost: int, context: Context) -> Wait:
        """The end of a release that takes time."""
        yield cost
        if self.flags.preempt_on(context):
            yield from self.sched.opened()

    def next_owner(self) -> tuple[Context, int]:
        """Who has it next, taken out of the queue, and how long passing it on takes."""
        heir = self.queue.popleft()
        return heir, self.line_cost(heir)

    # -- the ways to use it --------------------------------------------------

    @coroutine
    def acquire(self) -> Wait:
        """`spin_lock`: returns when this context owns the lock."""
        yield from self.take(self.log.spots.at(_getframe(1)))  # type: ignore[misc]  # an iterator of ours

    @coroutine
    def release(self) -> Wait:
        """`spin_unlock`."""
        yield from self.drop()  # type: ignore[misc]


class TicketLock(SpinLock):
    """The ticket lock Linux used from 2008 to 2015: fair, but every waiter re-reads one
    line at each hand-over.
    """

    __slots__ = ()

    def next_owner(self) -> tuple[Context, int]:
        waiting, heir = len(self.queue), self.queue.popleft()
        return heir, self.line_cost(heir) * waiting // 2


class TestAndSetLock(SpinLock):
    """The oldest lock: one word, everybody tries to set it. Unfair, and the release has to fight
    for the line too.
    """

    __slots__ = ()
    fair = False
    __test__ = False  # not a test, whatever pytest thinks of the name

    def next_owner(self) -> tuple[Context, int]:
        waiting = len(self.queue)
        heir = self.queue[self.machine.random.randrange(waiting)]
        self.queue.remove(heir)
        return heir, self.line_cost(heir) * waiting
