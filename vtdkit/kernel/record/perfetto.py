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

from .record import ACQUIRE, FOUND, MARK, SLEEP, SPIN, WAKE
from .spans import HOLDING, IDLE, IRQS_OFF, STATES, stretches

if TYPE_CHECKING:
    from .trace import Trace

CPUS, LOCKS, THREADS, IRQS = 1, 2, 3, 4
GROUPS = {CPUS: "CPUs", LOCKS: "Locks", THREADS: "Threads", IRQS: "Interrupts off"}
SHARED_KINDS = ("rwlock", "rwsem")
Json = dict[str, Any]


def perfetto(trace: Trace) -> Json:
    """The whole record as one JSON object: `json.dump` it into a file and open that in the viewer."""
    events = [*_spans(trace), *_waits(trace), *_instants(trace)]
    tracks = sorted({(event["pid"], event["tid"]) for event in events})
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return {
        "traceEvents": [*_names(trace, tracks), *events],
        "displayTimeUnit": "ns",
        "otherData": {"cpus": trace.cpus, "end_ns": trace.end},
    }


def _names(trace: Trace, tracks: list[tuple[int, int]]) -> Iterator[Json]:
    for pid in dict.fromkeys(pid for pid, _ in tracks):
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": GROUPS[pid]}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for pid, tid in tracks:
        name = f"CPU {tid}" if pid == CPUS else trace.objects[tid] if pid == LOCKS else trace.contexts[tid]
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def _complete(pid: int, tid: int, start: int, end: int, name: str, category: str) -> Json:
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": start / 1000,
        "dur": (end - start) / 1000,
        "name": name,
        "cat": category,
    }


def _spans(trace: Trace) -> Iterator[Json]:
    shares = 0
    for start, cpu, state, end, obj, context in stretches(trace):
        who = trace.contexts[context] if context >= 0 else ""
        if state == IRQS_OFF:
            yield _complete(IRQS, context, start, end, "irqs off", STATES[state])
        elif state == HOLDING and trace.kinds[obj] in SHARED_KINDS:
            shares += 1
            both = {"pid": LOCKS, "tid": obj, "id": shares, "name": who, "cat": "holding"}
            yield {"ph": "b", "ts": start / 1000, **both}
            yield {"ph": "e", "ts": end / 1000, **both}
        elif state == HOLDING:
            yield _complete(LOCKS, obj, start, end, who, STATES[state])
        elif state != IDLE:
            name = f"{who}: {STATES[state]} {trace.objects[obj]}" if obj else who
            yield _complete(CPUS, cpu, start, end, name, STATES[state])


def _waits(trace: Trace) -> Iterator[Json]:
    """What each thread waited for, and when it slept: a sleep lies within the wait it belongs to."""
    began: dict[tuple[int, int], int] = {}
    for time, _, context, kind, obj, *_ in trace.rows():
        if kind in (SPIN, SLEEP):
            began[context, kind] = time
        elif kind == ACQUIRE and (context, SPIN) in began:
            start = began.pop((context, SPIN))
            yield _complete(THREADS, context, start, time, f"waits for {trace.objects[obj]}", "wait")
        elif kind == WAKE and (context, SLEEP) in began:
            yield _complete(THREADS, context, began.pop((context, SLEEP)), time, "asleep", "sleep")


def _instants(trace: Trace) -> Iterator[Json]:
    for time, cpu, _, kind, _, _, arg in trace.rows():
        if kind in (MARK, FOUND):
            name = trace.marks[arg] if kind == MARK else trace.findings[arg].kind
            category = "mark" if kind == MARK else "finding"
            yield {
                "ph": "i",
                "s": "g",
                "pid": CPUS,
                "tid": max(cpu, 0),
                "ts": time / 1000,
                "name": name,
                "cat": category,
            }
