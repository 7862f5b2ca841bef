"""Locks that readers share: the reader-writer spin lock (`rwlock_t`) and the
reader-writer semaphore (`rw_semaphore`).

The spin lock's queue is first come, first served: a reader that arrives behind a waiting writer waits too,
and when the lock becomes free the head of the queue gets it, readers in one batch. One exception, as in
Linux's queued rwlock: a reader in an interrupt handler goes straight in while readers have the lock, because
it may have interrupted one of them. The semaphore lets a thread that runs take the lock before one that
sleeps.

`async with lock.read():`, `async with lock.write():`, and for the spinning kind `.read().irqsave()`,
`.write().irqsave()` and so on.

Mirrors kernel/locking/qrwlock.c and kernel/locking/rwsem.c of v5.14 on (writers' optimistic spinning is not
modelled).
Guards: the fields are the lock's own and change only in its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from sys import _getframe
from types import coroutine
from typing import Any

from vtdkit.kernel.checkers.lockdep.keys import READ, queued_read
from vtdkit.kernel.checkers.races import WordClock
from vtdkit.kernel.checkers.watchdog import spins_for_ever
from vtdkit.kernel.machine.context import TASK, Context
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.record.record import ACQUIRE, RELEASE
from vtdkit.kernel.record.sites import Spot, here

from .base import Blocks, Lock
from .log import LockLog


class Share(Blocks):
    """One side of a shared lock, to read or to write: as a block (`lock.read()`), and as what a context
    holds: where and when it was taken, what was held before it.
    """

    __slots__ = ("below", "flags", "lock", "log", "name", "place", "since", "writer")

    def __init__(self, lock: RwLock, writer: bool, place: Any = None, below: object = None) -> None:
        self.lock = lock
        self.name, self.flags, self.log = lock.name, lock.flags, lock.side(writer)
        self.writer = writer
        self.place = place
        self.below = below
        self.since = lock.sched.now

    def take(self, place: Spot | None = None) -> Awaitable[None]:
        """Take it."""
        return self.lock.acquire(self.writer, place or self.log.spots.at(_getframe(1)))

    def drop(self, *_: object) -> Awaitable[None]:
        """Give it up; a block is left in the same way."""
        return self.lock.release(self.writer)

    __aenter__, __aexit__ = take, drop


class RwLock(Lock):
    """`rwlock_t`: waiters spin, preemption is off while it is held. `owner` is the writer; `readers` has
    a reader for each of its entries.
    """

    __slots__ = ("read_log", "readers", "vc_readers")

    def __init__(self, machine: Host, name: str, *, subclass: int = 0) -> None:
        kind = "rwsem" if self.sleeps else "rwlock"
        super().__init__(machine, name, kind, subclass)
        self.read_log = machine.stat.log_of(name, subclass, kind, read=True)
        self.readers: list[Context] = []
        self.queue: deque[tuple[Context, bool]] = deque()  # who waits, and whether to write
        self.vc_readers = WordClock()  # what the readers so far have published

    @property
    def holders(self) -> list[Context]:
        return [*super().holders, *dict.fromkeys(self.readers)]

    @property
    def waiters(self) -> list[Context]:
        return [context for context, _ in self.queue]

    def side(self, writer: bool) -> LockLog:
        """The log of the writers or of the readers."""
        return self.log if writer else self.read_log

    def read(self) -> Share:
        """Share the lock for the length of a block."""
        return Share(self, False)

    def write(self) -> Share:
        """Have the lock alone for the length of a block."""
        return Share(self, True)

    @coroutine
    def acquire(self, writer: bool, place: Spot | None = None) -> Wait:
        """Take it, shared or alone."""
        sched = self.sched
        context = sched.current
        place = place or self.side(writer).spots.at(_getframe(1))
        if self.sleeps:
            self.check.might_sleep(place)
            shared = READ
        else:
            context.preempt += 1
            shared = queued_read(context.kind != TASK, context.irqstate)
        self.comes(context, self.key if writer else self.key | shared, place)
        if self._may_enter(context, writer):
            cost = self.fetch_cost(context.cpu_id)
            self._enter(context, writer)
            self.place = place
            if cost and not (sched.alone and sched.skip(cost)):
                yield cost
        else:
            began, holder, bounced = self.waits(context, place, not writer)
            self.queue.append((context, writer))
            yield from self._wait(context, writer, place)
            self.side(writer).waited(sched.now - began, place, holder, bounced)
        if context.cpu_id != self.last_cpu:
            self.side(writer).acq_bounces += 1
            self.last_cpu = context.cpu_id
        context.innermost = Share(self, writer, place, context.innermost)
        self.place = place
        self.note(context, ACQUIRE, self.id, place, int(not writer))
        self.order.acquire(context, self)
        if writer:  # comes after the readers too; a reader only after the writers
            self.order.observe(context, self.vc_readers)

    @coroutine
    def release(self, writer: bool) -> Wait:
        """Give it up."""
        context = self.sched.current
        if (self.owner is not context) if writer else (context not in self.readers):
            self.check.locking.bad_unlock(context, self, here())
            return
        share = next(hold for hold in reversed(context.held) if hold.lock is self)  # the one taken last
        self.let_go(context, share, None)
        share.place.holds.append(self.sched.now - share.since)
        self.note(context, RELEASE, self.id, None, int(not writer))
        if writer:
            self.order.release(context, self)
            self.owner = None
        else:
            self.order.publish(context, self.vc_readers)
            self.readers.remove(context)
        if cost := self._grant():
            yield cost
        if not self.sleeps and self.flags.preempt_on(context):
            yield from self.sched.opened()

    @coroutine
    def _wait(self, context: Context, writer: bool, place: Spot) -> Wait:
        """Spin until the queue's order lets us in."""
        if any(other.cpu is context.cpu for other in self.holders):
            spins_for_ever(self.machine, context, self, place)
        context.waiting = self
        yield None
        context.waiting = None

    def _may_enter(self, context: Context, writer: bool) -> bool:
        if self.owner is not None or (writer and self.readers):
            return False
        # in an interrupt a reader overtakes waiting writers: it may sit on top of a reader
        return not self.queue or (not writer and context.kind != TASK)

    def _enter(self, context: Context, writer: bool) -> None:
        if writer:
            self.owner = context
        else:
            self.readers.append(context)

    def _grant(self) -> int:
        """Let in whom the queue's order allows now; how long that takes the one who does it."""
        costs = [0]
        while self.queue and self.owner is None and not (self.queue[0][1] and self.readers):
            context, writer = self.queue.popleft()
            self._enter(context, writer)
            costs.append(self.line_cost(context))
            self.sched.at(context, costs[-1])
        return max(costs)


class RwSemaphore(RwLock):
    """`struct rw_semaphore`: waiters sleep. `down_read`, `down_write` and their ups
    are `read()` and `write()`.

    A sleeping writer is woken when the lock becomes free, and competes for it; a thread that runs may be
    faster ("lock stealing"). One that has waited for 4 ms and loses once more has the next turn kept for
    it. Sleeping readers are all let in together when one of them is first in the queue.
    """

    __slots__ = ("handoff", "woken")
    sleeps = True
    TIMEOUT = 4_000_000  # RWSEM_WAIT_TIMEOUT, in ns

    def __init__(self, machine: Host, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, subclass=subclass)
        self.handoff: Context | None = None  # the writer whose turn is next
        self.woken: Context | None = None  # the writer that is on its way

    def _may_enter(self, context: Context, writer: bool) -> bool:
        if self.owner is not None or self.handoff not in (None, context):
            return False
        return not self.readers or not (writer or self.queue)

    @coroutine
    def _wait(self, context: Context, writer: bool, place: Spot) -> Wait:
        began = self.sched.now
        while (context, writer) in self.queue:  # readers are let in, and taken off it, by `_grant`
            yield from self.sched.sleep_on(self)
            if not writer:
                continue
            self.woken = None
            if self._may_enter(context, True):
                self.queue.remove((context, True))
                self._enter(context, True)
                self.handoff = None
            elif self.sched.now - began >= self.TIMEOUT and self.queue[0][0] is context:
                self.handoff = context

    def _grant(self) -> int:
        if self.owner is not None or self.readers or not self.queue:
            return 0
        context, writer = self.queue[0]
        if not writer:
            sleepers = [reader for reader, writes in self.queue if not writes]
            self.queue = deque(entry for entry in self.queue if entry[1])
            for reader in sleepers:
                self._enter(reader, False)
                self.sched.wake(reader)
        elif self.woken is None:
            self.woken = context
            self.sched.wake(context)
        return 0
