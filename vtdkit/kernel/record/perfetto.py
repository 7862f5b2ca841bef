"""A record in the JSON trace format that chrome://tracing and ui.perfetto.dev read.

Four groups of tracks ("processes"): the CPUs (what each was doing), the locks (who held each), the threads
(what each waited for, when it slept), interrupts off (by context). Notes and findings are instants. Times are
microseconds, as the format has them.

The format: "Trace Event Format", by the Chromium project
(docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU). Complete events ("X") of one track
nest or follow each other; those that may overlap (shares of a lock) are asynchronous ("b", "e").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .record import FOUND, MARK, SLEEP, WAKE
from .spans import HOLDING, IDLE, IRQS_OFF, STATES, stretches, waits_of

if TYPE_CHECKING:
    from .trace import Trace

GROUPS = ("", "CPUs", "Locks", "Threads", "Interrupts off")
CPUS, LOCKS, THREADS, IRQS = range(1, len(GROUPS))
SHARED_KINDS = ("rwlock", "rwsem")
Json = dict[str, Any]


def perfetto(trace: Trace) -> Json:
    """The whole record as one JSON object: `json.dump` it into a file and open that in the viewer."""
    events = sorted(_events(trace), key=lambda event: (event["ts"], -event.get("dur", 0)))
    names: list[Json] = []
    for pid, tid in sorted({(event["pid"], event["tid"]) for event in events}):
        name = f"CPU {tid}" if pid == CPUS else (trace.objects if pid == LOCKS else trace.contexts)[tid]
        for what, args in (("process", {"name": GROUPS[pid]}), ("thread", {"name": name})):
            names.append({"ph": "M", "name": f"{what}_name", "pid": pid, "tid": tid, "args": args})
    return {
        "traceEvents": [*names, *events],
        "displayTimeUnit": "ns",
        "otherData": {"cpus": trace.cpus, "end_ns": trace.end},
    }


def _event(pid: int, tid: int, start: int, name: str, category: str, phase: str = "X", **more: Any) -> Json:
    return {"ph": phase, "pid": pid, "tid": tid, "ts": start / 1000, "name": name, "cat": category, **more}


def _events(trace: Trace) -> Iterator[Json]:
    for number, (start, cpu, state, end, obj, context) in enumerate(stretches(trace)):
        who, long = trace.contexts[context] if context >= 0 else "", (end - start) / 1000
        if state == IRQS_OFF:
            yield _event(IRQS, context, start, "irqs off", STATES[state], dur=long)
        elif state == HOLDING and trace.kinds[obj] in SHARED_KINDS:
            yield _event(LOCKS, obj, start, who, "holding", "b", id=number)
            yield _event(LOCKS, obj, end, who, "holding", "e", id=number)
        elif state == HOLDING:
            yield _event(LOCKS, obj, start, who, STATES[state], dur=long)
        elif state != IDLE:
            name = f"{who}: {STATES[state]} {trace.objects[obj]}" if obj else who
            yield _event(CPUS, cpu, start, name, STATES[state], dur=long)
    for context, lock, start, end in waits_of(trace):
        yield _event(
            THREADS, context, start, f"waits for {trace.objects[lock]}", "wait", dur=(end - start) / 1000
        )
    slept: dict[int, int] = {}
    for time, cpu, context, kind, _, _, arg in trace.rows():
        if kind == SLEEP:
            slept[context] = time
        elif kind == WAKE and context in slept:  # within the wait that it belongs to
            start = slept.pop(context)
            yield _event(THREADS, context, start, "asleep", "sleep", dur=(time - start) / 1000)
        elif kind in (MARK, FOUND):
            note = trace.marks[arg] if kind == MARK else trace.findings[arg].kind
            yield _event(CPUS, max(cpu, 0), time, note, "mark" if kind == MARK else "finding", "i", s="g")
