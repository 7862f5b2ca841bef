"""What the locks of one class did: the counters of /proc/lock_stat, and the places where they are taken."""

from __future__ import annotations

from collections.abc import Hashable

from vtdkit.kernel.record.lockstat import LockStat, LockStats, Side
from vtdkit.kernel.record.sites import Spot, Spots

MANY = 1000  # from so many on it pays to import numpy


class LockLog:
    """What the locks of one class and side did: statistics, and the places where they are taken.

    On the hot path nanoseconds are appended to the lists of a place; `fold` turns them into `stats`, and
    the engine has it called every few thousand steps.
    """

    __slots__ = ("acq_bounces", "con_bounces", "spots", "stats")

    def __init__(self) -> None:
        self.spots = Spots()
        self.stats = LockStats()
        self.acq_bounces = 0
        self.con_bounces = 0

    def fold(self) -> LockStats:
        """Bring the statistics up to date and return them."""
        stats = self.stats
        stats.acq_bounces, stats.con_bounces = self.acq_bounces, self.con_bounces
        for spot in self.spots.all():
            if spot.holds:
                count, total, least, most = summary(spot.holds)
                stats.acquisitions += count
                stats.hold_total += total
                stats.hold_min, stats.hold_max = min(stats.hold_min, least), max(stats.hold_max, most)
                spot.holds.clear()
            if spot.waits:
                count, total, least, most = summary(spot.waits)
                spot.waited += count
                stats.contentions += count
                stats.wait_total += total
                stats.wait_min, stats.wait_max = min(stats.wait_min, least), max(stats.wait_max, most)
                spot.waits.clear()
        return stats

    def waited(self, ns: int, place: Spot, holder: Spot | None, bounced: bool) -> None:
        """Somebody waited `ns` at `place` for a lock taken at `holder`. No wait at all is no contention,
        as in the kernel.
        """
        if ns:
            place.waits.append(ns)
            self.con_bounces += bounced
            if holder is not None:
                holder.blocked += 1


def summary(times: list[int]) -> tuple[int, int, int, int]:
    """How many, their sum, the least and the greatest. Long lists with numpy, if there is one: that
    takes half the time.
    """
    if len(times) >= MANY:
        try:
            import numpy as np
        except ImportError:
            pass
        else:
            column = np.fromiter(times, np.int64, len(times))
            return len(times), int(column.sum()), int(column.min()), int(column.max())
    return len(times), sum(times), min(times), max(times)


def class_stat(name: str, subclass: int, write: LockLog, read: LockLog | None) -> LockStat:
    """The record of one lock class: both its sides, and its places."""
    points: dict[Hashable, int] = {}
    holders: dict[Hashable, int] = {}
    sides = [log.fold().record() for log in (write, read) if log is not None]
    for log in (write, read):
        for spot in log.spots.all() if log is not None else ():
            for places, count in ((points, spot.waited), (holders, spot.blocked)):
                places[spot.site] = places.get(spot.site, 0) + count
    shared = sides[1] if read is not None else Side()
    found = [tuple((site, count) for site, count in places.items() if count) for places in (points, holders)]
    return LockStat(name, subclass, sides[0], shared, *found)
