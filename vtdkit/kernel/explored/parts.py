"""The parts of a machine (`machine.sched`, `machine.steps`, `machine.check`) as the explorer has them: what
they let happen later becomes a process of its own, and what is a step of its own has a point.
"""

from __future__ import annotations

from collections.abc import Callable
from types import coroutine
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.checkers.checks import Checks
from vtdkit.kernel.machine.context import AGENT, Context, Cpu
from vtdkit.kernel.machine.irqflags import IrqFlags
from vtdkit.kernel.machine.scheduling import Scheduler
from vtdkit.kernel.machine.steps import Steps
from vtdkit.kernel.machine.timers import IrqLine, Timer
from vtdkit.kernel.record.sites import Spot, here

from .locations import LIFE, READ, WRITE, Access
from .points import GO_ON, Doing, Point
from .sections import XHappensBefore
from .watch import XCell, XContext, XIrqLine, XTimer

if TYPE_CHECKING:
    from .machine import ExploredMachine
    from .touching import Touching


class XScheduler(Scheduler):
    """What would happen later, or on top of what runs, becomes a process of its own."""

    machine: ExploredMachine

    def came_up(self, kind: str, cpu: Cpu, name: str, handler: Any) -> None:
        if self.machine.steps.exploring:
            self.machine.new_process(handler(), name, kind, cpu, Point())
        else:
            super().came_up(kind, cpu, name, handler)

    def call_in(self, ns: int, function: Callable[[], object], name: str = "timer") -> Callable[[], None]:
        machine = self.machine
        if not machine.steps.exploring:
            return super().call_in(ns, function, name)
        live = [True]
        spot = machine.location(f"call {name}")

        async def call() -> None:
            if live[0]:
                live[0] = False
                function()

        def cancel() -> None:
            machine.look(spot, WRITE)
            live[0] = False

        machine.new_process(call(), name, AGENT, None, Point(((spot, WRITE),)))
        return cancel

    def work(self, ns: int) -> Any:
        """Time spent working conflicts with nothing: it passes."""
        return self.machine.moment() if self.machine.steps.exploring else super().work(ns)

    def new_context(self, name: str, kind: str) -> Context:
        context = XContext(len(self.contexts), name, kind, self.machine.check.locking.roots[kind])
        context.machine = self.machine
        self.contexts.append(context)
        return context

    def skip(self, ns: int) -> bool:
        """Time stands still while exploring; set-up runs on the ordinary clock."""
        return True if self.machine.steps.exploring else super().skip(ns)


class XIrqFlags(IrqFlags):
    """Interrupts, softirqs and preemption that come back on let others in."""

    machine: Any

    def line(self, *args: Any, **options: Any) -> IrqLine:
        line: IrqLine = self._known(super().line(*args, **options), XIrqLine)
        return line

    def timer(self, *args: Any, **options: Any) -> Timer:
        timer: Timer = self._known(super().timer(*args, **options), XTimer)
        return timer

    def _known(self, made: Any, cls: type) -> Any:
        made.__class__ = cls
        self.machine.location_of(made)
        return made

    @coroutine
    def local_irq_restore(self, flags: int, where: Spot | None = None) -> Any:
        yield from super().local_irq_restore(flags, where or here())
        yield from self.machine.moment()

    @coroutine
    def local_bh_enable(self, where: Spot | None = None) -> Any:
        yield from super().local_bh_enable(where or here())
        yield from self.machine.moment()

    @coroutine
    def preempt_enable(self) -> Any:
        yield from super().preempt_enable()
        yield from self.machine.moment()


class XSteps(Steps):
    """What is a step of its own, with a point before each."""

    machine: Touching

    @coroutine
    def field(self, obj: Any, field: str, write: bool, words: str = "") -> Any:
        machine = self.machine
        if not self.exploring:
            return
        doing = Doing(words or ("write {}" if write else "read {}"), obj, field or None)
        accesses: tuple[Access, ...] = ((machine.field(obj, field or "life"), WRITE if write else READ),)
        life = machine.field(obj, "life")
        if not field:
            machine.ends(life)
        elif not machine.alive(life):
            accesses += ((life, READ),)
        yield from machine.stop(accesses, doing)

    def accessed(self, obj: Any, field: str, write: bool) -> bool:
        machine = self.machine
        if machine.running is None:
            return False
        location = machine.field(obj, field)
        noted = machine.plain if machine.check.order.on else machine.look
        noted(location, WRITE if write else READ)
        noted(machine.field(obj, "life"), READ)
        return machine.sections is not None and machine.sections.guarded(location)

    def swaps(self, lock: Any, *things: Any) -> None:
        machine = self.machine
        if machine.sections is not None:
            for thing in things:
                cells = [machine.field(thing, name) for name in getattr(thing, "cells", ())]
                base = [getattr(thing, "base", None) or machine.location_of(thing)]
                machine.sections.swaps(lock, cells or base)

    def hardware(self, thing: Any) -> None:
        machine = self.machine
        machine.touch(machine.location_of(thing), WRITE)
        if machine.running is not None:
            machine.running.passed = 0  # what hardware does now is part of the step that set it off

    def memory(self, address: int) -> None:
        page: Any = self.machine.pages.page(address)
        if page is not None:
            self.machine.touch(page.base + (address >> 3 & 511), WRITE)

    def register(self, thing: Any, offset: int, write: bool) -> Any:
        """One location for every eight bytes: a command register and its status are neighbours."""
        machine = self.machine
        location = machine.locations.number(("register", machine.location_of(thing), offset >> 3))
        return machine.stop(((location, WRITE if write else READ),), GO_ON)

    @coroutine
    def device(self, thing: Any, address: int | None) -> Any:
        if not self.exploring:
            return
        machine = self.machine
        accesses: tuple[Access, ...] = ((machine.location_of(thing), WRITE),)
        page: Any = machine.pages.page(address) if address is not None else None
        if page is not None and address is not None:
            accesses += ((page.base + (address >> 3 & 511), READ), (page.base + LIFE, READ))
        doing = Doing("look into the unit's caches") if page is None else Doing("read a word of {}", page)
        yield from machine.stop(accesses, doing)


class XChecks(Checks):
    """The checkers: objects are numbered by who makes them, and interrupts that come back on are noted."""

    machine: Touching

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.order = XHappensBefore(self.machine)

    def new_object(self, obj: Any) -> Any:
        super().new_object(obj)
        machine = self.machine
        obj.serial = machine.fresh_name(type(obj).__name__)
        for name, cell in obj.cells.items():
            obj.cells[name] = XCell(machine, machine.field(obj, name), cell.value)
        return obj.serial

    def object_freed(self, obj: Any, place: Any) -> None:
        used = obj.freed is None and self.order.on
        # whoever uses it in no order with this, by plain accesses: they are to be steps of their own
        if used and any(self.order.unordered(cell, write=True) for cell in obj.cells.values()):
            self.machine.locations.races(self.machine.field(obj, "life"))
        super().object_freed(obj, place)

    def data_race(self, obj: Any, field: str, *accesses: Any) -> None:
        super().data_race(obj, field, *accesses)
        self.machine.locations.races(self.machine.field(obj, field))

    def irqs_switched(self, context: Context, on: bool, place: Any) -> None:
        super().irqs_switched(context, on, place)
        process = self.machine.running
        if on and process is not None and process.context is context:
            process.irqs_open = True
            process.softirqs_open |= not context.irqstate

    def softirqs_on(self, context: Context, place: Any) -> None:
        super().softirqs_on(context, place)
        process = self.machine.running
        if process is not None and process.context is context:
            process.softirqs_open |= not context.irqstate
