"""Interrupts and preemption on and off, for the running context: `local_irq_save`,
`local_bh_disable`, `preempt_disable`.

Switching off never waits. Switching on may: what was pending on the CPU runs first, so those are awaited.
How long interrupts were kept off is summed up by context name, with the places of the longest stretch (the
kernel's irqsoff tracer keeps the longest). A thread that ends with any of the three off is reported.

Mirrors include/linux/irqflags.h, include/linux/preempt.h, kernel/softirq.c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from sys import _getframe
from types import coroutine

from vtdkit.kernel.record.record import IRQ_OFF, IRQ_ON
from vtdkit.kernel.record.sites import ANYWHERE, NOWHERE, Site, Spot, here, site

from .context import HARD_OFF, HARDIRQ, SOFT_OFF, SOFTIRQ, TASK, Context, Cpu
from .host import Host, Wait
from .scheduling import Handler
from .timers import IrqLine, Timer


@dataclass(slots=True)
class Latency:
    """How long hard interrupts were kept off, in ns: how often, in all, the longest, and where that
    one began and ended.
    """

    count: int = 0
    total: int = 0
    longest: int = 0
    began: Site = NOWHERE
    ended: Site = NOWHERE


class IrqFlags:
    """The switches (`machine.irq`), and what they keep out. `flags` values are opaque: give back to
    `local_irq_restore` what `local_irq_save` returned.
    """

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.sched = machine.sched
        self.timers: list[Timer] = []
        self._off: dict[str, Latency] = {}  # by context name

    def irqsoff(self, context: str = "") -> Latency:
        """How long hard interrupts were off, over all contexts or in those of that
        name (handlers not counted).
        """
        rows = [off for name, off in self._off.items() if context in ("", name)]
        worst = max(rows, key=lambda off: off.longest, default=Latency())
        return replace(worst, count=sum(off.count for off in rows), total=sum(off.total for off in rows))

    # -- hard interrupts -----------------------------------------------------

    def local_irq_save(self, where: Spot | None = None) -> int:
        """Switch hard interrupts of this CPU off; returns the flags for `local_irq_restore`."""
        context = self.sched.current
        flags = context.irqstate
        if not flags & HARD_OFF:
            context.irqstate = flags | HARD_OFF
            place = where or ANYWHERE.at(_getframe(1))
            context.off_since = self.sched.now, place
            self.machine.check.irqs_switched(context, False, place)
            self.machine.stat.note(context, IRQ_OFF)
        return flags

    @coroutine
    def local_irq_restore(self, flags: int, where: Spot | None = None) -> Wait:
        """Put hard interrupts back as they were when `flags` was saved; pending ones are
        handled before it returns.
        """
        context = self.sched.current
        if not flags & HARD_OFF and context.irqstate & HARD_OFF:
            place = where or ANYWHERE.at(_getframe(1))
            if context.kind != HARDIRQ:
                since, began = context.off_since
                off, ns = self._off.setdefault(context.name, Latency()), self.sched.now - since
                if not off.count or ns > off.longest:
                    off.longest, off.began, off.ended = ns, site(began), site(place)
                off.count += 1
                off.total += ns
            context.irqstate &= ~HARD_OFF
            self.machine.check.irqs_switched(context, True, place)
            self.machine.stat.note(context, IRQ_ON)
            yield from self.sched.opened()

    # -- softirqs ------------------------------------------------------------

    def local_bh_disable(self, where: Spot | None = None) -> None:
        """Keep softirqs from running on this CPU; nests."""
        context = self.sched.current
        self.preempt_disable(where or here())
        context.bh_count += 1
        if context.kind == TASK:
            context.irqstate |= SOFT_OFF

    @coroutine
    def local_bh_enable(self, where: Spot | None = None) -> Wait:
        """Undo one `local_bh_disable`; softirqs that came up meanwhile run before the last one returns."""
        context = self.sched.current
        if not context.bh_count:
            raise RuntimeError(f"{context.name}: local_bh_enable without local_bh_disable")
        context.bh_count -= 1
        if not context.bh_count and context.kind == TASK:
            context.irqstate &= ~SOFT_OFF
            self.machine.check.softirqs_on(context, where or here())
        if self.preempt_on(context) or (
            not context.bh_count and context.cpu is not None and context.cpu.pending
        ):
            yield from self.sched.opened()  # softirqs run here also under a spin lock

    # -- preemption ----------------------------------------------------------

    def preempt_disable(self, where: Spot | None = None) -> None:
        """Keep this thread on its CPU; nests."""
        context = self.sched.current
        context.preempt += 1
        context.preempt_site = where or here()

    @coroutine
    def preempt_enable(self) -> Wait:
        """Undo one `preempt_disable`; a thread whose turn has come runs first."""
        context = self.sched.current
        if context.preempt <= 0:
            raise RuntimeError(f"{context.name}: preempt_enable without preempt_disable")
        if self.preempt_on(context):
            yield from self.sched.opened()

    @staticmethod
    def preempt_on(context: Context) -> bool:
        """The bookkeeping of switching it on, once; True if something waits for the CPU to open up."""
        context.preempt -= 1
        return not context.preempt and context.cpu is not None and context.cpu.pending

    # -- what they keep out ------------------------------------------------

    def interrupt(self, cpu: Cpu, name: str, handler: Handler) -> None:
        """A hard interrupt reaches `cpu` now: it runs at once, or when interrupts come back on."""
        self.sched.came_up(HARDIRQ, cpu, name, handler)

    def raise_softirq(self, cpu: Cpu, name: str, handler: Handler) -> None:
        """A softirq becomes pending on `cpu`: it runs after the present interrupt, or when
        bottom halves are on.
        """
        self.sched.came_up(SOFTIRQ, cpu, name, handler)

    def line(self, name: str, handler: Handler, cpu: int = 0) -> IrqLine:
        """An interrupt line: `line.fire()` has `handler()` run in hard interrupt context on its CPU."""
        return IrqLine(self.sched, name, handler, cpu)

    def timer(self, name: str, function: Handler, cpu: int | None = None) -> Timer:
        """A `struct timer_list`: `timer.mod(ns)` has `function()` run in softirq context that much later."""
        timer = Timer(self.sched, name, function, cpu)
        self.timers.append(timer)
        return timer
