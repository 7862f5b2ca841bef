"""What a machine can tell: the record so far, lock statistics, contention by caller or thread, what leaked.

Everything here is asked between runs and changes nothing (but `leaks`, which also reports what it finds).
"""

from __future__ import annotations

from vtdkit.kernel.checkers.leaks import Leak, Ledger
from vtdkit.kernel.locks.base import class_stat
from vtdkit.kernel.record.contention import ContentionTable, contentions
from vtdkit.kernel.record.lockstat_report import LockStatTable
from vtdkit.kernel.record.record import END, MARK, Recorder
from vtdkit.kernel.record.trace import Trace

from .context import Context
from .primitives import Primitives


class Reports(Primitives):
    """The machine's memory of itself."""

    recorder: Recorder
    statistics: bool

    def setup_checks(self) -> None:
        super().setup_checks()
        self.marks: list[str] = []
        self.ledger = Ledger(self.me)

    # -- the record ----------------------------------------------------------

    def note(self, context: Context, kind: int, obj: int) -> None:
        rows = self.rows
        if rows is not None and context.cpu_id >= 0:
            rows.extend((self.now, context.cpu_id, context.id, kind, obj, None, 0))

    def ended(self, context: Context) -> None:
        self.note(context, END, 0)
        self.still_held(context)

    def mark(self, text: str) -> None:
        """Leave a note in the record, at this instant, in the running context."""
        if self.rows is not None:
            self.rows.extend((self.now, self.current.cpu_id, self.current.id, MARK, 0, None, len(self.marks)))
        self.marks.append(text)

    def housekeeping(self) -> None:
        for log in self.lock_logs.values():
            log.fold()
        if self.rows is not None and len(self.rows) > Recorder.FOLD:
            self.recorder.fold()

    def trace(self) -> Trace:
        """The record so far (a copy: the machine may go on)."""
        return Trace(
            self.recorder.copy(),
            [context.name for context in self.contexts],
            self.object_names,
            self.recorder.sites,
            len(self.cpus),
            self.now,
            tuple(self.findings),
            self.marks,
            self.object_kinds,
            [context.kind for context in self.contexts],
        )

    # -- statistics ----------------------------------------------------------

    def lock_stat(self) -> LockStatTable:
        """Every lock class that was taken, as /proc/lock_stat has them; prints as that file does.

        Raises RuntimeError on a machine that keeps no statistics.
        """
        if not self.statistics:
            raise RuntimeError("this machine keeps no lock statistics; make it with Machine(statistics=True)")
        rows = []
        for (name, subclass, kind, read), log in self.lock_logs.items():
            if not read:
                rows.append(class_stat(name, subclass, log, self.lock_logs.get((name, subclass, kind, True))))
        return LockStatTable(
            row for row in rows if row.write.acquisitions or row.read.acquisitions or row.contentions
        )

    def lock_contention(self, by: str = "caller", sort: str = "wait_total") -> ContentionTable:
        """All waits for locks, put together `by` "caller", "lock", "thread", "owner" or "owner_site";
        prints as perf does.

        Raises RuntimeError on a machine without a record.
        """
        if self.rows is None:
            raise RuntimeError(
                "lock contention is read from the record; make the machine with Machine(record=True)"
            )
        return ContentionTable(contentions(self.trace()), by, sort)

    # -- leaks ---------------------------------------------------------------

    def leak_baseline(self) -> None:
        """What exists now is no leak later."""
        self.ledger.baseline()

    def leaks(self) -> tuple[Leak, ...]:
        """What was left over since `leak_baseline` (or ever): pages, objects, references,
        list entries, timers, callbacks.
        """
        found = self.ledger.leaks()
        if "leaks" in self.checkers:
            for leak in found:
                self.report(f"kmemleak: unreferenced {leak.kind}", leak.name, (leak.site,), text=str(leak))
        return found
