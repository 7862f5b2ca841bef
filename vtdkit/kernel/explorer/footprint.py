"""What a step touched, made ready for quick comparison.

`Footprints` turns the accesses that a system reports into one shared `Footprint` each. In it every location
has three bits of a Python integer, one for each way of touching it (look, share, change), so that two steps
conflict exactly if `a.clash & b.touch` is not zero, however many locations they touch.

A location and a process also get a *tag*, a number made from their `repr` alone. Tags are what the names of
executions are made from (see `path.py`), so they must be the same in every run and in every worker.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from .system import (
    ACQUIRE,
    KIND_NAMES,
    READ,
    SHARED_ACQUIRE,
    SHARED_RELEASE,
    WAIT,
    WAITING_KINDS,
    Access,
    access_text,
)

LOOK: Final = 0
SHARE: Final = 1
CHANGE: Final = 2
#: group → the bits of those that it conflicts with
_CLASH: Final = {
    LOOK: 1 << SHARE | 1 << CHANGE,
    SHARE: 1 << LOOK | 1 << CHANGE,
    CHANGE: 1 << LOOK | 1 << SHARE | 1 << CHANGE,
}
_GROUP: Final = {READ: LOOK, WAIT: LOOK, SHARED_ACQUIRE: SHARE, SHARED_RELEASE: SHARE}


@lru_cache(maxsize=4096)
def text_tag(thing: Hashable) -> int:
    """Return a 56-bit number made from `repr(thing)`: the same in every run, unlike the `hash` of a text.

    ValueError if the `repr` is an address in memory.
    """
    text = repr(thing)
    if " at 0x" in text:
        raise ValueError(
            f"{text} names a process or a location by its address in memory, which differs from run to run; "
            "use a number, a text or a tuple of these"
        )
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")


class Place:
    """One location within one step.

    number   the location's number, from 0
    group    LOOK, SHARE or CHANGE: the strongest way in which the step touched it
    effects  the kinds of access in order, for working out who holds the lock afterwards
    waits    the kind that makes the step wait here, or None
    """

    def __init__(self, number: int, kinds: Sequence[int]) -> None:
        groups = {_GROUP.get(kind, CHANGE) for kind in kinds}
        self.number = number
        self.group = groups.pop() if len(groups) == 1 else CHANGE
        self.effects = tuple(kind for kind in kinds if kind not in (READ, WAIT))
        # Only the first access can find the location taken: what follows in the same step finds it as
        # it left it.
        self.waits = kinds[0] if kinds[0] in WAITING_KINDS else None


class Footprint:
    """What one step touched.

    accesses  as the system reported them
    locations those touched, each once
    touch     the bits of what it touched, three a location
    clash     the bits of what conflicts with it
    changes   `touch` without the looks
    places    one `Place` a location, in the order first touched
    waits     the places at which the step can be made to wait
    always    True if nothing but waiting is done: then the step touches the same whatever was done before
              it
    tag       stable number of the accesses
    """

    def __init__(self, accesses: tuple[Access, ...], places: tuple[Place, ...]) -> None:
        self.accesses = accesses
        self.locations = tuple(dict.fromkeys(location for location, _ in accesses))
        self.places = places
        self.waits = tuple(place for place in places if place.waits is not None)
        self.always = len(places) == 1 and places[0].waits in (ACQUIRE, SHARED_ACQUIRE)
        self.branches = sum(place.waits is None for place in places) > 1
        self.tag = text_tag(accesses)
        self.touch = self.clash = self.changes = 0
        for place in places:
            bit = 1 << 3 * place.number + place.group
            self.touch |= bit
            self.clash |= _CLASH[place.group] << 3 * place.number
            if place.group != LOOK:
                self.changes |= bit

    def conflicts_at(self, place: Place) -> bool:
        """Say whether this conflicts with what another step did at one place."""
        return bool(self.clash >> 3 * place.number & 1 << place.group)

    def __repr__(self) -> str:
        return f"{{{access_text(self.accesses)}}}"


class Footprints:
    """All footprints of one exploration, each made once.

    `of(accesses)` is on the hot path: one dictionary look-up when the accesses were seen before.
    """

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self._tags: dict[int, Hashable] = {}
        self._known: dict[tuple[Access, ...], Footprint] = {}

    def of(self, accesses: Sequence[Access]) -> Footprint:
        """Return the footprint of these accesses. ValueError if one of them is not (location, kind)."""
        key = accesses if type(accesses) is tuple else tuple(accesses)
        found = self._known.get(key)
        return found if found is not None else self._make(key)

    def _make(self, accesses: tuple[Access, ...]) -> Footprint:
        kinds: dict[int, list[int]] = {}
        for access in accesses:
            if len(access) != 2 or access[1] not in range(len(KIND_NAMES)):
                raise ValueError(
                    f"a step reported the access {access!r}; an access is (location, kind), kind 0 to 6"
                )
            kinds.setdefault(self._number(access[0]), []).append(access[1])
        footprint = Footprint(accesses, tuple(Place(number, used) for number, used in kinds.items()))
        self._known[accesses] = footprint
        return footprint

    def _number(self, location: Hashable) -> int:
        number = self.numbers.get(location)
        if number is None:
            number = self.numbers[location] = len(self.numbers)
            other = self._tags.setdefault(text_tag(location), location)
            if other != location:
                raise ValueError(
                    f"two different locations are both written {location!r}; give them different names"
                )
        return number
