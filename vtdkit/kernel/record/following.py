"""A record's events, one after the other: which thread has which CPU, what it waits for, which locks it has.

The only reading of events that there is. `spans` makes stretches of time of it, the lock timeline its lanes
and episodes. Mirrors nothing in a kernel.

Rules for the caller: events in the order in which the machine recorded them, those without a CPU left out. A
record that was cut out may begin in the middle of a thread: whoever does something is running; a lock that
was taken before the cut is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

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

NOBODY = -1
ON_AND_OFF = (RUN, SLEEP, END, IRQ_ENTER, IRQ_EXIT)  #: who has a CPU
DOING = (SPIN, ACQUIRE, RELEASE, IRQ_OFF, IRQ_ON, WAIT, WAIT_END)  #: what whoever has it does


class Wanted(NamedTuple):
    """A lock somebody waits for: since when (ns), where in the source, on which CPU."""

    object: int
    asked: int
    place: int
    cpu: int


class Hold(NamedTuple):
    """A lock somebody has: when it was asked for and got (ns), where and on which CPU it was taken. Object 0
    is no lock: interrupts are off."""

    object: int
    asked: int
    got: int
    place: int
    cpu: int


@dataclass(slots=True, eq=False)
class Thread:
    """A context: `held` are its locks, outermost first, `keys` their objects; `wanted` the lock it waits for
    (asleep if `slept`), `word` the word in memory it spins on (-1: none), `off` since when its interrupts are
    off."""

    held: list[Hold] = field(default_factory=list)
    keys: tuple[int, ...] = ()
    wanted: Wanted | None = None
    slept: bool = False
    word: int = -1
    off: Hold | None = None

    def waits_for(self) -> tuple[int, int, int] | None:
        """WAIT or SPIN, the word or lock it is about, and where, if the thread spins; None if it does not."""
        if self.word >= 0:
            return WAIT, self.word, 0
        if self.wanted is not None and not self.slept:
            return SPIN, self.wanted.object, self.wanted.place
        return None


class Following:
    """What every CPU and every context is doing. `tasks` are the threads on the CPUs, `handlers` what runs on
    top of them, innermost last, `threads` the contexts by number. Guards: changed by `event` alone."""

    def __init__(self, contexts: int, cpus: int) -> None:
        self.threads = [Thread() for _ in range(contexts)]
        self.tasks = [NOBODY] * cpus
        self.handlers: list[list[int]] = [[] for _ in range(cpus)]

    def event(self, time: int, cpu: int, context: int, kind: int, obj: int, place: int) -> Hold | None:
        """Take in one event; what it ended: a hold on a lock, or a time with interrupts off."""
        if kind in ON_AND_OFF:
            self._switch(cpu, context, kind)
            return None
        if kind not in DOING:
            return None
        if not self.handlers[cpu] and self.tasks[cpu] != context:
            self._switch(cpu, context, RUN)  # nothing told that it runs, but it does something: it runs
        thread = self.threads[context]
        if kind == SPIN:
            thread.wanted, thread.slept = Wanted(obj, time, place, cpu), False
        elif kind == ACQUIRE:
            wanted, thread.wanted = thread.wanted, None
            asked = wanted.asked if wanted is not None and wanted.object == obj else time
            thread.held.append(Hold(obj, asked, time, place, cpu))
            thread.keys += (obj,)
        elif kind == RELEASE:
            # not always the innermost one; one that was taken before the record began is unknown
            for i in range(len(thread.keys) - 1, -1, -1):
                if thread.keys[i] == obj:
                    thread.keys = thread.keys[:i] + thread.keys[i + 1 :]
                    return thread.held.pop(i)
        elif kind == IRQ_OFF:
            thread.off = thread.off or Hold(0, time, time, place, cpu)
        elif kind == IRQ_ON:
            off, thread.off = thread.off, None
            return off
        else:
            thread.word = obj if kind == WAIT else -1
        return None

    def _switch(self, cpu: int, context: int, kind: int) -> None:
        """A CPU is given to a context, or given up by it."""
        if kind == RUN:
            if context in self.tasks:
                self.tasks[self.tasks.index(context)] = NOBODY
            self.tasks[cpu] = context
        elif kind == IRQ_ENTER:
            self.threads[context] = Thread()  # a handler's context is used again by the next interrupt
            self.handlers[cpu].append(context)
        elif kind == IRQ_EXIT:
            if context in self.handlers[cpu]:
                self.handlers[cpu].remove(context)
        else:
            self.threads[context].slept |= kind == SLEEP
            if self.tasks[cpu] == context:
                self.tasks[cpu] = NOBODY

    def on(self, cpu: int) -> int:
        """The context that has a CPU: the innermost handler, or the thread; NOBODY if it is idle."""
        return [self.tasks[cpu], *self.handlers[cpu]][-1]
