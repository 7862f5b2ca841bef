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

from collections.abc import Callable, Hashable, Iterable
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

    @property
    def contentions(self) -> int:
        """Of readers and writers together: the kernel sorts by it."""
        return self.write.contentions + self.read.contentions


@dataclass(frozen=True, slots=True)
class Contention:
    """One wait for a lock, as the tracepoints contention_begin and contention_end show it.

    time        when it began, ns
    wait        how long it lasted, ns
    lock        the name of the lock
    kind        spinlock, mutex, rtmutex, rwlock:R, rwlock:W, rwsem:R, rwsem:W, ...
    site        the place that waited
    owner_site  the place where the holder had taken the lock, None if not known
    context     the task or interrupt that waited
    cpu         where it waited
    owner       the task or interrupt that held the lock, "" if not known
    """

    time: int
    wait: int
    lock: str
    kind: str
    site: Hashable
    owner_site: Hashable = None
    context: str = ""
    cpu: int = 0
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ContentionRow:
    """One line of `perf lock contention`: all waits that have `what` in common. `kind` is "" where kinds
    are mixed.
    """

    what: str
    kind: str
    contended: int
    wait_total: int
    wait_max: int
    wait_min: int

    @property
    def avg_wait(self) -> int:
        """Whole ns, rounded down."""
        return self.wait_total // self.contended


_UNKNOWN = "Unknown"
_GROUPS: dict[str, Callable[[Contention], tuple[Hashable, str]]] = {
    "caller": lambda wait: (wait.site, wait.kind),
    "lock": lambda wait: (wait.lock, wait.kind),
    "thread": lambda wait: (wait.context, ""),
    "owner": lambda wait: (wait.owner or _UNKNOWN, ""),
    "owner_site": lambda wait: (_UNKNOWN if wait.owner_site is None else wait.owner_site, ""),
}
SORT_KEYS = ("contended", "wait_total", "wait_max", "wait_min", "avg_wait")


def contention_rows(
    waits: Iterable[Contention], by: str = "caller", sort: str = "wait_total"
) -> tuple[ContentionRow, ...]:
    """The waits, put together `by` what they share, the largest `sort` first.

    `by`: caller, lock, thread, owner (the thread that holds) or owner_site (where it had taken the lock).
    Equal ones stay in the order in which they first appear. Raises ValueError for an unknown `by` or `sort`.
    """
    if by not in _GROUPS:
        raise ValueError(f"cannot group contention by {by!r}; choose from {', '.join(_GROUPS)}")
    if sort not in SORT_KEYS:
        raise ValueError(f"cannot sort contention by {sort!r}; choose from {', '.join(SORT_KEYS)}")
    groups: dict[tuple[Hashable, str], list[int]] = {}
    for wait in waits:
        groups.setdefault(_GROUPS[by](wait), []).append(wait.wait)
    rows = [
        ContentionRow(str(what), kind, len(times), sum(times), max(times), min(times))
        for (what, kind), times in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: -int(getattr(row, sort))))
