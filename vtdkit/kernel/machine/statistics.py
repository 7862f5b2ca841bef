"""The machine's memory of itself (`machine.stat`): the record of events, lock statistics,
who waited for whom.

Everything here is asked between runs and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vtdkit.kernel.locks.log import LockLog, class_stat
from vtdkit.kernel.record.lockstat import LockStat
from vtdkit.kernel.record.record import MARK, Recorder
from vtdkit.kernel.record.sites import Spot, driver_here, site

from .context import Context
from .host import Host


class Statistics:
    """`record`: keep events for a `Trace`? `locks`: keep lock statistics? Guards: the engine's."""

    def __init__(self, machine: Host, record: bool, locks: bool) -> None:
        self.machine = machine
        self.recording = record
        self.locks = locks
        self.recorder = Recorder()
        #: the one way into a record that is kept: takes an event's seven values (`record.COLUMNS`)
        self.emit: Callable[[tuple[Any, ...]], None] = self.recorder.rows.extend
        self.marks: list[str] = []
        self.object_names = [""]
        self.object_kinds = [""]
        self.lock_logs: dict[tuple[str, int, str, bool], LockLog] = {}
        self._words: dict[str, int] = {}

    # -- while it runs -----------------------------------------------------

    def note(
        self, context: Context, kind: int, obj: int = 0, place: Spot | None = None, arg: int = 0
    ) -> None:
        """Record an event of a context, now."""
        if self.recording:
            self.emit((self.machine.sched.now, context.cpu_id, context.id, kind, obj, place, arg))

    def mark(self, text: str) -> None:
        """Leave a note in the record, at this instant, in the running context."""
        self.note(self.machine.sched.current, MARK, arg=len(self.marks))
        self.marks.append(text)

    def register(self, name: str, kind: str) -> int:
        """A number for a lock (or a word somebody spins on) in the record."""
        if not isinstance(name, str):
            raise TypeError(f"a {kind}'s name is text, not {repr(name)[:80]}, at {site(driver_here())}")
        self.object_names.append(name)
        self.object_kinds.append(kind)
        return len(self.object_names) - 1

    def word(self, what: str) -> int:
        """The number in the record of something that is waited for and is no lock."""
        if what not in self._words:
            self._words[what] = self.register(what, "word")
        return self._words[what]

    def log_of(self, name: str, subclass: int, kind: str, read: bool = False) -> LockLog:
        """The log of a class of locks (one for readers, one for writers)."""
        return self.lock_logs.setdefault((name, subclass, kind, read), LockLog())

    def housekeeping(self) -> None:
        """Now and then: sum up what locks did, compact the record."""
        for log in self.lock_logs.values():
            log.fold()
        if len(self.recorder.rows) > Recorder.FOLD:
            self.recorder.fold()

    def classes(self) -> Iterator[LockStat]:
        """Every lock class that was taken. Raises RuntimeError on a machine that keeps no statistics."""
        if not self.locks:
            raise RuntimeError("this machine keeps no lock statistics; make it with Machine(statistics=True)")
        for (name, subclass, kind, read), log in self.lock_logs.items():
            if not read:
                row = class_stat(name, subclass, kind, log, self.lock_logs.get((name, subclass, kind, True)))
                if row.write.acquisitions or row.read.acquisitions or row.contentions:
                    yield row
