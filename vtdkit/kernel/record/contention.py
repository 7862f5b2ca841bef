"""Every wait for a lock in a record, and the tables that `perf lock contention` makes of them.

Mirrors the tracepoints contention_begin and contention_end (kernel/locking) and tools/perf/builtin-lock.c.
Pure functions of a `Trace`; a wait of no time is no contention.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import lockstat_report
from .lockstat import Contention, ContentionRow, contention_rows
from .record import ACQUIRE, RELEASE, SPIN

if TYPE_CHECKING:
    from .trace import Trace

PERF_KINDS = {"raw_spinlock": "spinlock"}  #: where perf's name of a kind is not ours


def contentions(trace: Trace) -> tuple[Contention, ...]:
    """The waits that ended within the record, in the order in which they ended."""
    waiting: dict[
        tuple[int, int], tuple[int, int, tuple[int, int]]
    ] = {}  # (who, lock) -> since, where, (owner, its place)
    holders: dict[int, dict[int, int]] = {}  # lock -> who has it -> where it was taken
    names = (*trace.contexts, "")
    found = []
    for time, cpu, context, kind, obj, where, shared in trace.rows():
        if kind == SPIN:
            held_by = holders.get(obj)
            waiting[context, obj] = time, where, next(reversed(held_by.items())) if held_by else (-1, 0)
        elif kind == ACQUIRE:
            began = waiting.pop((context, obj), None)
            if began is not None and began[0] < time:
                since, site, (owner, owner_site) = began
                found.append(
                    Contention(
                        since,
                        time - since,
                        trace.objects[obj],
                        _kind(trace.kinds[obj], shared),
                        trace.sites[site],
                        trace.sites[owner_site] if owner_site else None,
                        trace.contexts[context],
                        cpu,
                        names[owner],
                    )
                )
            holders.setdefault(obj, {})[context] = where
        elif kind == RELEASE:
            holders.get(obj, {}).pop(context, None)
    return tuple(found)


def _kind(kind: str, shared: int) -> str:
    if kind in ("rwlock", "rwsem"):
        return f"{kind}:{'R' if shared else 'W'}"
    return PERF_KINDS.get(kind, kind)


class ContentionTable(tuple[ContentionRow, ...]):
    """The waits put together; a tuple of `ContentionRow`. `waits` are the single ones. Prints as
    `perf lock contention` does.
    """

    waits: tuple[Contention, ...]
    text: str

    def __new__(
        cls, waits: Iterable[Contention], by: str = "caller", sort: str = "wait_total"
    ) -> ContentionTable:
        waits = tuple(waits)
        table = super().__new__(cls, contention_rows(waits, by, sort))
        table.waits = waits
        table.text = lockstat_report.lock_contention(waits, by, sort)
        return table

    def __repr__(self) -> str:
        return self.text
