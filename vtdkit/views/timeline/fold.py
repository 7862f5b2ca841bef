"""From the record of a run to what a lock timeline shows: for each CPU what it did from when to when, for
each lock who had it and who waited for it.

A `Timeline` is a function of a `Trace` and nothing else. A CPU's lane is gapless: each span begins where the
one before ended. What a span looks like is a `Look`; equal looks are one object, numbered, so that a hundred
thousand spans stay small. An `Episode` is one taking of one lock: asked for, got, given up.

Rules for the caller: events are in the order in which the machine recorded them. A part of a trace will do;
a lock that was taken before it begins is unknown to it, so better pass the whole trace and `start`/`end`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vtdkit.kernel.record.following import Following, Hold
from vtdkit.kernel.record.record import FOUND, MARK, SPIN
from vtdkit.kernel.record.trace import Trace

STATES = ("idle", "running", "holding", "spinning", "hardware", "interrupt")
IDLE, RUNNING, HOLDING, SPINNING, HARDWARE, INTERRUPT = range(len(STATES))


class Look(NamedTuple):
    """What a CPU does during a span.

    `state` is an index into `STATES`, `object` the lock it spins for or took last, or the word it waits for
    (an index into `Timeline.objects`, -1: none), `held` the locks its thread has, outermost first, `below`
    those of what an interrupt handler interrupted; `context` and `place` are indices into the names.
    """

    state: int
    object: int = -1
    held: tuple[int, ...] = ()
    context: int = -1
    irqs_off: bool = False
    in_interrupt: bool = False
    place: int = 0
    below: tuple[int, ...] = ()


IDLE_LOOK = Look(IDLE)


class Episode(NamedTuple):
    """One taking of a lock. Times in ns; `got` and `freed` are the end of the timeline plus one where
    that was not seen.
    """

    object: int
    context: int
    cpu: int
    asked: int
    got: int
    freed: int
    place: int


@dataclass(frozen=True, slots=True)
class Object:
    """A lock, or a word hardware writes. `lock` is the number of its class in `Timeline.locks`, -1 for a
    word; `number` counts the locks of one class from 1, 0 where it has only one."""

    name: str
    lock: int
    number: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something at one instant: a finding of a checker (`finding` true) or a mark left by the experiment."""

    time: int
    cpu: int
    finding: bool
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One CPU: span i begins at `starts[i]` (ns) and looks like `looks[i]`, up to the next one's start."""

    starts: array[int]
    looks: array[int]


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:  # its repr would be as long as the run
    """A run, as a timeline shows it: from `start` to `end` (virtual ns). `locks` are the names
    of the lock classes.
    """

    start: int
    end: int
    events: int
    lanes: tuple[Lane, ...]
    looks: tuple[Look, ...]
    episodes: tuple[Episode, ...]
    locks: tuple[str, ...]
    objects: tuple[Object, ...]
    contexts: tuple[str, ...]
    places: tuple[str, ...]
    notes: tuple[Note, ...]


def timeline_of(trace: Trace, start: int | None = None, end: int | None = None) -> Timeline:
    """The timeline of a run, from `start` to `end` (virtual ns; by default the first event's time,
    and the trace's end).

    Raises ValueError for a trace without events or a window that holds no time.
    """
    if not len(trace):
        raise ValueError(
            "the trace has no events: was the machine made with record=False, or nothing spawned?"
        )
    times = trace.column("time")
    begin = times[0] if start is None else start
    stop = max(trace.end, times[-1]) if end is None else end
    if stop <= begin:
        raise ValueError(
            f"the window from {begin} to {stop} ns holds no time; the trace has {times[0]} to {trace.end} ns"
        )
    return _Fold(trace, begin, stop).result()


class _Fold:
    """One pass over the events. `lanes` and `episodes` grow; everything else is the state
    at the present event.
    """

    def __init__(self, trace: Trace, start: int, end: int) -> None:
        self.trace, self.start, self.end = trace, start, end
        self.now = Following(len(trace.contexts), trace.cpus)
        self.names = tuple(dict.fromkeys(trace.contexts))
        number = {name: i for i, name in enumerate(self.names)}
        self.name_of = [number[name] for name in trace.contexts]
        self.lanes = [Lane(array("q", [start]), array("q", [0])) for _ in range(trace.cpus)]
        self.looks: dict[Look, int] = {IDLE_LOOK: 0}
        self.episodes: list[Episode] = []
        self.notes: list[Note] = []
        self.events = 0

    def result(self) -> Timeline:
        """Go through the events and put the timeline together."""
        now, start, end = self.now, self.start, self.end
        for time, cpu, context, kind, obj, place, arg in self.trace.rows():
            if time > end:
                break
            self.events += time >= start
            if kind == MARK and time >= start:
                self.notes.append(Note(time, cpu, False, self.trace.marks[arg]))
            if kind == FOUND and time >= start:
                found = self.trace.findings[arg]
                self.notes.append(Note(time, cpu, True, f"{found.kind}: {found.where}"))
            if cpu >= 0:
                ended = now.event(time, cpu, context, kind, obj, place)
                if ended is not None and ended.object:
                    self._episode(context, ended, time)
                self._show(time, cpu)
        for context, thread in enumerate(now.threads):
            # what is still held, and who still waits
            waits = [Hold(w.object, w.asked, end + 1, w.place, w.cpu) for w in (thread.wanted,) if w]
            for hold in (*thread.held, *waits):
                self._episode(context, hold, end + 1)
        episodes = tuple(sorted(self.episodes, key=lambda e: (e.asked, e.got, e.cpu, e.object)))
        objects, locks = _objects(self.trace.objects, {episode.object for episode in episodes})
        return Timeline(
            start,
            end,
            self.events,
            tuple(self.lanes),
            tuple(self.looks),
            episodes,
            locks,
            objects,
            self.names,
            tuple(str(site) if site.line else "" for site in self.trace.sites),
            tuple(self.notes),
        )

    def _show(self, time: int, cpu: int) -> None:
        """Begin a new span if the CPU looks different now."""
        number = self.looks.setdefault(self._look(cpu), len(self.looks))
        starts, looks = self.lanes[cpu].starts, self.lanes[cpu].looks
        if looks[-1] == number:
            return
        if time <= starts[-1]:  # the span before took no time: this one is in its place
            looks.pop()
            time = starts.pop()
        if not looks or looks[-1] != number:
            starts.append(time)
            looks.append(number)

    def _look(self, cpu: int) -> Look:
        now, context = self.now, self.now.on(cpu)
        if context < 0:
            return IDLE_LOOK
        thread = now.threads[context]
        if (waits := thread.waits_for()) is not None:
            state, obj, place = SPINNING if waits[0] == SPIN else HARDWARE, *waits[1:]
        elif thread.held:
            state, obj, place = HOLDING, thread.held[-1].object, thread.held[-1].place
        else:
            state, obj, place = RUNNING, -1, 0
        off, handlers = thread.off is not None, now.handlers[cpu]
        if not handlers:
            return Look(state, obj, thread.keys, self.name_of[context], off, False, place)
        under = [now.threads[each].keys for each in (now.tasks[cpu], *handlers[:-1]) if each >= 0]
        state = INTERRUPT if state == RUNNING else state
        return Look(state, obj, thread.keys, self.name_of[context], off, True, place, sum(under, ()))

    def _episode(self, context: int, hold: Hold, freed: int) -> None:
        obj, asked, got, place, cpu = hold
        if freed > self.start or got >= self.start:
            self.episodes.append(Episode(obj, self.name_of[context], cpu, asked, got, freed, place))


def _objects(names: Sequence[str], taken: set[int]) -> tuple[tuple[Object, ...], tuple[str, ...]]:
    """Every object with its lock class and its number in it, and the names of the classes in
    order of first use.
    """
    members: dict[str, list[int]] = {}
    for obj in sorted(taken):
        members.setdefault(names[obj], []).append(obj)
    classes = {name: i for i, name in enumerate(members)}
    number = {obj: i for each in members.values() if len(each) > 1 for i, obj in enumerate(each, 1)}
    objects = (
        Object(name, classes[name] if obj in taken else -1, number.get(obj, 0))
        for obj, name in enumerate(names)
    )
    return tuple(objects), tuple(classes)
