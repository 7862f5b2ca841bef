"""The watched cells: what others can see change in a primitive, each behind a descriptor.

    Seen    a plain look or write belongs to the step it is made in, which touches the location
    Hidden  the kit's own bookkeeping: an explored thread that goes past the primitive gets an error that says
            what to write instead

So nothing that can differ from order to order is read or written past the explorer, whoever does it and
however. Where time passes, or an interrupt may come in, between the last step and a plain look, the thread
has to stop for the look: `Touching.look` sees to that. In neither table is what no program can tell apart
while costs are zero and time stands still; `tests/kernel/explored/test_watched.py` tries every primitive.

Outside the threads of an exploration (set-up, observers) all of it is as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from sys import _getframe
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.checkers.races import Cell
from vtdkit.kernel.locks.sync import PerCpuCounter
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.timers import IrqLine, Timer
from vtdkit.kernel.memory.injection import Faults
from vtdkit.kernel.record.sites import Spot

from .locations import COUNT, LIFE, READ, WRITE

if TYPE_CHECKING:
    from .touching import Touching

ROOM = "vtdkit.kernel."


class NotAStep(RuntimeError):
    """An explored thread went past the explorer: its look or its write is no step."""


class Seen:
    """An attribute of a primitive. `instead`: what a thread writes that wants to change it, "" if it may;
    `part`: its location, if that is not the primitive itself.
    """

    def __init__(self, cls: type, name: str, instead: str = "", part: str = "") -> None:
        self.slot: Any = getattr(cls, name, None)
        self.name, self.instead, self.part = name, instead, part

    def refuse(self, obj: Any) -> None:
        """Nobody but the kit's own code gets past here in an explored thread."""
        machine = getattr(obj, "machine", None)
        if machine is None or machine.running is None:
            return
        if not _getframe(2).f_globals.get("__name__", "").startswith(ROOM):
            name = getattr(obj, "name", "")
            thing = f"{self.name} of {type(obj).__name__.removeprefix('X')} {name}".rstrip()
            raise NotAStep(
                f"{thing} is no step that the explorer can see; in a thread write "
                f"{self.instead.format(name or 'it')} instead, or ask in the observer"
            )

    def met(self, obj: Any, kind: int) -> None:
        """The running step looks at it, or changes it."""
        machine = obj.machine
        if machine.running is not None:
            location = machine.location_of(obj)
            machine.look(machine.locations.number((location, self.part)) if self.part else location, kind)

    def __get__(self, obj: Any, cls: type | None = None) -> Any:
        if obj is None:
            return self
        if obj.machine.running is not None:  # as `met` asks: set-up is spared the call
            self.met(obj, READ)
        return vars(obj)[self.name] if self.slot is None else self.slot.__get__(obj)

    def __set__(self, obj: Any, value: Any) -> None:
        if self.instead:
            self.refuse(obj)
        if getattr(obj, "machine", None) is not None:  # else it is being made
            self.met(obj, WRITE)
        if self.slot is None:
            vars(obj)[self.name] = value
        else:
            self.slot.__set__(obj, value)


class Owner(Seen):
    """Who has a lock: whoever has it knows, and nobody can change that meanwhile."""

    def met(self, obj: Any, kind: int) -> None:
        if kind == WRITE or self.slot.__get__(obj) is not obj.machine.sched.current:
            super().met(obj, kind)


class Hidden(Seen):
    """An attribute that only the primitive itself may use."""

    def met(self, obj: Any, kind: int) -> None:
        """Nothing: whoever gets here touches the primitive's location in this step."""

    def __get__(self, obj: Any, cls: type | None = None) -> Any:
        if obj is not None:
            self.refuse(obj)
        return super().__get__(obj, cls)


def watched(cls: Any, instead: str = "", seen: str = "", hidden: str = "", owner: str = "") -> None:
    """Put the descriptors on an explored class."""
    for kind, names in ((Seen, seen), (Hidden, hidden), (Owner, owner)):
        for name in names.split():
            setattr(cls, name, kind(cls, name, instead))


_VALUE: Any = vars(Cell)["value"]


class XCell(Cell):
    """A field of a driver object. Plain accesses are told beforehand, see `Touching.plain`."""

    __slots__ = ("location", "machine")

    def __init__(self, machine: Touching, location: int, value: Any) -> None:
        self.machine, self.location = machine, location
        super().__init__(value)

    @property
    def value(self) -> Any:
        """What is in it."""
        if self.machine.running is not None:
            self.machine.look(self.location, READ)
        return _VALUE.__get__(self)

    @value.setter
    def value(self, value: Any) -> None:
        if self.machine.running is not None:
            self.machine.look(self.location, WRITE)
        _VALUE.__set__(self, value)


class Row:
    """Numbers side by side, each a location: the words of a page, the slots of a per-CPU counter."""

    def __init__(self, machine: Touching, base: int, values: list[int]) -> None:
        self.machine, self.base, self.values = machine, base, values

    def _met(self, index: Any, kind: int) -> None:
        if self.machine.running is not None:
            places = range(len(self.values))[index]
            for place in places if isinstance(index, slice) else (places,):
                self.machine.look(self.base + place, kind)
            self.machine.look(self.base + LIFE, READ)

    def __getitem__(self, index: Any) -> Any:
        self._met(index, READ)
        return self.values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._met(index, WRITE)
        self.values[index] = value

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(len(self.values)))


class XPerCpuCounter(PerCpuCounter):
    """A per-CPU counter: one location for each slot."""

    machine: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.local: Any = Row(self.machine, self.machine.location("percpu_counter"), self.local)


class XTimer(Timer):
    """A timer. It is set and deleted in the step that does so, and expires as a process of its own."""

    @property
    def machine(self) -> Any:
        """The machine."""
        return self.sched.machine


class XIrqLine(IrqLine):
    """An interrupt line. What it sets off is a process of its own."""

    @property
    def machine(self) -> Any:
        """The machine."""
        return self.sched.machine


class XFaults(Faults):
    """Fault injection. While none is wanted, allocations are only counted: they are in no order."""

    machine: Any

    def should_fail(self, place: Spot | None) -> bool:
        if self.nth is not None or self.probability:
            return super().should_fail(place)
        self.machine.look(self.machine.locations.number((self.machine.location_of(self), "count")), COUNT)
        vars(self)["count"] += 1
        return False


class XRandom(Random):
    """The machine's random numbers: who asks first gets the first."""

    machine: Any = None

    def _met(self) -> None:
        if self.machine is not None and self.machine.running is not None:
            self.machine.look(self.machine.location_of("random"), WRITE)

    def random(self) -> float:
        self._met()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        self._met()
        return super().getrandbits(k)


class XContext(Context):
    """A thread of control. That it has ended can be seen."""

    __slots__ = ("machine",)
    machine: Any


watched(XTimer, "{}.mod(ns)", "_cancel fired")
watched(XIrqLine, "{}.fire()", "raised", "handled")
watched(XFaults, "", "nth probability failed")
watched(XContext, "what the thread itself returns", "done result error")
XFaults.count = Seen(Faults, "count", part="count")  # type: ignore[assignment]
