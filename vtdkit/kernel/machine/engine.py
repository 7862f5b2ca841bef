"""The engine: virtual time, and which coroutine goes on next.

A coroutine under the engine yields one of two things (only primitives do; a driver awaits them): a number of
nanoseconds, "I work this long", or None, "somebody will wake me". The time heap holds `(time, context id,
context)`: ties go to the older context. A context has at most one live entry. While it runs its entry stays
at the root, so the usual step (run, then wait again) is one `heapreplace`. (Packing time and id into one
integer was measured too: 4 % slower on contended locks, where few contexts are in the heap, 4 % faster with a
hundred sleepers; tuples read better.)

`ready` holds contexts that go on at the present instant, first come first served.

An operation that need not wait costs no scheduling: while one coroutine runs alone (`alone`), `skip` advances
the clock on the spot when nothing else is due before.

Rules for primitives: anything scheduled during a step is strictly later than now, or goes through `ready`;
the root of the heap is therefore still the running context when its step ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import repeat
from traceback import walk_tb
from types import coroutine
from typing import Any

from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.record.sites import Spot, driver_here, raised_at, site, standing

from .context import AGENT, Context
from .host import Host
from .patience import PATIENCE, TooLongError

CHUNK = 8192  # steps between two rounds of housekeeping
PAUSES = 4096  # lengths of time for which the thing to await is kept
LOOKS = 1000  # how often a context may look at something at one instant, see `Engine.beat`
FREE_LOOKS = 500_000  # and at words and fields, of which a table has many


@coroutine
def _nothing() -> Generator[int | None, None, None]:
    return
    yield


DONE: Awaitable[None] = _nothing()  #: something to await that takes no time and no step,
list(DONE)  # type: ignore[call-overload]  # because an exhausted generator stays exhausted


class Pause(list[int | None]):
    """Something to await that takes the one time in it (None: until woken): no frame is made for
    it, and none resumed.

    It may be awaited as often as you like. A list because its `__reversed__` is the built-in that makes an
    iterator and may stand in for `__await__`.
    """

    __slots__ = ()
    __await__ = list.__reversed__


WAIT: Any = Pause((None,))  #: something to await that lasts until somebody wakes the context


class Engine:
    """The heap, the clock and the running context. Guards: only the engine's loop and the
    running step change them.
    """

    __slots__ = (
        "alone",
        "boot",
        "contexts",
        "current",
        "heap",
        "limit",
        "machine",
        "now",
        "pauses",
        "ready",
        "spare",
        "stop_at",
        "stopped",
        "taken",
    )

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.now = 0
        self.heap: list[tuple[int, int, Context]] = []
        self.ready: deque[Context] = deque()
        self.contexts: list[Context] = []
        self.boot: Context  # what runs outside all threads: set-up, and questions afterwards
        self.current: Context  # both set before any primitive can look
        self.alone = False  # may primitives try `skip`?
        self.pauses: dict[int, Pause] = {}  # by length; the first `PAUSES` of them
        self.spare: dict[str, list[Context]] = {}  # ended interrupts and timers, by name, to be used again
        self.stop_at: Context | None = None
        self.stopped = False
        self.limit = 10_000_000  # steps in one run
        self.taken = 0  # so far

    # -- contexts ------------------------------------------------------------

    def new_context(self, name: str, kind: str) -> Context:
        """Register a context; it does not run yet."""
        context = Context(len(self.contexts), name, kind, self.machine.check.locking.roots[kind])
        self.contexts.append(context)
        return context

    def reuse(self, name: str, kind: str) -> Context:
        """A context for something short-lived that comes again and again: the record of an ended
        one of that name.
        """
        spare = self.spare.get(name)
        if not spare:
            return self.new_context(name, kind)
        context = spare.pop()
        epoch = context.epoch if context.vc is None else context.vc[context.id]
        if kind == AGENT:
            context.vc = None
        else:
            Context.__init__(context, context.id, name, kind, self.machine.check.locking.roots[kind])
        context.epoch = epoch
        return context

    def retire(self, context: Context) -> None:
        """Hand a short-lived context back."""
        self.spare.setdefault(context.name, []).append(context)

    # -- time ----------------------------------------------------------------

    def call_in(self, ns: int, function: Callable[[], object], name: str = "timer") -> Callable[[], None]:
        """Call a plain function in `ns` nanoseconds; returns a function that cancels the call."""
        ns = length(ns, name)
        known = self.machine.check.order.snapshot(self.current)
        context = self.reuse(name, AGENT)
        self.machine.check.order.begin(context, known)
        entry = (self.now + max(ns, 1), context.id, context)
        live = True

        def step(_: None) -> None:
            nonlocal live
            live = False
            try:
                function()
            finally:
                self.retire(context)

        def cancel() -> None:
            nonlocal live
            if live:
                live = False
                self._withdraw(entry)

        context.send = step
        heappush(self.heap, entry)
        return cancel

    def _withdraw(self, entry: tuple[int, int, Context]) -> None:
        """What was to be called is over, or not wanted any more."""
        if entry in self.heap:
            self.heap.remove(entry)  # so that time does not run on to a moment at which nothing happens
            heapify(self.heap)
        self.retire(entry[2])

    def at(self, context: Context, ns: int) -> None:
        """Let `context` go on in `ns` nanoseconds (0: at this instant, after those already ready)."""
        if ns:
            heappush(self.heap, (self.now + ns, context.id, context))
        else:
            self.ready.append(context)

    def work(self, ns: int) -> Any:
        """Keep this CPU busy for `ns` nanoseconds. Await it at once: for what runs alone the time is
        over when this returns.
        """
        if self.alone and type(ns) is int and ns > 0 and self.skip(ns):
            return DONE
        try:
            return self.pauses[ns]
        except (KeyError, TypeError):
            return self._new_pause(length(ns, "work"))

    def _new_pause(self, ns: int) -> Any:
        """Something to await that takes `ns` nanoseconds of a length not met before."""
        ns = ns or self.beat()
        if not ns:
            return DONE
        pause = Pause((ns,))
        if len(self.pauses) < PAUSES:
            self.pauses[ns] = pause
        return pause

    def skip(self, ns: int) -> bool:
        """Advance the clock by `ns` here and now, if nothing else is due before then.
        False: yield `ns` instead.
        """
        if self.ready:
            return False
        self.taken += 1
        if self.taken > self.limit:  # nobody else gets on, so `loop` would never see it
            raise self.endless(driver_here())
        heap, due, size = self.heap, self.now + ns, len(self.heap)
        if size and heap[0][2] is self.current:
            # its entry stays as it is: older than now, so still before all others, and replaced when
            # the step ends
            if size > 1 and (heap[1][0] <= due or (size > 2 and heap[2][0] <= due)):
                return False
        elif size and heap[0][0] <= due:
            return False
        self.now = due
        return True

    def beat(self, most: int = LOOKS) -> int:
        """The running context has looked at something and goes on at once: 0, or the ns to wait first.

        What does little else is let look `most` times at an instant. Then each look takes a nanosecond: time
        goes on, and whoever is waited for runs.
        """
        context = self.current
        if self.now > context.looked + 1:
            context.looks = 0
        context.looked, context.looks = self.now, context.looks + 1
        return int(context.looks > most and not (self.alone and self.skip(1)))

    # -- the loop ------------------------------------------------------------

    def run(self, context: Context | None, alone: bool = True) -> None:
        """Run until `context` has ended, or until nothing is left to do. `alone`: no other runs beside it."""
        self.stop_at, self.stopped, self.alone, self.taken = context, False, alone, 0
        PATIENCE.begin(self)
        try:
            self.loop()
        finally:
            PATIENCE.end()
            self.current, self.alone = self.boot, False
            self.machine.check.order.settle(self.boot, self.contexts)

    def run_until(self, until: int) -> None:
        """Run until virtual time is `until` (ns). Raises ValueError for a time that has passed."""
        until = length(until, "until=")
        if until < self.now:
            raise ValueError(f"it is {self.now} ns already; {until} ns has passed")
        end = self.reuse("until", AGENT)
        end.send = _end
        entry = (until, -1, end)  # before anything else that is due then
        heappush(self.heap, entry)
        try:
            self.run(end, alone=False)
        finally:
            self._withdraw(entry)

    def loop(self) -> None:
        """Run until nothing is left to do, or until `stopped`. Raises `KernelBug` after `limit` steps."""
        chunk = repeat(None, CHUNK)
        while not self.stopped and (self.ready or self.heap):
            try:
                self._steps(chunk)
            except StopIteration as stop:
                self.current.result = stop.value
                self.stopped = self.current is self.stop_at
                self._ended(self.current)
            except BaseException as error:
                self.current.error = error
                self.machine.check.failed(error)
                self._ended(self.current)
                self._say_who(self.current, error)
                raise
            if not chunk.__length_hint__():
                chunk = repeat(None, CHUNK)
                self.taken += CHUNK
                self.machine.stat.housekeeping()
                if self.taken > self.limit:
                    raise self.endless(standing(self.current.coro))

    def endless(self, place: Spot | None) -> KernelBug:
        """The error for a run that does not end."""
        return KernelBug(
            f"no end after {self.limit:,} steps, at {self.now} ns: {self.current.name} still runs, "
            f"at {site(place)}; does it wait for what never comes? (Machine(step_limit=...) allows more)"
        )

    def _ended(self, context: Context) -> None:
        """The running coroutine has returned or raised."""
        if self.heap and self.heap[0][2] is context:
            heappop(self.heap)
        context.done = True
        self.off(context)

    def off(self, context: Context) -> None:
        """An ended context leaves its CPU."""

    def _steps(self, chunk: repeat[None]) -> None:
        """Steps as long as `chunk` lasts: first whatever is ready now, then the next in time."""
        heap, ready = self.heap, self.ready
        popleft, push, pop, replace = ready.popleft, heappush, heappop, heapreplace
        for _ in chunk:
            if ready:
                self.current = context = popleft()
                send = context.send
                ns = send(None)
                if ns is not None:
                    push(heap, (self.now + ns, context.id, context))
                elif not heap and not ready:
                    return
            else:
                self.now, ident, context = heap[0]
                self.current = context
                send = context.send
                ns = send(None)
                if ns is not None:
                    replace(heap, (self.now + ns, ident, context))
                else:
                    pop(heap)
                    if not heap and not ready:
                        return

    def _say_who(self, context: Context, error: BaseException) -> None:
        """A coroutine has raised: the error goes to whoever called `run` or `simulate`, with a word on who
        raised it, and where.
        """
        place = raised_at(error)
        if isinstance(error, TooLongError):
            raise KernelBug(computes(context.name, place)) from None
        *_, (innermost, _) = walk_tb(error.__traceback__)
        if innermost.f_code is Engine._steps.__code__:  # it could not add the time
            where = site(standing(context.coro))
            raise TypeError(
                f"{context.name} awaits what is no primitive of this machine, at {where}"
            ) from None
        if place is not None:
            error.add_note(f"raised in {context.kind} {context.name} at {self.now} ns, at {site(place)}")


def computes(name: str, place: Spot | None) -> str:
    """What is said of a step that does not end."""
    return f"{name} computes for ever, at {site(place)}: a loop in which no time passes? Let it work(1)"


def length(ns: Any, what: str) -> int:
    """A length of time that somebody wrote. Raises TypeError or ValueError for what is none."""
    whole = ns if isinstance(ns, int) else getattr(ns, "__index__", lambda: None)()
    if whole is None:
        raise TypeError(f"{what} takes a whole number of ns, not {str(ns)[:80]}, at {site(driver_here())}")
    if whole < 0:
        raise ValueError(f"{what} takes 0 ns or more, not {whole}, at {site(driver_here())}")
    return int(whole)


def _end(_: None) -> int | None:
    raise StopIteration
