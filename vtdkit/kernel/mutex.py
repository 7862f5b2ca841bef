"""Locks whose waiter may sleep: the mutex.

Taking a free mutex is one atomic. Finding it taken, a thread first spins as long as the owner is running on a CPU (the owner will
likely be done sooner than a sleep would take), at most `Costs.spin_limit`; then it sleeps. `release` passes the mutex to a
spinning thread if there is one, else it wakes the first sleeper, which has to compete when it gets there; one that lost the race
once is handed the mutex directly the next time, so nobody starves.

Mirrors kernel/locking/mutex.c (`mutex_optimistic_spin`, `__mutex_lock_common`, MUTEX_FLAG_HANDOFF). Guards: the fields are the
mutex's own and change only in its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from sys import _getframe
from types import TracebackType, coroutine
from typing import TYPE_CHECKING

from .context import TASK, Context
from .lockbase import Lock
from .record import SPIN
from .sites import Spot

if TYPE_CHECKING:
    from .machine import Machine

Wait = Generator[int | None, None, None]


class Mutex(Lock):
    """A sleeping lock. Only a thread may take it, and only where it may sleep; anything else is reported."""

    __slots__ = ("handoff", "queue", "spinners")
    sleeps = True

    def __init__(self, machine: Machine, name: str, *, subclass: int = 0) -> None:
        super().__init__(machine, name, "mutex", subclass)
        self.queue: deque[Context] = deque()  # sleepers
        self.spinners: deque[Context] = deque()
        self.handoff: Context | None = None  # a sleeper that lost a race: the next release goes to it

    @coroutine
    def acquire(self, place: Spot | None = None) -> Wait:
        """`mutex_lock`: returns when this thread owns the mutex."""
        machine = self.machine
        context = machine.current
        if place is None:
            place = self.log.spots.at(_getframe(1))
        machine.might_sleep(place)
        if self.key >= 0:
            self.order_check(context, self.key, place)
        if self.owner is None and self.handoff is None:
            self.owner = context
            cost = self.fetch_cost(context.cpu_id)
            if cost and (len(machine.heap) > 3 or not machine.skip(cost)):
                yield cost
        else:
            began = machine.now
            place.waits += 1
            if self.place is not None:
                self.place.holds += 1
            self.log.con_bounces += context.cpu_id != self.last_cpu
            machine.note_at(context, SPIN, self.id, place)
            yield from self._wait(context)
            self.log.waits.append(machine.now - began)
        self.taken(context, place)

    @coroutine
    def _wait(self, context: Context) -> Wait:
        machine = self.machine
        if (yield from self._spin(context)):
            return
        woken = False
        while self.owner is not context:
            if self.owner is None and self.handoff in (None, context):
                self.owner = context
                break
            if woken:
                self.handoff = self.handoff or context
                self.queue.appendleft(context)
            else:
                self.queue.append(context)
            yield from machine.sleep_on(self)
            woken = True
        if self.handoff is context:
            self.handoff = None

    @coroutine
    def _spin(self, context: Context) -> Generator[int | None, None, bool]:
        """Optimistic spinning; True if the mutex was passed to us."""
        machine = self.machine
        limit = machine.costs.spin_limit
        if not limit or context.kind != TASK or self.handoff is not None or not self._owner_runs():
            return False
        context.waiting = self
        self.spinners.append(context)
        cancel = machine.call_in(limit, lambda: self._stop_spinning(context), "mutex spin")
        yield None
        cancel()
        context.waiting = None
        return self.owner is context

    def _owner_runs(self) -> bool:
        owner = self.owner
        return owner is not None and owner.cpu is not None and owner.cpu.task is owner and owner.waiting is None

    def _stop_spinning(self, context: Context) -> None:
        if context in self.spinners:
            self.spinners.remove(context)
            self.machine.at(context, 0)

    @coroutine
    def release(self, place: Spot | None = None) -> Wait:
        """`mutex_unlock`."""
        machine = self.machine
        context = machine.current
        if self.owner is not context or context.held[-1] is not self:
            if not self.release_out_of_order(context, place):
                return
        else:
            del context.held[-1]
            if self.key >= 0:
                context.chain = context.chain.parent  # type: ignore[assignment]
        self.given_up(context)
        self._pass_on()
        return
        yield

    def _pass_on(self) -> None:
        machine = self.machine
        if self.handoff is not None and self.handoff in self.queue:
            heir = self.handoff
            self.queue.remove(heir)
            self.owner = heir
            machine.wake(heir)
        elif self.spinners and self.handoff is None:
            heir = self.spinners.popleft()
            cost = self.line_cost(heir)
            self.owner = heir
            machine.at(heir, cost)
        else:
            self.owner = None
            if self.queue:
                machine.wake(self.queue.popleft())

    @coroutine
    def trylock(self) -> Generator[int | None, None, bool]:
        """`mutex_trylock`: take it if it is free, never wait."""
        if self.owner is not None or self.handoff is not None:
            return False
        self.take_unwaited(self.machine.current, self.log.spots.at(_getframe(1)))
        return True
        yield

    @coroutine
    def __aenter__(self) -> Wait:
        yield from self.acquire(self.log.spots.at(_getframe(1)))

    @coroutine
    def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Wait:
        yield from self.release()

    def owner_sleeps(self) -> None:
        """The owner has gone to sleep with the mutex held: no point in spinning for it any more."""
        while self.spinners:
            self._stop_spinning(self.spinners[0])
