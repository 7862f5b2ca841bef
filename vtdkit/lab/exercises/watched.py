"""A computer that is watched while a student's function runs on it: what a judge compares.

`observe(scene, driver, function name)` runs one scene and returns a `Seen`: what the function returned, what
the checkers found, which locks it took and what it did under them, which shared things it touched under which
locks and how, what it allocated, which commands it sent to the unit, which registers it wrote and which cache
lines it wrote back, and in the end the tables as the hardware reads them, the fields of every object, pages,
objects and references. Two runs of one scene, with the reference
solution and with a student's, are then laid side by side (`compare`).

Only what happens inside the function under test (and in what it calls) counts as its doing; the end counts
as a whole.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, coroutine
from typing import Any

from vtdkit.iommu.hardware import QUEUE, RemappingHardware
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.checks import CHECKERS, Checks
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.context import HARDIRQ
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.lists import ListHead
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import PAGE_SHIFT, Page
from vtdkit.kernel.record.following import Following
from vtdkit.kernel.record.record import ACQUIRE, ALLOC, FREE, MARK, WAIT
from vtdkit.kernel.record.sites import short_path
from vtdkit.kernel.record.trace import Trace
from vtdkit.lab.computer import LEGACY, Computer
from vtdkit.vtd.capabilities import Capabilities

from .hardware_reads import tables
from .student import NeverEndsError

Work = Callable[[], Coroutine[Any, Any, Any]]
Locks = frozenset[str]
Told = tuple[str, int, int, bool]  # register, its number, value; or cache lines, entries, 0; after a write?
Guards = dict[tuple[str, bool], set[Locks]]  # what was touched, written or not: under which locks

REGISTER, CACHE_LINES = "register", "cache lines"
IN, OUT = "the function under test begins", "the function under test ends"
WARNING = ("WARNING", "")
#: locks inside the way to the hardware: who sends a command takes them, and commands are compared. They count
#: where the function itself takes them
INNER_LOCKS = ("&qi->q_lock", "&iommu->register_lock")
GLOBAL_COMMAND, GLOBAL_STATUS = 0x18, 0x1C  # GCMD, and GSTS: what the unit does now
ONE_SHOT = 1 << 30 | 1 << 29 | 1 << 27 | 1 << 24  # commands that are not a state: SRTP, SFL, WBF, SIRTP
#: events that count under a lock, and what is said of them; of a lock its name
DOES = {WAIT: "waits for the hardware", ALLOC: "allocates", FREE: "frees a page", ACQUIRE: ""}
MOST_AWAITS = 20_000  # in one call
HIGH = 1 << 41  # where memory begins: who cuts an address off is found


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


@dataclass(slots=True)
class Seen:
    """What one run of a scene showed."""

    returns: list[Any] = field(default_factory=list)  # each call's value, then what the scene's work returned
    findings: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)  # kind, place: text, times
    locks: set[tuple[str, bool]] = field(default_factory=set)  # taken: name, with interrupts off
    times: Counter[str] = field(default_factory=Counter)  # how often each lock was taken
    under: set[tuple[str, str]] = field(default_factory=set)  # a lock, and what was done while it was held
    sleeps: bool = False  # or might
    guards: Guards = field(default_factory=lambda: defaultdict(set))  # inside the function
    elsewhere: Guards = field(default_factory=lambda: defaultdict(set))  # by the rest of the driver
    stored: set[str] = field(default_factory=set)  # entries written by plain stores
    changed: set[str] = field(default_factory=set)  # entries changed by atomic operations
    allocations: int = 0
    commands: list[Any] = field(default_factory=list)
    told: set[Told] = field(default_factory=set)  # what else the hardware learns
    tables: list[Any] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)  # pages, objects, references
    died: str = ""  # what the simulated kernel did not survive


# -- the watched machine


def _telling(name: str) -> Any:
    access = getattr(Page, name)

    def told(page: Any, *args: Any) -> Any:
        page.machine.saw(page, page.name, not name.startswith("load"), atomic=name == "_modify")
        return access(page, *args)

    return told


#: all that touches the words of a page
_ACCESSES = ("load", "load32", "store", "store32", "copy_in", "cmpxchg_local", "_modify")
_WatchedPage = type(
    "_WatchedPage", (Page,), {"__slots__": (), **{name: _telling(name) for name in _ACCESSES}}
)


class _WatchedChecks(Checks):
    """The checkers, who are told of every object and every access to a field."""

    machine: WatchedMachine

    def new_object(self, obj: Any) -> Any:
        self.machine.objects.append(obj)
        if self.machine.inside:
            self.machine.own.add(id(obj))
        return super().new_object(obj)

    def might_sleep(self, place: Any = None) -> None:
        self.machine.seen.sleeps |= self.machine.inside
        super().might_sleep(place)

    def touch_field(self, obj: Any, field: str, write: bool, place: Any, marked: bool) -> None:
        self.machine.saw(obj, obj.name_of_field(field), write)
        super().touch_field(obj, field, write, place, marked)


class WatchedMachine(Machine):
    """A machine that notes in `seen` what the function under test does. Guards: one run at a time uses it."""

    _made = {Checks: _WatchedChecks}  # noqa: RUF012

    def __init__(self, cpus: int, fail: int) -> None:
        self.fail = fail  # which of the function's allocations is to fail
        self.armed = False  # the scene is ready: what the function does from now on counts
        self.depth: dict[Any, int] = defaultdict(int)  # how deep each context is inside the function
        self.objects: list[KObject] = []  # all there ever were
        self.own: set[int] = set()  # those that the function itself made
        self.last_page = 1 << 62  # pages with a higher serial were made inside the function
        self.wrote = False  # has the function written an entry since it last wrote cache lines back?
        self.seen = Seen()
        checkers = [name for name in CHECKERS if name != "races"]
        super().__init__(
            cpus, sockets=1 + (cpus % 2 == 0), checkers=checkers
        )  # two nodes: who asks for which?
        self.pages.page_class = _WatchedPage
        self.pages.FIRST_PFN = HIGH >> PAGE_SHIFT

    @property
    def inside(self) -> bool:
        """Is the scene ready, and the running context in the function under test?"""
        return self.armed and self.depth[self.sched.current] > 0

    def saw(self, thing: Any, name: str, write: bool, atomic: bool = False) -> None:
        """Something shared is read or written, under the locks that the running context holds."""
        page = isinstance(thing, Page)
        if thing.serial > self.last_page if page else id(thing) in self.own:
            return  # what the function made, nobody else can have seen
        locks, kind = frozenset(hold.name for hold in self.sched.current.held), _without_numbers(name)
        (self.seen.guards if self.inside else self.seen.elsewhere)[kind, write].add(locks)
        if page and write and self.inside:
            self.wrote = True
            (self.seen.changed if atomic else self.seen.stored).add(kind)

    def tell(self, what: str, number: int, value: int = 0) -> None:
        """The hardware learns something that is no command of the queue."""
        if self.inside:
            self.seen.told.add((what, number, value, self.wrote))

    @contextmanager
    def entering(self) -> Iterator[None]:
        """The running context is inside the function under test."""
        context, faults = self.sched.current, self.pages.faults
        counts = self.armed and not any(self.depth.values())  # the outermost call
        self.depth[context] += 1
        if counts:
            self.last_page = self.pages.allocated
        if self.armed and self.fail:
            faults.nth, self.fail = faults.count + self.fail, 0
        before = faults.count
        self.stat.mark(IN if self.armed else "")
        try:
            yield
        finally:
            self.stat.mark(OUT if self.armed else "")
            if counts:
                self.seen.allocations += faults.count - before
                self.last_page = 1 << 62
            self.depth[context] -= 1


def _without_numbers(name: str) -> str:
    """A thing's name for a comparison: `domain 3 devices` and `domain 4 devices` are one kind of thing."""
    return re.sub(r"(0x)?[0-9a-f]*\d[0-9a-f:.]*", "#", name)


def watched(driver: type[IntelIommu], name: str) -> type[IntelIommu]:
    """The same version; its machine (a `WatchedMachine`) is told when function `name` begins and ends."""
    function = inspect.getattr_static(driver, name)

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        machine = self.machine
        with machine.entering():
            result = await _counted(function(self, *args, **kwargs))
        if machine.armed:
            machine.seen.returns.append(plain(result))
        return result

    async def qi_submit_sync(self: Any, iommu: Any, descs: Any) -> int:
        if self.machine.inside:
            lists = (
                each for each in self.machine.objects if isinstance(each, ListHead) and each.freed is None
            )
            said = tables(iommu.hardware), tuple(map(_on, lists))
            self.machine.seen.commands.append((iommu.seq_id, plain(descs), said))
        return await driver.qi_submit_sync(self, iommu, descs)

    def clflush(self: Any, entries: int = 1) -> Any:
        self.machine.tell(CACHE_LINES, entries)
        if self.machine.inside:
            self.machine.wrote = False
        return driver.clflush(self, entries)

    call.__name__ = name  # what a report calls the thread that runs it
    spied = {name: call, "qi_submit_sync": qi_submit_sync, "clflush": clflush, "title": driver.title}
    return type("Judged", (driver,), spied)


def _listen(hardware: RemappingHardware, machine: WatchedMachine) -> None:
    """The machine is told of every register that is written, but for the queue's: commands are compared."""
    write, read = hardware.unit.write, hardware.unit.read

    def told(offset: int, value: int, size: int) -> None:
        same = offset == GLOBAL_COMMAND and value == read(GLOBAL_STATUS, 4) & ~ONE_SHOT
        if offset not in QUEUE and not same:  # what is off may be switched off once more
            machine.tell(REGISTER, offset, value)
        write(offset, value, size)

    vars(hardware.unit)["write"] = told


def _on(entries: ListHead) -> tuple[Any, ...]:
    """Who is on a list: the order does not matter."""
    return tuple(sorted(map(repr, entries.peek_entries())))


@coroutine
def _counted(coro: Any) -> Generator[Any, None, Any]:
    """Await a coroutine, and stop it when it has waited too often."""
    steps = coro.__await__()
    for _ in range(MOST_AWAITS):
        try:
            asked = next(steps)
        except StopIteration as end:
            return end.value
        yield asked
    steps.close()
    raise NeverEndsError


# -- a run


def observe(scene: Scene, driver: type[IntelIommu], name: str, fail: int = 0) -> Seen:
    """Run a scene with a version whose function `name` is under test.

    `fail`: the number of the allocation, counted from the function's beginning, that fails. Raises what the
    function raises.
    """
    machine = WatchedMachine(scene.options.get("cpus", 2), fail)
    seen = machine.seen
    try:
        pc = Computer(
            driver=watched(driver, name),
            machine=machine,
            units=scene.units,
            scalable=scene.scalable,
            **{"devices": (), **scene.options},
        )
        work = scene.prepare(pc)
        for hardware in pc.hardware:
            _listen(hardware, machine)
        machine.armed = True
        seen.returns.append(plain(pc.run(work())))
        machine.simulate()
        machine.armed = False
        _at_the_end(pc, seen)
    except KernelBug as bug:
        machine.armed, seen.died = False, str(bug)
    _from_the_record(machine.trace(), seen, getattr(inspect.getattr_static(driver, name), "__code__", None))
    for each in machine.findings:
        # what a warning says is up to its author
        key = WARNING if each.kind == WARNING[0] else (each.kind, _without_numbers(each.where))
        times = seen.findings.get(key, ("", 0))[1] + machine.findings.count(each)
        seen.findings[key] = f"{each.kind}: {each.where}", times
    return seen


def _from_the_record(trace: Trace, seen: Seen, code: CodeType | None) -> None:
    """Locks taken inside the function (its own code is `code`), with interrupts on or off, and what was
    done under each.
    """
    own = (code.co_name, short_path(code.co_filename)) if code is not None else None
    now, depth = Following(len(trace.contexts), trace.cpus), defaultdict[int, int](int)

    def counts(lock: int, where: int) -> bool:
        """Not a lock on the way to the hardware, or one that the function takes itself."""
        place = trace.sites[where]
        return trace.objects[lock] not in INNER_LOCKS or (place.function, place.file) == own

    for time, cpu, context, kind, obj, where, arg in trace.rows():
        name, thread = trace.objects[obj], now.threads[context]
        if kind == MARK:
            depth[context] += {IN: 1, OUT: -1}.get(trace.marks[arg], 0)
        elif depth[context] > 0 and kind in DOES and counts(obj, where):
            held = [each.object for each in thread.held if counts(each.object, each.place)]
            seen.under |= {(trace.objects[lock], DOES[kind] or name) for lock in held}
            if kind == ACQUIRE:
                off = thread.off is not None or trace.context_kinds[context] == HARDIRQ
                seen.times[name] += 1
                seen.locks.add((name, off))
        if cpu >= 0:
            now.event(time, cpu, context, kind, obj, where)


def _at_the_end(pc: Computer, seen: Seen) -> None:
    machine: Any = pc.machine
    seen.tables = [(tables(each), each.unit.read(GLOBAL_STATUS, 4)) for each in pc.hardware]
    seen.left["page", ""] = len(machine.pages)
    nodes = Counter(page.node for page in machine.pages.live())
    seen.state["the count of pages by NUMA node"] = plain(dict(sorted(nodes.items())))
    names: Counter[str] = Counter()
    for obj in (each for each in machine.objects if each.freed is None):
        seen.left[type(obj).__name__, ""] += 1
        if isinstance(obj, PciDevice):
            seen.left["reference", f" to {obj.name}"] = obj.kref.value
        names[obj.label] += 1
        number = f" ({names[obj.label]})" if names[obj.label] > 1 else ""
        for name in obj.cells:
            value = _on(obj) if isinstance(obj, ListHead) else plain(obj.peek(name))
            seen.state[f"{obj.name_of_field(name)} of {obj.label}{number}"] = value


def plain(value: Any) -> Any:
    """A value that can be compared between two machines."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Page():
            return "a page" if value.freed is None else "a freed page"
        case KObject():
            return repr(value)
        case dict():
            return tuple((plain(key), plain(each)) for key, each in value.items())
        case tuple() | list() | set() | frozenset():
            return tuple(map(plain, value))
    return type(value).__name__
