"""Happens-before: which accesses are ordered by locks, atomics, RCU and interrupts-off
regions, and which race.

Vector clocks, as in FastTrack (Flanagan and Freund, PLDI 2009): each context counts its own steps;
releasing a lock leaves the clock with the lock, taking it picks it up. Two plain accesses of one
field of a driver object, at least one a write, that are not ordered are a data race; the kernel's
checker for it is KCSAN. Accesses marked the way READ_ONCE and WRITE_ONCE mark them never race and
order nothing by themselves.

Clocks are kept only from the first watched object on: nothing that happened before can matter to it.

What orders: a lock's release and its next acquire; the start and the end of a thread; a full atomic
(cmpxchg) on the same word; the end of a grace period after its readers; on one CPU, an interrupt handler
and a stretch with interrupts off; two threads that follow each other on one CPU without preemption
between them are ordered through the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import ANYWHERE, Spot

Clock = dict[int, int]


NOBODY: Clock = {}


def join(into: Clock, other: Clock) -> None:
    """Make `into` at least as late as `other`, component by component."""
    get = into.get
    for key, count in other.items():
        if get(key, 0) < count:
            into[key] = count


@dataclass(slots=True, eq=False)
class Access:
    """One remembered access: by whom (the number, and the name), at which of its steps, where, marked or
    plain.
    """

    context: int
    name: str
    count: int
    code: CodeType
    offset: int
    marked: bool

    @property
    def place(self) -> Spot:
        """Where it was."""
        return ANYWHERE.spot(self.code, self.offset)


class Cell:
    """One watched field: its value, and its last accesses: who wrote it last, who read it since."""

    __slots__ = ("base", "last", "reader", "reads", "tick", "value", "write", "writer")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.reads: dict[int, Access] = {}
        self.forget()

    def forget(self) -> None:
        """As if it had never been accessed."""
        self.write: Access | None = None
        self.reads.clear()
        # Short cuts for `shared`; not kept while exploring, when every access must be told.
        self.writer: Clock = (
            NOBODY  # the clock of who wrote last, plainly, if nobody else touched the field since
        )
        self.reader: Clock = (
            # the clock of who looked last, plainly, if nobody else wrote since; at which of its steps
            NOBODY
        )
        self.tick = -1
        self.base = 0  # how far its count is ahead of its steps
        # what `reads` had of that reader; there whenever `reader` is
        self.last: Access = None  # type: ignore[assignment]

    def catch_up(self) -> None:
        """Enter in `last` the count at which that reader looked last."""
        if self.tick >= 0:
            self.last.count = self.base + self.tick


@dataclass(slots=True, eq=False)
class WordClock:
    """The vector clock of one word (see `races`)."""

    vc: Clock | None = None
    #: context -> its clock, if that has taken in what is published here
    known: dict[int, Clock | None] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class HappensBefore:
    """The clocks of one machine. Guards: the engine's; every method is one step of the running context."""

    machine: Host
    on: bool = False

    # -- ordering ------------------------------------------------------------

    def clock(self, context: Context) -> Clock:
        """The context's clock, created when first needed."""
        if context.vc is None:
            context.vc = {context.id: context.epoch + 1}
        return context.vc

    @staticmethod
    def advance(context: Context, clock: Clock) -> None:
        """The context's own count goes up: what it does from now on is not covered by what it published."""
        clock[context.id] += 1
        context.tick += 1

    def publish(self, context: Context, where: Any) -> None:
        """Everything `context` did so far happens before whoever later calls `observe` on `where`
        (an object with `.vc`).
        """
        if self.on:
            mine = self.clock(context)
            if where.vc is None:
                where.vc = dict(mine)
            else:
                join(where.vc, mine)
            self.advance(context, mine)

    def observe(self, context: Context, where: Any) -> None:
        """What was published on `where` happened before what `context` does from now on."""
        if self.on and where.vc is not None:
            join(self.clock(context), where.vc)

    def acquire(self, context: Context, thing: Any) -> None:
        """A lock was taken, or a stretch with interrupts off (or a handler) begins on a CPU: what was
        published there is known from here on.
        """
        if self.on and thing.vc is not None and (thing.known_to is None or thing.known_to is not context.vc):
            thing.known_to = self.clock(context)
            join(thing.known_to, thing.vc)

    def release(self, context: Context, thing: Any) -> None:
        """The lock is given up, the stretch ends. The clock of the thing is replaced, unless it has something
        in it that this context has not joined (two that share a CPU).
        """
        if self.on:
            mine = context.vc if context.vc is not None else self.clock(context)
            if thing.vc is None or thing.known_to is mine:
                thing.vc, thing.known_to = mine.copy(), mine
            else:
                join(thing.vc, mine)
                thing.known_to = None
            mine[context.id] += 1  # as `advance` does
            context.tick += 1

    def full_barrier(self, context: Context, where: Any) -> None:
        """A fully ordered atomic on `where`: ordered with every other one there."""
        self.observe(context, where)
        self.publish(context, where)

    def snapshot(self, context: Context) -> Clock | None:
        """What `context` did so far, for something it sets off that begins later."""
        if not self.on:
            return None
        mine = self.clock(context)
        known = dict(mine)
        self.advance(context, mine)
        return known

    def begin(self, context: Context, known: Clock | None) -> None:
        """Something set off begins: it comes after what was `known` where that happened."""
        if known is not None:
            context.vc = known
            known[context.id] = max(context.epoch, known.get(context.id, 0)) + 1

    def fork(self, parent: Context, child: Context) -> None:
        """A thread or handler is started at once."""
        self.begin(child, self.snapshot(parent))

    def settle(self, boot: Context, contexts: list[Context]) -> None:
        """The machine stands still: whatever is started next, or looked at from outside, comes after
        all that was done.
        """
        if not self.on:
            return
        seen = self.clock(boot)
        for context in contexts:
            if context.vc is not None and context is not boot:
                seen[context.id] = context.vc[context.id]
                self.advance(context, context.vc)
        self.advance(boot, seen)

    # -- accesses ------------------------------------------------------------

    def unordered(self, cell: Cell, write: bool) -> list[tuple[str, Access]]:
        """The remembered accesses that a look at a field now, or a change of it (`write`), does not come
        after; with each whether it was a read or a write.
        """
        cell.catch_up()
        clock = self.clock(self.machine.sched.current)
        earlier = [] if cell.write is None else [("write", cell.write)]
        if write:
            earlier += [("read", access) for access in cell.reads.values()]
        return [(what, access) for what, access in earlier if clock.get(access.context, 0) < access.count]

    def accessed(self, obj: Any, field: str, write: bool, place: Spot, marked: bool) -> None:
        """The running context reads or writes a watched field: it races with what it does not come after."""
        context, cell = self.machine.sched.current, obj.cells[field]
        for what, access in self.unordered(cell, write):
            if not (marked and access.marked):
                self.machine.check.data_race(
                    obj, field, ("write" if write else "read", place), (what, access)
                )
        clock = self.clock(context)
        access = Access(context.id, context.name, clock[context.id], place.code, place.offset, marked)
        plain = not marked and not self.machine.steps.exploring
        if write:
            cell.write = access
            cell.reads.clear()
            cell.tick = -1
            cell.writer = clock if plain and obj.freed is None else NOBODY
            if cell.reader is not clock or obj.freed is not None:
                cell.reader = NOBODY
        else:
            cell.reads[context.id] = access
            if cell.writer is not clock or marked:
                cell.writer = NOBODY
            if marked:
                cell.reader, cell.tick = NOBODY, -1
            elif plain:
                cell.reader, cell.tick, cell.last = clock, context.tick, access
                cell.base = access.count - context.tick
