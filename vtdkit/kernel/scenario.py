"""A machine under the explorer, and the system of processes that the exploration algorithm drives.

A *scenario* is a function of a machine: it builds what is needed (`machine.run` for set-up, alone and at once), spawns the
threads whose
interleavings are to be explored, and returns an *observer*, a function called at the end of each execution; what it
returns (something printable and hashable) is the execution's outcome. It is called afresh for every execution and must do the same
each time.

Each thread normally has a CPU of its own. Interrupts, timers, RCU callbacks and hardware that a thread sets off become
processes too: they may run at any moment their CPU lets them. Costs are all zero; time stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from types import coroutine
from typing import Any

from .context import AGENT, HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context, Cpu
from .costs import IDEAL
from .explored import EXPLORED, READ, WRITE, Access, Point, XPage, XPageAllocator, XRcu
from .findings import Finding, KernelBug
from .lockbase import Lock
from .machine import CHECKERS, Machine

Observer = Callable[[], Hashable]
Name = tuple[int, ...]
FRAMES_EACH = 4096


class Names:
    """Numbers for locations, the same in every execution: a location is known by what made it, not by when."""

    def __init__(self) -> None:
        self.known: dict[Hashable, int] = {}
        self.next = 0

    def number(self, name: Hashable, size: int = 1) -> int:
        """The first of `size` numbers that belong to `name`."""
        number = self.known.get(name)
        if number is None:
            number = self.known[name] = self.next
            self.next += size
        return number


class Process:
    """One explored thread of control: its context, its name, and the point it stands at."""

    __slots__ = ("children", "context", "coro", "cpu", "done", "frames", "kind", "name", "pages", "point", "started")

    def __init__(self, name: Name, context: Context, coro: Coroutine[Any, Any, Any] | None, kind: str, cpu: Cpu | None) -> None:
        self.name = name
        self.context = context
        self.coro = coro
        self.kind = kind
        self.cpu = cpu
        self.point: Point | None = None
        self.started = False
        self.done = False
        self.children = 0
        self.pages = 0


class ExploredMachine(Machine):
    """A machine whose threads stop before every visible operation. Built and driven by `MachineSystem`."""

    def __init__(self, names: Names, cpus: int = 4, checkers: Iterable[str] = CHECKERS, **options: Any) -> None:
        self.names = names
        self.exploring = False
        self.touched: list[Access] = []
        self.lock_points: dict[int, tuple[Point, Point]] = {}
        self.processes: dict[Name, Process] = {}
        self.running: Process | None = None
        self.made_before = 0
        self.classes = EXPLORED
        self.irq_stack: dict[int, list[Process]] = {}
        self.crowded: set[int] = set()
        super().__init__(cpus, costs=IDEAL, checkers=checkers, record=False, **options)
        self.rcu = XRcu(self)
        self.pages = XPageAllocator(self, frames=1 << 22, nodes=len({cpu.socket for cpu in self.cpus}))
        self.pages.page_class = XPage

    # -- names -----------------------------------------------------------------------------------------------------

    def fresh_name(self, what: str) -> Hashable:
        """A name for something just made, the same in every execution."""
        process = self.running
        if process is None:
            self.made_before += 1
            return what, self.made_before
        process.children += 1
        return what, process.name, process.children

    def location(self, what: str, size: int = 1) -> int:
        """Numbers for the locations of something just made."""
        return self.names.number(self.fresh_name(what), size)

    def location_of(self, thing: Any) -> int:
        """The number of a thing that is one location; made when first asked for."""
        if isinstance(thing, str):
            return self.names.number(thing)
        number = self._of_things.get(id(thing))
        if number is None:
            number = self._of_things[id(thing)] = self.location(type(thing).__name__)
            self._alive.append(thing)
        return number

    def lock_location(self, lock: Lock) -> int:
        """The number of a shared lock."""
        return self.location_of(lock)

    def frame_for(self, context: Context) -> int:
        """A page frame from the running process's own stretch of memory."""
        process = self.running
        assert process is not None
        process.pages += 1
        base = self.pages.FIRST_PFN + (1 << 22)
        return base + self.names.number(("frames", process.name)) * FRAMES_EACH + process.pages

    def frames_left(self) -> bool:
        """Has the running process frames left?"""
        return self.running is not None and self.running.pages < FRAMES_EACH

    # -- processes -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Set-up is over: take over what was spawned, and let each thread run to its first point."""
        spawned, self.ready = list(self.ready), type(self.ready)()
        for cpu in self.cpus:
            spawned.extend(cpu.queue)
            cpu.queue.clear()
        self.heap.clear()
        self.exploring = True
        for context in sorted(spawned, key=lambda context: context.id):
            self.adopt((len(self.processes),), context, context.coro, context.kind, context.cpu)
        used = [process.cpu.id for process in self.processes.values() if process.cpu is not None]
        self.crowded = {number for number in used if used.count(number) > 1}
        for process in list(self.processes.values()):
            self.advance_to_point(process)

    def adopt(self, name: Name, context: Context, coro: Any, kind: str, cpu: Cpu | None) -> Process:
        """Make a process of a context."""
        process = Process(name, context, coro, kind, cpu)
        self.processes[name] = process
        return process

    def new_process(self, coro: Any, name: str, kind: str, cpu: Cpu | None, point: Point) -> Process:
        """Something a running process sets off: it stands at `point` and may go on whenever that allows."""
        parent = self.running
        assert parent is not None
        parent.children += 1
        context = self.new_context(name, kind)
        context.coro, context.cpu, context.cpu_id = coro, cpu, cpu.id if cpu is not None else -1
        if self.order is not None:
            self.order.fork(self.current, context)
        process = self.adopt((*parent.name, parent.children), context, coro, kind, cpu)
        process.point = point
        if cpu is not None:
            self.crowded.add(cpu.id)
        return process

    def spawn(
        self, coro: Coroutine[Any, Any, Any], cpu: int | None = None, name: str | None = None, context: Context | None = None,
    ) -> Context:  # fmt: skip
        if not self.exploring:
            return super().spawn(coro, cpu, name, context)
        place = self.cpus[cpu] if cpu is not None else self.cpus[len(self.processes) % len(self.cpus)]
        return self.new_process(coro, name or "thread", TASK, place, Point(())).context

    def interrupt(self, cpu: Cpu, name: str, handler: Any) -> None:
        if self.exploring:
            self.new_process(handler(), name, HARDIRQ, cpu, Point(()))
        else:
            super().interrupt(cpu, name, handler)

    def raise_softirq(self, cpu: Cpu, name: str, handler: Any) -> None:
        if self.exploring:
            self.new_process(handler(), name, SOFTIRQ, cpu, Point(()))
        else:
            super().raise_softirq(cpu, name, handler)

    def call_in(self, ns: int, function: Callable[[], None], name: str = "timer") -> Callable[[], None]:
        if not self.exploring:
            return super().call_in(ns, function, name)
        live = [True]
        spot = self.location(f"call {name}")

        async def call() -> None:
            if live[0]:
                live[0] = False
                function()

        def cancel() -> None:
            self.touched.append((spot, WRITE))
            live[0] = False

        self.new_process(call(), name, AGENT, None, Point(((spot, WRITE),)))
        return cancel

    def skip(self, ns: int) -> bool:
        """Time stands still while exploring; set-up runs on the ordinary clock."""
        return True if self.exploring else super().skip(ns)

    # -- one step --------------------------------------------------------------------------------------------------

    def advance_to_point(self, process: Process) -> None:
        """Let a process run until it is about to do something visible, or has ended."""
        context = process.context
        self.current, self.running, process.started = context, process, True
        coro = process.coro
        assert coro is not None
        try:
            point = coro.send(None)
        except StopIteration as stop:
            process.point, process.done = None, True
            context.done, context.result = True, stop.value
            self.touched.append((self.location_of(context), WRITE))
            self._ended(process)
        except KernelBug as bug:
            process.point, process.done = None, True
            context.done, context.error = True, bug
            context.held.clear()
        else:
            if not isinstance(point, Point):
                raise TypeError(f"{context.name} waits in a way the explorer does not know ({point!r})")
            process.point = point
            context.waiting = point.what
        self.current, self.running = self.boot, None

    def _ended(self, process: Process) -> None:
        context = process.context
        self.still_held(context)
        if process.kind in (HARDIRQ, SOFTIRQ) and process.cpu is not None:
            self.left(context)
            stack = self.irq_stack.get(process.cpu.id, [])
            if process in stack:
                stack.remove(process)

    def enter_interrupt(self, process: Process) -> None:
        """A handler starts: it sits on its CPU until it ends."""
        if process.kind in (HARDIRQ, SOFTIRQ) and process.cpu is not None:
            self.irq_stack.setdefault(process.cpu.id, []).append(process)
            self.entered(process.context)

    def may_run(self, process: Process) -> bool:
        """Does the process's CPU let it run now?"""
        cpu = process.cpu
        if cpu is None or cpu.id not in self.crowded:
            return True
        stack = self.irq_stack.get(cpu.id)
        if stack and stack[-1] is not process:
            below = stack[-1]
            nests = process.kind == HARDIRQ and below.kind == SOFTIRQ and not below.context.irqstate & HARD_OFF
            return nests and not process.started
        if stack:
            return True
        others = [p for p in self.processes.values() if p.cpu is cpu and p is not process and p.kind == TASK and not p.done]
        if process.kind == HARDIRQ:
            return not any(p.context.irqstate & HARD_OFF for p in others)
        if process.kind == SOFTIRQ:
            return not any(p.context.irqstate for p in others)
        return not any(p.context.preempt or p.context.irqstate for p in others)

    def touch_field(self, obj: Any, field: str, write: bool, place: Any, marked: bool) -> None:
        if self.exploring and self.running is not None:
            self.touched.append((self._field(obj, field), WRITE if write else READ))
            self.touched.append((self._field(obj, "life"), READ))
        super().touch_field(obj, field, write, place, marked)

    def _field(self, obj: Any, field: str) -> int:
        return self.names.number((obj.serial, field))

    def field_step(self, obj: Any, field: str, write: bool) -> Any:
        return self._field_step(obj, field, write)

    @coroutine
    def _field_step(self, obj: Any, field: str, write: bool) -> Any:
        if self.exploring:
            name = field or "life"
            yield Point(((self._field(obj, name), WRITE if write else READ),))

    def new_object(self, obj: Any) -> Any:
        super().new_object(obj)
        return self.fresh_name(type(obj).__name__)

    def hardware_touched(self, thing: Any) -> None:
        if self.exploring:
            self.touched.append((self.location_of(thing), WRITE))

    def memory_touched(self, address: int) -> None:
        page: Any = self.pages.page(address)
        if self.exploring and page is not None:
            self.touched.append((page.base + (address >> 3 & 511), WRITE))

    def device_step(self, thing: Any, address: int | None) -> Any:
        return self._device_step(thing, address)

    @coroutine
    def _device_step(self, thing: Any, address: int | None) -> Any:
        if not self.exploring:
            return
        accesses: tuple[Access, ...] = ((self.location_of(thing), WRITE),)
        page: Any = self.pages.page(address) if address is not None else None
        if page is not None and address is not None:
            accesses += ((page.base + (address >> 3 & 511), READ), (page.base + 512, READ))
        yield Point(accesses)

    @property
    def _of_things(self) -> dict[int, int]:
        table: dict[int, int] = self.__dict__.setdefault("_things", {})
        return table

    @property
    def _alive(self) -> list[Any]:
        kept: list[Any] = self.__dict__.setdefault("_kept", [])
        return kept


class MachineSystem:
    """The processes of one scenario, as the exploration algorithm wants them (`explore.System`)."""

    def __init__(self, scenario: Callable[[Machine], Observer], **options: Any) -> None:
        self.scenario = scenario
        self.options = options
        self.names = Names()
        self.machine: ExploredMachine = None  # type: ignore[assignment]  # built by start()

    def start(self) -> None:
        """A fresh machine, the scenario built on it, every thread at its first point."""
        self.machine = ExploredMachine(self.names, **self.options)
        self.observer = self.scenario(self.machine)
        self.machine.begin()

    def enabled(self) -> Sequence[Name]:
        """The processes that can take a step now, in order of name."""
        machine = self.machine
        out = []
        for name, process in machine.processes.items():
            point = process.point
            if point is None or (point.ready is not None and not self._ready(process, point)):
                continue
            if machine.crowded and not machine.may_run(process):
                continue
            out.append(name)
        if machine.crowded:
            out.sort()
        return out

    def _ready(self, process: Process, point: Point) -> bool:
        machine = self.machine
        before, machine.current = machine.current, process.context
        running, machine.running = machine.running, None
        try:
            return point.ready is None or point.ready()
        finally:
            machine.current, machine.running = before, running

    def step(self, name: Name) -> Sequence[Access]:
        """Let a process do its operation and run on to its next point; what it touched."""
        machine = self.machine
        process = machine.processes[name]
        point = process.point
        assert point is not None
        machine.touched = touched = list(point.accesses)
        if not process.started:
            machine.enter_interrupt(process)
        machine.advance_to_point(process)
        if process.cpu is not None and process.cpu.id in machine.crowded:
            touched.append((machine.location_of(process.cpu), WRITE))
        return touched

    def blocked(self) -> Mapping[Name, Sequence[Access]]:
        """The processes that have not ended and cannot go on, with what they would do."""
        can = set(self.enabled())
        return {
            name: process.point.accesses
            for name, process in self.machine.processes.items()
            if process.point is not None and name not in can
        }

    def finish(self) -> Hashable:
        """The observer's answer; a deadlock says who waits for whom."""
        machine = self.machine
        stuck = [p.context for p in machine.processes.values() if p.point is not None]
        if stuck:
            return "deadlock: " + machine.why_stuck(stuck[0])
        return self.observer()

    def findings(self) -> Sequence[Finding]:
        """What the checkers found in this execution."""
        return tuple(self.machine.findings)
