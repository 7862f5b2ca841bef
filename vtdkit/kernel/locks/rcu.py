"""RCU: readers that never wait, and grace periods that end when the readers that were inside have left.

A grace period is an interval. Its beginning notes who is inside a read-side section now; its end comes when
all of those have left (later readers do not matter), plus what the machinery takes. `synchronize` waits for
one; `call` has a function run after one, in softirq context; `kfree_rcu` and `free_page_rcu` free after one.

Mirrors include/linux/rcupdate.h, kernel/rcu/tree.c. Guards: the engine's (in Linux: the rcu_node locks,
which are not modelled).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

from vtdkit.kernel.machine.context import SOFTIRQ, Context
from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.machine.runnable import runnable
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.sites import here


@dataclass(slots=True, eq=False, repr=False)
class GracePeriod:
    """One grace period: the readers it still waits for, and the clock of those that have left."""

    number: int
    readers: set[Context]
    done: bool
    waiters: list[Callable[[], None]] = field(default_factory=list)
    vc: dict[int, int] | None = None

    def __repr__(self) -> str:
        inside = ", ".join(sorted(reader.name for reader in self.readers))
        return f"grace period {self.number}" + (f" (waits for {inside})" if inside else "")


@dataclass(eq=False, repr=False)
class Rcu:
    """RCU of one machine (`machine.rcu`)."""

    machine: Host
    inside: dict[Context, None] = field(default_factory=dict)  # readers now, in order of entry
    open: list[GracePeriod] = field(default_factory=list)
    begun: int = 0
    pending_callbacks: int = 0

    # -- readers -------------------------------------------------------------

    def read(self) -> Rcu:
        """`rcu_read_lock` … `rcu_read_unlock` as a block; nests."""
        return self

    def __aenter__(self) -> Awaitable[None]:
        return self.read_lock()

    def __aexit__(self, kind: object, *_: object) -> Awaitable[None]:
        return DONE if kind is GeneratorExit else self.read_unlock()  # see `locks.base.Block`

    def read_lock(self) -> Awaitable[None]:
        """Enter a read-side section."""
        context = self.machine.sched.current
        if context.cpu_id < 0:
            self.machine.sched.no_cpu("RCU")
        context.rcu += 1
        self.inside[context] = None
        return DONE

    def read_unlock(self) -> Awaitable[None]:
        """Leave it. The last one out ends the grace periods that waited for it."""
        context = self.machine.sched.current
        if context.rcu > 0:
            context.rcu -= 1
            if not context.rcu:
                self._left(context)
        else:
            self.machine.check.rcu_misuse("rcu_read_unlock without rcu_read_lock")
        return DONE

    def _left(self, context: Context) -> None:
        del self.inside[context]
        for period in list(self.open):
            if context in period.readers:
                period.readers.discard(context)
                self.machine.check.order.publish(context, period)
                if not period.readers:
                    self.open.remove(period)
                    period.done = True
                    for waiter in period.waiters:
                        waiter()

    def dereference(self, value: Any) -> Any:
        """`rcu_dereference`: the value, and a report if no read-side section is open."""
        if not self.machine.sched.current.rcu:
            self.machine.check.rcu_misuse("suspicious rcu_dereference_check() usage")
        return value

    # -- updaters ------------------------------------------------------------

    @coroutine
    def synchronize(self, expedited: bool = False) -> Wait:
        """`synchronize_rcu`: return when every reader that is inside now has left. Sleeps."""
        machine = self.machine
        context = machine.sched.current
        if context.rcu:
            machine.check.rcu_misuse("Illegal synchronize_rcu() in RCU read-side critical section")
        machine.check.might_sleep(here())
        period = self.begin()
        if not period.done:
            period.waiters.append(lambda: machine.sched.wake(context))
            yield from machine.sched.sleep_on(period)
        if ns := machine.costs.grace_period_expedited if expedited else machine.costs.grace_period:
            machine.sched.call_in(ns, lambda: machine.sched.wake(context), "rcu")
            yield from machine.sched.sleep_on("grace period")
        machine.check.order.observe(context, period)

    def begin(self) -> GracePeriod:
        """Begin a grace period: note the readers inside now."""
        self.begun += 1
        period = GracePeriod(self.begun, set(self.inside), done=not self.inside)
        if not period.done:
            self.open.append(period)
        return period

    def call(self, function: Callable[[], Coroutine[Any, Any, Any]], name: str = "rcu callback") -> None:
        """`call_rcu`: run `function()` (a coroutine function) in softirq context after a
        grace period. Never waits.
        """
        machine = self.machine
        cpu = machine.sched.current.cpu or machine.sched.cpus[0]
        self.pending_callbacks += 1
        period = self.begin()

        async def callback() -> None:
            machine.check.order.observe(machine.sched.current, period)
            self.pending_callbacks -= 1
            await runnable(function(), f"the handler of {name}")

        def later() -> None:
            machine.sched.call_in(
                machine.costs.grace_period, lambda: machine.sched.came_up(SOFTIRQ, cpu, name, callback), "rcu"
            )

        machine.check.order.publish(machine.sched.current, period)
        if period.done:
            later()
        else:
            period.waiters.append(later)

    def kfree_rcu(self, obj: Any) -> None:
        """Free a driver object after a grace period."""
        self.call(lambda: self.machine.kfree(obj), "kfree_rcu")

    def free_page_rcu(self, page: Page) -> None:
        """Give a page back after a grace period."""
        self.call(lambda: self.machine.free_page(page), "rcu page free")
