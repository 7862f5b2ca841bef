"""Sections of locks as single steps, where a lock guards all that its sections touch.

What nobody touches without the lock may be done at any moment of the section, so the whole of it is as good
as done at once (Lipton, "Reduction", CACM 18(12), 1975). Then the lock itself orders nothing: two sections
conflict if they touch one thing, and two that touch different ones can be swapped. That is asked for
(`explore(scenario, sections=True)`), since it holds only where all that threads share is in driver objects,
pages and primitives: what is done to a Python list under a lock is seen by nobody.

Whether a lock is of that kind is found by running, as shared locations are. It is not once

- a section touches more than once what is touched without this lock anywhere (sections of other locks
  inside it are part of it),
- a section waits, ends in an error or with its thread, or is on a CPU that several share,
- two locks are taken in one order here and in the other there,
- somebody looks at the lock, or tries to take it.

Its sections are then *apart*, steps like all others, and the exploration begins anew.

Order for the race checker: a section comes after those before it that touched what it touches, and after no
others of its lock. What a lock guards cannot race.

`swaps(lock, things)`: sections of this lock change these things in a way that comes to the same in either
order (submissions to one queue differ only in the slots they take), as long as nobody touches them without
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.checkers.races import Clock, HappensBefore, join
from vtdkit.kernel.machine.context import Context

from .locations import ACQUIRE, READ, SPAN, WAIT, Locations

if TYPE_CHECKING:
    from .machine import ExploredMachine
    from .process import Process

ASKED = Locations().number("sections")  # among the shared locations if it was asked for


NEVER, NOW, PAST = range(3)  # when a section touched what others can touch meanwhile


class Sections:
    """What is known of sections. Guards: the machine's own; `guards` is kept over all executions."""

    def __init__(self, machine: ExploredMachine) -> None:
        self.machine, self.locations = machine, machine.locations
        # shared location → the locks that it was always touched under, the outermost locks of those steps
        self.guards = self.locations.guards
        self.locks: set[int] = set()  # all there are, from when they are made: whoever looks at one is seen
        self.inner: dict[int, set[int]] = {}  # lock → those taken under it
        self.swapped: dict[int, int] = {}
        self.wrote: dict[int, Clock] = {}  # location → what the last section that changed it knew
        self.looked: dict[int, Clock] = {}  # and those that looked at it since

    # -- a section begins, and ends ------------------------------------------

    def whole(self, lock: Any) -> bool:
        """Is the section of this lock that the running process is about to begin a single step, or part of
        one?"""
        machine, process = self.machine, self.machine.running
        location = machine.location_of(lock)
        if process is None or not self.locations.note(process.name, location, ACQUIRE):
            return False  # nobody else takes it
        known = process.cpu is not None and machine.gates.get(process.cpu.id)
        owner: Any = machine.unseen(lambda: lock.owner)
        if known or owner is not None:
            self.apart(location)
            return False  # even where the mark comes too late for this execution
        return not self.is_apart(location)

    def begin(self, lock: Any) -> None:
        """It begins."""
        process, location = self.machine.running, self.machine.location_of(lock)
        assert process is not None
        self.machine.goes_past()
        for outer in process.inside:
            self.inner.setdefault(outer, set()).add(location)
            if outer in self._under(location):
                self.apart(outer)
                self.apart(location)
        if not process.inside:
            process.section, process.outermost, process.loose = [], location, NEVER
        if not self.is_apart(location):
            process.inside += (location,)

    def _under(self, lock: int) -> set[int]:
        """The locks that are taken under this one, or under one of those."""
        found, todo = set[int](), [lock]
        while todo:
            new = self.inner.get(todo.pop(), set()) - found
            found |= new
            todo += new
        return found

    def has(self, lock: Any) -> bool:
        """Is the running process in such a section of this lock?"""
        process = self.machine.running
        return process is not None and self.machine.location_of(lock) in process.inside

    def end(self, lock: Any) -> None:
        """It has ended."""
        process, location = self.machine.running, self.machine.location_of(lock)
        assert process is not None
        self.machine.goes_past()
        if process.inside[-1] != location:
            self.apart(location)
        process.inside = tuple(other for other in process.inside if other != location)

    def is_apart(self, lock: int) -> bool:
        """Are the sections of this lock steps like all others?"""
        return self.locations.number(("apart", lock)) in self.locations.shared

    def apart(self, lock: int) -> None:
        """From now on they are."""
        self._mark("apart", lock)

    def _mark(self, what: str, location: int) -> None:
        # what is found once locations have turned out to be shared is void: all begins anew with them
        if not self.locations.grew:
            self.locations.share(self.locations.number((what, location)))

    def swaps(self, lock: Any, locations: Iterable[int]) -> None:
        """Sections of this lock change these in a way that comes to the same in either order."""
        self.swapped.update(dict.fromkeys(locations, self.machine.location_of(lock)))

    # -- what is touched -----------------------------------------------------

    def tells(self, process: Process, location: int, kind: int) -> bool:
        """A shared location is touched. Is that to be said of the step?"""
        held = process.inside
        if location in self.locks and not self.is_apart(location):
            if location in held:
                return False
            self.apart(location)  # somebody looks at it
        known = self.guards.get(location)
        always, outermost = known or (held, ())
        if known != (held, held[:1]):  # else all is as it was, as nearly always
            always = tuple(lock for lock in always if lock in held)
            if held and held[0] not in outermost:
                outermost += held[:1]
            self.guards[location] = always, outermost
            if any(lock not in always for lock in outermost):
                self._mark("loose", location)
        if self.locations.number(("loose", location)) in self.locations.shared:
            self._free(process)
        if held and always:
            queue = self.swapped.get(location // SPAN * SPAN)
            if queue in always and not self.is_apart(queue):
                return False
            self._follow(process, location, kind)
        return True

    def _free(self, process: Process) -> None:
        """A location is touched that others can touch meanwhile. What is touched so in one stretch without a
        stop is the moment at which all is done; there may be one such stretch in a step.
        """
        if process.outermost:
            if process.loose == PAST:
                self.apart(process.outermost)
            process.loose = NOW

    def guarded(self, location: int) -> bool:
        """Is this touched in a section that is a single step, by a lock that guards it?"""
        process = self.machine.running
        return process is not None and bool(process.inside) and bool(self.guards.get(location, ((),))[0])

    def _follow(self, process: Process, location: int, kind: int) -> None:
        """The section comes after those that touched the same."""
        order: HappensBefore = self.machine.check.order
        if order.on:
            clock = order.clock(process.context)
            join(clock, self.wrote.get(location, {}))
            if kind not in (READ, WAIT):
                join(clock, self.looked.get(location, {}))
            process.section.append((location, kind))

    def leave(self, context: Context) -> None:
        """The step ends: what its thread knows is known to those that touch the same later."""
        order, process = self.machine.check.order, self.machine.running
        assert process is not None
        mine = order.clock(context)
        known = dict(mine)
        for location, kind in process.section:
            if kind in (READ, WAIT):
                join(self.looked.setdefault(location, {}), known)
            else:
                self.wrote[location] = known
                self.looked.pop(location, None)
        order.advance(context, mine)


class XHappensBefore(HappensBefore):
    """The clocks: sections that are single steps have a rule of their own (`Sections`)."""

    def acquire(self, context: Context, thing: Any) -> None:
        sections: Sections | None = self.machine.sections  # type: ignore[attr-defined]
        if sections is None or not sections.has(thing):
            super().acquire(context, thing)

    def release(self, context: Context, thing: Any) -> None:
        machine: Any = self.machine
        if machine.sections is None or not machine.sections.has(thing):
            super().release(context, thing)
        elif self.on and len(machine.running.inside) == 1:
            machine.sections.leave(context)
