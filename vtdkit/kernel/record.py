"""The record of a run: what happened, when, on which CPU, to what. Figures and widgets are functions of it.

While a machine runs it appends tuples; they are folded into one flat array of 64-bit integers, `WIDTH` columns an event, so
that a million events cost about 56 MB. A `Trace` gives them back as columns or as `Event` values, filters and slices them,
and saves itself (`traceio`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from .sites import NOWHERE, Site, Spot

if TYPE_CHECKING:
    from .findings import Finding

KINDS = (
    "run", "sleep", "wake", "end",  # a thread gets its CPU, gives it up to wait, is woken, has ended
    "spin", "acquire", "release",  # a lock: starts waiting, has it, gave it up
    "irq_off", "irq_on", "irq_enter", "irq_exit",  # interrupts of this context; a handler on top of what ran
    "wait", "wait_end",  # busy wait on hardware
    "alloc", "free",  # pages
    "mark",  # a note somebody left; arg is its number
    "finding",  # a checker spoke up; arg is the finding's number
)  # fmt: skip
(
    RUN, SLEEP, WAKE, END, SPIN, ACQUIRE, RELEASE, IRQ_OFF, IRQ_ON, IRQ_ENTER, IRQ_EXIT, WAIT, WAIT_END, ALLOC, FREE, MARK, FOUND,
) = range(len(KINDS))  # fmt: skip

COLUMNS = ("time", "cpu", "context", "kind", "object", "site", "arg")
WIDTH = len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: virtual time in ns, CPU, the context's name, what happened, to which object, where in the source."""

    time: int
    cpu: int
    context: str
    kind: str
    object: str
    site: Site
    arg: int = 0

    def __str__(self) -> str:
        where = "" if self.site is NOWHERE else f"  {self.site.function}:{self.site.line}"
        return f"{self.time:>10} ns  CPU{self.cpu}  {self.context:<16} {self.kind:<9} {self.object}{where}"


class Recorder:
    """Collects events of a running machine. `rows` is appended to directly: (time, cpu, context, kind, object, raw site, arg)."""

    FOLD = 1 << 15

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.data = array("q")
        self.sites: list[Site] = [NOWHERE]
        self._numbers: dict[Spot, int] = {}

    def fold(self) -> None:
        """Move the collected tuples into the array."""
        number = self._number
        self.data.extend(chain.from_iterable((*row[:5], number(row[5]), row[6]) for row in self.rows))
        self.rows.clear()

    def _number(self, spot: Spot | None) -> int:
        if spot is None:
            return 0
        known = self._numbers.get(spot)
        if known is None:
            known = self._numbers[spot] = len(self.sites)
            self.sites.append(spot.site)
        return known


class Trace:
    """What a run recorded: a sequence of `Event`.

    `columns` are the raw data, `contexts`, `objects` and `sites` the names the numbers stand for. `findings` are those of
    the machine at the end of the run, `end` is the virtual time then.
    """

    def __init__(
        self, data: array[int], contexts: Sequence[str], objects: Sequence[str], sites: Sequence[Site], cpus: int, end: int,
        findings: Sequence[Finding] = (), marks: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.data = data
        self.contexts = tuple(contexts)
        self.objects = tuple(objects)
        self.sites = tuple(sites)
        self.cpus = cpus
        self.end = end
        self.findings = tuple(findings)
        self.marks = tuple(marks)

    def __len__(self) -> int:
        return len(self.data) // WIDTH

    def column(self, name: str) -> array[int]:
        """One column, e.g. `trace.column("time")`: 64-bit integers, one an event."""
        if name not in COLUMNS:
            raise KeyError(f"a trace has no column {name!r}; its columns are {', '.join(COLUMNS)}")
        return self.data[COLUMNS.index(name) :: WIDTH]

    def __getitem__(self, index: int) -> Event:
        if not -len(self) <= index < len(self):
            raise IndexError(f"event {index} of a trace of {len(self)}")
        start = (index % len(self)) * WIDTH
        return self._event(self.data[start : start + WIDTH])

    def _event(self, row: Sequence[int]) -> Event:
        time, cpu, context, kind, obj, where, arg = row
        name = self.objects[obj] if 0 <= obj < len(self.objects) else ""
        return Event(time, cpu, self.contexts[context], KINDS[kind], name, self.sites[where], arg)

    def __iter__(self) -> Iterator[Event]:
        data = self.data
        for start in range(0, len(data), WIDTH):
            yield self._event(data[start : start + WIDTH])

    def where(
        self, *, kind: str | Iterable[str] = (), cpu: int | None = None, object: str = "", context: str = "",
    ) -> Trace:  # fmt: skip
        """The events of these kinds, on this CPU, of objects or contexts whose name contains the given text."""
        kinds = {KINDS.index(k) for k in ((kind,) if isinstance(kind, str) else kind)}
        objects = {i for i, name in enumerate(self.objects) if object in name}
        contexts = {i for i, name in enumerate(self.contexts) if context in name}

        def keep(row: Sequence[int]) -> bool:
            return (
                (not kinds or row[3] in kinds)
                and (cpu is None or row[1] == cpu)
                and (not object or row[4] in objects)
                and (not context or row[2] in contexts)
            )

        return self._select(keep)

    def between(self, start: int, end: int) -> Trace:
        """The events with `start <= time < end` (nanoseconds)."""
        return self._select(lambda row: start <= row[0] < end)

    def _select(self, keep: Any) -> Trace:
        data, out = self.data, array("q")
        for start in range(0, len(data), WIDTH):
            row = data[start : start + WIDTH]
            if keep(row):
                out.extend(row)
        return Trace(out, self.contexts, self.objects, self.sites, self.cpus, self.end, self.findings, self.marks)

    def __repr__(self) -> str:
        return f"Trace({len(self)} events on {self.cpus} CPUs in {self.end} ns, {len(self.findings)} findings)"
