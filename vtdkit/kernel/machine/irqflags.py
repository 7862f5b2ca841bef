"""Interrupts and preemption on and off, for the running context: `local_irq_save`,
`local_bh_disable`, `preempt_disable`.

Switching off never waits. Switching on may: what was pending on the CPU runs first, so those are awaited.
How long interrupts were kept off is summed up by context name; of preemption the longest piece of each
context is kept, with the places where it went off and on (the kernel's irqsoff and preemptoff tracers
keep the longest piece).

Mirrors include/linux/irqflags.h, include/linux/preempt.h, kernel/softirq.c.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from sys import _getframe
from types import coroutine

from vtdkit.kernel.record.record import IRQ_OFF, IRQ_ON
from vtdkit.kernel.record.sites import ANYWHERE, NOWHERE, Site, Spot, here, site

from .context import HARD_OFF, HARDIRQ, SOFT_OFF, SOFTIRQ, TASK, Context, Cpu
from .host import Host
from .scheduling import Handler
from .timers import IrqLine, Timer


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something was kept off, in ns: how often, in all, the longest, and where that
    one began and ended.
    """

    count: int = 0
    total: int = 0
    longest: int = 0
    began: Site = NOWHERE
    ended: Site = NOWHERE

    def __str__(self) -> str:
        return (
            f"{self.count} times, {self.total} ns in all, longest {self.longest} ns from "
            f"{self.began} to {self.ended}"
        )


class _Meter:
    """Adds up latencies; turned into a `Latency` when somebody asks."""

    __slots__ = ("began", "count", "ended", "longest", "total")

    def __init__(self) -> None:
        self.count = self.total = self.longest = 0
        self.began: Spot | None = None
        self.ended: Spot | None = None

    def add(self, ns: int) -> bool:
        """Count one more; True if it is the longest so far, and the caller is to say from where
        to where it was.
        """
        self.count += 1
        self.total += ns
        if ns <= self.longest and self.count > 1:
            return False
        self.longest = ns
        return True

    def value(self) -> Latency:
        return Latency(self.count, self.total, self.longest, site(self.began), site(self.ended))


class IrqFlags:
    """The switches (`machine.irq`), and what they keep out. `flags` values are opaque: give back to
    `local_irq_restore` what `local_irq_save` returned.
    """

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.sched = machine.sched
        self.timers: list[Timer] = []
        self.in_flight = 0  # interrupts of lines that were raised and whose handler has not ended
        self._waiting: list[Context] = []  # for there to be none
        self._irqsoff: dict[str, _Meter] = {}

    def irqsoff(self, context: str = "") -> Latency:
        """How long hard interrupts were off, over all contexts or in the one of that
        name (handlers not counted).
        """
        return _sum(self._irqsoff, context)

    def preemptoff(self, context: str = "") -> Latency:
        """The longest time preemption was off in one piece (spin locks, `_bh`, `preempt_disable`), over
        all contexts or one.

        Only each context's longest piece is kept: `count` and `total` are of those.
        """
        ran = [c for c in self.sched.contexts if c.longest and (not context or c.name == context)]
        if not ran:
            return Latency()
        worst = max(ran, key=lambda c: c.longest)
        return Latency(len(ran), sum(c.longest for c in ran), worst.longest, *map(site, worst.longest_at))

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
    def local_irq_restore(self, flags: int, where: Spot | None = None) -> Generator[int | None, None, None]:
        """Put hard interrupts back as they were when `flags` was saved; pending ones are
        handled before it returns.
        """
        context = self.sched.current
        if not flags & HARD_OFF and context.irqstate & HARD_OFF:
            place = where or ANYWHERE.at(_getframe(1))
            if context.kind != HARDIRQ:
                since, began = context.off_since
                meter = self._irqsoff.setdefault(context.name, _Meter())
                if meter.add(self.sched.now - since):
                    meter.began, meter.ended = began, place
            context.irqstate &= ~HARD_OFF
            self.machine.check.irqs_switched(context, True, place)
            self.machine.stat.note(context, IRQ_ON)
            if context.cpu is not None and context.cpu.pending:
                yield from self.sched.opened()

    def local_irq_disable(self) -> None:
        """Switch hard interrupts off, whatever they were."""
        self.local_irq_save(here())

    @coroutine
    def local_irq_enable(self) -> Generator[int | None, None, None]:
        """Switch hard interrupts on, whatever they were."""
        yield from self.local_irq_restore(0, here())

    # -- softirqs ------------------------------------------------------------

    def local_bh_disable(self, where: Spot | None = None) -> None:
        """Keep softirqs from running on this CPU; nests."""
        context = self.sched.current
        context.bh_count += 1
        self.preempt_off(context, where or here())
        if context.kind == TASK:
            context.irqstate |= SOFT_OFF

    @coroutine
    def local_bh_enable(self, where: Spot | None = None) -> Generator[int | None, None, None]:
        """Undo one `local_bh_disable`; softirqs that came up meanwhile run before the last one returns."""
        context = self.sched.current
        if not context.bh_count:
            raise RuntimeError(f"{context.name}: local_bh_enable without local_bh_disable")
        context.bh_count -= 1
        place = where or here()
        if not context.bh_count and context.kind == TASK:
            context.irqstate &= ~SOFT_OFF
            self.machine.check.softirqs_on(context, place)
        self.preempt_on(context, place)
        if not context.bh_count and context.cpu is not None and context.cpu.pending:
            yield from self.sched.opened()  # softirqs run here also under a spin lock

    # -- preemption ----------------------------------------------------------

    def preempt_disable(self) -> None:
        """Keep this thread on its CPU; nests."""
        self.preempt_off(self.sched.current, here())

    @coroutine
    def preempt_enable(self) -> Generator[int | None, None, None]:
        """Undo one `preempt_disable`; a thread whose turn has come runs first."""
        context = self.sched.current
        if context.preempt <= 0:
            raise RuntimeError(f"{context.name}: preempt_enable without preempt_disable")
        if self.preempt_on(context, here()):
            yield from self.sched.opened()

    def preempt_off(self, context: Context, place: Spot) -> None:
        """The bookkeeping of switching it off, once more."""
        if not context.preempt:
            context.preempt_at, context.preempt_site = self.sched.now, place
        context.preempt += 1

    def preempt_on(self, context: Context, place: Spot | None) -> bool:
        """The bookkeeping of switching it on, once; True if something waits for the CPU to open up."""
        context.preempt -= 1
        if context.preempt:
            return False
        if self.sched.now - context.preempt_at > context.longest:
            self.longest_piece(context, place)
        return context.cpu is not None and context.cpu.pending

    def longest_piece(self, context: Context, place: Spot | None) -> None:
        """Preemption was off longer than ever in this context, until now."""
        context.longest, context.longest_at = (
            self.sched.now - context.preempt_at,
            (context.preempt_site, place),
        )

    # -- questions a driver may ask ------------------------------------------

    def in_interrupt(self) -> bool:
        """Is this a hard interrupt or a softirq, or are bottom halves off?"""
        return self.sched.current.kind in (HARDIRQ, SOFTIRQ) or bool(self.sched.current.irqstate & SOFT_OFF)

    def irqs_disabled(self) -> bool:
        """Are hard interrupts off here?"""
        return bool(self.sched.current.irqstate & HARD_OFF)

    # -- what they keep out ------------------------------------------------

    def interrupt(self, cpu: Cpu, name: str, handler: Handler) -> None:
        """A hard interrupt reaches `cpu` now: it runs at once, or when interrupts come back on."""
        self.sched.interrupt(cpu, name, handler)

    def raise_softirq(self, cpu: Cpu, name: str, handler: Handler) -> None:
        """A softirq becomes pending on `cpu`: it runs after the present interrupt, or when
        bottom halves are on.
        """
        self.sched.raise_softirq(cpu, name, handler)

    def line(self, name: str, handler: Handler, cpu: int = 0) -> IrqLine:
        """An interrupt line: `line.fire()` has `handler()` run in hard interrupt context on its CPU."""
        return IrqLine(self, name, handler, cpu)

    def handled(self) -> None:
        """The handler of a line's interrupt has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            waiting, self._waiting = self._waiting, []
            for context in waiting:
                self.sched.at(context, 0)

    @coroutine
    def quiet(self) -> Generator[int | None, None, None]:
        """Wait, beside the CPUs, until every interrupt that a line has raised has been handled."""
        while self.in_flight:
            self._waiting.append(self.sched.current)
            yield None

    def timer(self, name: str, function: Handler, cpu: int | None = None) -> Timer:
        """A `struct timer_list`: `timer.mod(ns)` has `function()` run in softirq context that much later."""
        timer = Timer(self.sched, name, function, cpu)
        self.timers.append(timer)
        return timer


def _sum(meters: dict[str, _Meter], context: str) -> Latency:
    values = [meter.value() for name, meter in meters.items() if not context or name == context]
    if not values:
        return Latency()
    worst = max(values, key=lambda value: value.longest)
    return Latency(
        sum(v.count for v in values),
        sum(v.total for v in values),
        worst.longest,
        worst.began,
        worst.ended,
    )
