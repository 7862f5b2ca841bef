"""The primitives as the explorer has them: the same, with a scheduling point before each visible operation.

A driver cannot tell. Before an operation on shared state the coroutine yields a `Point`: what the operation will touch, and
when it can go on. The explorer picks who goes on; then the operation happens, exactly as on a machine that simulates, and the
thread runs on to its next point. Nothing ever waits inside an operation, because a thread is only picked when its
operation can go through.

What depends on what is said by the primitives themselves: each touches locations (a lock, a word, the life of a page, a field, the
readers of RCU ...), reading, writing, acquiring or releasing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from sys import _getframe
from types import coroutine
from typing import Any, NamedTuple

from .context import Context
from .lists import ListHead
from .mutex import Mutex
from .objects import KObject
from .pages import GFP, GFP_KERNEL, NUMA_NO_NODE, Page, PageAllocator
from .rcu import GracePeriod, Rcu
from .rwlock import RwLock, RwSemaphore, _Shared
from .sites import Spot, here
from .spinlock import QueuedSpinLock, TestAndSetLock, TicketLock
from .sync import Atomic, Completion, WaitQueue

READ, WRITE, ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE = range(6)
Access = tuple[int, int]


class Point(NamedTuple):
    """What a thread is about to do: the accesses, whether it can (None: always), and what it waits for if not."""

    accesses: tuple[Access, ...]
    ready: Callable[[], bool] | None = None
    what: Any = None


Steps = Generator[Any, None, None]


class _Exclusive:
    """Mixed into a lock that one context has at a time."""

    __slots__ = ()

    def points(self: Any) -> tuple[Point, Point]:
        """The points before taking it and before giving it up, made once."""
        pair: tuple[Point, Point] | None = self.machine.lock_points.get(self.id)
        if pair is None:
            spot = self.machine.location("lock")
            pair = (Point(((spot, ACQUIRE),), lambda: self.owner is None, self), Point(((spot, RELEASE),)))
            self.machine.lock_points[self.id] = pair
        return pair

    @coroutine
    def acquire(self: Any, place: Spot | None = None) -> Steps:
        place = place or self.log.spots.at(_getframe(1))
        if self.machine.exploring:
            yield self.points()[0]
        yield from super().acquire(place)  # type: ignore[misc]

    @coroutine
    def release(self: Any, place: Spot | None = None) -> Steps:
        if self.machine.exploring:
            yield self.points()[1]
        yield from super().release(place)  # type: ignore[misc]

    @coroutine
    def trylock(self: Any) -> Generator[Any, None, bool]:
        machine = self.machine
        if machine.exploring:
            yield Point(())
            machine.touched.append((self.points()[0].accesses[0][0], READ if self.owner is not None else WRITE))
        if self.owner is not None:
            return False
        self.take_unwaited(machine.current, self.log.spots.at(_getframe(1)))
        return True


class XSpinLock(_Exclusive, QueuedSpinLock):
    """A spin lock."""

    __slots__ = ()


class XTicketLock(_Exclusive, TicketLock):
    """A ticket lock."""

    __slots__ = ()


class XTestAndSetLock(_Exclusive, TestAndSetLock):
    """A test-and-set lock."""

    __slots__ = ()


class XMutex(_Exclusive, Mutex):
    """A mutex."""

    __slots__ = ()


class _SharedPoints:
    """Mixed into a lock that readers share. Queueing order is left to the explorer: whoever can enter may."""

    __slots__ = ()

    @coroutine
    def acquire(self: Any, writer: bool, place: Spot | None = None) -> Steps:
        place = place or self.side(writer).spots.at(_getframe(1))
        machine = self.machine
        if machine.exploring:
            kind = ACQUIRE if writer else SHARED_ACQUIRE
            yield Point(((machine.lock_location(self), kind),), lambda: self._may_enter(machine.current, writer), self)
        yield from super().acquire(writer, place)  # type: ignore[misc]

    @coroutine
    def release(self: Any, writer: bool) -> Steps:
        machine = self.machine
        if machine.exploring:
            yield Point(((machine.lock_location(self), RELEASE if writer else SHARED_RELEASE),))
        yield from super().release(writer)  # type: ignore[misc]


class XRwLock(_SharedPoints, RwLock):
    """A reader-writer spin lock."""

    __slots__ = ()


class XRwSemaphore(_SharedPoints, RwSemaphore):
    """A reader-writer semaphore."""

    __slots__ = ()


class XPage(Page):
    """A page whose words are locations of their own; its life is one more."""

    __slots__ = ("base",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.base = self.machine.location("page", 513)  # type: ignore[attr-defined]

    @coroutine
    def load(self, index: int) -> Generator[Any, None, int]:
        if self.machine.exploring:
            base = self.base
            yield Point(((base + index, READ), (base + 512, READ)))
        return (yield from super().load(index))

    @coroutine
    def store(self, index: int, value: int) -> Steps:
        if self.machine.exploring:
            base = self.base
            yield Point(((base + index, WRITE), (base + 512, READ)))
        yield from super().store(index, value)

    @coroutine
    def cmpxchg(self, index: int, old: int, new: int) -> Generator[Any, None, int]:
        if not self.machine.exploring:
            return (yield from super().cmpxchg(index, old, new))
        base = self.base
        yield Point(((base + 512, READ),))
        kind = WRITE if self.words[index] == old else READ
        self.machine.touched.append((base + index, kind))  # type: ignore[attr-defined]
        return (yield from super().cmpxchg(index, old, new))

    @coroutine
    def _modify(self, index: int, change: Any) -> Generator[Any, None, int]:
        if self.machine.exploring:
            yield Point(((self.base + index, WRITE), (self.base + 512, READ)))
        found = self.words[index]
        if self.freed is not None:
            self.machine.use_after_free(self, index, "write")
        self.words[index] = change(found)
        return found

    @coroutine
    def relax_until_written(self, index: int, seen: int, enough: Callable[[], bool] | None = None) -> Steps:
        if not self.machine.exploring:
            yield from super().relax_until_written(index, seen, enough)
            return
        accesses = ((self.base + index, SHARED_ACQUIRE), (self.base + 512, READ))
        yield Point(accesses, lambda: self.words[index] != seen or bool(enough and enough()), f"{self.name}[{index}]")

    def changed(self, index: int) -> None:
        """Whoever spins on the word is found ready by the explorer."""


class XPageAllocator(PageAllocator):
    """Page frames by thread, so that who allocates first does not change anybody's addresses."""

    @coroutine
    def alloc(
        self, gfp: GFP = GFP_KERNEL, *, node: int = NUMA_NO_NODE, name: str = "page", place: Spot | None = None,
    ) -> Generator[Any, None, Page | None]:  # fmt: skip
        machine: Any = self.machine
        place = place or here()
        if machine.exploring and (self.faults.nth is not None or self.faults.probability):
            yield Point(((machine.location_of("faults"), WRITE),))
        return (yield from super().alloc(gfp, node=node, name=name, place=place))

    def _frame(self, node: int) -> int | None:
        machine: Any = self.machine
        if not machine.exploring:
            return super()._frame(node)
        return machine.frame_for(machine.current) if machine.frames_left() else None

    def node_of(self, pfn: int) -> int:
        return super().node_of(pfn) if pfn < self.FIRST_PFN + len(self.next) * self.per_node else 0

    @coroutine
    def free(self, page: Page, place: Spot | None = None) -> Steps:
        place = place or here()
        if self.machine.exploring:
            yield Point(((page.base + 512, WRITE),))  # type: ignore[attr-defined]
        self.give(page, place)


class XAtomic(Atomic):
    """An atomic."""

    @coroutine
    def load(self) -> Generator[Any, None, int]:
        machine: Any = self.machine
        if machine.exploring:
            yield Point(((machine.location_of(self), READ),))
        return self.value

    @coroutine
    def store(self, value: int) -> Steps:
        machine: Any = self.machine
        if machine.exploring:
            yield Point(((machine.location_of(self), WRITE),))
        self.value = value

    @coroutine
    def modify(self, change: Callable[[int], int]) -> Generator[Any, None, tuple[int, int]]:
        machine: Any = self.machine
        if machine.exploring:
            yield Point(())
            same = change(self.value) == self.value
            machine.touched.append((machine.location_of(self), READ if same else WRITE))
        return (yield from super().modify(change))

    @coroutine
    def relax_while(self, seen: int) -> Steps:
        machine: Any = self.machine
        if machine.exploring:
            yield Point(((machine.location_of(self), SHARED_ACQUIRE),), lambda: self.value != seen, self.name)
        else:
            yield from super().relax_while(seen)


class XCompletion(Completion):
    """A completion."""

    @coroutine
    def wait(self) -> Steps:
        machine: Any = self.machine
        if not machine.exploring:
            yield from super().wait()
            return
        machine.might_sleep(here())
        yield Point(((machine.location_of(self), ACQUIRE),), lambda: self.all or self.count > 0, self)
        if not self.all:
            self.count -= 1
        if machine.order is not None:
            machine.order.observe(machine.current, self)

    @coroutine
    def complete(self) -> Steps:
        if self.machine.exploring:
            yield Point(((self.machine.location_of(self), RELEASE),))  # type: ignore[attr-defined]
        yield from super().complete()

    @coroutine
    def complete_all(self) -> Steps:
        if self.machine.exploring:
            yield Point(((self.machine.location_of(self), RELEASE),))  # type: ignore[attr-defined]
        yield from super().complete_all()


class XWaitQueue(WaitQueue):
    """A wait queue: its condition is looked at when the explorer asks who can go on."""

    @coroutine
    def wait_event(self, condition: Callable[[], bool]) -> Steps:
        machine: Any = self.machine
        if not machine.exploring:
            yield from super().wait_event(condition)
            return
        machine.might_sleep(here())
        yield Point(((machine.location_of(self), ACQUIRE),), condition, self)
        if machine.order is not None:
            machine.order.observe(machine.current, self)

    @coroutine
    def wake_up(self) -> Steps:
        if self.machine.exploring:
            yield Point(((self.machine.location_of(self), RELEASE),))  # type: ignore[attr-defined]
        yield from super().wake_up()


class XRcu(Rcu):
    """RCU: a grace period is two steps, its beginning and its end."""

    @coroutine
    def read_lock(self) -> Steps:
        machine: Any = self.machine
        if machine.exploring and not machine.current.rcu:
            yield Point(((machine.location_of("rcu"), READ),))
        self.enter(machine.current)

    @coroutine
    def read_unlock(self) -> Steps:
        machine: Any = self.machine
        context: Context = machine.current
        if machine.exploring and context.rcu == 1:
            yield Point(((machine.location_of("rcu"), READ),))
            for period in self.open:
                if context in period.readers:
                    machine.touched.append((machine.location_of(period), SHARED_RELEASE))
        self.leave(context)

    @coroutine
    def synchronize(self, expedited: bool = False) -> Steps:
        machine: Any = self.machine
        if not machine.exploring:
            yield from super().synchronize(expedited)
            return
        if machine.current.rcu:
            machine.rcu_misuse("Illegal synchronize_rcu() in RCU read-side critical section", machine.current)
        machine.might_sleep(here())
        yield Point(((machine.location_of("rcu"), WRITE),))
        period = self.begin()
        yield Point(((machine.location_of(period), ACQUIRE),), lambda: period.done, period)
        if machine.order is not None:
            machine.order.observe(machine.current, period)

    def call(self, function: Callable[[], Any], name: str = "rcu callback") -> None:
        machine: Any = self.machine
        if not machine.exploring:
            super().call(function, name)
            return
        machine.touched.append((machine.location_of("rcu"), WRITE))
        period: GracePeriod = self.begin()
        if machine.order is not None:
            machine.order.publish(machine.current, period)
        point = Point(((machine.location_of(period), ACQUIRE),), lambda: period.done, period)

        async def callback() -> None:
            if machine.order is not None:
                machine.order.observe(machine.current, period)
            await function()

        machine.new_process(callback(), name, "softirq", machine.current.cpu, point)


class XListHead(ListHead):
    """A list; its steps come from `field_step`."""


EXPLORED: dict[type, type] = {
    QueuedSpinLock: XSpinLock, TicketLock: XTicketLock, TestAndSetLock: XTestAndSetLock, Mutex: XMutex, RwLock: XRwLock,
    RwSemaphore: XRwSemaphore, Atomic: XAtomic, Completion: XCompletion, WaitQueue: XWaitQueue,
}  # fmt: skip

__all__ = ["EXPLORED", "Access", "KObject", "Point", "XPage", "XPageAllocator", "XRcu", "_Shared"]
