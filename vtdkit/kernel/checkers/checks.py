"""What watches a run (`machine.check`): whom a primitive tells when something is wrong, and how
that becomes a `Finding`.

Each checker can be switched off; what it would have found then passes silently, as on a kernel built
without it: `lockdep` (told by `locking`), `sleep` (sleeping function called from invalid context), `kasan`
(use after free, out of bounds, double free), `races` (KCSAN, by happens-before), `rcu`, `lists` (DEBUG_LIST),
`leaks`.
"""

from __future__ import annotations

from collections import Counter
from sys import _getframe
from typing import Any
from weakref import WeakSet

from vtdkit.kernel.locks.base import Lock
from vtdkit.kernel.locks.sync import RefCount
from vtdkit.kernel.machine.context import AGENT, HARD_OFF, TASK, Context
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.memory.lists import ListHead
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.record import FOUND
from vtdkit.kernel.record.sites import Site, Spot, driver_here, here, raised_at, site, stack

from .findings import Finding, Findings
from .leaks import Leak, Thing, held_now
from .locking import Locking
from .races import Access, HappensBefore

#: the checkers a machine can have; all are on unless the constructor says otherwise
CHECKERS = ("lockdep", "sleep", "kasan", "races", "rcu", "lists", "leaks")


class Checks:
    """The checkers of one machine. Raises ValueError for one that there is not."""

    def __init__(self, machine: Host, wanted: frozenset[str]) -> None:
        if unknown := sorted(wanted - set(CHECKERS)):
            raise ValueError(f"no checker {', '.join(unknown)}; there are {', '.join(CHECKERS)}")
        self.machine = machine
        self.wanted = wanted
        self.findings = Findings()
        self.replay = ""  # how to get a finding again
        self.objects: dict[int, KObject] = {}
        self.made = 0
        self.watching = False  # is there any object whose accesses are followed?
        self.bugs_end = False  # does a failed BUG_ON end its thread, as in Linux, or is it reported only?
        self.order = HappensBefore(machine)
        self.locking = Locking(machine, "lockdep" in wanted)
        self.lockdep = self.locking.lockdep  # the lock validator, if it is on
        # what nobody keeps has left nothing behind
        self.counts: WeakSet[RefCount] = WeakSet()
        self.lists: WeakSet[ListHead] = WeakSet()
        self.known: Counter[Thing] = Counter()  # what is no leak, see `baseline`

    # -- what the machine tells in passing -------------------

    def irqs_switched(self, context: Context, on: bool, place: Spot) -> None:
        """Hard interrupts went off or on: a stretch with them off is ordered with the handlers of its CPU."""
        if on:
            self.locking.irqs_on(context, place)
        if context.cpu is not None:
            (self.order.release if on else self.order.acquire)(context, context.cpu)

    def softirqs_on(self, context: Context, place: Spot) -> None:
        """Softirqs came back on."""
        self.locking.irqs_on(context, place)

    def entered(self, context: Context) -> None:
        """An interrupt handler starts."""
        self.order.acquire(context, context.cpu)

    def left(self, context: Context) -> None:
        """An interrupt handler has ended."""
        self.ended(context)
        self.order.release(context, context.cpu)

    def ended(self, context: Context) -> None:
        """A thread or handler has ended."""
        self.locking.still_held(context)
        if context.rcu:
            self.rcu_misuse("a read-side section was left open")

    def failed(self, error: BaseException) -> bool:
        """A thread has failed: if it asked a driver object for a field that there is none of, that
        is a finding too. Is it?
        """
        if not isinstance(error, AttributeError) or not isinstance(error.obj, KObject):
            return False
        self._says(
            "kasan",
            "BUG: KASAN: slab-out-of-bounds",
            error.obj.label,
            (raised_at(error), error.obj.allocated),
            f"{type(error.obj).__name__} has no shared field {error.name!r}, {_life(error.obj)}",
        )
        return "kasan" in self.wanted

    # -- making findings -----------------------------------------------------

    def report(
        self,
        kind: str,
        where: str,
        places: tuple[Spot | Site | None, ...],
        *,
        contexts: tuple[str, ...] = (),
        text: str = "",
        about: Context | None = None,
        held: tuple[str, ...] | None = None,
    ) -> None:
        """Add a finding about the running context (or the one it is `about`)."""
        sched = self.machine.sched
        current = about or sched.current
        own = tuple(f"{hold.name} taken at {site(hold.place)}" for hold in current.held)
        running = self.describe(current)
        finding = Finding(
            kind,
            where,
            tuple(site(place) for place in places if place is not None),
            (running, *(other for other in contexts if other != running)),
            own if held is None else held,
            stack(_getframe(1)),
            text,
            sched.now,
            self.replay,
        )
        if self.findings.add(finding):
            self.machine.stat.note(sched.current, FOUND, arg=len(self.findings) - 1)

    def describe(self, context: Context) -> str:
        """A context for a report: what it is, where it runs, what is off."""
        off = ""
        if context.irqstate and context.kind == TASK:
            off = ", irqs off" if context.irqstate & 1 else ", softirqs off"
        return (
            f"{context.kind} {context.name}{f' on CPU{context.cpu_id}' if context.cpu_id >= 0 else ''}{off}"
        )

    def _says(
        self, checker: str, kind: str, where: str, places: tuple[Spot | Site | None, ...], text: str = ""
    ) -> None:
        """A finding of a checker, if that is on."""
        if checker in self.wanted:
            self.report(kind, where, places, text=text)

    # -- sleeping ------------------------------------------------------------

    def might_sleep(self, place: Spot | None = None) -> None:
        """`might_sleep`: report it if the running context must not sleep here."""
        context = self.machine.sched.current
        if not context.preempt and not context.irqstate and context.kind == TASK and not context.rcu:
            return
        if context.kind != AGENT:
            self._says(
                "sleep",
                "BUG: sleeping function called from invalid context",
                _names(context),
                (place or here(), *(hold.place for hold in reversed(context.held))),
                # the counters that Linux prints
                f"in_atomic(): {int(context.preempt > 0 or context.kind != TASK)}, irqs_disabled(): "
                f"{context.irqstate & HARD_OFF}, preempt_count: {context.preempt}, "
                f"context: {context.kind}, RCU nest depth: {context.rcu}",
            )

    # -- memory --------------------------------------------------------------

    def use_after_free(self, page: Page, index: int, what: str) -> None:
        """A freed page was read or written."""
        self._says(
            "kasan",
            "BUG: KASAN: use-after-free",
            page.name,
            (driver_here(), page.freed),
            f"{what} of word {index} of page {page.pfn:#x}, {_life(page)}",
        )

    def out_of_bounds(self, page: Page, index: int, what: str) -> None:
        """A word before or after a page was read or written through it."""
        self._says(
            "kasan",
            "BUG: KASAN: out-of-bounds",
            page.name,
            (driver_here(), page.allocated),
            f"{what} of word {index} of page {page.pfn:#x}, which has words 0 to 511, {_life(page)}",
        )

    def double_free(self, what: Any, place: Spot | None) -> None:
        """A page or object was freed that had been freed before."""
        self._says(
            "kasan",
            "BUG: KASAN: double-free",
            getattr(what, "label", None) or what.name,
            (place, what.freed),
        )

    def new_object(self, obj: KObject) -> int:
        """A watched object exists from now on: accesses are followed."""
        self.made += 1
        self.watching = bool(self.wanted & {"kasan", "races"}) or self.machine.steps.exploring
        self.order.on = "races" in self.wanted
        return self.made

    def object_freed(self, obj: KObject, place: Spot) -> None:
        """A driver object is given back: touching it afterwards is a use after free."""
        if obj.freed is not None:
            self.double_free(obj, place)
            return
        for value in vars(obj).values():
            if isinstance(value, Lock):
                for owner in value.holders:
                    text = f"held by {owner.name}"
                    self.locking.tell("held lock freed!", value, place, text, value.place)
        obj.freed = place
        for cell in obj.cells.values():
            cell.forget()
        self.objects.pop(obj.serial, None)

    def touch_field(self, obj: KObject, field: str, write: bool, place: Spot, marked: bool) -> None:
        """A driver object's shared field is accessed."""
        safe = self.machine.steps.accessed(obj, field, write)
        if obj.freed is not None:
            self._says(
                "kasan",
                "BUG: KASAN: slab-use-after-free",
                obj.label,
                (place, obj.freed),
                f"{'write' if write else 'read'} of field {field}, {_life(obj)}",
            )
        if self.order.on and not safe:
            self.order.accessed(obj, field, write, place, marked)

    def data_race(self, obj: KObject, field: str, now: tuple[str, Spot], earlier: tuple[str, Access]) -> None:
        """Two accesses of a field are not ordered and at least one is a plain write (KCSAN)."""
        what, access = earlier
        self.report(
            "BUG: KCSAN: data-race",
            obj.name_of_field(field),
            (now[1], access.place),
            contexts=(access.name,),
            text=f"{now[0]} here, {what} by {access.name}, with nothing that orders them",
        )

    # -- lists, references, RCU ----------------------------------------------

    def list_corruption(self, lst: Any, entry: Any, kind: str, why: str, place: Spot) -> None:
        """A list operation found the list not as it should be (DEBUG_LIST)."""
        self._says("lists", kind, lst.label, (place,), f"{entry!r}: {why}")

    def rcu_misuse(self, what: str) -> None:
        """A rule of RCU was broken."""
        self._says("rcu", "WARNING: suspicious RCU usage", what, (driver_here(),))

    # -- leaks ---------------------------------------------------------------

    def baseline(self) -> None:
        """What exists now is no leak later."""
        for count in self.counts:
            count.initial = count.value
        self.known = held_now(self.machine)

    def leaks(self) -> tuple[Leak, ...]:
        """What exists now and did not at the last baseline (without one: at the start): pages, objects,
        references, list entries, timers, callbacks; reported too.
        """
        found = tuple(Leak(*what, n) for what, n in (held_now(self.machine) - self.known).items())
        for leak in found:
            self._says("leaks", f"kmemleak: unreferenced {leak.kind}", leak.name, (leak.site,), str(leak))
        return found


def _life(thing: Page | KObject) -> str:
    allocated = f"allocated at {site(thing.allocated)}"
    return allocated if thing.freed is None else f"{allocated}, freed at {site(thing.freed)}"


def _names(context: Context) -> str:
    return ", ".join(hold.name for hold in context.held) or f"{context.kind} context"
