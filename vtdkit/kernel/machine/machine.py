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
from collections.abc import Coroutine, Iterable
from heapq import heapify, heappush
from typing import Any, TypeVar

from vtdkit.kernel.checkers.findings import Deadlock, Findings
from vtdkit.kernel.checkers.races import HappensBefore
from vtdkit.kernel.locks.fastlock import BareSpinLock, StraightSpinLock
from vtdkit.kernel.locks.rcu import Rcu
from vtdkit.kernel.locks.spinlock import QueuedSpinLock
from vtdkit.kernel.memory.pages import PageAllocator
from vtdkit.kernel.record.record import Recorder
from vtdkit.kernel.record.trace import Trace

from .context import AGENT, TASK, Context, Cpu
from .costs import NEAR, PRESETS, Costs
from .engine import DONE, Pause, Stop
from .reports import Reports

T = TypeVar("T")

#: the checkers a machine can have; all are on unless the constructor says otherwise
CHECKERS = ("lockdep", "sleep", "kasan", "races", "rcu", "lists", "leaks")


class Machine(Reports):
    """One computer.

    - `cpus` (1…1024), `sockets` the CPUs are spread over (NUMA nodes are sockets)
    - `seed` fixes every random choice (`machine.random`)
    - `costs` what each operation takes (`vtdkit.kernel.machine.costs`)
    - `preempt` whether a thread can lose its CPU to another one while it runs kernel code
    - `checkers` which of `CHECKERS` are on; `()` for none
    - `record` whether events are recorded for `Trace`
    - `statistics` False: with neither checkers nor a record, spin locks keep no
      statistics either (for speed)
    - `pages` how many page frames there are

    Raises `ValueError` on sizes that make no sense. Guards: a machine is used from one Python thread.
    """

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
    ) -> None:
        if not 1 <= cpus <= 1024:
            raise ValueError(f"a machine has 1 to 1024 CPUs, not {cpus}")
        if not 1 <= sockets <= cpus:
            raise ValueError(f"{cpus} CPUs cannot be spread over {sockets} sockets")
        self.checkers = frozenset(checkers)
        unknown = sorted(self.checkers - set(CHECKERS))
        if unknown:
            raise ValueError(f"no checker {', '.join(unknown)}; there are {', '.join(CHECKERS)}")
        self.findings = Findings()
        self.seed = seed
        self.random = random.Random(seed)
        self.recorder = Recorder()
        self.rows = self.recorder.rows if record else None
        self.statistics = bool(self.checkers) or record or statistics
        self.order = HappensBefore(self) if "races" in self.checkers else None
        if (
            not self.classes and not record and self.order is None
        ):  # nobody wants to be told of each lock operation
            self.classes = {QueuedSpinLock: StraightSpinLock if self.statistics else BareSpinLock}
        self.setup_checks()
        self.setup_validation()
        super().__init__(cpus, sockets, costs, preempt)
        self.socket_of = [cpu.socket for cpu in self.cpus] if sockets > 1 else None
        self.socket_masks = [
            sum(1 << cpu.id for cpu in self.cpus if cpu.socket == number) for number in range(sockets)
        ]
        self.rcu = Rcu(self)
        self.pages = PageAllocator(self, frames=pages, nodes=sockets)
        self.boot = self.new_context("boot", AGENT)
        self.current = self.boot
        self.replay_hint = (
            f"the same threads on Machine({cpus}, seed={seed}, sockets={sockets}, "
            f"costs={costs}, preempt={preempt})"
        )

    @classmethod
    def preset(cls, name: str, cpus: int = 4, **options: Any) -> Machine:
        """A machine of a known kind: "near" (one socket), "two-socket", or "ideal" (everything free)."""
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        costs, sockets = PRESETS[name]
        return cls(cpus, **{"costs": costs, "sockets": sockets, **options})

    # -- running -------------------------------------------------------------

    def spawn(
        self,
        coro: Coroutine[Any, Any, Any],
        cpu: int | None = None,
        name: str | None = None,
        context: Context | None = None,
    ) -> Context:
        """Start a thread; it runs when the machine does. `cpu` pins it; else it starts on the next
        CPU and may migrate.
        """
        if isinstance(coro, Pause):
            coro = _only(coro)  # a thread may do nothing but `machine.work(ns)`
        if not hasattr(coro, "send"):
            raise TypeError(f"a thread is made of a coroutine, for instance driver.map(...); got {coro!r}")
        if cpu is not None and not 0 <= cpu < len(self.cpus):
            coro.close()
            raise ValueError(f"no CPU {cpu}; this machine has {len(self.cpus)}, numbered from 0")
        context = context or self.new_context(
            name or f"{getattr(coro, '__name__', 'task')}/{len(self.contexts)}", TASK
        )
        context.pinned = cpu is not None
        if self.order is not None:
            self.order.fork(self.current, context)
        self.start(context, coro, self._emptiest() if cpu is None else self.cpus[cpu])
        return context

    def spawn_once(self, coro: Coroutine[Any, Any, Any], cpu: int | None = None, name: str = "task") -> None:
        """Start a thread that nobody asks about later; its record is used again, so there may
        be millions of them.
        """
        context = self.reuse(name, TASK)
        context.disposable = True
        self.spawn(coro, cpu, name, context)

    def spawn_device(self, coro: Coroutine[Any, Any, Any], name: str) -> Context:
        """Start something that runs beside the CPUs, a device that does DMA for instance;
        it takes no lock.
        """
        context = self.new_context(name, AGENT)
        context.coro = coro
        context.send = coro.send
        if self.order is not None:
            self.order.fork(self.current, context)
        self.at(context, 0)
        return context

    def _emptiest(self) -> Cpu:
        return min(self.cpus, key=lambda cpu: (cpu.task is not None, len(cpu.queue), cpu.id))

    def run(self, coro: Coroutine[Any, Any, T], cpu: int = 0, name: str | None = None) -> T:
        """Run one coroutine to its end and return its result; hardware and timers go on meanwhile.

        Raises what the coroutine raises, and `Deadlock` if it can never end.
        """
        self._not_nested("run", coro)
        context = self.reuse(name or str(getattr(coro, "__name__", "task")), TASK)
        context.disposable = True
        self.spawn(coro, cpu, name, context)
        self._go(context)
        if not context.done:
            raise Deadlock(f"{context.name} cannot go on: {self.why_stuck(context)}")
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
            self._go(None)
        else:
            self._go_until(until)
        self.report_stuck(all_over=not self.stopped)
        return self.trace()

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass: timers and hardware do what is due."""
        self._not_nested("advance")
        self._go_until(self.now + ns)

    def _not_nested(self, what: str, coro: Coroutine[Any, Any, Any] | None = None) -> None:
        if self.current is not self.boot:
            if coro is not None:
                coro.close()
            raise RuntimeError(
                f"machine.{what} cannot be called from code that runs on the machine; await it instead"
            )

    def _go_until(self, until: int) -> None:
        if until < self.now:
            raise ValueError(f"it is {self.now} ns already; {until} ns has passed")
        end = self.reuse("until", AGENT)
        end.send = _stop
        entry = (until, -1, end)  # before anything else that is due then
        heappush(self.heap, entry)
        try:
            self._go(None)
        finally:
            if entry in self.heap:
                self.heap.remove(entry)
                heapify(self.heap)
            self.retire(end)

    def _go(self, context: Context | None) -> None:
        self.stop_at, self.stopped, self.alone = context, False, context is not None
        try:
            self.loop()
        finally:
            self.current, self.alone = self.boot, False
            if self.order is not None:
                self.order.settle(self.boot, self.contexts)

    # -- time ----------------------------------------------------------------

    def work(self, ns: int) -> Any:
        """Keep this CPU busy for `ns` nanoseconds. Await it at once: for what runs alone the time is
        over when this returns.
        """
        if self.alone:
            if ns <= 0:
                return DONE
            heap = self.heap
            # nothing else is due at all
            if not self.ready and len(heap) == 1 and heap[0][2] is self.current:
                self.now += ns
                return DONE
            if self.skip(ns):
                return DONE
        try:
            return self.pauses[ns]
        except KeyError:
            return self.new_pause(ns)

    def cpu(self) -> int:
        """`smp_processor_id`: the CPU the running context is on."""
        return self.current.cpu_id

    def __repr__(self) -> str:
        threads = sum(not c.done and c.kind == TASK for c in self.contexts)
        return (
            f"Machine({len(self.cpus)} CPUs, {self.now} ns, {threads} threads alive, "
            f"{len(self.findings)} "
            "findings)"
        )


async def _only(pause: Any) -> None:
    await pause


def _stop(_: None) -> int | None:
    raise Stop
