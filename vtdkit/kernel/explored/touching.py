"""Part of the explored machine: what a step touches, and where a thread stops for it.

The primitives in `explored` call these before they touch anything that somebody else may touch too; plain
fields of shared objects and what hardware reads and writes are noted as they happen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from sys import _getframe
from types import coroutine
from typing import Any, TypeVar

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.machine import Machine

from .locations import LIFE, READ, SPAN, WAIT, Access, Locations
from .patience import MANY
from .points import GO_ON, Doing, Point
from .process import Process
from .sections import Sections
from .watch import NotAStep

T = TypeVar("T")
LOOKS = (READ, WAIT)
TRIES = 3  # how often a thread may look again at what nobody has changed before it is taken to spin
LONG = 10_000  # what a thread does without one step that others can see before it stops, to let them in,
ENDLESS = 100_000  # and before it is told that this has no end


class Touching(Machine):
    """Guards: the fields are the machine's own; they change only while one thread's step is under way."""

    locations: Locations
    touched: list[Access]
    told: bool
    dead: bool
    made_before: int
    numbers: dict[int, int]  # id of a thing → its location; `numbered` keeps the thing alive
    numbered: list[Any]
    running: Any
    process_of: dict[Context, Any]
    versions: dict[int, int]
    sections: Sections | None
    gates: dict[int, dict[str, int]]

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
        if process is None:
            return
        if kind not in LOOKS:
            self.versions[location] = self.versions.get(location, 0) + 1
            process.does_more()
        if self.locations.note(process.name, location, kind) and (
            self.sections is None or self.sections.tells(process, location, kind)
        ):
            self.touched.append((location, kind))
            if kind not in LOOKS:
                self.told = True

    def alive(self, life: int) -> bool:
        """Does the present step know that this lives? It has looked, and has told nobody anything: who frees
        it now could as well have freed it before the step. Or nobody frees it but the process itself.
        """
        if (life, READ) not in self.touched:
            return False
        return not self.told or not self.locations.ended(life, self.running.name)

    def ends(self, life: int) -> None:
        """The running process is about to end a life."""
        if self.running is not None:
            self.locations.ends(life, self.running.name)

    def once(self, location: int, kind: int) -> bool:
        """The same, unless the step has said so since others could have come in. Did it have to be said?"""
        process = self.running
        if process is None:
            return False
        said = self.touched[max(process.passed, process.went) :]
        if (location, kind) in said:
            return False
        for place, how in said:
            if place == location and (kind == READ or how not in LOOKS):
                return False
        self.touch(location, kind)
        return location in self.locations.shared

    def look(self, location: int, kind: int) -> None:
        """The same for what is done without stopping: where others could have come in since the thread's last
        point, it has to stop for it from now on.
        """
        if self.once(location, kind) and self.running.passed:
            self.locations.share(self.running.moment)
        self.looks_too(location, kind)

    def plain(self, location: int, kind: int) -> None:
        """The same for a plain access of a field. In what order it comes matters only if it races."""
        self.touch(location, kind)
        if self.running.passed and location in self.locations.shared:
            self.locations.hurries(location, self.running.moment)
        self.looks_too(location, kind)

    @coroutine
    def moment(self) -> Any:
        """Others can come in here: time passes, or an interrupt that was kept off. A step of its own only if
        the thread does something without stopping after such a moment.
        """
        if (process := self.running) is None:
            return
        process.idle = True
        process.lets_in()
        if process.inside:
            self.goes_past()
            process.unstopped += 1
        else:
            process.tasks_open |= not (process.context.preempt or process.context.irqstate)
            if process.cpu is not None and self.gates.get(process.cpu.id):
                self.told = True
        if (process.shut_in or process.plainly >= TRIES * len(process.looked)) and self.spins(process, ()):
            look = tuple((place, READ) for place in process.looked)
            yield self.until_changed(process, Doing("look at {}", self.what(look[0][0])), look)
        elif not process.inside and self.must_stop(process):
            yield Point((), GO_ON)

    def goes_past(self) -> None:
        """In a section that is one step the running process comes to where it would stop elsewhere."""
        self.running.loose = self.running.loose and 2
        self.running.went = len(self.touched)
        self.counts(self.running)

    def keeps_its_cpu(self) -> None:
        """The running process has taken a lock. If that is what this step was for, nobody comes in on its CPU
        between the two: preemption went off before.
        """
        process = self.running
        if process is not None and not process.passed and process.context.preempt:
            process.tasks_open = False

    @coroutine
    def stop(
        self, accesses: tuple[Access, ...], doing: Doing, ready: Callable[[], bool] | None = None
    ) -> Any:
        """Come to a point if one of these locations is shared, or if the operation cannot go through yet."""
        if not self.steps.exploring:
            return
        process, locations = self.running, self.locations
        if process is None:
            self.sched.mine(doing.thing)
        shared, looks = False, ready is None
        for location, kind in accesses:
            shared |= locations.note(process.name, location, kind)
            looks &= kind in LOOKS
        if not looks:
            process.does_more()
        elif self.spins(process, accesses):
            yield self.until_changed(process, doing, accesses)
            return
        if process.inside and (ready is None or self.unseen(ready)):
            self.goes_past()
            for location, kind in accesses:
                self.touch(location, kind)
        elif shared or (ready is not None and not self.unseen(ready)) or self.must_stop(process):
            yield Point(accesses, doing, ready)
        if looks:
            self.looks(accesses)

    @coroutine
    def stop_then(self, location: int, doing: Doing, kind: Callable[[], int], *others: Access) -> Any:
        """The same for an operation of which only its outcome tells whether it changes the location."""
        if not self.steps.exploring:
            return
        process, shared = self.running, self.locations.shared
        looked_at = ((location, READ), *others)
        assert process is not None
        if spins := self.spins(process, looked_at):
            yield self.until_changed(process, doing, looked_at)
        elif not process.inside and (
            location in shared or any(other in shared for other, _ in others) or self.must_stop(process)
        ):
            yield Point(others, doing)
        else:
            self.goes_past()
            for other, other_kind in others:
                self.touch(other, other_kind)
        how = self.unseen(kind)
        self.touch(location, how)
        if how == READ and not spins:
            self.looks(looked_at)

    def what(self, location: int) -> str:
        """What a location is called: a thing, a word of a page, a field of an object."""
        things = {self.numbers[id(thing)]: thing for thing in self.numbered}
        if location in things:
            return str(getattr(things[location], "name", type(things[location]).__name__))
        frames: Iterable[Any] = self.pages.frames.values()
        base, pages = location // SPAN * SPAN, {page.base: page.name for page in frames}
        name: Any = next(name for name, number in self.locations.known.items() if number == base)
        plain = f"{name[0][0]}.{name[1]}" if isinstance(name[0], tuple) else str(name[0])
        return f"{pages[base]}[{location - base}]" if base in pages else plain

    def unseen(self, function: Callable[[], T]) -> T:
        """What a function says that is no part of the step."""
        process, self.running = self.running, None
        try:
            return function()
        finally:
            self.running = process

    def must_stop(self, process: Process) -> bool:
        """It does something that concerns nobody. Others could come in here: does it have to stop, since it
        goes on to do things without stopping? NotAStep if it does nothing else for ever.
        """
        process.passed = len(self.touched) or 1
        process.unstopped += 1
        stops = self.counts(process) or self.locations.everywhere
        number, shared = self.locations.number, self.locations.shared
        process.moment = number(("moment", process.name))
        if process.moment in shared:  # it has to at some of them: this one by place, and how many were before
            process.moment = number(("moment", process.name, loop(), process.unstopped))
            return stops or process.moment in shared
        return stops

    def counts(self, process: Process) -> bool:
        """It does one more thing. Were there so many that no other could see, that it lets them in?

        NotAStep if there is no end to it.
        """
        process.unheard += 1
        if process.unheard > ENDLESS:
            raise NotAStep(
                f"{process.context.name} has done {ENDLESS} things, and no other thread could see one: an "
                "endless loop, or one that changes something each time? Wait for others with wait_event, "
                "a completion, or relax_while"
            )
        return process.unheard % LONG == 0 or len(self.process_of) > MANY

    # -- who only looks, over and over ---------------------------------------

    def spins(self, process: Process, accesses: Iterable[Access]) -> bool:
        """Is it about to take but one more look at what had not changed from one look to the next? Whether
        it has by now is not asked: it stands before the look, and is in no order with who changes it.
        """
        looked, tries = process.looked, len(process.looks)
        process.openest = max(process.openest, process.isopen)
        wanted = (2 * MANY if self.locations.patient else TRIES) * len(looked)
        if not looked or tries < wanted or any(place not in looked for place, _ in accesses):
            return False
        if process.isopen == process.openest:
            return True
        process.shut_in = process.shut_in or tries  # it waits where its rounds let others in, if they do
        return tries > process.shut_in + 2 * len(looked) * (MANY if process.sure else 1)

    def looks(self, accesses: Iterable[Access]) -> None:
        """The running process looks. Is all as it was before?"""
        process, versions = self.running, self.versions
        looked, again, process.plainly = process.looked, True, 0
        for location, _ in accesses:
            version = versions.get(location, 0)
            before = looked.get(location)
            again &= before == version
            process.sure &= before in (version, None)
            looked[location] = version
            process.seen[location] = process.steps, process.unstopped
        if not again:
            process.looks.clear()
        process.looks.append(process.steps)

    def looks_too(self, location: int, kind: int) -> None:
        """A plain look, beside those that are awaited, or with nothing between but time: a thread that spins
        spins on this as well.
        """
        process = self.running
        looking = kind == READ and process is not None and (process.looked or process.idle)
        if looking and process.seen.get(location) != (process.steps, process.unstopped):
            plainly = process.plainly + 1
            self.looks(((location, kind),))
            process.plainly = plainly

    def until_changed(self, process: Process, doing: Doing, look: Iterable[Access]) -> Point:
        """The point of a thread that spins, before a look: it goes on when somebody has changed what it
        looks at.
        """
        looked, versions, asks = dict(process.looked), self.versions, process.asks
        process.does_more()
        process.asks = asks
        accesses = tuple((location, WAIT) for location in looked)

        def ready() -> bool:
            return any(versions.get(each, 0) != seen for each, seen in looked.items())

        return Point(accesses, doing, ready, tuple(look))

    def word_point(self, page: Any, base: int, index: int) -> Point | None:
        """The point before reading a word of a page, if it needs one (see `XPage`)."""
        process, note = self.running, self.locations.note
        word, life = base + index, base + LIFE
        accesses = ((word, READ), (life, READ))
        if word in process.looked and self.spins(process, accesses):
            return self.until_changed(process, Doing("read {}", page, index), accesses)
        # both are noted, in a row of words too: nobody else has touched them as long as this says so
        shared = note(process.name, word, READ), note(process.name, life, READ)
        if process.inside:
            self.goes_past()
            if True in shared:
                self.touch(word, READ)
                self.touch(life, READ)
        elif shared[0] or (shared[1] and not self.alive(life)) or self.must_stop(process):
            return Point(accesses, Doing("read {}", page, index))
        self.looks(accesses)
        return None


def loop() -> tuple[int, ...]:
    """Where in its code the running thread is, from the innermost call outwards."""
    places, frame = list[int](), _getframe(2)
    while frame.f_code.co_name != "_run_on":
        places.append(frame.f_lasti)
        assert frame.f_back is not None
        frame = frame.f_back
    return tuple(places[2:])  # what looks, and how it stops, is the same for all
