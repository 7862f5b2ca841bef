"""Part of the explored machine: what a step touches, and where a thread stops for it.

The primitives in `explored` call these before they touch anything that somebody else may touch too; plain
fields of shared objects and what hardware reads and writes are noted as they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import coroutine
from typing import Any

from vtdkit.kernel.checkers.checks import Checks
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.steps import Steps

from .locations import READ, WAIT, WRITE, Access, Locations
from .primitives import LIFE, Point


class Touching(Machine):
    """Guards: the fields are the machine's own; they change only while one thread's step is under way."""

    locations: Locations
    touched: list[Access]
    dead: bool
    made_before: int
    numbers: dict[int, int]  # id of a thing → its location; `numbered` keeps the thing alive
    numbered: list[Any]
    running: Any
    process_of: dict[Context, Any]

    # -- names ---------------------------------------------------------------
    def fresh_name(self, what: str) -> Hashable:
        """A name for something just made, the same in every execution."""
        process = self.running
        if process is None:
            self.made_before += 1
            return what, self.made_before
        process.children += 1
        return what, process.name, process.children

    def name_of(self, context: Context) -> Hashable:
        """The name of a thread of control."""
        process = self.process_of.get(context)
        return process.name if process is not None else context.name

    def location(self, what: str) -> int:
        """The number of something just made (the first of its numbers, if it is several locations)."""
        return self.locations.number(self.fresh_name(what))

    def location_of(self, thing: Any) -> int:
        """The number of a thing that is one location; made when first asked for."""
        if isinstance(thing, str):
            return self.locations.number(thing)
        number = self.numbers.get(id(thing))
        if number is None:
            number = self.numbers[id(thing)] = self.location(type(thing).__name__)
            self.numbered.append(thing)
        return number

    @property
    def unwinding(self) -> bool:
        """Is a block left only because its thread is put away?"""
        return self.dead or (self.steps.exploring and self.running is None)

    # -- what is touched, and where a thread stops for it --------------------

    def field(self, obj: Any, field: str) -> int:
        """The location of a field of an object, or of its "life"."""
        return self.locations.number((obj.serial, field))

    def touch(self, location: int, kind: int) -> None:
        """The running process's present step touches this."""
        process = self.running
        if process is not None and self.locations.note(process.name, location, kind not in (READ, WAIT)):
            self.touched.append((location, kind))

    @coroutine
    def stop(
        self, accesses: tuple[Access, ...], ready: Callable[[], bool] | None = None, what: Any = None
    ) -> Any:
        """Come to a point if one of these locations is shared, or if the operation cannot go through yet."""
        process, locations = self.running, self.locations
        assert process is not None
        shared = False
        for location, kind in accesses:
            shared |= locations.note(process.name, location, kind not in (READ, WAIT))
        if shared or (ready is not None and not ready()):
            yield Point(accesses, ready, what)

    @coroutine
    def stop_then(self, location: int, kind: Callable[[], int], *others: Access) -> Any:
        """The same for an operation of which only its outcome tells whether it changes the location."""
        shared = self.locations.shared
        if location in shared or any(other in shared for other, _ in others):
            yield Point(others)
        else:
            for other, other_kind in others:
                self.touch(other, other_kind)
        self.touch(location, kind())

    def stops_at_word(self, base: int, index: int) -> bool:
        """Does reading this word of a page need a point? (See `XPage`.)"""
        process, locations = self.running, self.locations
        assert process is not None
        if locations.note(process.name, base + index, False):
            return True
        life = base + LIFE
        return locations.note(process.name, life, False) and (life, READ) not in self.touched


class XSteps(Steps):
    """What is a step of its own, with a point before each."""

    machine: Touching

    @coroutine
    def field(self, obj: Any, field: str, write: bool) -> Any:
        if self.exploring:
            location = self.machine.field(obj, field or "life")
            yield from self.machine.stop(((location, WRITE if write else READ),))

    def accessed(self, obj: Any, field: str, write: bool) -> None:
        machine = self.machine
        if machine.running is not None:
            machine.touch(machine.field(obj, field), WRITE if write else READ)
            machine.touch(machine.field(obj, "life"), READ)

    def hardware(self, thing: Any) -> None:
        self.machine.touch(self.machine.location_of(thing), WRITE)

    def memory(self, address: int) -> None:
        page: Any = self.machine.pages.page(address)
        if page is not None:
            self.machine.touch(page.base + (address >> 3 & 511), WRITE)

    def register(self, thing: Any, offset: int, write: bool) -> Any:
        """One location for every eight bytes: a command register and its status are neighbours."""
        machine = self.machine
        location = machine.locations.number(("register", machine.location_of(thing), offset >> 3))
        return machine.stop(((location, WRITE if write else READ),))

    @coroutine
    def device(self, thing: Any, address: int | None) -> Any:
        if not self.exploring:
            return
        machine = self.machine
        accesses: tuple[Access, ...] = ((machine.location_of(thing), WRITE),)
        page: Any = machine.pages.page(address) if address is not None else None
        if page is not None and address is not None:
            accesses += ((page.base + (address >> 3 & 511), READ), (page.base + LIFE, READ))
        yield from machine.stop(accesses)


class XChecks(Checks):
    """The checkers: objects are numbered by who makes them, and interrupts that come back on are noted."""

    machine: Touching

    def new_object(self, obj: Any) -> Any:
        super().new_object(obj)
        return self.machine.fresh_name(type(obj).__name__)

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
