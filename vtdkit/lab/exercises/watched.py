"""A computer that is watched while a student's function runs on it: what a judge compares.

`observe(scene, driver, function name)` runs one scene and returns a `Seen`: what the function returned, what
the checkers found, which locks it took and what it did under them, which shared things it touched under which
locks, what it allocated, which commands it sent to the unit, and in the end the tables as the hardware reads
them, the fields of every object, pages, objects and references. Two runs of one scene, with the reference
solution and with a student's, are then laid side by side (`compare`).

Only what happens inside the function under test (and in what it calls) counts as its doing; the end counts
as a whole.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.checks import CHECKERS, Checks
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.context import HARDIRQ
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.record import (
    ACQUIRE,
    ALLOC,
    FREE,
    IRQ_OFF,
    IRQ_ON,
    MARK,
    RELEASE,
    WAIT,
)
from vtdkit.kernel.record.trace import Trace
from vtdkit.lab.computer import LEGACY, Computer
from vtdkit.vtd.capabilities import Capabilities

from .hardware_reads import tables

Work = Callable[[], Coroutine[Any, Any, Any]]
Locks = frozenset[str]
Guards = dict[tuple[str, bool], set[Locks]]  # what was touched, written or not: under which locks

IN, OUT = "the function under test begins", "the function under test ends"
WARNING = ("WARNING", "")
#: locks inside the way to the hardware: who sends a command takes them, and commands are compared
INNER_LOCKS = ("&qi->q_lock", "&iommu->register_lock")
GLOBAL_STATUS = 0x1C  # GSTS: what the unit does now
MOST_AWAITS = 20_000  # in one call


class NeverEndsError(Exception):
    """A function waited for something again and again, and does not end."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One situation in which an answer is run: `prepare(pc)` makes the computer ready and returns the work.

    `units` and `scalable` say which machine, `fails` whether the allocations of the function are to fail one
    after the other. What else a `Computer` takes stands in `options`.
    """

    name: str
    prepare: Callable[[Computer], Work]
    units: Capabilities | Sequence[Capabilities] = LEGACY
    scalable: bool = False
    fails: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def computer(self, driver: type[IntelIommu], machine: Machine) -> Computer:
        """The computer of the scene, not yet prepared."""
        options = {"devices": (), **self.options}
        return Computer(driver=driver, machine=machine, units=self.units, scalable=self.scalable, **options)

    def __repr__(self) -> str:
        return f"<scene {self.name}>"


# -- the watched machine


class _WatchedPage(Page):
    """A page whose words are watched. Guards: as in `Page`."""

    __slots__ = ()

    def _saw(self, write: bool) -> None:
        self.machine.saw(self, self.name, write)  # type: ignore[attr-defined]

    def load(self, index: int) -> Any:
        self._saw(False)
        return super().load(index)

    def load32(self, index: int) -> Any:
        self._saw(False)
        return super().load32(index)

    def store(self, index: int, value: int, keep: int = 0) -> Awaitable[None]:
        self._saw(True)
        return super().store(index, value, keep)

    def store32(self, index: int, value: int) -> Awaitable[None]:
        self._saw(True)
        return super().store32(index, value)

    def copy_in(self, index: int, values: Sequence[int]) -> Awaitable[None]:
        self._saw(True)
        return super().copy_in(index, values)

    def cmpxchg_local(self, index: int, old: int, new: int) -> Any:
        self._saw(True)
        return super().cmpxchg_local(index, old, new)

    def _modify(self, index: int, change: Callable[[int], int]) -> Any:
        self._saw(True)
        return super()._modify(index, change)


class Watch:
    """What is noted while the function under test runs. Guards: one run at a time uses it."""

    def __init__(self, fail: int, whole: bool) -> None:
        self.fail = fail  # which of the function's allocations is to fail
        self.whole = whole  # there is no function to be inside of: all of the scene counts
        self.armed = False  # the scene is ready: what the function does from now on counts
        self.depth: dict[Any, int] = {}  # contexts inside the function, and how deep
        self.objects: list[KObject] = []  # all there ever were
        self.own: set[int] = set()  # those that the function itself made
        self.last_page = 1 << 62  # pages with a higher serial were made inside the function
        self.inner: Guards = defaultdict(set)
        self.outer: Guards = defaultdict(set)
        self.returned: list[Any] = []
        self.commands: list[Any] = []
        self.allocated = 0


class _WatchedChecks(Checks):
    """The checkers, who are told of every object and every access to a field."""

    machine: WatchedMachine

    def new_object(self, obj: Any) -> Any:
        serial = super().new_object(obj)
        watch = self.machine.watch
        watch.objects.append(obj)
        if self.machine.inside:
            watch.own.add(id(obj))
        return serial

    def touch_field(self, obj: Any, field: str, write: bool, place: Any, marked: bool) -> None:
        self.machine.saw(obj, obj.name_of_field(field), write)
        super().touch_field(obj, field, write, place, marked)


class WatchedMachine(Machine):
    """A machine that notes what the function under test does."""

    _made = {Checks: _WatchedChecks}  # noqa: RUF012

    def __init__(self, cpus: int = 2, fail: int = 0, whole: bool = False) -> None:
        self.watch = Watch(fail, whole)
        super().__init__(cpus, checkers=[name for name in CHECKERS if name != "races"])
        self.pages.page_class = _WatchedPage

    @property
    def inside(self) -> bool:
        """Is the scene ready, and the running context in the function under test?"""
        watch = self.watch
        return watch.armed and (watch.whole or self.sched.current in watch.depth)

    def saw(self, thing: Any, name: str, write: bool) -> None:
        """Something shared is read or written, under the locks that the running context holds."""
        watch = self.watch
        own = thing.serial > watch.last_page if isinstance(thing, Page) else id(thing) in watch.own
        if not own:  # what the function made, nobody else can have seen
            locks = frozenset(hold.name for hold in self.sched.current.held)
            (watch.inner if self.inside else watch.outer)[_without_numbers(name), write].add(locks)

    @contextmanager
    def entering(self) -> Iterator[None]:
        """The running context is inside the function under test."""
        watch, context, faults = self.watch, self.sched.current, self.pages.faults
        outermost = not watch.depth
        watch.depth[context] = watch.depth.get(context, 0) + 1
        if outermost and watch.armed:
            watch.last_page = self.pages.allocated
        if watch.armed and watch.fail:
            faults.nth, watch.fail = faults.count + watch.fail, 0
        before = faults.count
        self.stat.mark(IN if watch.armed else "")
        try:
            yield
        finally:
            self.stat.mark(OUT if watch.armed else "")
            if outermost:
                watch.allocated += (faults.count - before) * watch.armed
                watch.last_page = 1 << 62
            watch.depth[context] -= 1
            if not watch.depth[context]:
                del watch.depth[context]


def _without_numbers(name: str) -> str:
    """A thing's name for a comparison: `domain 3 devices` and `domain 4 devices` are one kind of thing."""
    return re.sub(r"(0x)?[0-9a-f]*\d[0-9a-f:.]*", "#", name)


def watched(driver: type[IntelIommu], name: str) -> type[IntelIommu]:
    """The same version; its machine (a `WatchedMachine`) is told when function `name` begins and ends."""
    function = inspect.getattr_static(driver, name)

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.machine.entering():
            result = await _counted(function(self, *args, **kwargs))
        if self.machine.watch.armed:
            self.machine.watch.returned.append(plain(result))
        return result

    def call_plain(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.machine.entering():
            result = function(self, *args, **kwargs)
        if self.machine.watch.armed:
            self.machine.watch.returned.append(plain(result))
        return result

    async def qi_submit_sync(self: Any, iommu: Any, descs: Any) -> int:
        if self.machine.inside:
            self.machine.watch.commands.append((iommu.seq_id, plain(descs), tables(iommu.hardware)))
        return await driver.qi_submit_sync(self, iommu, descs)

    call.__name__ = call_plain.__name__ = name  # what a report calls the thread that runs it
    own = call if inspect.iscoroutinefunction(function) else call_plain
    return type("Judged", (driver,), {name: own, "qi_submit_sync": qi_submit_sync, "title": driver.title})


class _counted:
    """Awaits a coroutine and stops it when it has waited too often."""

    def __init__(self, coro: Any) -> None:
        self.coro = coro

    def __await__(self) -> Any:
        steps = self.coro.__await__()
        for _ in range(MOST_AWAITS):
            try:
                asked = next(steps)
            except StopIteration as end:
                return end.value
            yield asked
        steps.close()
        raise NeverEndsError


# -- what was seen


@dataclass(slots=True)
class Seen:
    """What one run of a scene showed. Names of the fields are those of an exercise's conditions."""

    returns: list[Any] = field(default_factory=list)  # each call's value, then what the scene's work returned
    findings: dict[tuple[str, str], str] = field(default_factory=dict)  # kind and place: its text
    said: dict[tuple[str, str], int] = field(default_factory=dict)  # how often each was found
    locks: set[tuple[str, bool]] = field(default_factory=set)  # taken: name, with interrupts off
    under: set[tuple[str, str]] = field(default_factory=set)  # a lock, and what was done while it was held
    longest: dict[str, int] = field(default_factory=dict)  # ns each lock was held without a break
    guards: Guards = field(default_factory=dict)
    elsewhere: Guards = field(default_factory=dict)
    allocations: int = 0
    commands: list[Any] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    pages: int = 0
    objects: dict[str, int] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    died: str = ""  # what the simulated kernel did not survive


def observe(scene: Scene, driver: type[IntelIommu], name: str, fail: int = 0) -> Seen:
    """Run a scene with a version whose function `name` is under test (`""`: all of the scene is).

    `fail`: the number of the allocation, counted from the function's beginning, that fails. Raises what the
    function raises.
    """
    machine = WatchedMachine(scene.options.get("cpus", 2), fail, whole=not name)
    watch = machine.watch
    version = watched(driver, name) if name else driver
    options = {key: value for key, value in scene.options.items() if key != "cpus"}
    scene = Scene(scene.name, scene.prepare, scene.units, scene.scalable, scene.fails, options)
    seen, pc = Seen(), None
    try:
        pc = scene.computer(version, machine)
        work = scene.prepare(pc)
        watch.armed = True
        seen.returns = [plain(pc.run(work()))]
        machine.simulate()
    except KernelBug as bug:
        seen.died = str(bug)
    watch.armed = False
    seen.returns = [*watch.returned, *seen.returns]
    seen.guards, seen.elsewhere = dict(watch.inner), dict(watch.outer)
    seen.allocations, seen.commands = watch.allocated, watch.commands
    _from_the_record(machine.trace(), seen, watch.whole)
    if pc is not None and not seen.died:
        _at_the_end(pc, seen)
    for each in machine.findings:
        # what a warning says is up to its author
        key = WARNING if each.kind == WARNING[0] else (each.kind, _without_numbers(each.where))
        seen.findings[key] = f"{each.kind}: {each.where}"
        seen.said[key] = seen.said.get(key, 0) + machine.findings.count(each)
    return seen


def _from_the_record(trace: Trace, seen: Seen, whole: bool) -> None:
    """Locks taken inside the function, with interrupts on or off, and what was done under each."""
    off: dict[int, bool] = {}
    depth: dict[int, int] = defaultdict(int)
    held: dict[int, list[tuple[str, int, bool]]] = defaultdict(list)
    for time, _, context, kind, obj, _, arg in trace.rows():
        name, inside = trace.objects[obj], whole or depth[context] > 0
        if kind in (ACQUIRE, RELEASE) and name in INNER_LOCKS:
            continue
        if kind == MARK:
            depth[context] += {IN: 1, OUT: -1}.get(trace.marks[arg], 0)
        elif kind in (IRQ_OFF, IRQ_ON):
            off[context] = kind == IRQ_OFF
        elif kind == RELEASE:
            mine = held[context]
            for taken in [each for each in mine if each[0] == name]:
                mine.remove(taken)
                if taken[2]:
                    seen.longest[name] = max(seen.longest.get(name, 0), time - taken[1])
        elif inside and kind in (ACQUIRE, WAIT, ALLOC, FREE):
            what = {WAIT: "waits for the hardware", ALLOC: "allocates", FREE: "frees a page"}.get(kind, name)
            seen.under |= {(lock, what) for lock, _, _ in held[context]}
        if kind == ACQUIRE:
            hard = off.get(context, False) or trace.context_kinds[context] == HARDIRQ
            held[context].append((name, time, inside))
            if inside:
                seen.locks.add((name, hard))


def _at_the_end(pc: Computer, seen: Seen) -> None:
    machine: Any = pc.machine
    seen.tables = [(tables(each), each.unit.read(GLOBAL_STATUS, 4)) for each in pc.hardware]
    seen.pages = len(machine.pages)
    kinds: dict[str, int] = defaultdict(int)
    for obj in machine.check.objects.values():
        kinds[type(obj).__name__] += 1
    seen.objects = dict(kinds)
    devices = [obj for obj in machine.watch.objects if isinstance(obj, PciDevice)]
    seen.references = {dev.name: dev.kref.value for dev in devices}
    names: dict[str, int] = defaultdict(int)
    for obj in machine.watch.objects:
        if obj.freed is None:
            names[obj.label] += 1
            for name in obj.cells:
                number = f" ({names[obj.label]})" if names[obj.label] > 1 else ""
                seen.state[f"{obj.name_of_field(name)} of {obj.label}{number}"] = plain(obj.peek(name))


def plain(value: Any) -> Any:
    """A value that can be compared between two machines."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Page):
        return "a page" if value.freed is None else "a freed page"
    if isinstance(value, KObject):
        return repr(value)
    if isinstance(value, dict):
        return tuple((plain(key), plain(each)) for key, each in value.items())
    if isinstance(value, tuple | list | set | frozenset):
        return tuple(map(plain, value))
    return type(value).__name__
