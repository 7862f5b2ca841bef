"""`Machine`: one simulated computer, and the ways to run a driver on it.

Driver code is written once, as `async def` functions that await this machine's primitives. The same source is

- run alone: `machine.run(coro)` runs one coroutine to its end and returns its result,
- simulated: `machine.spawn(coro, cpu=n)` for each thread, then `machine.simulate()` returns the `Trace`,
- explored: `vtdkit.kernel.explore(scenario)` tries every interleaving that matters on a fresh machine each.

Nothing in a driver knows which. Time is virtual, in nanoseconds; a seed fixes everything; there is no wall clock. Memory is
sequentially consistent: reorderings that real processors do are not modelled.

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
from collections.abc import Coroutine, Generator, Iterable
from types import coroutine
from typing import Any, TypeVar

from .context import AGENT, TASK, Context, Cpu
from .costs import NEAR, Costs
from .engine import Stop
from .findings import Deadlock, Findings
from .pages import PageAllocator
from .primitives import Primitives
from .races import HappensBefore
from .rcu import Rcu
from .record import END, MARK, Recorder, Trace

T = TypeVar("T")


def _stop() -> None:
    raise Stop


#: the checkers a machine can have; all are on unless the constructor says otherwise
CHECKERS = ("lockdep", "sleep", "kasan", "races", "rcu", "lists", "leaks")


class Machine(Primitives):
    """One computer.

    - `cpus` (1…1024), `sockets` the CPUs are spread over (NUMA nodes are sockets)
    - `seed` fixes every random choice (`machine.random`)
    - `costs` what each operation takes (`vtdkit.kernel.costs`)
    - `preempt` whether a thread can lose its CPU to another one while it runs kernel code
    - `checkers` which of `CHECKERS` are on; `()` for none
    - `record` whether events are recorded for `Trace`
    - `pages` how many page frames there are, `seed`-independent

    Raises `ValueError` on sizes that make no sense. Guards: a machine is used from one Python thread.
    """

    def __init__(
        self, cpus: int = 1, *, seed: int = 0, costs: Costs = NEAR, sockets: int = 1, preempt: bool = True,
        checkers: Iterable[str] = CHECKERS, record: bool = True, pages: int = 1 << 22,
    ) -> None:  # fmt: skip
        if not 1 <= cpus <= 1024:
            raise ValueError(f"a machine has 1 to 1024 CPUs, not {cpus}")
        if not 1 <= sockets <= cpus:
            raise ValueError(f"{cpus} CPUs cannot be spread over {sockets} sockets")
        unknown = sorted(set(checkers) - set(CHECKERS))
        if unknown:
            raise ValueError(f"no checker {', '.join(unknown)}; there are {', '.join(CHECKERS)}")
        self.checkers = frozenset(checkers)
        self.findings = Findings()
        self.seed = seed
        self.random = random.Random(seed)
        self.recorder = Recorder()
        self.rows = self.recorder.rows if record else None
        self.marks: list[str] = []
        self.listening = record or "races" in self.checkers  # anything to tell about each lock operation?
        self.order = HappensBefore(self) if "races" in self.checkers else None
        self.setup_checks()
        self.setup_validation()
        super().__init__(cpus, sockets, costs, preempt)
        self.socket_of = [cpu.socket for cpu in self.cpus] if sockets > 1 else None
        self.rcu = Rcu(self)
        self.pages = PageAllocator(self, frames=pages, nodes=sockets)
        self.boot = self.new_context("boot", "agent")
        self.current = self.boot

    # -- running ---------------------------------------------------------------------------------------------------

    def spawn(
        self, coro: Coroutine[Any, Any, Any], cpu: int | None = None, name: str | None = None, context: Context | None = None,
    ) -> Context:  # fmt: skip
        """Start a thread; it runs when the machine does. `cpu` pins it; else it starts on the next CPU and may migrate."""
        if not hasattr(coro, "send"):
            raise TypeError(f"spawn takes a coroutine, for instance driver.map(...); got {coro!r}")
        if cpu is not None and not 0 <= cpu < len(self.cpus):
            coro.close()
            raise ValueError(f"no CPU {cpu}; this machine has {len(self.cpus)}, numbered from 0")
        context = context or self.new_context(name or f"{getattr(coro, '__name__', 'task')}/{len(self.contexts)}", TASK)
        context.pinned = cpu is not None
        place = self._emptiest() if cpu is None else self.cpus[cpu]
        if self.order is not None:
            self.order.fork(self.current, context)
        self.start(context, coro, place)
        return context

    def spawn_device(self, coro: Coroutine[Any, Any, Any], name: str) -> Context:
        """Start something that runs beside the CPUs, a device that does DMA for instance; it takes no lock."""
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
        self._not_nested("run")
        context = self.spawn(coro, cpu, name, self.reuse(name or str(getattr(coro, "__name__", "task")), TASK))
        self._go(context)
        if not context.done:
            raise Deadlock(f"{context.name} cannot go on: {self.why_stuck(context)}")
        result: T = context.result
        self.retire(context)
        return result

    def simulate(self, until: int | None = None) -> Trace:
        """Run everything spawned, until all have ended or virtual time reaches `until` (ns); returns the record so far.

        Threads that can never go on are reported as findings (who waits for whom), not raised.
        """
        self._not_nested("simulate")
        if until is not None:
            self.call_in(until - self.now, _stop, "until")
        self._go(None)
        if not self.stopped:
            self.report_stuck()
        return self.trace()

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass: timers and hardware do what is due."""
        self.simulate(self.now + ns)

    def _not_nested(self, what: str) -> None:
        if self.current is not self.boot:
            raise RuntimeError(f"machine.{what} cannot be called from code that runs on the machine; await it instead")

    def _go(self, context: Context | None) -> None:
        self.stop_at, self.stopped = context, False
        try:
            self.loop()
        finally:
            self.current = self.boot
            self.mine = 0
            if self.order is not None:
                self.order.settle(self.boot, self.contexts)

    # -- time ------------------------------------------------------------------------------------------------------

    @coroutine
    def work(self, ns: int) -> Generator[int | None, None, None]:
        """Keep this CPU busy for `ns` nanoseconds."""
        if ns > 0 and (len(self.heap) > 3 or not self.skip(ns)):
            yield ns

    def cpu(self) -> int:
        """`smp_processor_id`: the CPU the running context is on."""
        return self.current.cpu_id

    # -- the record ------------------------------------------------------------------------------------------------

    def note(self, context: Context, kind: int, obj: int) -> None:
        if self.rows is not None and context.cpu_id >= 0:
            self.rows.append((self.now, context.cpu_id, context.id, kind, obj, None, 0))

    def ended(self, context: Context) -> None:
        self.note(context, END, 0)
        self.still_held(context)

    def mark(self, text: str) -> None:
        """Leave a note in the record, at this instant, in the running context."""
        if self.rows is not None:
            self.rows.append((self.now, self.current.cpu_id, self.current.id, MARK, 0, None, len(self.marks)))
        self.marks.append(text)

    def housekeeping(self) -> None:
        if self.rows is not None and len(self.rows) > Recorder.FOLD:
            self.recorder.fold()
        for log in self.lock_logs.values():
            log.fold()

    def trace(self) -> Trace:
        """The record so far (a copy: the machine may go on)."""
        self.recorder.fold()
        names = [context.name for context in self.contexts]
        return Trace(
            self.recorder.data[:], names, self.object_names, self.recorder.sites, len(self.cpus), self.now,
            tuple(self.findings), self.marks,
        )  # fmt: skip

    def __repr__(self) -> str:
        threads = sum(not c.done and c.kind == TASK for c in self.contexts)
        return f"Machine({len(self.cpus)} CPUs, {self.now} ns, {threads} threads alive, {len(self.findings)} findings)"
