"""Lock statistics: the counters of /proc/lock_stat and the records of `perf lock contention`.

The locks count (`locks/log.py`), this module says what is counted. Four moments of a lock matter: somebody
asks for it, has to wait (contended), gets it (acquired), lets it go. Waiting lasts from contended to
acquired, holding from acquired to release. Per lock class, readers and writers apart; the places are the
class's, as in the kernel (kernel/locking/lockdep.c: __lock_contended(), __lock_acquired(),
lock_release_holdtime()).

What must hold in every run: contentions <= acquisitions once nobody waits any more; con_bounces <=
contentions; acq_bounces <= acquisitions; min <= avg <= max; one lock that is held alone: hold_total <= time
elapsed.

All times are integers in ns. `lockstat_report` prints them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Side:
    """One line of /proc/lock_stat, times in ns. A minimum that never was is 0, as the kernel prints it.

    con_bounces   contentions in which the lock was last taken on another CPU
    contentions   acquisitions that had to wait; a wait of 0 ns does not count, as in the kernel
    acq_bounces   acquisitions after which the lock had moved to another CPU
    """

    con_bounces: int = 0
    contentions: int = 0
    wait_min: int = 0
    wait_max: int = 0
    wait_total: int = 0
    acq_bounces: int = 0
    acquisitions: int = 0
    hold_min: int = 0
    hold_max: int = 0
    hold_total: int = 0

    @property
    def wait_avg(self) -> int:
        """Whole ns, rounded down, as the kernel divides."""
        return self.wait_total // self.contentions if self.contentions else 0

    @property
    def hold_avg(self) -> int:
        """Whole ns, rounded down."""
        return self.hold_total // self.acquisitions if self.acquisitions else 0


@dataclass(frozen=True, slots=True)
class LockStat:
    """One class of /proc/lock_stat: both sides, and all places that had to wait, or held."""

    name: str
    subclass: int
    write: Side
    read: Side
    points: tuple[tuple[Hashable, int], ...] = ()
    holders: tuple[tuple[Hashable, int], ...] = ()
    kind: str = ""

    @property
    def contentions(self) -> int:
        """Of readers and writers together: the kernel sorts by it."""
        return self.write.contentions + self.read.contentions


@dataclass(frozen=True, slots=True)
class ContentionRow:
    """One line of `perf lock contention`: all waits that have `what` in common (a lock, a caller). `kind` is
    "" where kinds are mixed.
    """

    what: str
    kind: str
    contended: int
    wait_total: int
    wait_max: int
    wait_min: int | None

    @property
    def avg_wait(self) -> int:
        """Whole ns, rounded down."""
        return self.wait_total // self.contended


def contention_rows(classes: Iterable[LockStat]) -> tuple[ContentionRow, ...]:
    """The classes somebody waited for, each side a row, the longest wait in all first."""
    rows = []
    for stat in classes:
        shared = stat.kind in ("rwlock", "rwsem")
        for side, letter in ((stat.write, "W"), (stat.read, "R")):
            if side.contentions:
                kind = f"{stat.kind}:{letter}" if shared else stat.kind
                rows.append(
                    ContentionRow(
                        stat.name, kind, side.contentions, side.wait_total, side.wait_max, side.wait_min
                    )
                )
    return tuple(sorted(rows, key=lambda row: -row.wait_total))
