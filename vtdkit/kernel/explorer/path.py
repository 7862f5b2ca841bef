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

from collections.abc import Callable, Iterator, Sequence

from .footprint import CHANGE, LOOK, Footprint, Place, text_tag
from .system import Process, System


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the set bits of a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Event:
    """One executed step.

    past    all steps that happened before it, itself included (bits)
    known   all steps that its process had seen when it started: the past of its previous step (bits)
    direct  the conflicting steps that it directly follows (bits)
    before  number of the previous step of the same process, or -1
    uid     names the step together with its whole causal past
    races   the steps it races with, latest first; None if not worked out (see `races.py`)
    """

    __slots__ = ("before", "direct", "footprint", "known", "past", "process", "races", "uid")

    def __init__(self, process: Process, footprint: Footprint, before: int, known: int) -> None:
        self.process = process
        self.footprint = footprint
        self.before = before
        self.known = known
        self.direct = 0
        self.past = known
        self.uid = 0
        self.races: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"{self.process}: {self.footprint!r}"


Spot = tuple[int, tuple[int, ...], int, int, int, int, int, int, int, int]
"""A location just after a step: (number of the step, its effects, past of the last change, of the looks
since, of the shares since, then those steps themselves: the last change, the looks, the shares; uid of
the last change, sum of the uids of the shares since)."""

UNTOUCHED: Spot = (-1, (), 0, 0, 0, 0, 0, 0, 0, 0)
_UID_MASK = (1 << 61) - 1


class Path:
    """A stack of steps with their causal order. `enabled[i]` is who could move just before step i.

    `events` and `enabled` may be read by anybody; only `extend`, `retract` and the owner of `enabled`
    change them.
    """

    def __init__(self, system: System | None = None) -> None:
        self._born: Callable[[Process], int] | None = getattr(system, "born", None)
        self.events: list[Event] = []
        self.enabled: list[Sequence[Process]] = []
        self.spots: list[list[Spot]] = []
        self._last: dict[Process, int] = {}
        self._seeds: dict[Process, int] = {}

    def extend(self, process: Process, footprint: Footprint) -> Event:
        """Push a step of a process that touched this, and return it with its causal past."""
        before = self._last.get(process, -1)
        if before >= 0:
            previous = self.events[before]
            known, seed = previous.past, previous.uid
        else:
            known, seed = self._origin(process)
        event = Event(process, footprint, before, known)
        self._last[process] = len(self.events)
        try:
            self._touch(event, seed, len(self.events))
        except IndexError:
            self._grow(footprint)
            self._touch(event, seed, len(self.events))
        self.events.append(event)
        return event

    def retract(self) -> Event:
        """Pop the last step and return it."""
        event = self.events.pop()
        for place in event.footprint.places:
            self.spots[place.number].pop()
        if event.before >= 0:
            self._last[event.process] = event.before
        else:
            del self._last[event.process]
        return event

    def next_event(self, process: Process, footprint: Footprint) -> Event:
        """Return the step that a process waits to take, as if it came next. It is not pushed.

        ValueError if it would touch nothing that it could be waiting for.
        """
        if not footprint.waits:
            raise ValueError(
                f"process {process!r} cannot move, but is said to touch {footprint!r} next, where nothing "
                "makes it wait; blocked() must list an ACQUIRE, a SHARED_ACQUIRE or a WAIT"
            )
        self._grow(footprint)
        before = self._last.get(process, -1)
        event = Event(
            process, footprint, before, self.events[before].past if before >= 0 else self._origin(process)[0]
        )
        event.direct = -1
        return event

    def seed_of(self, event: Event) -> int:
        """Return the uid of the step before, which tells the process's local state; its own
        tag at the start.
        """
        return self.events[event.before].uid if event.before >= 0 else self._origin(event.process)[1]

    def schedule(self) -> tuple[Process, ...]:
        """Return who moved, step by step."""
        return tuple([event.process for event in self.events])

    def trace_uids(self) -> tuple[int, ...]:
        """Return what names the equivalence class of the path: the uids of the
        processes' last steps, sorted.
        """
        return tuple(sorted(self.events[index].uid for index in self._last.values()))

    def followers(self) -> list[int]:
        """Return for every step the steps that happened after it (bits)."""
        after = [0] * len(self.events)
        for index in range(len(after) - 1, -1, -1):
            event = self.events[index]
            reach = after[index] | 1 << index
            mask = event.direct
            if event.before >= 0:
                mask |= 1 << event.before
            else:
                mask |= event.known
            while mask:
                low = mask & -mask
                after[low.bit_length() - 1] |= reach
                mask ^= low
        return after

    def history(self, number: int) -> list[Spot]:
        """Return what happened to a location, oldest first; the first entry stands for the start."""
        return self.spots[number] if number < len(self.spots) else [UNTOUCHED]

    def content(self, number: int, start: int, mask: int) -> tuple[int, int]:
        """Return what names the content of a location after the steps before `start` and those in `mask`."""
        change = shares = 0
        for spot in self.history(number)[1:]:
            index = spot[0]
            if index < start or mask >> index & 1:
                if spot[5] == 1 << index:
                    change, shares = self.events[index].uid, 0
                elif spot[7] >> index & 1:
                    shares = (shares + self.events[index].uid) & _UID_MASK
        return change, shares

    def content_after(self, number: int, start: int, steps: Sequence[Event]) -> tuple[int, int]:
        """The same after the steps before `start` and further ones that are not on the path."""
        change, shares = self.content(number, start, 0)
        for step in steps:
            how = step.footprint.changes >> 3 * number & 7
            if how == 1 << CHANGE:
                change, shares = step.uid, 0
            elif how:
                shares = (shares + step.uid) & _UID_MASK
        return change, shares

    def _origin(self, process: Process) -> tuple[int, int]:
        """Return the past of a process that has not moved yet, and its seed for uids.

        The system may say after how many steps a process came to be (`born`). If it does not, one that
        could not move at the start was created, or let go, by the step after which it first could.
        """
        seed = self._seeds.get(process)
        if seed is None:
            seed = self._seeds[process] = text_tag(process)
        if self._born is not None:
            steps = self._born(process)
            return (self.events[steps - 1].past if steps else 0), seed
        enabled = self.enabled
        if not enabled or process in enabled[0]:
            return 0, seed
        for index, processes in enumerate(enabled):
            if process in processes:
                return self.events[index - 1].past, seed
        return 0, seed

    def _grow(self, footprint: Footprint) -> None:
        while len(self.spots) <= max(place.number for place in footprint.places):
            self.spots.append([UNTOUCHED])

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
