"""Locks whose waiter may sleep: the mutex.

Taking a free mutex is one atomic. Finding it taken, a thread first spins as long as the owner is running on a
CPU (the owner will likely be done sooner than a sleep would take) and nobody else wants the spinner's CPU;
then it sleeps. (`Costs.spin_limit` can bound the spinning; Linux does not.) `release` passes the mutex to a
spinning thread if there is one, and wakes the first sleeper, which has to compete when it gets there; one
that lost the race once is handed the mutex directly the next time, so nobody starves.

Mirrors kernel/locking/mutex.c (`mutex_optimistic_spin`, `__mutex_lock_common`, MUTEX_FLAG_HANDOFF). Guards:
the fields are the mutex's own and change only in its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Generator
from sys import _getframe
from types import coroutine

from vtdkit.kernel.machine.context import TASK, Context
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.record.record import RELEASE
from vtdkit.kernel.record.sites import Spot

from .base import OwnedLock


class Mutex(OwnedLock):
    """A sleeping lock. Only a thread may take it, and only where it may sleep; anything else is reported."""

    __slots__ = ("handoff", "spinners")
    sleeps = True

    def __init__(self, machine: Host, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "mutex", subclass)
        self.queue: deque[Context] = deque()  # sleepers
        self.spinners: deque[Context] = deque()
        # a sleeper that lost a race, in the queue until the next release makes it the owner
        self.handoff: Context | None = None

    @property
    def waiters(self) -> list[Context]:
        return [*self.spinners, *self.queue]

    @coroutine
    def acquire(self, place: Spot | None = None) -> Wait:
        """`mutex_lock`: returns when this thread owns the mutex."""
        sched = self.sched
        context = sched.current
        place = place or self.log.spots.at(_getframe(1))
        self.check.might_sleep(place)
        self.comes(context, self.key, place)
        if self.owner is None:
            cost = self.fetch_cost(context.cpu_id)
            self.granted(context, place)
            if cost and not (sched.alone and sched.skip(cost)):
                yield cost
        else:
            began, holder, bounced = self.waits(context, place)
            yield from self._wait(context)
            self.log.waited(sched.now - began, place, holder, bounced)
            self.granted(context, place)
        self.taken(context)

    @coroutine
    def _wait(self, context: Context) -> Wait:
        if (yield from self._spin(context)):
            return
        woken = False
        while self.owner is not context:
            if self.owner is None:
                self.owner = context
                break
            if woken:  # somebody was faster: the next release is for us
                self.handoff = self.handoff or context
                self.queue.appendleft(context)
            else:
                self.queue.append(context)
            yield from self.sched.sleep_on(self)
            woken = True
        if self.handoff is context:
            self.handoff = None

    @coroutine
    def _spin(self, context: Context) -> Generator[int | None, None, bool]:
        """Optimistic spinning; True if the mutex was passed to us."""
        limit, owner = self.machine.costs.spin_limit, self.owner
        runs = owner is not None and owner.cpu is not None and owner.cpu.task is owner
        if limit == 0 or context.kind != TASK or self.handoff is not None or not runs:
            return False
        context.waiting = self
        self.spinners.append(context)
        if limit is not None:
            cancel = self.sched.call_in(limit, lambda: self.stop_spinning(context), "mutex spin")
        yield None
        if limit is not None:
            cancel()
        context.waiting = None
        return self.owner is context

    def stop_spinning(self, context: Context) -> None:
        """No point in spinning any longer, or no right to: `context` goes to sleep instead."""
        if context in self.spinners:
            self.spinners.remove(context)
            self.sched.at(context, 0)

    @coroutine
    def release(self, place: Spot | None = None) -> Wait:
        """`mutex_unlock`."""
        context = self.sched.current
        if context.innermost is self:
            context.innermost = self.below
            if self.key >= 0:
                context.chain = context.chain.parent  # type: ignore[assignment]
        elif not self.release_out_of_order(context, place):
            return
        # the place was set when the lock was granted
        self.place.holds.append(self.sched.now - self.since)  # type: ignore[union-attr]
        self.note(context, RELEASE, self.id)
        self.order.release(context, self)
        cost = 0
        self.owner = self.handoff
        if self.handoff is not None:
            self.queue.remove(self.handoff)
            self.sched.wake(self.handoff)
        else:
            if self.spinners:
                self.owner = heir = self.spinners.popleft()
                cost = self.line_cost(heir)
                self.sched.at(heir, cost)
            if self.queue:
                # also when a spinner has won: then it loses once, and gets the next one
                self.sched.wake(self.queue.popleft())
        if cost:
            yield cost

    def __aenter__(self) -> Awaitable[None]:
        return self.acquire(self.log.spots.at(_getframe(1)))

    def __aexit__(self, *_: object) -> Awaitable[None]:
        return self.release()

    def owner_sleeps(self) -> None:
        """The owner has lost its CPU with the mutex held: no point in spinning for it any more."""
        while self.spinners:
            self.stop_spinning(self.spinners[0])
