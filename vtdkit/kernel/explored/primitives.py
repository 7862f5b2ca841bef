"""The primitives as the explorer has them: the same, with a scheduling point before each visible operation.

A driver cannot tell. Before an operation on shared state the coroutine yields a `Point`: what the operation
will touch, and when it can go on. The explorer picks who goes on; then the operation happens, exactly as on a
machine that simulates, and the thread runs on to its next point. Nothing ever waits inside an operation,
because a thread is only picked when its operation can go through. An operation on locations that no other
thread shares needs no point (see `locations`).

What depends on what is said by the primitives themselves: each touches locations (a lock, a word, the life of
a page, a field, the readers of RCU ...), in one of the ways that `explorer.system` tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from sys import _getframe
from types import coroutine
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.locks.mutex import Mutex
from vtdkit.kernel.locks.rwlock import RwLock, RwSemaphore
from vtdkit.kernel.locks.spinlock import SpinLock, TestAndSetLock, TicketLock
from vtdkit.kernel.locks.sync import Atomic, Completion, PerCpuCounter, WaitQueue
from vtdkit.kernel.memory.allocator import PageAllocator
from vtdkit.kernel.record.sites import Spot, here

from .locations import ACQUIRE, READ, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT, WRITE
from .pages import XPageAllocator
from .points import Doing, Point, Steps
from .watch import XPerCpuCounter, watched

if TYPE_CHECKING:
    from .machine import ExploredMachine


class _Located:
    """Mixed into all that is one location: numbered when it is made, so that it does not matter who is first
    to use it.
    """

    __slots__ = ()

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.machine.location_of(self)

    def point(
        self: Any, kind: int, words: str, ready: Callable[[], bool] | None = None, part: str | None = None
    ) -> Iterable[Any]:
        """A point before an operation on this location alone."""
        machine: ExploredMachine = self.machine
        if not machine.steps.exploring:
            return ()
        return machine.stop(((machine.location_of(self), kind),), Doing(words, self, part), ready)

    def told_twice(self: Any, place: Spot) -> None:
        """The validator is told before a thread waits for itself: afterwards it never gets there."""
        context = self.machine.sched.current
        if self.key >= 0 and self.machine.unseen(lambda: context in self.holders):
            self.check.locking.chain_of(context, self.key, place)


class _Owned(_Located):
    """Mixed into a lock that one context has at a time."""

    __slots__ = ()

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.machine.sections is not None:
            self.machine.sections.locks.add(self.machine.location_of(self))

    @coroutine
    def _come(self: Any) -> Steps:
        """The point before it is taken."""
        sections = self.machine.sections
        if sections is not None and sections.whole(self):
            if not self.machine.running.inside:
                yield Point((), Doing("take {}", self))
            if sections.whole(self):
                sections.begin(self)
                return
        yield from self.point(ACQUIRE, "take {}", lambda: self.owner is None)

    @coroutine
    def _going(self: Any, release: Callable[[], Any]) -> Steps:
        """Give it up, with the point before that."""
        sections = self.machine.sections
        if sections is None or not sections.has(self):
            yield from self.point(RELEASE, "let go of {}")
            yield from release()
        else:
            yield from release()
            sections.end(self)

    @coroutine
    def trylock(self: Any) -> Generator[Any, None, bool]:
        machine: ExploredMachine = self.machine
        place = self.log.spots.at(_getframe(1))
        yield from machine.stop_then(
            machine.location_of(self),
            Doing("try to take {}", self),
            lambda: READ if self.owner is not None else WRITE,
        )
        if self.owner is not None:
            return False
        self.take_unwaited(machine.sched.current, place)
        machine.keeps_its_cpu()
        return True


class _SpinPoints(_Owned):
    """Mixed into a spin lock: whichever way it is taken goes through these two."""

    __slots__ = ()

    @coroutine
    def take(self: Any, place: Spot | None = None) -> Steps:
        place = place or self.log.spots.at(_getframe(1))
        self.told_twice(place)
        yield from self._come()
        yield from super().take(place)  # type: ignore[misc]
        self.machine.keeps_its_cpu()

    __aenter__ = acquire = take

    @coroutine
    def drop(self: Any, place: Spot | None = None) -> Steps:
        if self.machine.unwinding:
            return
        yield from self._going(partial(super().__aexit__, place=place))  # type: ignore[misc]
        yield from self.machine.moment()  # preemption is on again

    release = drop

    def __aexit__(self: Any, *_: Any, place: Spot | None = None) -> Any:
        return self.drop(place)


class XSpinLock(_SpinPoints, SpinLock):
    """A spin lock."""

    __slots__ = ()


class XTicketLock(_SpinPoints, TicketLock):
    """A ticket lock."""

    __slots__ = ()


class XTestAndSetLock(_SpinPoints, TestAndSetLock):
    """A test-and-set lock."""

    __slots__ = ()


class XMutex(_Owned, Mutex):
    """A mutex."""

    __slots__ = ()

    @coroutine
    def acquire(self: Any, place: Spot | None = None) -> Steps:
        place = place or self.log.spots.at(_getframe(1))
        self.told_twice(place)
        yield from self._come()
        yield from super().acquire(place)

    @coroutine
    def release(self: Any, place: Spot | None = None) -> Steps:
        if self.machine.unwinding:
            return
        yield from self._going(partial(super().release, place))


class _SharedPoints(_Located):
    """Mixed into a lock that readers share. Queueing order is left to the explorer: whoever can enter may."""

    __slots__ = ()

    @coroutine
    def acquire(self: Any, writer: bool, place: Spot | None = None) -> Steps:
        place = place or self.side(writer).spots.at(_getframe(1))
        kind, side = (ACQUIRE, "to write") if writer else (SHARED_ACQUIRE, "to read")
        if writer:
            self.told_twice(place)
        yield from self.point(
            kind, "take {}", lambda: self._may_enter(self.machine.sched.current, writer), side
        )
        yield from super().acquire(writer, place)  # type: ignore[misc]
        self.machine.keeps_its_cpu()

    @coroutine
    def release(self: Any, writer: bool) -> Steps:
        if self.machine.unwinding:
            return
        kind, side = (RELEASE, "to write") if writer else (SHARED_RELEASE, "to read")
        yield from self.point(kind, "let go of {}", None, side)
        yield from super().release(writer)  # type: ignore[misc]
        yield from self.machine.moment()


class XRwLock(_SharedPoints, RwLock):
    """A reader-writer spin lock."""

    __slots__ = ()


class XRwSemaphore(_SharedPoints, RwSemaphore):
    """A reader-writer semaphore."""

    __slots__ = ()


class XAtomic(_Located, Atomic):
    """An atomic."""

    machine: ExploredMachine

    @coroutine
    def load(self) -> Generator[Any, None, int]:
        yield from self.point(READ, "read {}")
        return self.value

    @coroutine
    def store(self, value: int) -> Steps:
        if not self.machine.steps.exploring:
            yield from super().store(value)
            return
        yield from self.point(WRITE, "write {}")
        self.value = value

    @coroutine
    def modify(self, change: Callable[[int], int]) -> Generator[Any, None, tuple[int, int]]:
        machine = self.machine
        if not machine.steps.exploring:
            return (yield from super().modify(change))
        doing = Doing("change {}", self)
        kind = lambda: READ if change(self.value) == self.value else WRITE  # noqa: E731
        yield from machine.stop_then(machine.location_of(self), doing, kind)
        before = self.value
        if (after := change(before)) != before:
            self.value = after
        machine.check.order.full_barrier(machine.sched.current, self)
        return before, after

    @coroutine
    def relax_while(self, seen: int) -> Steps:
        if not self.machine.steps.exploring:
            yield from super().relax_while(seen)
            return
        yield from self.point(WAIT, "watch {} until it changes", lambda: self.value != seen)


class XCompletion(_Located, Completion):
    """A completion."""

    machine: ExploredMachine

    @coroutine
    def wait(self) -> Steps:
        machine = self.machine
        if not machine.steps.exploring:
            yield from super().wait()
            return
        machine.check.might_sleep(here())
        spot = machine.location_of(self)
        yield from machine.stop(
            ((spot, WAIT), (spot, WRITE)), Doing("wait for {}", self), lambda: self.all or self.count > 0
        )
        if not self.all:
            self.count -= 1
        machine.check.order.observe(machine.sched.current, self)

    @coroutine
    def complete(self) -> Steps:
        yield from self.point(WRITE, "complete {}")
        yield from super().complete()

    @coroutine
    def complete_all(self) -> Steps:
        yield from self.point(WRITE, "complete {}")
        yield from super().complete_all()


class XWaitQueue(_Located, WaitQueue):
    """A wait queue. Sleeping is two steps: get on the queue and look at the condition; go on when woken."""

    machine: ExploredMachine

    @coroutine
    def wait_event(self, condition: Callable[[], bool]) -> Steps:
        machine = self.machine
        if not machine.steps.exploring:
            yield from super().wait_event(condition)
            return
        machine.check.might_sleep(here())
        context = machine.sched.current
        yield from self.point(READ, "wait for {}")
        # On the queue first, then a look: a wake-up after this step is not lost, one before it is.
        self.queue.append(context)
        while not condition():
            yield from self.point(WAIT, "wait for {}", lambda: context not in self.queue)
            self.queue.append(context)
        self.queue.remove(context)
        machine.check.order.observe(machine.sched.current, self)

    @coroutine
    def wake_up(self) -> Steps:
        if not self.machine.steps.exploring:
            yield from super().wake_up()
            return
        yield from self.point(WRITE, "wake up {}")
        self.machine.check.order.publish(self.machine.sched.current, self)
        self.queue.clear()


EXPLORED: dict[type, type] = {
    SpinLock: XSpinLock,
    TicketLock: XTicketLock,
    TestAndSetLock: XTestAndSetLock,
    Mutex: XMutex,
    RwLock: XRwLock,
    RwSemaphore: XRwSemaphore,
    Atomic: XAtomic,
    Completion: XCompletion,
    WaitQueue: XWaitQueue,
    PageAllocator: XPageAllocator,
    PerCpuCounter: XPerCpuCounter,
}
for lock in (XSpinLock, XTicketLock, XTestAndSetLock, XMutex, XRwLock, XRwSemaphore):
    watched(lock, "await {}.acquire()", "", "last_cpu queue", "owner")
for shared in (XRwLock, XRwSemaphore):
    watched(shared, "await {}.acquire(writer)", "readers")
watched(XMutex, "await {}.acquire()", "", "handoff spinners")
watched(XAtomic, "await {}.store(value)", "value", "copies watchers")
watched(XCompletion, "await {}.complete()", "count all", "queue")
watched(XWaitQueue, "await {}.wait_event(condition)", "", "queue")
