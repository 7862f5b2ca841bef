"""A machine under the explorer: its threads stop before every visible operation, and go on
when they are picked.

Interrupts, softirqs, timers and RCU callbacks that a thread sets off become processes of their own:
they may run at any moment their CPU lets them. Costs are all zero; time stands still. Built and
driven by `scenario.MachineSystem`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from contextlib import suppress
from sys import _getframe
from typing import Any, TypeVar

from vtdkit.kernel.checkers.checks import CHECKERS, Checks
from vtdkit.kernel.checkers.findings import KernelBug, Oops
from vtdkit.kernel.locks.rcu import Rcu
from vtdkit.kernel.machine.context import AGENT, HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context, Cpu
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.engine import computes
from vtdkit.kernel.machine.irqflags import IrqFlags
from vtdkit.kernel.machine.patience import PATIENCE, TooLongError
from vtdkit.kernel.machine.scheduling import Scheduler
from vtdkit.kernel.machine.steps import Steps
from vtdkit.kernel.record.sites import Spot, raised_at, site, standing

from .locations import ACQUIRE, RELEASE, WRITE, Access, Locations, Name
from .parts import XChecks, XIrqFlags, XScheduler, XSteps
from .points import Point
from .primitives import EXPLORED
from .process import Process
from .rcu import XRcu
from .sections import ASKED, Sections
from .touching import Touching
from .watch import NotAStep, XRandom

T = TypeVar("T")
PASSES = {HARDIRQ: (HARDIRQ,), SOFTIRQ: (HARDIRQ, SOFTIRQ), TASK: (HARDIRQ, SOFTIRQ, TASK)}
FRAMES_EACH = 1024  # page frames an explored thread can have
CHILDREN = 16  # and how many of them find room, at each depth


class ExploredMachine(Touching):
    """Guards: everything here belongs to the explorer, which runs one thread at a time."""

    _made = {  # noqa: RUF012
        **EXPLORED,
        Scheduler: XScheduler,
        Steps: XSteps,
        Checks: XChecks,
        Rcu: XRcu,
        IrqFlags: XIrqFlags,
    }

    def __init__(
        self, locations: Locations, cpus: int = 4, checkers: Iterable[str] = CHECKERS, **options: Any
    ) -> None:
        self.locations = locations
        self.dead = False
        self.touched: list[Access] = []
        # has the present step changed what others see, set something off, or let others in?
        self.told = False
        self.processes: dict[Name, Process] = {}
        self.process_of: dict[Context, Process] = {}
        self.running: Process | None = None
        self.made_before = 0
        self.versions: dict[int, int] = {}  # location → how often it was changed
        self.irq_stack: dict[int, list[Process]] = {}
        self.gates: dict[
            int, dict[str, int]
        ] = {}  # CPU → kind of thread → its gate, where several threads share a CPU
        self.numbers: dict[
            int, int
        ] = {}  # id of a thing → its location; the thing is kept alive in `numbered`
        self.numbered: list[Any] = []
        self.sections = Sections(self) if ASKED in locations.shared else None
        super().__init__(cpus, costs=IDEAL, checkers=checkers, record=False, **options)
        self.random = XRandom(self.seed)
        self.random.machine = self

    @property
    def now(self) -> int:
        if self.running is not None and not _getframe(1).f_globals["__name__"].startswith("vtdkit."):
            raise NotAStep(
                "what time it is depends on costs, and an exploration tries every order, whatever the costs: "
                "let a loop give up after a number of rounds, not at a time"
            )
        return super().now

    # -- processes -----------------------------------------------------------

    def begin(self) -> None:
        """Set-up is over: take over what was spawned. Each thread's first step takes it
        to its first point.
        """
        spawned = self._spawned()
        self.sched.ready.clear()
        for cpu in self.cpus:
            cpu.queue.clear()
        self.sched.heap.clear()
        self.steps.exploring = True
        for context in sorted(spawned, key=lambda context: context.id):
            self.adopt((len(self.processes),), context, context.coro, context.kind, context.cpu, Point())

    def _spawned(self) -> list[Context]:
        """The threads that were spawned and have not run."""
        return [*self.sched.ready, *(context for cpu in self.cpus for context in cpu.queue)]

    def adopt(
        self, name: Name, context: Context, coro: Any, kind: str, cpu: Cpu | None, point: Point
    ) -> Process:
        """Make a process of a context."""
        if cpu is not None:
            others = [other for other in self.processes.values() if other.cpu is cpu]
            for seen in {kind, *(other.kind for other in others if other.kind != TASK)} if others else ():
                # from now on the gate is kept: others have threads on this CPU
                self.locations.share(self.locations.gate(cpu.id, seen))
            self.gates[cpu.id] = {
                seen: gate
                for seen in (HARDIRQ, SOFTIRQ, TASK)
                if (gate := self.locations.gate(cpu.id, seen)) in self.locations.shared
            }
        process = self.processes[name] = self.process_of[context] = Process(
            name, context, coro, kind, cpu, point
        )
        self.numbers[id(context)] = self.locations.number(("thread", name))
        self.numbered.append(context)
        return process

    def new_process(self, coro: Any, name: str, kind: str, cpu: Cpu | None, point: Point) -> Process:
        """Something a running process sets off: it stands at `point` and may go on whenever that allows."""
        parent = self.running
        assert parent is not None
        parent.children += 1
        parent.does_more()
        self.told = True
        if parent.inside and self.sections is not None:  # it may come in before the section has ended
            self.sections.apart(parent.outermost)
        context = self.sched.new_context(name, kind)
        context.coro, context.cpu, context.cpu_id = coro, cpu, cpu.id if cpu is not None else -1
        self.check.order.fork(self.sched.current, context)
        process = self.adopt((*parent.name, parent.children), context, coro, kind, cpu, point)
        parent.ticks += 1
        inherits = parent.keeper is not None and cpu is not parent.cpu and parent.keeper[0].cpu is cpu
        process.keeper = parent.keeper if inherits or parent.cpu is None else (parent, parent.ticks)
        parent.lets_in()
        return process

    def spawn(
        self,
        coro: Coroutine[Any, Any, Any],
        cpu: int | None = None,
        name: str | None = None,
        once: bool = False,
    ) -> Context:
        if not self.steps.exploring:
            return super().spawn(coro, cpu, name, once)
        place = None if cpu is None else self.cpus[cpu]
        process = self.new_process(coro, name or "thread", TASK, place, Point())
        if cpu is None:  # it may run anywhere, so nobody can keep it off its CPU
            process.context.cpu_id = sum(process.name) % len(self.cpus)
        return process.context

    def spawn_device(self, coro: Coroutine[Any, Any, Any], name: str, once: bool = False) -> Context:
        if not self.steps.exploring:
            return super().spawn_device(coro, name, once)
        return self.new_process(coro, name, AGENT, None, Point()).context

    def run(self, coro: Coroutine[Any, Any, T], cpu: int | None = 0, name: str | None = None) -> T:
        """Set-up, alone. Threads to be explored are spawned after it, or they would run during it."""
        early = [] if self.steps.exploring or self.processes else self._spawned()
        if early:
            coro.close()
            for context in early:
                if context.coro is not None:
                    context.coro.close()
            names = ", ".join(context.name for context in early)
            raise ValueError(
                f"set-up runs on after threads were spawned ({names}): spawn what is to be explored last"
            )
        return super().run(coro, cpu, name)

    def frame_for(self) -> int | None:
        """A page frame from the running process's own stretch of memory; None when that is used up."""
        process = self.running
        assert process is not None
        slot = 0
        for part in process.name:
            if part >= CHILDREN - 1:
                raise KernelBug(
                    f"{process} allocates a page, but only {CHILDREN - 1} threads (or children of one) can"
                )
            slot = slot * CHILDREN + part + 1
        process.pages += 1
        if process.pages > FRAMES_EACH:
            return None
        return self.pages.FIRST_PFN + (1 << 22) + slot * FRAMES_EACH + process.pages

    # -- one step ------------------------------------------------------------

    def step(self, process: Process) -> None:
        """Let a process do what it stands before, and run until it is about to do something visible
        again, or has ended.
        """
        point, context = process.point, process.context
        assert point is not None
        self.touched, self.sched.current, self.running = [], context, process
        self.told = False
        for location, kind in point.accesses:
            self.touch(location, kind)
        if not process.started:
            process.started = True
            self.enter_interrupt(process)
        process.steps += 1
        process.passed = process.unstopped = process.outermost = process.went = 0
        process.irqs_open = not context.irqstate & HARD_OFF
        process.softirqs_open = not context.irqstate
        process.tasks_open = not (context.irqstate or context.preempt)
        self._run_on(process)
        if self.touched:
            process.unheard = 0
        self._pass_gates(process)
        self.sched.current, self.running = self.sched.boot, None

    def _pass_gates(self, process: Process) -> None:
        """Say what the step was for the others on its CPU.

        To run, a thread passes the gates of the kinds that could run on top of it or instead of it; one
        that an interrupt cannot come in on keeps that gate shut. So gates are locks, taken and mostly
        given back within one step.
        """
        shut = process.shuts()
        for kind, gate in self.gates_of(process):
            if kind not in process.holds:
                self.touched.append((gate, ACQUIRE))
            if kind not in shut:
                self.touched.append((gate, RELEASE))
        process.holds = shut
        process.lets_in()

    def gates_of(self, process: Process) -> list[tuple[str, int]]:
        """The gates that a thread has to pass, in order: an interrupt only its own, a softirq
        not that of tasks.
        """
        known = self.gates.get(process.cpu.id) if process.cpu is not None else None
        return [(kind, known[kind]) for kind in PASSES[process.kind] if kind in known] if known else []

    def _run_on(self, process: Process) -> None:
        context = process.context
        PATIENCE.begin(self.sched)
        try:
            point = process.coro.send(None)
        except StopIteration as stop:
            process.point, process.done = None, True
            context.done, context.result = True, stop.value
            self.touch(self.location_of(context), WRITE)
            self._ended(process)
        except (KernelBug, AttributeError, TypeError) as bug:
            if not self.check.failed(bug):
                if not isinstance(bug, KernelBug) and "'NoneType' object" not in str(bug):
                    raise
                self._crashed(context, bug)
            process.point, process.done = None, True
            context.done, context.error = True, bug
            context.held.clear()
            self._off_its_cpu(process)
        except TooLongError as error:
            raise NotAStep(computes(context.name, raised_at(error))) from None
        else:
            if not isinstance(point, Point):
                place = site(standing(process.coro))
                raise TypeError(f"{context.name} awaits what is no primitive of this machine, at {place}")
            process.point = point
            context.waiting = point.awaited
        finally:
            PATIENCE.end()
        if process.inside and self.sections is not None:  # it waits in there, or is over
            for lock in process.inside:
                self.sections.apart(lock)
            process.inside = ()

    def _crashed(self, context: Context, bug: Exception) -> None:
        """A thread did what no kernel survives. The others go on, so that what it leaves
        behind can be seen.
        """
        if isinstance(bug, KernelBug) and not isinstance(bug, Oops):
            return  # whoever raised it has reported it
        trace = bug.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None:
            text = str(bug) if isinstance(bug, Oops) else f"NULL pointer dereference: {bug}"
            kind, _, what = text.partition(": ")
            self.check.report(
                f"BUG: {kind}", context.name, (Spot(trace.tb_frame.f_code, trace.tb_lasti),), text=what
            )

    def _ended(self, process: Process) -> None:
        context = process.context
        self.check.ended(context)
        if process.kind in (HARDIRQ, SOFTIRQ) and process.cpu is not None:
            self.check.left(context)
        self._off_its_cpu(process)

    def _off_its_cpu(self, process: Process) -> None:
        """A handler is over, or has come to a bad end: what it ran on top of can go on."""
        stack = self.irq_stack.get(process.cpu.id, []) if process.cpu is not None else []
        if process in stack:
            stack.remove(process)

    def enter_interrupt(self, process: Process) -> None:
        """A handler starts: it sits on its CPU until it ends."""
        if process.kind in (HARDIRQ, SOFTIRQ) and process.cpu is not None:
            self.irq_stack.setdefault(process.cpu.id, []).append(process)
            self.check.entered(process.context)

    def in_the_way(self, process: Process) -> Process | None:
        """Who keeps the process off its CPU now, if anybody does."""
        cpu = process.cpu
        if cpu is None or not self.gates.get(cpu.id):
            return None
        if (keeper := process.kept_off()) is not None:
            return keeper
        if stack := self.irq_stack.get(cpu.id):
            below = stack[-1]
            nests = (
                process.kind == HARDIRQ and below.kind == SOFTIRQ and below.irqs_open and not process.started
            )
            return None if below is process or nests else below
        for other in self.processes.values():
            if (
                other.cpu is cpu
                and other is not process
                and other.kind == TASK
                and not other.done
                and process.kind in other.holds
            ):
                return other
        return None

    # -- the end -------------------------------------------------------------

    def dispose(self) -> None:
        """End the threads that have not ended. Their locks' blocks are left without any effect."""
        self.steps.exploring, self.dead = False, True
        for process in self.processes.values():
            if not process.done:
                self.sched.current = process.context
                with suppress(RuntimeError):  # an unwinding block found the machine half-way
                    process.coro.close()
        self.sched.current = self.sched.boot
