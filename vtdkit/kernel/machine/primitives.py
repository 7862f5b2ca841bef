"""What a driver asks its machine for: locks, counters, objects, pages, timers, interrupts.

Everything that touches shared state is awaited. `machine.spinlock("name")` and its sisters create; the
names make the classes that the validator and the statistics go by.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.checkers.leaks import Ledger
from vtdkit.kernel.checkers.validation import Validation
from vtdkit.kernel.locks.base import Lock, LockLog
from vtdkit.kernel.locks.mutex import Mutex
from vtdkit.kernel.locks.rwlock import RwLock, RwSemaphore
from vtdkit.kernel.locks.spinlock import QueuedSpinLock, TestAndSetLock, TicketLock
from vtdkit.kernel.locks.sync import Atomic, Completion, PerCpuCounter, RefCount, SeqCount, WaitQueue
from vtdkit.kernel.memory.gfp import GFP, GFP_KERNEL
from vtdkit.kernel.memory.lists import ListHead
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page, PageAllocator
from vtdkit.kernel.record.record import WAIT, WAIT_END
from vtdkit.kernel.record.sites import Spot, here

from .context import AGENT, Context
from .costs import Costs
from .timers import IrqLine, Timer

if TYPE_CHECKING:
    from .machine import Machine

K = TypeVar("K", bound=KObject)
T = TypeVar("T")
Handler = Callable[[], Coroutine[Any, Any, Any]]
SPIN_KINDS: dict[str, type[QueuedSpinLock]] = {
    "queued": QueuedSpinLock,
    "ticket": TicketLock,
    "test-and-set": TestAndSetLock,
}


class Primitives(Validation):
    """The factories, mixed into `Machine`. `classes` maps a primitive to the class used for it (the
    explorer has its own).
    """

    classes: dict[type, type] = {}  # noqa: RUF012  # none replaced, unless the explorer says so

    costs: Costs
    pages: PageAllocator
    rows: list[Any] | None
    socket_of: list[int] | None
    socket_masks: list[int]
    ledger: Ledger
    _words: dict[str, int]

    @property
    def me(self) -> Machine:
        """This object under its full name."""
        return cast("Machine", self)

    def made(self, cls: type[T]) -> type[T]:
        """The class this machine uses where a driver asks for `cls`."""
        return cast("type[T]", self.classes.get(cls, cls))

    # -- locks ---------------------------------------------------------------

    def spinlock(self, name: str, *, kind: str = "queued", subclass: int = 0) -> QueuedSpinLock:
        """A `spinlock_t`. `kind`: "queued" (Linux today), "ticket" or "test-and-set"."""
        if kind not in SPIN_KINDS:
            raise ValueError(f"no spin lock of kind {kind!r}; there are {', '.join(SPIN_KINDS)}")
        return self.made(SPIN_KINDS[kind])(self.me, name, subclass=subclass)

    def raw_spinlock(self, name: str, *, subclass: int = 0) -> QueuedSpinLock:
        """A `raw_spinlock_t`: spins even on a real-time kernel, so nothing that could sleep there may
        be taken under it.
        """
        return self.made(QueuedSpinLock)(self.me, name, raw=True, subclass=subclass)

    def rwlock(self, name: str, *, subclass: int = 0) -> RwLock:
        """An `rwlock_t`."""
        return self.made(RwLock)(self.me, name, subclass=subclass)

    def mutex(self, name: str, *, subclass: int = 0) -> Mutex:
        """A `struct mutex`."""
        return self.made(Mutex)(self.me, name, subclass=subclass)

    def rwsem(self, name: str, *, subclass: int = 0) -> RwSemaphore:
        """A `struct rw_semaphore`."""
        return self.made(RwSemaphore)(self.me, name, subclass=subclass)

    # -- waiting and counting ------------------------------------------------

    def completion(self, name: str) -> Completion:
        """A `struct completion`."""
        return self.made(Completion)(self.me, name)

    def wait_queue(self, name: str) -> WaitQueue:
        """A `wait_queue_head_t`."""
        return self.made(WaitQueue)(self.me, name)

    def seqcount(self, name: str) -> SeqCount:
        """A `seqcount_t`."""
        return SeqCount(self.me, name)

    def atomic(self, name: str, value: int = 0) -> Atomic:
        """An `atomic_t`."""
        return self.made(Atomic)(self.me, name, value)

    def refcount(self, name: str, value: int = 1) -> RefCount:
        """A `refcount_t`."""
        ref = RefCount(self.me, name, value)
        self.ledger.enter(self.ledger.refcounts, ref)
        return ref

    def percpu_counter(self, name: str, batch: int = 32) -> PerCpuCounter:
        """A `struct percpu_counter`."""
        return PerCpuCounter(self.me, name, batch)

    def list_head(self, name: str) -> ListHead:
        """A `struct list_head` that anchors a list."""
        lst = self.made(ListHead)(self.me, name)
        self.ledger.enter(self.ledger.lists, lst)
        return lst

    # -- memory --------------------------------------------------------------

    @coroutine
    def kmalloc(
        self,
        cls: type[K],
        *args: Any,
        gfp: GFP = GFP_KERNEL,
        **kwargs: Any,
    ) -> Generator[int | None, None, K | None]:
        """A new driver object `cls(machine, ...)`, or None when memory is out (or was made to fail)."""
        place = here()
        if gfp & GFP_KERNEL:
            self.might_sleep(place)
        yield from self.me.work(self.costs.atomic)
        if self.pages.faults.should_fail(place):
            return None
        obj = cls(self.me, *args, **kwargs)
        obj.allocated = place
        self.objects[obj.serial] = obj
        return obj

    @coroutine
    def kfree(self, obj: KObject) -> Generator[int | None, None, None]:
        """Give an object back: touching it afterwards is a use after free."""
        place = here()
        yield from self.field_step(obj, "", True, "free {}")
        if obj.freed is not None:
            self.double_free(obj, place)
            return
        for value in vars(obj).values():
            if isinstance(value, Lock):
                self.lock_freed(value, place)
        obj.freed = place
        for cell in obj.cells.values():
            cell.forget()
        self.objects.pop(obj.serial, None)

    @coroutine
    def alloc_page(
        self,
        gfp: GFP = GFP_KERNEL,
        *,
        node: int = -1,
        name: str = "page",
    ) -> Generator[int | None, None, Page | None]:
        """A cleared page, or None."""
        return (yield from self.pages.alloc(gfp, node=node, name=name, place=here()))

    @coroutine
    def alloc_pages(
        self,
        count: int,
        gfp: GFP = GFP_KERNEL,
        *,
        node: int = -1,
        name: str = "pages",
    ) -> Generator[int | None, None, list[Page]]:
        """Cleared pages in a row (`alloc_pages` of higher order), or an empty list."""
        place = here()
        if gfp & GFP_KERNEL:
            self.might_sleep(place)
        yield from self.me.work(self.costs.page * count)
        return [] if self.pages.faults.should_fail(place) else self.pages.take_run(count, node, name, place)

    @coroutine
    def free_page(self, page: Page) -> Generator[int | None, None, None]:
        """Give a page back."""
        yield from self.pages.free(page, here())

    @coroutine
    def field_step(
        self, obj: KObject, field: str, write: bool, words: str = ""
    ) -> Generator[int | None, None, None]:
        """An access that is a step of its own; `words` say so if it is part of more. Nothing to wait for
        here; the explorer lets others in.
        """
        return
        yield

    # -- interrupts and timers -----------------------------------------------

    def irq_line(self, name: str, handler: Handler, cpu: int = 0) -> IrqLine:
        """An interrupt line: `line.fire()` has `handler()` run in hard interrupt context on its CPU."""
        return IrqLine(self.me, name, handler, cpu)

    def timer(self, name: str, function: Handler, cpu: int | None = None) -> Timer:
        """A `struct timer_list`: `timer.mod(ns)` has `function()` run in softirq context that much later."""
        timer = Timer(self.me, name, function, cpu)
        self.ledger.timers.append(timer)
        return timer

    @coroutine
    def smp_call(
        self, cpus: Sequence[int], function: Handler, wait: bool = True
    ) -> Generator[int | None, None, None]:
        """`smp_call_function_many`: run `function()` in interrupt context on other CPUs; with `wait`,
        until all have done it.
        """
        if wait and self.irqs_disabled():
            self.report("WARNING: smp_call_function_many with interrupts disabled", "IPI", (here(),))
        left = self.atomic("IPI", len(cpus))

        async def handler() -> None:
            await function()
            await left.add_return(-1)

        for number in cpus:
            self.call_in(self.costs.irq, partial(self.interrupt, self.cpus[number], "IPI", handler), "IPI")
        while wait and left.value:
            yield from left.relax_while(left.value)
        if wait and self.order is not None:
            self.order.observe(self.current, left)

    @coroutine
    def busy_wait(self, what: str) -> Generator[int | None, None, None]:
        """Keep the CPU busy until somebody lets this context go on (`at`); the record shows
        `what` it waits for.
        """
        context = self.current
        context.waiting, context.since = what, self.now
        number = self.waited_for(what)
        self.note(context, WAIT, number)
        yield None
        self.note(context, WAIT_END, number)
        context.waiting = None

    def waited_for(self, what: str) -> int:
        """The number in the record of something that is waited for and is no lock."""
        number = self._words.get(what)
        if number is None:
            number = self._words[what] = self.register(what, "word")
        return number

    # -- hardware beside the CPUs --------------------------------------------

    def hardware_touched(self, thing: Any) -> None:
        """The running step changes the state of a piece of hardware (the explorer wants to know)."""

    def memory_touched(self, address: int) -> None:
        """The running step makes hardware write memory (the explorer wants to know)."""

    @coroutine
    def device_step(self, thing: Any, address: int | None) -> Generator[int | None, None, None]:
        """A device or walker is about to do its next memory access, at `address` (None: to
        look into its caches).
        """
        if address is not None:
            yield from self.me.work(self.costs.walk_read)

    @coroutine
    def register_step(self, thing: Any, offset: int, write: bool) -> Generator[int | None, None, None]:
        """Software is about to read or write a register of a piece of hardware (the
        explorer wants to know).
        """
        yield from ()

    # -- names, prices, statistics -------------------------------------------

    def register(self, name: str, kind: str) -> int:
        """A number for a lock (or a word somebody spins on) in the record."""
        self.object_names.append(name)
        self.object_kinds.append(kind)
        return len(self.object_names) - 1

    def log_of(self, lock: Lock, read: bool = False) -> LockLog:
        """The log of a lock's class (one for readers, one for writers)."""
        key = (lock.name, lock.subclass, lock.kind, read)
        log = self.lock_logs.get(key)
        if log is None:
            log = self.lock_logs[key] = LockLog()
        return log

    @property
    def priced(self) -> bool:
        """Do accesses to single words cost anything here?"""
        return bool(self.costs.atomic or self.costs.line_near)

    def line_between(self, cpu: int, have: int) -> int:
        """Nanoseconds to get a cache line to `cpu` from one of the CPUs in the bit mask `have`."""
        if self.socket_of is None or cpu < 0 or have & self.socket_masks[self.socket_of[cpu]]:
            return self.costs.line_near
        return self.costs.line_far

    def note_at(self, context: Context, kind: int, obj: int, place: Spot | None, arg: int = 0) -> None:
        """Record an event that has a place."""
        if self.rows is not None:
            self.rows.extend((self.now, context.cpu_id, context.id, kind, obj, place, arg))

    def bug_on(self, condition: bool, what: str) -> None:
        """`BUG_ON`: stop everything if `condition` holds."""
        if condition:
            self.report("kernel BUG", what, (here(),))
            raise KernelBug(f"{what}, in {self.describe(self.current)}")

    def warn_on(self, condition: Any, what: str) -> bool:
        """`WARN_ON`: report it if `condition` holds; returns the condition."""
        if condition:
            self.report("WARNING", what, (here(),))
        return bool(condition)

    def agent_context(self, name: str) -> Context:
        """A context for something that is not a CPU's work."""
        return self.new_context(name, AGENT)
