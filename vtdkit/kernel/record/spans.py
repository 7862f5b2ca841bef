"""A record as stretches of time: what each CPU was doing, which locks were held, where interrupts were off.

Two families. The states in `OCCUPATION` divide each CPU's time without gap or overlap, from 0 to the end of
the record: idle, running, spinning (for a lock), waiting for hardware (or another word in memory), in
interrupt. The states in `OVERLAY` lie over them and may overlap: holding (one stretch for each lock held,
also while its holder sleeps), irqs off.

Pure functions of a whole `Trace` (of a part, what began before it is not known). 100 thousand events take a
quarter of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .following import NOBODY, Following
from .record import ACQUIRE, SPIN

if TYPE_CHECKING:
    from .trace import Trace

OCCUPATION = ("idle", "running", "spinning", "waiting for hardware", "in interrupt")
OVERLAY = ("holding", "irqs off")
STATES = OCCUPATION + OVERLAY
IDLE, RUNNING, SPINNING, WAITING, IN_INTERRUPT, HOLDING, IRQS_OFF = range(len(STATES))

Stretch = tuple[
    int, int, int, int, int, int
]  #: start, cpu, state, end, object, context: numbers, in this order to sort well


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end` (ns), on `cpu`: the state, the lock or word it is about ("" for
    none), who was there.
    """

    cpu: int
    start: int
    end: int
    state: str
    object: str
    context: str


def stretches(trace: Trace) -> Iterator[Stretch]:
    """The stretches of a trace in numbers, in order of their ends."""
    now = Following(len(trace.contexts), trace.cpus)
    doing = [(IDLE, 0, NOBODY)] * trace.cpus  # state, object, context
    since = [0] * trace.cpus
    for time, cpu, context, kind, obj, place, _ in trace.rows():
        if cpu < 0:
            continue
        if (ended := now.event(time, cpu, context, kind, obj, place)) is not None:
            yield ended.got, ended.cpu, HOLDING if ended.object else IRQS_OFF, time, ended.object, context
        does = _does(now, cpu)
        if does != doing[cpu]:
            if time > since[cpu]:
                yield since[cpu], cpu, doing[cpu][0], time, *doing[cpu][1:]
            doing[cpu], since[cpu] = does, time
    end = trace.end
    for cpu, begin in enumerate(since):
        if end > begin:
            yield begin, cpu, doing[cpu][0], end, *doing[cpu][1:]
    for context, thread in enumerate(now.threads):
        for hold in (*thread.held, *([thread.off] if thread.off else [])):
            yield hold.got, hold.cpu, HOLDING if hold.object else IRQS_OFF, end, hold.object, context


def waits_of(trace: Trace) -> Iterator[tuple[int, int, int, int]]:
    """(context, lock, since, until) of each wait for a lock that has ended and took time, as numbers."""
    asked: dict[int, int] = {}
    for time, _, context, kind, obj, *_ in trace.rows():
        if kind == SPIN:
            asked[context] = time
        elif kind == ACQUIRE and asked.get(context, time) < time:
            yield context, obj, asked.pop(context), time


def _does(now: Following, cpu: int) -> tuple[int, int, int]:
    """State, object and context of a CPU."""
    context = now.on(cpu)
    if context == NOBODY:
        return IDLE, 0, NOBODY
    if (waits := now.threads[context].waits_for()) is not None:
        return SPINNING if waits[0] == SPIN else WAITING, waits[1], context
    return IN_INTERRUPT if now.handlers[cpu] else RUNNING, 0, context
