"""What the locks of one class did: the counters of /proc/lock_stat, and the places where they are taken.

On the hot path nanoseconds are appended to the lists of a place (`Spot.waits`, `Spot.holds`); the engine has
them summed up every few thousand steps, and `fold` does when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from vtdkit.kernel.record.lockstat import LockStat, Side
from vtdkit.kernel.record.sites import Spot, Spots

Sums = tuple[int, int, int, int]  # how many, the least, the greatest, their sum


@dataclass(slots=True, eq=False, repr=False)
class LockLog:
    """What the locks of one class and side (readers, writers) did. Guards: only their steps change it."""

    spots: Spots = field(default_factory=Spots)
    waits: Sums = (0, 0, 0, 0)
    holds: Sums = (0, 0, 0, 0)
    acq_bounces: int = 0
    con_bounces: int = 0

    def fold(self) -> Side:
        """Sum up what was appended since; the counters as they stand now."""
        for spot in self.spots.table.values():
            if spot.holds:
                self.holds = _added(self.holds, spot.holds)
            if spot.waits:
                spot.waited += len(spot.waits)
                self.waits = _added(self.waits, spot.waits)
        return Side(self.con_bounces, *self.waits, self.acq_bounces, *self.holds)

    def waited(self, ns: int, place: Spot, holder: Spot | None, bounced: bool) -> None:
        """Somebody waited `ns` at `place` for a lock taken at `holder`. No wait at all is no contention,
        as in the kernel.
        """
        if ns:
            place.waits.append(ns)
            self.con_bounces += bounced
            if holder is not None:
                holder.blocked += 1


def _added(sums: Sums, times: list[int]) -> Sums:
    """The sums with these times in them; the list is emptied."""
    count, least, most, total = sums
    least = min(*times, least if count else times[0])
    sums = count + len(times), least, max(*times, most), total + sum(times)
    times.clear()
    return sums


def class_stat(name: str, subclass: int, kind: str, write: LockLog, read: LockLog | None) -> LockStat:
    """The record of one lock class: both its sides, and its places."""
    logs = [write, read or LockLog()]
    sides = [log.fold() for log in logs]  # first: it moves waits from the lists to the counts
    points: Counter[Hashable] = Counter()
    holders: Counter[Hashable] = Counter()
    for spot in (spot for log in logs for spot in log.spots.table.values()):
        points[spot.site] += spot.waited
        holders[spot.site] += spot.blocked
    found = [tuple((site, n) for site, n in places.items() if n) for places in (points, holders)]
    return LockStat(name, subclass, sides[0], sides[1], found[0], found[1], kind)
