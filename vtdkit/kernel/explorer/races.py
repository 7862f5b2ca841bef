"""Which two steps of an execution could have come in the other order, and what must be run to see it.

Steps e and f of different processes *race* if they conflict, f's process had not seen e when it came to f,
and nothing else puts e before f. To see f first, run from the state before e all that did not happen after
e, and then f's process.

A step that waits (takes a lock, waits for a word) asks for more care:

- It could not have come just before the RELEASE that let it go on. It could have come before the ACQUIRE
  that shut it out, so that is the step it races with, although the RELEASE lies between.
- All locks that it takes must be free where it is to run. If somebody holds one there, and took it after e,
  that part of the execution is left out as well.
- For what is waited for but not taken, a word or a lock that is looked at, nobody but the system knows what
  lets the process go on: one that spins does so when a lock was taken, too. Where the process was seen
  waiting at that content, the explorer knows whether it could move. Elsewhere the other order is tried, at
  times in vain.

Processes still stuck when the execution ends take part as if their next steps came last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .footprint import Place
from .path import Event, Path
from .system import ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT, WRITE, Process

IMPOSSIBLE, POSSIBLE, UNKNOWN = range(3)
Race = tuple[int, int]
"""(number of the earlier step, the steps to run before the later one instead (bits))."""


def races_of(path: Path, after: Sequence[int], late: Event, limit: int) -> Iterator[Race]:
    """Yield the races in which a step comes second, the latest first step first.

    `after` is `path.followers()`; `limit` is the number of the step, or of all steps if it is a stuck
    process's next one.
    """
    if late.races is None:
        late.races = _simple_races(path, late, limit)
    full = (1 << len(path.events)) - 1
    if late.races is not None:
        for index in late.races:
            yield index, full & ~after[index] & -(2 << index)
        return
    candidates = _conflicting(path, late, limit)
    covered = 0
    while candidates:
        index = candidates.bit_length() - 1
        candidates ^= 1 << index
        if covered >> index & 1:
            continue
        verdict, rest = _possible(path, after, late, index, full & ~after[index] & -(2 << index), limit)
        if verdict != IMPOSSIBLE:
            yield index, rest
        if verdict == POSSIBLE:
            covered |= path.events[index].past


def foresight(path: Path, late: Event, limit: int, start: int, rest: int) -> tuple[bool, bool]:
    """Say what is known of a step when it is to run after the steps before `start` and those of `rest`.

    Returns two answers: is it sure to touch then what it touched at number `limit`? And did it meet step
    `start` itself there, rather than what others made of it later?
    """
    footprint = late.footprint
    first = path.events[start].footprint
    if limit == len(path.events):  # a stuck process tells only what it waits for, not what it would do next
        return False, True
    if not footprint.waits:
        return not first.changes & footprint.clash, True
    if footprint.always:
        return True, True
    exact = met = True
    for place in footprint.places:
        if place.waits is None:
            seen = path.content(place.number, limit, 0)
            exact = exact and path.content(place.number, start, rest) == seen
            met = met and path.content(place.number, start, rest | 1 << start) == seen
    return exact, met or any(first.conflicts_at(place) for place in footprint.waits)


def _simple_races(path: Path, late: Event, limit: int) -> tuple[int, ...] | None:
    """Return the races that depend on nothing that comes later in the execution, or None if some may."""
    footprint = late.footprint
    if not footprint.waits:
        return _uncovered(path, late.direct & ~late.known)
    if not footprint.always:
        return None
    for spot in reversed(path.spots[footprint.places[0].number]):
        index, effects = spot[0], spot[1]
        changed = spot[5] == 1 << index if index >= 0 else True
        known = index < 0 or late.known >> index & 1
        if known and changed:
            return ()
        if known or index >= limit or effects == (RELEASE,):
            continue
        if effects == (ACQUIRE,):
            return (index,)
        if footprint.places[0].waits == ACQUIRE or changed or not effects:
            return None
    return ()


def _uncovered(path: Path, candidates: int) -> tuple[int, ...]:
    """Return those of the candidates (bits) that did not happen before another of them, latest first."""
    found = []
    while candidates:
        index = candidates.bit_length() - 1
        candidates &= ~path.events[index].past
        found.append(index)
    return tuple(found)


def _conflicting(path: Path, late: Event, limit: int) -> int:
    """Return all steps (bits) that conflict with a step that waits and that its process had not seen."""
    found = 0
    for place in late.footprint.places:
        for spot in reversed(path.spots[place.number]):
            index = spot[0]
            if index < 0 or (late.known >> index & 1 and spot[5] == 1 << index):
                break
            if index < limit and path.events[index].footprint.clash & late.footprint.touch:
                found |= 1 << index
    return found & ~late.known


def _possible(path: Path, after: Sequence[int], late: Event, start: int, rest: int, limit: int) -> Race:
    """Say whether a step that waits could run after the steps before `start` and those of `rest`.

    Returns the verdict, and `rest` without the parts that hold one of the locks.
    """
    verdict = POSSIBLE
    for place in late.footprint.waits:
        if place.waits == WAIT:
            word = _word_verdict(path, late, place, start, rest, limit)
            if word == IMPOSSIBLE:
                return IMPOSSIBLE, 0
            verdict = max(verdict, word)
            continue
        while (holder := holder_of(path, place, start, rest)) is not None:
            if holder < start:
                return IMPOSSIBLE, 0
            rest &= ~(after[holder] | 1 << holder)
    if late.known & -(1 << start) & ~rest:
        return IMPOSSIBLE, 0
    return verdict, rest


def holder_of(path: Path, place: Place, start: int, rest: int = 0) -> int | None:
    """Return a step, among those before `start` and those in `rest`, whose hold on a lock
    shuts this place out.
    """
    alone: int | None = None
    sharing: dict[Process, int] = {}
    for spot in path.spots[place.number][1:]:
        index = spot[0]
        if index >= start and not rest >> index & 1:
            continue
        for effect in spot[1]:
            if effect == ACQUIRE or (effect == WRITE and place.waits != WAIT):
                alone = index
            elif effect == RELEASE:
                alone = None
            elif effect == SHARED_ACQUIRE:
                sharing[path.events[index].process] = index
            elif effect == SHARED_RELEASE:
                sharing.pop(path.events[index].process, None)
    if alone is None and sharing and place.waits == ACQUIRE:
        return min(sharing.values())
    return alone


def _word_verdict(path: Path, late: Event, place: Place, start: int, rest: int, limit: int) -> int:
    """Say whether a process could go on at the content of what it waits for after the steps before
    `start` and in `rest`.

    Known only where the process was seen waiting at that very content.
    """
    changes = [spot[0] for spot in path.spots[place.number][1:] if (spot[5] | spot[7]) >> spot[0] & 1]
    last = max((index for index in changes if index < start or rest >> index & 1), default=-1)
    seen = max(last, late.before) + 1
    if seen > limit or path.content(place.number, seen, 0) != path.content(place.number, start, rest):
        return UNKNOWN
    if late.process in path.enabled[seen]:
        return POSSIBLE
    others = [other for other in late.footprint.waits if other is not place]
    if any(other.waits == WAIT or holder_of(path, other, seen) is not None for other in others):
        return UNKNOWN
    return IMPOSSIBLE
