"""The execution being explored: its steps, and which of them happened before which.

`Path` is a stack: `extend` pushes a step and works out its causal past from what it touched, `retract`
pops it. A causal past is one Python integer used as a set of step numbers: bit i is set if step i
happened before. That is a vector clock turned on its side; "did i happen before j" is one shift, "all
that did not happen after i" is one mask, and it stays quick up to thousands of steps.

Every step also has a `uid`, a number made from its process, what it touched and the uids of the changes
it found there. Equal causal pasts give equal uids in every execution, so the uids of the last steps of
all processes name the equivalence class (the Mazurkiewicz trace) of an execution. Two different pasts get
the same uid with a chance of about one in 2**60.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .footprint import CHANGE, LOOK, Footprint, Footprints, Place, text_tag
from .schedule import Schedule
from .system import Process, System


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the set bits of a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(slots=True, eq=False)
class Event:
    """One executed step.

    past    all steps that happened before it, itself included (bits)
    known   all steps that its process had seen when it started: the past of its previous step (bits)
    direct  the conflicting steps that it directly follows (bits)
    before  number of the previous step of the same process, or -1
    uid     names the step together with its whole causal past
    races   the steps it races with, latest first; None if not worked out (see `races.py`)
    """

    process: Process
    footprint: Footprint
    before: int
    known: int
    direct: int = 0
    past: int = 0
    uid: int = 0
    races: tuple[int, ...] | None = None


Spot = tuple[int, tuple[int, ...], int, int, int, int, int, int, int, int]
"""A location just after a step: (number of the step, its effects, past of the last change, of the looks
since, of the shares since, then those steps themselves: the last change, the looks, the shares; uid of
the last change, sum of the uids of the shares since)."""

UNTOUCHED: Spot = (-1, (), 0, 0, 0, 0, 0, 0, 0, 0)
_UID_MASK = (1 << 61) - 1


class Path:
    """A stack of steps with their causal order, from the system's start, which is called first of all.
    `enabled[i]` is who could move just before step i; `spots` what happened to each location, oldest first.

    With a `depth` no process takes more steps than that, which makes endless loops explorable. It is a bound
    for each process, not for the execution, on purpose: a process that has taken its last step simply stands
    still, which takes nothing from the others, so that exploration stays complete, and optimal, for the
    system so curtailed. `cut` says that somebody could go on at the end of the path, but for the bound.

    All may be read by anybody; only `take` and `retract` change them.
    """

    def __init__(self, system: System, footprints: Footprints, depth: int | None = None) -> None:
        self.system = system
        self.footprints = footprints
        self.depth = depth
        self.cut = False
        self.events: list[Event] = []
        self.spots: dict[int, list[Spot]] = defaultdict(lambda: [UNTOUCHED])
        self._last: dict[Process, int] = {}
        system.start()
        self.enabled = [self._able()]

    @property
    def last(self) -> Process | None:
        """Who moved last; None at the start."""
        return self.events[-1].process if self.events else None

    def take(self, process: Process) -> Footprint:
        """Have a process take a step, and push it with its causal past; what it touched."""
        footprint = self.footprints.of(self.system.step(process))
        before, known, seed = self._before(process)
        event = Event(process, footprint, before, known)
        self._last[process] = len(self.events)
        self._touch(event, seed, len(self.events))
        self.events.append(event)
        self.enabled.append(self._able())
        return footprint

    def _able(self) -> Sequence[Process]:
        """Who can move, and has steps left."""
        able = self.system.enabled()
        if self.depth is None:
            return able
        taken = Counter(event.process for event in self.events)
        left = tuple(process for process in able if taken[process] < self.depth)
        self.cut = len(left) < len(able)
        return left

    def retract(self) -> Event:
        """Pop the last step and return it. The system is to be brought there by the caller."""
        event = self.events.pop()
        self.enabled.pop()
        for place in event.footprint.places:
            self.spots[place.number].pop()
        self._last[event.process] = event.before
        return event

    def stuck(self) -> dict[Process, Footprint]:
        """Return the processes that cannot move, with what they would touch."""
        return {process: self.footprints.of(wanted) for process, wanted in self.system.blocked().items()}

    def next_event(self, process: Process, footprint: Footprint) -> Event:
        """Return the step that a process waits to take, as if it came next. It is not pushed.

        ValueError if it would touch nothing that it could be waiting for.
        """
        if not footprint.waits:
            raise ValueError(
                f"process {process!r} cannot move, but is said to touch {footprint!r} next, where nothing "
                "makes it wait; blocked() must list an ACQUIRE, a SHARED_ACQUIRE or a WAIT"
            )
        before, known, _ = self._before(process)
        return Event(process, footprint, before, known, direct=-1)

    def seed_of(self, event: Event) -> int:
        """Return the uid of the step before, which tells the process's local state; its own
        tag at the start.
        """
        return self.events[event.before].uid if event.before >= 0 else text_tag(event.process)

    def schedule(self) -> Schedule:
        """Return who moved, step by step."""
        return Schedule(tuple([event.process for event in self.events]))

    def trace_uids(self) -> tuple[int, ...]:
        """Return what names the equivalence class of the path: the uids of the
        processes' last steps, sorted.
        """
        return tuple(sorted(self.events[index].uid for index in self._last.values() if index >= 0))

    def followers(self) -> list[int]:
        """Return for every step the steps that happened after it (bits)."""
        after = [0] * len(self.events)
        for index in range(len(after) - 1, -1, -1):
            event = self.events[index]
            reach = after[index] | 1 << index
            seen = 1 << event.before if event.before >= 0 else event.known
            mask = event.direct | seen
            while mask:
                low = mask & -mask
                after[low.bit_length() - 1] |= reach
                mask ^= low
        return after

    def content(self, number: int, start: int, mask: int, steps: Sequence[Event] = ()) -> tuple[int, int]:
        """Return what names the content of a location after the steps before `start` and those in `mask`,
        and further ones that are not on the path.
        """
        change = shares = 0
        indexes = [spot[0] for spot in self.spots[number][1:]]
        done = [self.events[index] for index in indexes if index < start or mask >> index & 1]
        for event in (*done, *steps):
            how = event.footprint.changes >> 3 * number & 7
            if how == 1 << CHANGE:
                change, shares = event.uid, 0
            elif how:
                shares = (shares + event.uid) & _UID_MASK
        return change, shares

    def _before(self, process: Process) -> tuple[int, int, int]:
        """Return a process's last step (-1: none), all steps that it has seen (bits), and what names its
        local state: the uid of that step, or its own tag.
        """
        before = self._last.get(process, -1)
        if before >= 0:
            return before, self.events[before].past, self.events[before].uid
        born = self.system.born(process)
        return before, self.events[born - 1].past if born else 0, text_tag(process)

    def _touch(self, event: Event, seed: int, index: int) -> None:
        """Work out the causal past of a step from what was done to the locations it touches, and enter it."""
        footprint = event.footprint
        bit = 1 << index
        past = event.known | bit
        direct = 0
        found = [seed, footprint.tag]
        for place in footprint.places:
            _, _, change_past, look_past, share_past, change, looks, shares, change_uid, shares_uid = (
                self.spots[place.number][-1]
            )
            group = place.group
            past |= change_past
            found.append(change_uid)
            if group == LOOK:
                direct |= change | shares
                past |= share_past
                found.append(shares_uid)
            elif group == CHANGE:
                direct |= looks | shares or change
                past |= look_past | share_past
                found.append(shares_uid)
            else:
                direct |= change | looks
                past |= look_past
        uid = hash(tuple(found))
        for place in footprint.places:
            self._record(place, index, past, uid)
        event.past = past
        event.uid = uid
        event.direct = direct

    def _record(self, place: Place, index: int, past: int, uid: int) -> None:
        spots = self.spots[place.number]
        _, _, change_past, look_past, share_past, change, looks, shares, change_uid, shares_uid = spots[-1]
        bit = 1 << index
        if place.group == LOOK:
            spots.append(
                (
                    index,
                    place.effects,
                    change_past,
                    look_past | past,
                    share_past,
                    change,
                    looks | bit,
                    shares,
                    change_uid,
                    shares_uid,
                )
            )
        elif place.group == CHANGE:
            spots.append((index, place.effects, past, 0, 0, bit, 0, 0, uid, 0))
        else:
            spots.append(
                (
                    index,
                    place.effects,
                    change_past,
                    look_past,
                    share_past | past,
                    change,
                    looks,
                    shares | bit,
                    change_uid,
                    (shares_uid + uid) & _UID_MASK,
                )
            )
