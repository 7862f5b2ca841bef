"""A record's events, one after the other: which thread has which CPU, what it waits for, which locks it has.

The only reading of events that there is. `spans` makes stretches of time of it, the lock timeline its lanes
and episodes. Mirrors nothing in a kernel.

Rules for the caller: events in the order in which the machine recorded them, those without a CPU left out. A
record that was cut out may begin in the middle of a thread: whoever does something is running; a lock that
was taken before the cut is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .record import (
    ACQUIRE,
    END,
    IRQ_ENTER,
    IRQ_EXIT,
    IRQ_OFF,
    IRQ_ON,
    KINDS,
    RELEASE,
    RUN,
    SLEEP,
    SPIN,
    WAIT,
    WAIT_END,
)

NOBODY = -1


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


class Thread:
    """A context: `held` are its locks, outermost first, `keys` their objects; `wanted` the lock it waits for
    (asleep if `slept`), `word` the word in memory it spins on (-1: none), `off` since when its interrupts are
    off."""

    __slots__ = ("held", "keys", "off", "slept", "wanted", "word")

    def __init__(self) -> None:
        self.held: list[Hold] = []
        self.keys: tuple[int, ...] = ()
        self.wanted: Wanted | None = None
        self.slept = False
        self.word = -1
        self.off: Hold | None = None

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
        steps: dict[int, Callable[[int, int, int, int, int], Hold | None]] = {
            RUN: self._run,
            SLEEP: self._sleep,
            END: self._end,
            SPIN: self._spin,
            ACQUIRE: self._acquire,
            RELEASE: self._release,
            IRQ_OFF: self._irqs_off,
            IRQ_ON: self._irqs_on,
            IRQ_ENTER: self._enter,
            IRQ_EXIT: self._exit,
            WAIT: self._wait,
            WAIT_END: self._wait_end,
        }
        self._steps = [steps.get(kind) for kind in range(len(KINDS))]

    def event(self, time: int, cpu: int, context: int, kind: int, obj: int, place: int) -> Hold | None:
        """Take in one event; what it ended: a hold on a lock, or a time with interrupts off."""
        step = self._steps[kind]
        return step(time, cpu, context, obj, place) if step is not None else None

    def on(self, cpu: int) -> int:
        """The context that has a CPU: the innermost handler, or the thread; NOBODY if it is idle."""
        handlers = self.handlers[cpu]
        return handlers[-1] if handlers else self.tasks[cpu]

    # -- events: each takes time, cpu, context, object, place

    def _run(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        if context in self.tasks:
            self.tasks[self.tasks.index(context)] = NOBODY
        self.tasks[cpu] = context

    def _sleep(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        self.threads[context].slept = True
        self._end(time, cpu, context, obj, place)

    def _end(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        if self.tasks[cpu] == context:
            self.tasks[cpu] = NOBODY

    def _spin(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        thread = self._seen(cpu, context)
        thread.wanted, thread.slept = Wanted(obj, time, place, cpu), False

    def _acquire(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        thread = self._seen(cpu, context)
        wanted, thread.wanted = thread.wanted, None
        asked = wanted.asked if wanted is not None and wanted.object == obj else time
        thread.held.append(Hold(obj, asked, time, place, cpu))
        thread.keys += (obj,)

    def _release(self, time: int, cpu: int, context: int, obj: int, place: int) -> Hold | None:
        thread = self._seen(cpu, context)
        for i in range(len(thread.held) - 1, -1, -1):
            if thread.held[i].object == obj:
                hold = thread.held.pop(i)
                thread.keys = thread.keys[:i] + thread.keys[i + 1 :]
                return hold
        return None

    def _irqs_off(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        thread = self._seen(cpu, context)
        if thread.off is None:
            thread.off = Hold(0, time, time, place, cpu)

    def _irqs_on(self, time: int, cpu: int, context: int, obj: int, place: int) -> Hold | None:
        thread = self._seen(cpu, context)
        off, thread.off = thread.off, None
        return off

    def _enter(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        self.threads[context] = Thread()  # a handler's context is used again by the next interrupt
        self.handlers[cpu].append(context)

    def _exit(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        if context in self.handlers[cpu]:
            self.handlers[cpu].remove(context)

    def _wait(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        self._seen(cpu, context).word = obj

    def _wait_end(self, time: int, cpu: int, context: int, obj: int, place: int) -> None:
        self._seen(cpu, context).word = -1

    def _seen(self, cpu: int, context: int) -> Thread:
        """The thread that did something: if nothing told that it runs, it runs."""
        if not self.handlers[cpu] and self.tasks[cpu] != context:
            self._run(0, cpu, context, 0, 0)
        return self.threads[context]
