"""Locks that readers share: the reader-writer spin lock (`rwlock_t`) and the
reader-writer semaphore (`rw_semaphore`).

Both queue first come, first served: a reader that arrives behind a waiting writer waits too, and when the
lock becomes free the head of the queue gets it, readers in one batch. One exception, as in Linux's queued
rwlock: a reader in an interrupt handler goes straight in while readers have the lock, because it may have
interrupted one of them.

`async with lock.read():`, `async with lock.write():`, and for the spinning kind `.read_irqsave()`,
`.write_irqsave()` and so on.

Mirrors kernel/locking/qrwlock.c and kernel/locking/rwsem.c (writers' optimistic spinning is not modelled).
Guards: the fields are the lock's own and change only in its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from sys import _getframe
from types import TracebackType, coroutine
from typing import TYPE_CHECKING

from vtdkit.kernel.machine.context import TASK, Context
from vtdkit.kernel.record.record import ACQUIRE, RELEASE
from vtdkit.kernel.record.sites import Spot, here

from .base import Lock
from .log import LockLog

if TYPE_CHECKING:
    from .host import Host

Wait = Generator[int | None, None, None]


class Share:
    """What a context holds of a shared lock (as reader or as writer): the lock, where it was taken, what
    was held before it.
    """

    __slots__ = ("below", "lock", "place", "since")

    def __init__(self, lock: _Shared, place: Spot, below: object, since: int) -> None:
        self.lock = lock
        self.place = place
        self.below = below
        self.since = since

    @property
    def name(self) -> str:
        """The lock's name."""
        return self.lock.name

    def __repr__(self) -> str:
        return f"<share of {self.name} taken at {self.place}>"


class _Shared(Lock):
    """What the two kinds have in common. `owner` is the writer; `readers` counts each reader's entries."""

    __slots__ = ("queue", "read_log", "readers", "vc_readers")
    recursive_read = False

    def __init__(self, machine: Host, name: str, kind: str, subclass: int = 0) -> None:
        super().__init__(machine, name, kind, subclass)
        self.read_log = machine.stat.log_of(name, subclass, kind, read=True)
        self.readers: dict[Context, int] = {}
        self.queue: deque[tuple[Context, bool]] = deque()  # who waits, and whether to write
        self.vc_readers: dict[int, int] | None = None

    @property
    def holders(self) -> list[Context]:
        return [*super().holders, *self.readers]

    @property
    def waiters(self) -> list[Context]:
        return [context for context, _ in self.queue]

    def side(self, writer: bool) -> LockLog:
        """The log of the writers or of the readers."""
        return self.log if writer else self.read_log

    def read(self) -> _Side:
        """Share the lock for the length of a block."""
        return _Side(self, False)

    def write(self) -> _Side:
        """Have the lock alone for the length of a block."""
        return _Side(self, True)

    @coroutine
    def acquire(self, writer: bool, place: Spot | None = None) -> Wait:
        """Take it, shared or alone."""
        machine = self.machine
        context = machine.sched.current
        if place is None:
            place = self.side(writer).spots.at(_getframe(1))
        self._before(context, place)
        key = self.key if writer else machine.check.locking.read_key(context, self)
        if key >= 0:
            self.order_check(context, key, place)
        if self._may_enter(context, writer):
            cost = self.fetch_cost(context.cpu_id)
            self._enter(context, writer)
            self.place = place
            if cost and not (machine.sched.alone and machine.sched.skip(cost)):
                yield cost
        else:
            began, holder, bounced = self.waits(context, place, not writer)
            self._before_waiting(context, place)
            self.queue.append((context, writer))
            yield from self._wait(context)
            self.side(writer).waited(machine.sched.now - began, place, holder, bounced)
        self._note_taken(context, writer, place)

    @coroutine
    def release(self, writer: bool) -> Wait:
        """Give it up."""
        machine = self.machine
        context = machine.sched.current
        if (self.owner is not context) if writer else (context not in self.readers):
            machine.check.locking.bad_unlock(context, self, here())
            return
        self._note_given_up(context, writer, self._forget(context))
        if writer:
            self.owner = None
        else:
            self.readers[context] -= 1
            if not self.readers[context]:
                del self.readers[context]
        cost = self._grant()
        if cost:
            yield cost
        yield from self._after(context)

    def _may_enter(self, context: Context, writer: bool) -> bool:
        if self.owner is not None or (writer and self.readers):
            return False
        jumps = not writer and self.recursive_read and context.kind != TASK
        return not self.queue or jumps

    def _enter(self, context: Context, writer: bool) -> None:
        if writer:
            self.owner = context
        else:
            self.readers[context] = self.readers.get(context, 0) + 1

    def _grant(self) -> int:
        """Let in whom the queue's order allows now; how long that takes the one who does it."""
        longest = 0
        while self.queue and self.owner is None:
            context, writer = self.queue[0]
            if writer and self.readers:
                break
            self.queue.popleft()
            self._enter(context, writer)
            longest = max(longest, self._let_go_on(context))
        return longest

    def _forget(self, context: Context) -> Share:
        """Take the share taken last out of what `context` holds."""
        held = context.held
        index = next(i for i in range(len(held) - 1, -1, -1) if held[i].lock is self)
        if self.key >= 0:
            if index == len(held) - 1:
                context.chain = context.chain.parent  # type: ignore[assignment]
            else:
                self.machine.check.locking.chain_without(context, index, None)
        share: Share = held[index]
        context.let_go(share)
        return share

    def _note_taken(self, context: Context, writer: bool, place: Spot) -> None:
        machine = self.machine
        if context.cpu_id != self.last_cpu:
            self.side(writer).acq_bounces += 1
            self.last_cpu = context.cpu_id
        context.innermost = Share(self, place, context.innermost, machine.sched.now)
        self.place = place
        self.emit(context, ACQUIRE, self.id, place, int(not writer))
        machine.check.order.acquire(context, self)
        if writer:
            machine.check.order.observe_clock(context, self.vc_readers)

    def _note_given_up(self, context: Context, writer: bool, share: Share) -> None:
        machine = self.machine
        share.place.holds.append(machine.sched.now - share.since)
        self.emit(context, RELEASE, self.id, None, int(not writer))
        if writer:
            machine.check.order.release(context, self)
        else:
            self.vc_readers = machine.check.order.leave_shared(context, self.vc_readers)

    def _before(self, context: Context, place: Spot) -> None:
        """What the kind requires of its caller."""

    def _before_waiting(self, context: Context, place: Spot) -> None:
        """What the kind looks at when its caller has to wait."""

    @coroutine
    def _after(self, context: Context) -> Wait:
        return
        yield

    @coroutine
    def _wait(self, context: Context) -> Wait:
        context.waiting = self
        yield None
        context.waiting = None

    def _let_go_on(self, context: Context) -> int:
        cost = self.line_cost(context)
        self.machine.sched.at(context, cost)
        return cost


class RwLock(_Shared):
    """`rwlock_t`: waiters spin, preemption is off while it is held."""

    __slots__ = ()
    recursive_read = True

    def __init__(self, machine: Host, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "rwlock", subclass)

    def read_irqsave(self) -> _Side:
        """Share it, interrupts off, then back as they were."""
        return _Side(self, False, "irqsave")

    def write_irqsave(self) -> _Side:
        """Have it alone, interrupts off, then back as they were."""
        return _Side(self, True, "irqsave")

    def read_irq(self) -> _Side:
        """Share it, interrupts off, then on whatever they were."""
        return _Side(self, False, "irq")

    def write_irq(self) -> _Side:
        """Have it alone, interrupts off, then on whatever they were."""
        return _Side(self, True, "irq")

    def read_bh(self) -> _Side:
        """Share it, softirqs off."""
        return _Side(self, False, "bh")

    def write_bh(self) -> _Side:
        """Have it alone, softirqs off."""
        return _Side(self, True, "bh")

    def _before(self, context: Context, place: Spot) -> None:
        self.flags.preempt_off(context, place)

    def _before_waiting(self, context: Context, place: Spot) -> None:
        if any(other.cpu is context.cpu for other in self.holders):
            self.check.watchdog.spins_for_ever(context, self, place)

    @coroutine
    def _after(self, context: Context) -> Wait:
        if self.flags.preempt_on(context, None):
            yield from self.machine.sched.opened()


class RwSemaphore(_Shared):
    """`struct rw_semaphore`: waiters sleep. `down_read`, `down_write` and their ups
    are `read()` and `write()`.
    """

    __slots__ = ()
    sleeps = True

    def __init__(self, machine: Host, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "rwsem", subclass)

    def _before(self, context: Context, place: Spot) -> None:
        self.machine.check.might_sleep(place)

    @coroutine
    def _wait(self, context: Context) -> Wait:
        yield from self.machine.sched.sleep_on(self)

    def _let_go_on(self, context: Context) -> int:
        self.machine.sched.wake(context)
        return 0


class _Side:
    """One side of a shared lock as a block; used with `async with`, once. `off`: what is
    switched off around it.
    """

    __slots__ = ("flags", "lock", "off", "writer")

    def __init__(self, lock: _Shared, writer: bool, off: str = "") -> None:
        self.lock = lock
        self.writer = writer
        self.off = off
        self.flags = 0

    @coroutine
    def __aenter__(self) -> Wait:
        machine, place = self.lock.machine, self.lock.side(self.writer).spots.at(_getframe(1))
        if self.off == "bh":
            machine.irq.local_bh_disable(place)
        elif self.off:
            flags = machine.irq.local_irq_save(place)
            self.flags = flags if self.off == "irqsave" else 0
        yield from self.lock.acquire(self.writer, place)

    @coroutine
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Wait:
        machine, place = self.lock.machine, here()
        yield from self.lock.release(self.writer)
        if self.off == "bh":
            yield from machine.irq.local_bh_enable(place)
        elif self.off:
            yield from machine.irq.local_irq_restore(self.flags, place)
