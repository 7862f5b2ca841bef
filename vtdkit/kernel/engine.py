"""The engine: virtual time, and which coroutine goes on next.

A coroutine under the engine yields one of two things (only primitives do; a driver awaits them): a number of nanoseconds,
"I work this long", or None, "somebody will wake me". Entries of the time heap are plain integers, `time << 20 | context
id`: one integer comparison orders them, ties go to the older context, and no two are ever equal. A context has at most
one entry. While it runs its entry stays at the root, so the usual step (run, then wait again) is one `heapreplace`.

`ready` holds contexts that go on at the present instant, first come first served.

An operation that need not wait costs no scheduling: `skip` advances the clock on the spot when nothing else is due
before. A machine that runs one coroutine alone hardly touches the heap.

Rules for primitives: anything scheduled during a step is strictly later than now, or goes through `ready`; the root of the
heap is therefore still the running context when its step ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush, heapreplace
from itertools import repeat
from typing import Any

from .context import AGENT, Context

SHIFT = 20
MASK = (1 << SHIFT) - 1
CHUNK = 8192  # steps between two rounds of housekeeping


class Stop(Exception):
    """Raised by an agent's step to end the loop now."""


class Engine:
    """The heap, the clock and the running context. Guards: only the engine's loop and the running step change them."""

    __slots__ = ("contexts", "current", "heap", "mine", "now", "ready", "spare", "stop_at", "stopped")

    def __init__(self) -> None:
        self.now = 0
        self.heap: list[int] = []
        self.ready: deque[Context] = deque()
        self.contexts: list[Context] = []
        self.current: Context = None  # type: ignore[assignment]  # set before any primitive can look
        self.mine = 0  # 1 while the running context is the heap's root
        self.spare: dict[str, list[Context]] = {}  # ended interrupts and timers, by name, to be used again
        self.stop_at: Context | None = None
        self.stopped = False

    def new_context(self, name: str, kind: str) -> Context:
        """Register a context; it does not run yet."""
        ident = len(self.contexts)
        if ident > MASK:
            raise RuntimeError(f"a machine can hold {MASK + 1} contexts (tasks, interrupts, timers); start a new machine")
        context = Context(self, ident, name, kind)  # type: ignore[arg-type]
        self.contexts.append(context)
        return context

    def reuse(self, name: str, kind: str) -> Context:
        """A context for something short-lived that comes again and again: the record of an ended one of that name."""
        spare = self.spare.get(name)
        if not spare:
            return self.new_context(name, kind)
        context = spare.pop()
        epoch = context.epoch if context.vc is None else context.vc[context.id]
        Context.__init__(context, self, context.id, name, kind)  # type: ignore[arg-type]
        context.epoch = epoch
        return context

    def retire(self, context: Context) -> None:
        """Hand a short-lived context back."""
        self.spare.setdefault(context.name, []).append(context)

    def call_in(self, ns: int, function: Callable[[], None], name: str = "timer") -> Callable[[], None]:
        """Call a plain function in `ns` nanoseconds; returns a function that cancels the call."""
        live = [True]
        context = self.reuse(name, AGENT)

        def step(_: None) -> None:
            self.retire(context)
            if live[0]:
                live[0] = False
                function()

        context.send = step
        heappush(self.heap, (self.now + max(ns, 1)) << SHIFT | context.id)
        return lambda: live.__setitem__(0, False)

    def agent(self, name: str, step: Callable[[], int | None]) -> Context:
        """Something that is no CPU's work (hardware, a timer): `step()` runs when its time comes and may return a delay."""
        context = self.new_context(name, AGENT)
        context.send = lambda _: step()
        return context

    def at(self, context: Context, ns: int) -> None:
        """Let `context` go on in `ns` nanoseconds (0: at this instant, after those already ready)."""
        if ns:
            heappush(self.heap, (self.now + ns) << SHIFT | context.id)
        else:
            self.ready.append(context)

    def skip(self, ns: int) -> bool:
        """Advance the clock by `ns` here and now, if nothing else is due before then. False: yield `ns` instead."""
        heap, size = self.heap, len(self.heap)
        if self.ready:
            return False
        horizon = (self.now + ns + 1) << SHIFT
        if self.mine:
            if size > 1 and (heap[1] < horizon or (size > 2 and heap[2] < horizon)):
                return False
            heap[0] += ns << SHIFT
        elif size and heap[0] < horizon:
            return False
        self.now += ns
        return True

    def loop(self) -> None:
        """Run until nothing is left to do, or until `stopped`."""
        while not self.stopped and (self.ready or self.heap):
            try:
                self._steps()
            except StopIteration as stop:
                self._drop_root()
                self.finished(self.current, stop.value)
            except Stop:
                self._drop_root()
                self.stopped = True
            except BaseException as error:
                self._drop_root()
                self.failed(self.current, error)
            self.housekeeping()

    def _drop_root(self) -> None:
        if self.mine:
            heappop(self.heap)
        self.mine = 0

    def _steps(self) -> None:
        """A chunk of steps: first whatever is ready now, then the next in time."""
        heap, ready, contexts = self.heap, self.ready, self.contexts
        popleft, push, pop, replace = ready.popleft, heappush, heappop, heapreplace
        self.mine = 1
        for _ in repeat(None, CHUNK):
            if ready:
                self.mine = 0
                self.current = context = popleft()
                ns = context.send(None)
                if ns is not None:
                    push(heap, (self.now + ns) << SHIFT | context.id)
                elif not heap and not ready:
                    break
                self.mine = 1
            else:
                key = heap[0]
                self.now = key >> SHIFT
                self.current = context = contexts[key & MASK]
                ns = context.send(None)
                if ns is not None:
                    replace(heap, heap[0] + (ns << SHIFT))
                else:
                    pop(heap)
                    if not heap and not ready:
                        break
        self.mine = 0

    def finished(self, context: Context, value: Any) -> None:
        """A coroutine has returned `value`: whoever waits for it goes on."""
        context.done = True
        context.result = value
        self.ready.extend(context.waiters)
        context.waiters.clear()
        self.stopped = context is self.stop_at

    def failed(self, context: Context, error: BaseException) -> None:
        """A coroutine has raised: the error goes to whoever called `run` or `simulate`."""
        context.done = True
        context.error = error
        raise error

    def housekeeping(self) -> None:
        """Now and then: fold statistics, compact records."""


def drop(coro: Coroutine[Any, Any, Any] | None) -> None:
    """Close a coroutine that will not go on, without the "never awaited" warning."""
    if coro is not None:
        coro.close()
