"""`Machine`: one simulated computer, and the ways to run a driver on it.

Driver code is written once, as `async def` functions that await this machine's primitives.
The same source is

- run alone: `machine.run(coro)` runs one coroutine to its end and returns its result,
- simulated: `machine.spawn(coro, cpu=n)` for each thread, then `machine.simulate()` returns the `Trace`,
- explored: `vtdkit.kernel.explore(scenario)` tries every interleaving that matters on
  a fresh machine each.

Nothing in a driver knows which. Time is virtual, in nanoseconds; a seed fixes everything; there is no
wall clock. Memory is sequentially consistent: reorderings that real processors do are not modelled.

Example::

    >>> machine = Machine(cpus=2)
    >>> async def hello() -> int:
    ...     await machine.work(100)
    ...     return machine.now
    >>> machine.run(hello())
    100
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import coroutine
from typing import Any, TypeVar

from vtdkit.kernel.checkers.checks import CHECKERS, Checks
from vtdkit.kernel.checkers.findings import Deadlock, KernelBug
from vtdkit.kernel.checkers.watchdog import look, why_stuck
from vtdkit.kernel.locks.mutex import Mutex
from vtdkit.kernel.locks.rcu import Rcu
from vtdkit.kernel.locks.rwlock import RwLock, RwSemaphore
from vtdkit.kernel.locks.spinlock import SpinLock, TestAndSetLock, TicketLock
from vtdkit.kernel.locks.sync import Atomic, RefCount
from vtdkit.kernel.memory.allocator import PageAllocator
from vtdkit.kernel.memory.gfp import GFP, GFP_KERNEL
from vtdkit.kernel.memory.lists import ListHead
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.lockstat_report import LockStatTable
from vtdkit.kernel.record.sites import here
from vtdkit.kernel.record.trace import Trace

from .context import AGENT, TASK, Context
from .costs import NEAR, Costs
from .irqflags import IrqFlags
from .runnable import runnable
from .scheduling import Scheduler
from .statistics import Statistics
from .steps import Steps

T = TypeVar("T")
K = TypeVar("K", bound=KObject)
SPIN_KINDS = {"queued": SpinLock, "ticket": TicketLock, "test-and-set": TestAndSetLock}


class Machine:
    """One computer, made of its parts.

    - `cpus` (1…1024), `sockets` the CPUs are spread over (NUMA nodes are sockets)
    - `seed` fixes every random choice (`machine.random`)
    - `costs` what each operation takes (`vtdkit.kernel.machine.costs`)
    - `preempt` whether a thread can lose its CPU to another one while it runs kernel code
    - `checkers` which of `CHECKERS` are on; `()` for none
    - `record` whether events are recorded for `Trace`
    - `statistics` False: with neither checkers nor a record, keep no lock statistics either
    - `pages` how many page frames there are
    - `step_limit` how many steps one run may take before it is taken for endless

    Raises `ValueError` on sizes that make no sense. Guards: a machine is used from one Python thread.
    """

    _made: dict[Any, Any] = {}  # noqa: RUF012  # what is used in place of a class; the explorer has its own

    def __init__(
        self,
        cpus: int = 1,
        *,
        seed: int = 0,
        costs: Costs = NEAR,
        sockets: int = 1,
        preempt: bool = True,
        checkers: Iterable[str] = CHECKERS,
        record: bool = True,
        statistics: bool = True,
        pages: int = 1 << 22,
        step_limit: int = 10_000_000,
    ) -> None:
        if not isinstance(cpus, int) or not 1 <= cpus <= 1024:
            raise ValueError(f"a machine has 1 to 1024 CPUs, not {cpus!r}")
        if not isinstance(sockets, int) or not 1 <= sockets <= cpus:
            raise ValueError(f"{cpus} CPUs cannot be spread over {sockets!r} sockets")
        if not isinstance(pages, int) or pages < sockets:
            raise ValueError(f"a machine has a page frame or more on each socket, not {pages!r} in all")
        if not isinstance(costs, Costs):
            raise TypeError(f"costs= takes Costs, for instance NEAR.but(lock=20), not {costs!r}")
        wanted = frozenset(checkers)
        self.seed = seed
        self.random = random.Random(seed)
        self.costs = costs
        self.sched = self.make(Scheduler, cpus, sockets, preempt)  # time, CPUs, who runs
        self.sched.limit = step_limit
        self.irq = self.make(IrqFlags)  # interrupts and preemption, off and on
        self.stat = self.make(Statistics, record, bool(wanted) or record or statistics)
        self.steps = self.make(Steps)  # what the explorer stops at
        self.check = self.make(Checks, wanted)  # what watches a run
        self.rcu = self.make(Rcu)
        self.pages = self.make(PageAllocator, frames=pages, nodes=sockets)
        self.findings = self.check.findings
        self.cpus = self.sched.cpus
        #: `work(ns)`: keep this CPU busy for so long. Await it at once.
        self.work: Callable[[int], Any] = self.sched.work
        self.sched.boot = self.sched.current = self.sched.new_context("boot", AGENT)
        self.check.replay = (
            f"the same threads on Machine({cpus}, seed={seed}, sockets={sockets}, "
            f"costs={costs}, preempt={preempt})"
        )

    # -- running -------------------------------------------------------------

    def spawn(
        self,
        coro: Coroutine[Any, Any, Any],
        cpu: int | None = None,
        name: str | None = None,
        once: bool = False,
    ) -> Context:
        """Start a thread; it runs when the machine does. `cpu` pins it; else it starts on the one that is
        emptiest now and may move. `once`: nobody asks about it later, so its record is used again, and
        there may be millions of such threads.
        """
        sched = self.sched
        coro = runnable(coro)
        try:
            place = None if cpu is None else sched.cpu(cpu)
        except ValueError:
            coro.close()
            raise
        name = name or getattr(coro, "__name__", "task") + ("" if once else f"/{len(sched.contexts)}")
        context = sched.reuse(name, TASK) if once else sched.new_context(name, TASK)
        context.disposable = once
        context.pinned = cpu is not None
        self.check.order.fork(sched.current, context)
        sched.start(context, coro, place)
        return context

    def spawn_device(self, coro: Coroutine[Any, Any, Any], name: str, once: bool = False) -> Context:
        """Start something that runs beside the CPUs, a device that does DMA for instance;
        it takes no lock. `once` as in `spawn`.
        """
        coro = runnable(coro, "what a device does")
        context = self.sched.reuse(name, AGENT) if once else self.sched.new_context(name, AGENT)
        context.disposable, context.done = once, False
        context.coro = coro
        context.send = coro.send
        self.check.order.fork(self.sched.current, context)
        self.sched.at(context, 0)
        return context

    def run(self, coro: Coroutine[Any, Any, T], cpu: int | None = 0, name: str | None = None) -> T:
        """Run one coroutine to its end and return its result; hardware and timers go on meanwhile.
        It is a thread on `cpu`, or, with None, a device beside the CPUs.

        Raises what the coroutine raises, and `Deadlock` if it can never end.
        """
        self._not_nested("run", coro)
        context = (
            self.spawn_device(coro, name or "device", once=True)
            if cpu is None
            else self.spawn(coro, cpu, name, once=True)
        )
        self.sched.run(context)
        if not context.done:
            raise Deadlock(f"{context.name} cannot go on: {why_stuck(context)}")
        return context.result  # type: ignore[no-any-return]

    def simulate(self, until: int | None = None) -> Trace:
        """Run everything spawned, until all have ended or virtual time reaches `until` (ns); returns
        the record so far.

        What is due at `until` itself is left for later. Threads that can never go on are reported as
        findings (who waits for whom), not raised; so are circles of waiting threads at `until`. Raises
        ValueError for a time that has passed.
        """
        self._not_nested("simulate")
        if until is None:
            self.sched.run(None, alone=False)
        else:
            self.sched.run_until(until)
        look(self, all_over=not self.sched.stopped)
        return self.trace()

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass: timers and hardware do what is due."""
        self._not_nested("advance")
        self.sched.run_until(self.now + ns)

    def _not_nested(self, what: str, coro: Any = None) -> None:
        if self.sched.current is not self.sched.boot:
            if hasattr(coro, "close"):
                coro.close()
            raise RuntimeError(
                f"machine.{what} cannot be called from code that runs on the machine; await it instead"
            )

    # -- time ----------------------------------------------------------------

    @property
    def now(self) -> int:
        """Virtual time in ns."""
        return self.sched.now

    def cpu(self) -> int:
        """`smp_processor_id`: the CPU the running context is on."""
        return self.sched.current.cpu_id

    # -- locks, counters, lists: names make the classes that validator and statistics go by ------------

    def make(self, cls: Callable[..., T], *args: Any, **options: Any) -> T:
        """A primitive of this machine that has no method of its own here: `make(Completion, "done")`."""
        return self._made.get(cls, cls)(self, *args, **options)  # type: ignore[no-any-return]

    def spinlock(self, name: str, *, kind: str = "queued", subclass: int = 0) -> SpinLock:
        """A `spinlock_t`. `kind`: "queued" (Linux today), "ticket" or "test-and-set"."""
        if kind not in SPIN_KINDS:
            raise ValueError(f"no spin lock of kind {kind!r}; there are {', '.join(SPIN_KINDS)}")
        return self.make(SPIN_KINDS[kind], name, subclass=subclass)

    def raw_spinlock(self, name: str, *, subclass: int = 0) -> SpinLock:
        """A `raw_spinlock_t`: spins even on a real-time kernel, so nothing that could sleep there may
        be taken under it.
        """
        return self.make(SpinLock, name, raw=True, subclass=subclass)

    def rwlock(self, name: str, *, subclass: int = 0) -> RwLock:
        """An `rwlock_t`."""
        return self.make(RwLock, name, subclass=subclass)

    def mutex(self, name: str, *, subclass: int = 0) -> Mutex:
        """A `struct mutex`."""
        return self.make(Mutex, name, subclass=subclass)

    def rwsem(self, name: str, *, subclass: int = 0) -> RwSemaphore:
        """A `struct rw_semaphore`."""
        return self.make(RwSemaphore, name, subclass=subclass)

    def atomic(self, name: str, value: int = 0) -> Atomic:
        """An `atomic_t`."""
        return self.make(Atomic, name, value)

    def refcount(self, name: str, value: int = 1) -> RefCount:
        """A `refcount_t`."""
        return self.make(RefCount, name, value)

    def list_head(self, name: str) -> ListHead:
        """A `struct list_head` that anchors a list."""
        return self.make(ListHead, name)

    # -- memory --------------------------------------------------------------

    @coroutine
    def kmalloc(
        self, cls: type[K], *args: Any, gfp: GFP = GFP_KERNEL, **kwargs: Any
    ) -> Generator[int | None, None, K | None]:
        """A new driver object `cls(machine, ...)`, or None when memory is out (or was made to fail)."""
        place = here()
        if gfp & GFP_KERNEL:
            self.check.might_sleep(place)
        yield from self.work(self.costs.atomic)
        if self.pages.faults.should_fail(place):
            return None
        obj = cls(self, *args, **kwargs)
        obj.allocated = place
        self.check.objects[obj.serial] = obj
        return obj

    @coroutine
    def kfree(self, obj: KObject) -> Generator[int | None, None, None]:
        """Give an object back: touching it afterwards is a use after free."""
        place = here()
        yield from self.steps.field(obj, "", True, "free {}")
        self.check.object_freed(obj, place)

    @coroutine
    def alloc_page(
        self, gfp: GFP = GFP_KERNEL, *, node: int = -1, name: str = "page"
    ) -> Generator[int | None, None, Page | None]:
        """A cleared page, or None."""
        pages = yield from self.pages.alloc(1, gfp, node=node, name=name, place=here())
        return pages[0] if pages else None

    @coroutine
    def alloc_pages(
        self, count: int, gfp: GFP = GFP_KERNEL, *, node: int = -1, name: str = "pages"
    ) -> Generator[int | None, None, list[Page]]:
        """Cleared pages in a row (`alloc_pages` of higher order), or an empty list."""
        return (yield from self.pages.alloc(count, gfp, node=node, name=name, place=here()))

    @coroutine
    def free_page(self, page: Page) -> Generator[int | None, None, None]:
        """Give a page back."""
        yield from self.pages.free(page, here())

    # -- what a driver asserts, what a run leaves ----------------------------

    def might_sleep(self) -> None:
        """`might_sleep`: report it if the running context must not sleep here."""
        self.check.might_sleep(here())

    def bug_on(self, condition: bool, what: str) -> None:
        """`BUG_ON`: stop everything if `condition` holds."""
        if condition:
            self.check.report("kernel BUG", what, (here(),))
            raise KernelBug(f"{what}, in {self.check.describe(self.sched.current)}")

    def warn_on(self, condition: Any, what: str) -> bool:
        """`WARN_ON`: report it if `condition` holds; returns the condition."""
        if condition:
            self.check.report("WARNING", what, (here(),))
        return bool(condition)

    def trace(self) -> Trace:
        """The record so far (a copy: the machine may go on)."""
        stat, contexts = self.stat, self.sched.contexts
        return Trace(
            stat.recorder.copy(),
            tuple(context.name for context in contexts),
            tuple(stat.object_names),
            tuple(stat.recorder.sites),
            len(self.cpus),
            self.now,
            tuple(self.findings),
            tuple(stat.marks),
            tuple(stat.object_kinds),
            tuple(context.kind for context in contexts),
        )

    def lock_stat(self) -> LockStatTable:
        """Every lock class that was taken, as /proc/lock_stat has them; prints as that file does."""
        return LockStatTable(self.stat.classes())

    def __repr__(self) -> str:
        return (
            f"Machine({len(self.cpus)} CPUs, {self.now} ns, "
            f"{sum(not c.done and c.kind == TASK for c in self.sched.contexts)} threads alive, "
            f"{len(self.findings)} findings)"
        )
