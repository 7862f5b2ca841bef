"""Interrupt lines and timers: what makes code run that nobody called.

Mirrors include/linux/interrupt.h and include/linux/timer.h. Guards: each object's own fields,
changed in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import coroutine

from vtdkit.kernel.record.sites import Spot, here

from .context import HARDIRQ, SOFTIRQ, Context, Cpu
from .engine import length
from .runnable import runnable
from .scheduling import Handler, Scheduler


class IrqLine:
    """A device's interrupt. `handler` is a coroutine function; it runs on top of whatever
    `cpu` runs, interrupts off.
    """

    def __init__(self, sched: Scheduler, name: str, handler: Handler, cpu: int) -> None:
        self.sched = sched
        self.name = name
        self.handler = handler
        self.cpu = sched.cpu(cpu)
        self.raised = self.handled = 0
        self._waiting: list[Context] = []

    def fire(self, ns: int = 0) -> None:
        """Raise it in `ns` nanoseconds; delivery takes `Costs.irq` more, and longer while the
        CPU has interrupts off.
        """
        self.raised += 1
        self.sched.call_in(
            length(ns, "fire") + self.sched.costs.irq,
            lambda: self.sched.came_up(HARDIRQ, self.cpu, self.name, self._handle),
            self.name,
        )

    async def _handle(self) -> None:
        try:
            await runnable(self.handler(), f"the handler of {self.name}")
        finally:
            self.handled += 1
            for context in self._waiting:
                self.sched.at(context, 0)
            self._waiting.clear()

    @coroutine
    def quiet(self) -> Generator[int | None, None, None]:
        """Wait, beside the CPUs, until every interrupt it has raised has been handled."""
        while self.handled < self.raised:
            self._waiting.append(self.sched.current)
            yield None

    def __repr__(self) -> str:
        return f"<irq {self.name} on CPU{self.cpu.id}, raised {self.raised} times>"


class Timer:
    """A timer: its function runs in softirq context, on the CPU that armed it unless one was named."""

    def __init__(self, sched: Scheduler, name: str, function: Handler, cpu: int | None) -> None:
        self.sched = sched
        self.name = name
        self.function = function
        self.cpu = None if cpu is None else sched.cpu(cpu)
        self.fired = 0
        self.armed: Spot | None = None  # where, for the leak report
        self._cancel: Callable[[], None] | None = None

    @property
    def pending(self) -> bool:
        """`timer_pending`: armed and not yet expired."""
        return self._cancel is not None

    def mod(self, ns: int) -> None:
        """`mod_timer`: have it expire `ns` nanoseconds from now, whatever was set before."""
        self.delete()
        self.armed = here()
        cpu = self.cpu or self.sched.current.cpu or self.sched.cpus[0]
        self._cancel = self.sched.call_in(ns, lambda: self._expire(cpu), self.name)

    def delete(self) -> None:
        """`del_timer`: do not expire. A function already running is not waited for."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _expire(self, cpu: Cpu) -> None:
        self._cancel = None
        self.fired += 1
        self.sched.came_up(SOFTIRQ, cpu, self.name, self.function)

    def __repr__(self) -> str:
        return f"<timer {self.name}: {'pending' if self.pending else 'idle'}, fired {self.fired} times>"
