"""Locks that readers share: the reader-writer spin lock (`rwlock_t`) and the reader-writer semaphore (`rw_semaphore`).

Both queue first come, first served: a reader that arrives behind a waiting writer waits too, and when the lock becomes free
the head of the queue gets it, readers in one batch. One exception, as in Linux's queued rwlock: a reader in an interrupt
handler goes straight in while readers have the lock, because it may have interrupted one of them.

`async with lock.read():`, `async with lock.write():`, and for the spinning kind `.read_irqsave()`, `.write_irqsave()`.

Mirrors kernel/locking/qrwlock.c and kernel/locking/rwsem.c (writers' optimistic spinning is not modelled). Guards: the fields
are the lock's own and change only in its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from sys import _getframe
from types import TracebackType, coroutine
from typing import TYPE_CHECKING

from .context import TASK, Context
from .lockbase import Lock, LockLog
from .record import ACQUIRE, RELEASE, SPIN
from .sites import Spot

if TYPE_CHECKING:
    from .machine import Machine

Wait = Generator[int | None, None, None]


@dataclass(frozen=True, slots=True)
class Share:
    """What a context holds of a shared lock: the lock, and where it took its share."""

    lock: _Shared
    place: Spot

    @property
    def name(self) -> str:
        """The lock's name."""
        return self.lock.name


class _Shared(Lock):
    """What the two kinds have in common. `owner` is the writer; `readers` counts each reader's entries."""

    __slots__ = ("queue", "read_log", "readers", "reads_since", "vc_readers")
    recursive_read = False

    def __init__(self, machine: Machine, name: str, kind: str, subclass: int = 0) -> None:
        super().__init__(machine, name, kind, subclass)
        self.read_log = machine.log_of(self, read=True)
        self.readers: dict[Context, int] = {}
        self.reads_since: dict[Context, int] = {}
        self.queue: deque[tuple[Context, bool]] = deque()  # who waits, and whether to write
        self.vc_readers: dict[int, int] | None = None

    def side(self, writer: bool) -> LockLog:
        """The log of the writers or of the readers."""
        return self.log if writer else self.read_log

    def read(self) -> _Side:
        """Share the lock for the length of a block."""
        return _Side(self, False, False)

    def write(self) -> _Side:
        """Have the lock alone for the length of a block."""
        return _Side(self, True, False)

    @coroutine
    def acquire(self, writer: bool, place: Spot | None = None) -> Wait:
        """Take it, shared or alone."""
        machine = self.machine
        context = machine.current
        if place is None:
            place = self.log.spots.at(_getframe(1))
        self._before(context, place)
        key = self.key if writer else machine.read_key(context, self)
        if key >= 0:
            self.order_check(context, key, place)
        if self._may_enter(context, writer):
            self._enter(context, writer)
            cost = self.fetch_cost(context.cpu_id)
            if cost and (len(machine.heap) > 3 or not machine.skip(cost)):
                yield cost
        else:
            began = machine.now
            self._count_contention(context, writer, place)
            self.queue.append((context, writer))
            yield from self._wait(context)
            self.side(writer).waits.append(machine.now - began)
        self._note_taken(context, writer, place)

    @coroutine
    def release(self, writer: bool) -> Wait:
        """Give it up."""
        machine = self.machine
        context = machine.current
        if (self.owner is not context) if writer else (context not in self.readers):
            machine.bad_unlock(context, self, None)
            return
        self._forget(context)
        self._note_given_up(context, writer)
        if writer:
            self.owner = None
        else:
            self.readers[context] -= 1
            if not self.readers[context]:
                del self.readers[context]
        self._grant()
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

    def _grant(self) -> None:
        """Let in whom the queue's order allows now."""
        while self.queue and self.owner is None:
            context, writer = self.queue[0]
            if writer and self.readers:
                return
            self.queue.popleft()
            cost = self.line_cost(context)
            self._enter(context, writer)
            self._let_go_on(context, cost)

    def _forget(self, context: Context) -> None:
        held = context.held
        index = next(i for i in range(len(held) - 1, -1, -1) if held[i].lock is self)
        if self.key >= 0:
            if index == len(held) - 1:
                context.chain = context.chain.parent  # type: ignore[assignment]
            else:
                self.machine.chain_without(context, index, None)
        del held[index]

    def _count_contention(self, context: Context, writer: bool, place: Spot) -> None:
        place.waits += 1
        if self.place is not None:
            self.place.holds += 1
        self.side(writer).con_bounces += context.cpu_id != self.last_cpu
        self.machine.note_at(context, SPIN, self.id, place)

    def _note_taken(self, context: Context, writer: bool, place: Spot) -> None:
        machine = self.machine
        if context.cpu_id != self.last_cpu:
            self.side(writer).acq_bounces += 1
            self.last_cpu = context.cpu_id
        context.held.append(Share(self, place))
        self.place = place
        if writer:
            self.since = machine.now
        else:
            self.reads_since.setdefault(context, machine.now)
        machine.note_at(context, ACQUIRE, self.id, place)
        if machine.order is not None:
            machine.order.acquire(context, self)
            if writer:
                machine.order.observe_clock(context, self.vc_readers)

    def _note_given_up(self, context: Context, writer: bool) -> None:
        machine = self.machine
        since = self.since if writer else self.reads_since.pop(context, machine.now)
        self.side(writer).holds.append(machine.now - since)
        machine.note_at(context, RELEASE, self.id, None)
        if machine.order is not None:
            if writer:
                machine.order.release(context, self)
            else:
                self.vc_readers = machine.order.leave_shared(context, self.vc_readers)

    def assert_held(self) -> None:
        """`lockdep_assert_held`: held either way will do."""
        if self.owner is not self.machine.current and self.machine.current not in self.readers:
            self.machine.not_held(self)

    def _before(self, context: Context, place: Spot) -> None:
        """What the kind requires of its caller."""

    @coroutine
    def _after(self, context: Context) -> Wait:
        return
        yield

    @coroutine
    def _wait(self, context: Context) -> Wait:
        context.waiting = self
        yield None
        context.waiting = None

    def _let_go_on(self, context: Context, cost: int) -> None:
        self.machine.at(context, cost)


class RwLock(_Shared):
    """`rwlock_t`: waiters spin, preemption is off while it is held."""

    __slots__ = ()
    recursive_read = True

    def __init__(self, machine: Machine, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "rwlock", subclass)

    def read_irqsave(self) -> _Side:
        """Share it, interrupts off."""
        return _Side(self, False, True)

    def write_irqsave(self) -> _Side:
        """Have it alone, interrupts off."""
        return _Side(self, True, True)

    def _before(self, context: Context, place: Spot) -> None:
        if not context.preempt:
            context.preempt_at, context.preempt_site = self.machine.now, place
        context.preempt += 1

    def _count_contention(self, context: Context, writer: bool, place: Spot) -> None:
        super()._count_contention(context, writer, place)
        in_the_way = [self.owner] if self.owner is not None else list(self.readers)
        if any(other.cpu is context.cpu for other in in_the_way):
            self.machine.spins_for_ever(context, self, place)

    @coroutine
    def _after(self, context: Context) -> Wait:
        context.preempt -= 1
        if not context.preempt and context.cpu is not None and context.cpu.pending:
            yield from self.machine.opened()


class RwSemaphore(_Shared):
    """`struct rw_semaphore`: waiters sleep. `down_read`, `down_write` and their ups are `read()` and `write()`."""

    __slots__ = ()
    sleeps = True

    def __init__(self, machine: Machine, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "rwsem", subclass)

    def _before(self, context: Context, place: Spot) -> None:
        self.machine.might_sleep(place)

    @coroutine
    def _wait(self, context: Context) -> Wait:
        yield from self.machine.sleep_on(self)

    def _let_go_on(self, context: Context, cost: int) -> None:
        self.machine.wake(context)


class _Side:
    """One side of a shared lock as a block; used with `async with`, once."""

    __slots__ = ("flags", "irqsave", "lock", "writer")

    def __init__(self, lock: _Shared, writer: bool, irqsave: bool) -> None:
        self.lock = lock
        self.writer = writer
        self.irqsave = irqsave
        self.flags = 0

    @coroutine
    def __aenter__(self) -> Wait:
        place = self.lock.side(self.writer).spots.at(_getframe(1))
        if self.irqsave:
            self.flags = self.lock.machine.local_irq_save(place)
        yield from self.lock.acquire(self.writer, place)

    @coroutine
    def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Wait:
        yield from self.lock.release(self.writer)
        if self.irqsave:
            yield from self.lock.machine.local_irq_restore(self.flags)
