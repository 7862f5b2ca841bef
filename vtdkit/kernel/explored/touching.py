"""Part of the explored machine: what a step touches, and where a thread stops for it.

The primitives in `explored` call these before they touch anything that somebody else may touch too; plain
fields of shared objects and what hardware reads and writes are noted as they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import coroutine
from typing import Any

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.machine import Machine

from .locations import READ, WAIT, Access, Locations
from .pages import LIFE
from .points import Doing, Point


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
        self, accesses: tuple[Access, ...], doing: Doing, ready: Callable[[], bool] | None = None
    ) -> Any:
        """Come to a point if one of these locations is shared, or if the operation cannot go through yet."""
        if not self.steps.exploring:
            return
        process, locations = self.running, self.locations
        assert process is not None
        shared = False
        for location, kind in accesses:
            shared |= locations.note(process.name, location, kind not in (READ, WAIT))
        if shared or (ready is not None and not ready()):
            yield Point(accesses, doing, ready)

    @coroutine
    def stop_then(self, location: int, doing: Doing, kind: Callable[[], int], *others: Access) -> Any:
        """The same for an operation of which only its outcome tells whether it changes the location."""
        if not self.steps.exploring:
            return
        shared = self.locations.shared
        if location in shared or any(other in shared for other, _ in others):
            yield Point(others, doing)
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
