"""CPUs under the engine: threads on run queues, interrupts on top of whatever runs, what waits
while they are off.

What is modelled: one run queue a CPU, first come first served with a time slice; a woken thread goes to
its own CPU if it is pinned, else to an idle one if there is any; a CPU that runs dry takes the first
unpinned thread from the longest queue. Hard interrupts run at once on a CPU that has them on, softirqs
when no interrupt is being handled and bottom halves are on; both wait otherwise (`Cpu.pending`). A thread
that gives up its CPU in atomic context is reported, then sleeps all the same, as in Linux; a handler that
would sleep is reported and keeps its CPU, since there is nobody to switch to.

Mirrors, in outline: kernel/sched/core.c (`schedule`, `try_to_wake_up`, `newidle_balance`),
kernel/softirq.c (`irq_exit`, `__do_softirq`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, NoReturn

from vtdkit.kernel.record.record import END, IRQ_ENTER, IRQ_EXIT, RUN, SLEEP, WAIT, WAIT_END, WAKE
from vtdkit.kernel.record.sites import driver_here, site

from .context import AGENT, HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context, Cpu
from .engine import Engine
from .host import Host
from .patience import PATIENCE
from .runnable import runnable

Handler = Callable[[], Coroutine[Any, Any, Any]]


class Scheduler(Engine):
    """The engine plus CPUs. `preempt=False`: a thread keeps its CPU until it sleeps."""

    __slots__ = ("costs", "cpus", "movable", "preempt", "socket_masks", "socket_of")

    def __init__(self, machine: Host, cpus: int, sockets: int, preempt: bool) -> None:
        super().__init__(machine)
        self.costs = machine.costs
        self.preempt = preempt
        self.movable = 0  # unpinned threads on all run queues together
        self.cpus = [Cpu(i, i // -(-cpus // sockets)) for i in range(cpus)]
        self.socket_of = [cpu.socket for cpu in self.cpus] if sockets > 1 else None
        self.socket_masks = [
            sum(1 << cpu.id for cpu in self.cpus if cpu.socket == number) for number in range(sockets)
        ]

    def line_between(self, cpu: int, have: int) -> int:
        """Nanoseconds to get a cache line to `cpu` from one of the CPUs in the bit mask `have`."""
        if self.socket_of is None or cpu < 0 or have & self.socket_masks[self.socket_of[cpu]]:
            return self.costs.line_near
        return self.costs.line_far

    def line(self, thing: Any, number: int, write: bool, cost: int) -> int:
        """The running context reads or writes a cache line of a thing; its `lines` has the CPUs that have a
        copy, as bit masks. The ns that are still to be waited, `cost` with them.
        """
        lines = thing.lines
        cpu = self.current.cpu_id
        if cpu < 0:  # a device owns no cache lines, and what it writes is in nobody's cache any more
            self.mine(thing)
            if write:
                lines.pop(number, None)
            return 0
        bit, have = 1 << cpu, lines.get(number, 0)
        lines[number] = bit if write else have | bit
        if have and (have != bit if write else not have & bit):
            cost += self.line_between(cpu, have)
        return 0 if not cost or (self.alone and self.skip(cost)) else cost

    def _note(self, context: Context, kind: int, obj: int = 0) -> None:
        """Record what becomes of a context; what is no CPU's work has no row in a timeline."""
        if context.cpu_id >= 0:
            self.machine.stat.note(context, kind, obj)

    def mine(self, thing: Any) -> None:
        """A thing of this machine is used. Raises RuntimeError if it is another machine's thread that runs;
        with none running it is set-up.
        """
        if self.current is self.boot and PATIENCE.running:
            kind = type(thing).__name__.removeprefix("X")
            self.no_cpu(f"the {kind} {getattr(thing, 'name', '') or thing.label}")

    def no_cpu(self, what: str) -> NoReturn:
        """Something is used that only code on a CPU of this machine can use. Raises RuntimeError."""
        who = "code of another machine" if self.current is self.boot else f"the device {self.current.name}"
        raise RuntimeError(
            f"{what} is used by {who}, at {site(driver_here())}; only threads and handlers of the machine "
            "that it was made by can use it"
        )

    def cpu(self, number: int) -> Cpu:
        """The CPU of this number. Raises ValueError if there is none."""
        if number not in range(len(self.cpus)):
            raise ValueError(f"no CPU {number!r}; this machine has {len(self.cpus)}, numbered from 0")
        return self.cpus[number]

    # -- threads -------------------------------------------------------------

    def start(self, context: Context, coro: Coroutine[Any, Any, Any], cpu: Cpu | None) -> None:
        """Put a new thread on a CPU; on the emptiest, if none is named."""
        if cpu is None:
            cpu = min(self.cpus, key=lambda cpu: (cpu.task is not None, len(cpu.queue), cpu.id))
        context.coro = coro
        context.send = coro.send
        context.cpu, context.cpu_id = cpu, cpu.id
        self._enqueue(context, 0)

    def wake(self, context: Context) -> None:
        """Make a sleeping thread runnable (`try_to_wake_up`): it pays for the wake-up before it goes on."""
        context.waiting = None
        self._note(context, WAKE)
        if context.kind != TASK:
            self.at(context, 0)  # it only spun, see `sleep_on`
            return
        if not context.pinned and context.cpu is not None and context.cpu.task is not None:
            cpu = next((cpu for cpu in self.cpus if cpu.task is None), context.cpu)
            context.cpu, context.cpu_id = cpu, cpu.id
        self._enqueue(context, self.costs.wake)

    def _enqueue(self, context: Context, ns: int) -> None:
        cpu = context.cpu
        assert cpu is not None
        if cpu.task is None:
            self._dispatch(cpu, context, ns)
        else:
            self._append(cpu, context)
            self._arm_slice(cpu)

    def _append(self, cpu: Cpu, context: Context) -> None:
        cpu.queue.append(context)
        self.movable += not context.pinned

    def _dispatch(self, cpu: Cpu, context: Context, ns: int) -> None:
        """Give the CPU to a thread, which owes `ns`; if an interrupt sits on the CPU, below it."""
        cpu.task = context
        self._note(context, RUN)
        context.late += ns
        if not context.suspended:
            self._suspend(context)
            context.due = self.now
        if cpu.top is None:
            cpu.top = context
            self._resume(context)
        else:
            bottom = cpu.top
            while bottom.below is not None:
                bottom = bottom.below
            bottom.below = context

    def leave_cpu(self, context: Context) -> None:
        """The running thread gives up its CPU (it sleeps or has ended); the next one in
        the queue gets it.
        """
        cpu = context.cpu
        assert cpu is not None
        cpu.task = cpu.top = None
        self._next_thread(cpu)
        if cpu.pending:
            self.open_cpu(cpu)

    def _next_thread(self, cpu: Cpu) -> None:
        if not cpu.queue and self.movable:
            self._pull(cpu)
        if cpu.queue:
            context = cpu.queue.popleft()
            self.movable -= not context.pinned
            self._dispatch(cpu, context, self.costs.switch)
            if cpu.queue:
                # the slice begins after the switch: however short, it gets the thread on
                self._arm_slice(cpu, self.costs.switch)

    def _pull(self, cpu: Cpu) -> None:
        """Move the first thread that may move here, from the longest queue
        that has one (`newidle_balance`).
        """
        for other in sorted(self.cpus, key=lambda other: -len(other.queue)):
            context = next((context for context in other.queue if not context.pinned), None)
            if context is not None:
                break
        assert context is not None  # `movable` says that there is one
        other.queue.remove(context)
        context.cpu, context.cpu_id = cpu, cpu.id
        cpu.queue.append(context)

    @coroutine
    def sleep_on(self, what: Any) -> Generator[int | None, None, None]:
        """Sleep until woken; `what` is shown as the thing waited for. Only a thread may sleep."""
        context = self.current
        context.waiting = what
        context.since = self.now
        self._note(context, SLEEP)
        if context.kind == TASK:
            for hold in context.held:
                hold.lock.owner_sleeps()
            self.leave_cpu(context)
        yield None

    def _arm_slice(self, cpu: Cpu, ns: int = 0) -> None:
        if self.preempt and not cpu.slice_armed:
            cpu.slice_armed = True
            self.call_in(ns + self.costs.slice, lambda: self._slice_over(cpu), "time slice")

    def _slice_over(self, cpu: Cpu) -> None:
        cpu.slice_armed = False
        if cpu.queue and cpu.task is not None:
            cpu.resched = cpu.pending = True
            self.open_cpu(cpu)

    def _preempt_now(self, cpu: Cpu) -> None:
        """Put the thread on `cpu` at the end of its queue, its remaining work kept, and run the next."""
        cpu.resched = False
        cpu.update_pending()
        task = cpu.task
        if task is None or not cpu.queue:
            return
        if not task.suspended:  # it still is if an interrupt has just ended on top of it
            self._suspend(task)
        for hold in task.held:
            hold.lock.owner_sleeps()
        if hasattr(task.waiting, "stop_spinning"):
            task.waiting.stop_spinning(task)
        cpu.task = cpu.top = None
        self._append(cpu, task)
        self._next_thread(cpu)

    # -- interrupts ----------------------------------------------------------

    def came_up(self, kind: str, cpu: Cpu, name: str, handler: Handler) -> None:
        """A hard interrupt or a softirq is there for `cpu`: it runs at once, or when the CPU may take it."""
        (cpu.irqs if kind == HARDIRQ else cpu.softirqs).append(
            (name, handler, self.machine.check.order.snapshot(self.current))
        )
        cpu.pending = True
        if cpu.top is self.current and cpu.top is not None:
            # The running step set it off on its own CPU: let that step end first.
            self.call_in(1, partial(self.open_cpu, cpu), "self interrupt")
        else:
            self.open_cpu(cpu)

    def open_cpu(self, cpu: Cpu) -> bool:
        """Start what waits for this CPU, if it may start now. True if the context on top was displaced."""
        top = cpu.top
        if cpu.irqs and (top is None or (top.kind != HARDIRQ and not top.irqstate & HARD_OFF)):
            self._push(cpu, HARDIRQ, *cpu.irqs.popleft())
            return True
        if cpu.softirqs and (top is None or (top.kind == TASK and top.irqstate == 0)):
            self._push(cpu, SOFTIRQ, *cpu.softirqs.popleft())
            return True
        if cpu.resched and top is not None and top.kind == TASK and not top.preempt and not top.irqstate:
            self._preempt_now(cpu)
            return top is not cpu.top
        return False

    def _push(self, cpu: Cpu, kind: str, name: str, handler: Handler, known: dict[int, int] | None) -> None:
        cpu.update_pending()
        below = cpu.top
        if below is not None and not below.suspended:
            self._suspend(below)
        context = self.reuse(name, kind)
        self.machine.check.order.begin(context, known)
        context.below = below
        context.cpu, context.cpu_id = cpu, cpu.id
        context.coro = runnable(handler(), f"the handler of {name}")
        context.send = context.coro.send
        cpu.top = context
        self._note(context, IRQ_ENTER)
        self.machine.check.entered(context)
        self.at(context, self.costs.irq_entry)

    def _suspend(self, context: Context) -> None:
        """Let a context stand still: if its time comes meanwhile it is remembered, not run."""
        context.suspended = True
        context.stands_since = self.now
        context.due = self.now if context is self.current else None
        context.send = lambda _: self._came_due(context)

    def _came_due(self, context: Context) -> None:
        context.due = self.now

    def _resume(self, context: Context) -> None:
        """The interrupt above has ended (or the CPU came back): go on, the work it was in
        the middle of shifted.
        """
        context.suspended = False
        if context.due is not None:
            owed = (
                context.late
                if context.waiting is not None
                else context.late + context.due - context.stands_since
            )
            context.send, context.due, context.late = context.coro.send, None, 0
            if context.unsettled is not None:
                context.send = lambda _: self._settle(context)
            self.at(context, owed)
        elif context.waiting is not None:
            context.send = context.coro.send
        else:
            context.late += self.now - context.stands_since
            context.send = lambda _: self._pay_late(context)

    def _pay_late(self, context: Context) -> int:
        owed, context.late = context.late, 0
        context.send = context.coro.send
        return owed

    def _settle(self, context: Context) -> int | None:
        """Go on after a wait that ended while the context stood still."""
        lock, context.unsettled, context.send = context.unsettled, None, context.coro.send
        lock.settle(context)
        return context.send(None)

    def _pop(self, context: Context) -> None:
        """An interrupt handler has ended: what it interrupted goes on, unless something else
        waits for the CPU.
        """
        cpu = context.cpu
        assert cpu is not None
        self._note(context, IRQ_EXIT)
        self.machine.check.left(context)
        self.retire(context)
        cpu.top = context.below
        if cpu.pending and self.open_cpu(cpu):
            return
        if cpu.top is not None:
            self._resume(cpu.top)
        else:
            self._next_thread(cpu)

    @coroutine
    def opened(self) -> Generator[int | None, None, None]:
        """The running context has just switched something back on: if its CPU has work pending, let
        that run first.
        """
        if (cpu := self.current.cpu) is not None and cpu.pending and self.open_cpu(cpu):
            yield None

    @coroutine
    def busy_wait(self, what: str) -> Generator[int | None, None, None]:
        """Keep the CPU busy until somebody lets this context go on (`at`); the record shows
        `what` it waits for.
        """
        context = self.current
        context.waiting, context.since = what, self.now
        number = self.machine.stat.word(what)
        self._note(context, WAIT, number)
        yield None
        self._note(context, WAIT_END, number)
        context.waiting = None

    # -- ends --------------------------------------------------------------

    def off(self, context: Context) -> None:
        if context.kind == TASK:
            self._note(context, END)
            self.machine.check.ended(context)
            self.leave_cpu(context)
        elif context.kind != AGENT:
            self._pop(context)
        if context.disposable:
            self.retire(context)
