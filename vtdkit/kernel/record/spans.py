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

from .record import (
    ACQUIRE,
    END,
    IRQ_ENTER,
    IRQ_EXIT,
    IRQ_OFF,
    IRQ_ON,
    RELEASE,
    RUN,
    SLEEP,
    SPIN,
    WAIT,
    WAIT_END,
)

if TYPE_CHECKING:
    from .trace import Trace

OCCUPATION = ("idle", "running", "spinning", "waiting for hardware", "in interrupt")
OVERLAY = ("holding", "irqs off")
STATES = OCCUPATION + OVERLAY
IDLE, RUNNING, SPINNING, WAITING, IN_INTERRUPT, HOLDING, IRQS_OFF = range(len(STATES))
NOBODY = -1

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


class _Cpu:
    """What one CPU is doing, and since when: a thread, handlers on top of it."""

    __slots__ = ("handlers", "now", "since", "task")

    def __init__(self) -> None:
        self.task = NOBODY
        self.handlers: list[int] = []
        self.now = (IDLE, 0, NOBODY)  # state, object, context
        self.since = 0


def spans_of(trace: Trace) -> list[Span]:
    """The stretches of a trace, by start, CPU and state."""
    contexts = (*trace.contexts, "")
    return [
        Span(cpu, start, end, STATES[state], trace.objects[obj], contexts[context])
        for start, cpu, state, end, obj, context in sorted(stretches(trace))
    ]


def stretches(trace: Trace) -> Iterator[Stretch]:
    """The same in numbers, in order of their ends."""
    cpus = [_Cpu() for _ in range(trace.cpus)]
    waits: dict[int, tuple[int, int]] = {}  # context -> state and object
    opened: dict[
        tuple[int, int], tuple[int, int]
    ] = {}  # context and lock (0: interrupts off) -> when and where
    for time, number, context, kind, obj, *_ in trace.rows():
        if number < 0:
            continue
        cpu = cpus[number]
        if kind in _OPENS:
            opened.setdefault((context, obj), (time, number))
        elif kind in _CLOSES and (context, obj) in opened:
            start, where = opened.pop((context, obj))
            yield start, where, HOLDING if obj else IRQS_OFF, time, obj, context
        _follow(cpu, waits, kind, context, obj)
        top = cpu.handlers[-1] if cpu.handlers else cpu.task
        doing = _doing(cpu, top, waits)
        if doing != cpu.now:
            if time > cpu.since:
                yield cpu.since, number, cpu.now[0], time, *cpu.now[1:]
            cpu.now, cpu.since = doing, time
    yield from _rest(cpus, opened, trace.end)


_OPENS = frozenset((ACQUIRE, IRQ_OFF))
_CLOSES = frozenset((RELEASE, IRQ_ON))


def _follow(cpu: _Cpu, waits: dict[int, tuple[int, int]], kind: int, context: int, obj: int) -> None:
    """Keep track of who is on the CPU and what each context waits for."""
    if kind == SPIN:
        waits[context] = SPINNING, obj
    elif kind == WAIT:
        waits[context] = WAITING, obj
    elif kind in (ACQUIRE, WAIT_END):
        waits.pop(context, None)
    elif kind == RUN:
        cpu.task = context
    elif kind in (SLEEP, END) and cpu.task == context:
        cpu.task = NOBODY
        waits.pop(context, None)
    elif kind == IRQ_ENTER:
        cpu.handlers.append(context)
    elif kind == IRQ_EXIT and context in cpu.handlers:
        cpu.handlers.remove(context)


def _doing(cpu: _Cpu, top: int, waits: dict[int, tuple[int, int]]) -> tuple[int, int, int]:
    if top == NOBODY:
        return IDLE, 0, NOBODY
    waiting = waits.get(top)
    if waiting is not None:
        return *waiting, top
    return IN_INTERRUPT if cpu.handlers else RUNNING, 0, top


def _rest(cpus: list[_Cpu], opened: dict[tuple[int, int], tuple[int, int]], end: int) -> Iterator[Stretch]:
    """What is still going on when the record ends."""
    for number, cpu in enumerate(cpus):
        if end > cpu.since:
            yield cpu.since, number, cpu.now[0], end, *cpu.now[1:]
    for (context, obj), (start, where) in opened.items():
        yield start, where, HOLDING if obj else IRQS_OFF, end, obj, context
