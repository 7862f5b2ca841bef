"""The record of a run: what happened, when, on which CPU, to what. Figures and widgets are functions of it.

A `Trace` gives what a `Recorder` collected as columns or as `Event` values, filters and slices them, and is
read as stretches of time (`spans`) or by a trace viewer (`perfetto`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any, overload

from vtdkit.kernel.checkers.findings import Finding

from .perfetto import perfetto
from .record import COLUMNS, KINDS, Columns
from .sites import Site
from .spans import STATES, Span, stretches


@dataclass(frozen=True, slots=True)
class Event:
    """One event: virtual time in ns, CPU, the context's name, what happened, to which object,
    where in the source.
    """

    time: int
    cpu: int
    context: str
    kind: str
    object: str
    site: Site
    arg: int = 0


@dataclass(frozen=True, repr=False, eq=False)
class Trace:
    """What a run recorded: a sequence of `Event`, in order of time.

    `columns` are the raw data; `contexts`, `objects` and `sites` the names the numbers stand for,
    `context_kinds` and `kinds` what each context and object is ("task", "spinlock", ...). `findings`
    are those of the machine at the end of the run, `end` is the virtual time then, `marks` the notes
    that "mark" events number.
    """

    columns: Columns
    contexts: Sequence[str]
    objects: Sequence[str]
    sites: Sequence[Site]
    cpus: int
    end: int
    findings: Sequence[Finding] = ()
    marks: Sequence[str] = ()
    kinds: Sequence[str] = ()
    context_kinds: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def column(self, name: str) -> array[int]:
        """One column, e.g. `trace.column("time")`: integers, one an event."""
        if name not in COLUMNS:
            raise KeyError(f"a trace has no column {name!r}; its columns are {', '.join(COLUMNS)}")
        return self.columns[COLUMNS.index(name)]

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Trace: ...

    def __getitem__(self, index: int | slice) -> Event | Trace:
        if isinstance(index, slice):
            return replace(self, columns=tuple(column[index] for column in self.columns))
        if not -len(self) <= index < len(self):
            raise IndexError(f"event {index} of a trace of {len(self)}")
        return self._event([column[index] for column in self.columns])

    def _event(self, row: Sequence[int]) -> Event:
        time, cpu, context, kind, obj, where, arg = row
        return Event(
            time, cpu, self.contexts[context], KINDS[kind], self.objects[obj], self.sites[where], arg
        )

    def __iter__(self) -> Iterator[Event]:
        return map(self._event, self.rows())

    def rows(self) -> Iterator[tuple[int, ...]]:
        """The events as tuples of numbers, in the order of `COLUMNS`: for whoever goes
        through many of them.
        """
        return zip(*self.columns, strict=True)

    # -- parts ---------------------------------------------------------------

    def where(
        self,
        *,
        kind: str | Iterable[str] = (),
        cpu: int | None = None,
        object: str = "",
        context: str = "",
    ) -> Trace:
        """The events of these kinds, on this CPU, of objects or contexts whose name
        contains the given text.
        """
        kinds = (kind,) if isinstance(kind, str) else tuple(kind)
        if unknown := [name for name in kinds if name not in KINDS]:
            raise ValueError(
                f"no kind of event {', '.join(map(repr, unknown))}; there are {', '.join(KINDS)}"
            )
        wanted: dict[str, Container[int]] = {
            "kind": {KINDS.index(name) for name in kinds or KINDS},
            "cpu": set(self.column("cpu")) if cpu is None else {cpu},
            "object": {i for i, name in enumerate(self.objects) if object in name},
            "context": {i for i, name in enumerate(self.contexts) if context in name},
        }
        keep = [True] * len(self)
        for name, allowed in wanted.items():
            keep = [kept and value in allowed for kept, value in zip(keep, self.column(name), strict=True)]
        return replace(self, columns=tuple(array(c.typecode, compress(c, keep)) for c in self.columns))

    # -- other forms ---------------------------------------------------------------

    def spans(self) -> list[Span]:
        """Stretches of time on each CPU, by start, CPU and state: running, spinning, holding, ..."""
        contexts = (*self.contexts, "")
        return [
            Span(cpu, start, end, STATES[state], self.objects[obj], contexts[context])
            for start, cpu, state, end, obj, context in sorted(stretches(self))
        ]

    def perfetto(self, path: str | Path | None = None) -> dict[str, Any]:
        """The trace in the JSON trace format of chrome://tracing and Perfetto; written to a file too,
        if one is named.
        """
        document = perfetto(self)
        if path is not None:
            Path(path).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8", newline="\n")
        return document

    def __repr__(self) -> str:
        return (
            f"Trace({len(self)} events on {self.cpus} CPUs in {self.end} ns, {len(self.findings)} findings)"
        )
