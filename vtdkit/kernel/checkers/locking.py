"""Between the machine and its lock validator: keys and chains for locks and contexts, and
reports turned into findings.

The validator itself (`vtdkit.kernel.checkers.lockdep`) knows no machine; this is the only place that knows
both. With the checker off, locks have key -1 and no chain is kept.
"""

from __future__ import annotations

import sys
from typing import Any

from vtdkit.kernel.locks.base import Lock
from vtdkit.kernel.machine.context import AGENT, HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Site, Spot, driver_here, site

from .lockdep.chain import Chain
from .lockdep.report import Report
from .lockdep.validator import Lockdep


class Locking:
    """What the locks of one machine tell, and what comes of it (`machine.check.locking`)."""

    def __init__(self, machine: Host, wanted: bool) -> None:
        self.machine = machine
        self.validator = Lockdep(self._found, raw_nesting=False)
        self.lockdep = self.validator if wanted else None
        #: the chain of a context that holds nothing, by its kind
        kinds = {TASK: TASK, SOFTIRQ: SOFTIRQ, HARDIRQ: HARDIRQ, AGENT: TASK}
        self.roots = {kind: self.validator.root(like) for kind, like in kinds.items()}

    # -- keys and chains -----------------------------------------------------

    def key(self, lock: Lock) -> int:
        """The validator's key for taking this lock; -1 when the validator is off."""
        if self.lockdep is None:
            return -1
        return self.lockdep.lock_class(lock.name, subclass=lock.subclass, kind=lock.kind).key()

    def chain_of(self, context: Context, key: int, place: Spot) -> Chain:
        """The slow path of taking a lock: a chain never seen before is checked."""
        return self.validator.acquire(context.chain, context.irqstate, key, place.site, _places(context))

    def chain_without(self, context: Context, index: int, place: Spot | None) -> None:
        """A lock that was not the innermost one is being released; `index` is its place among those held."""
        key = context.chain.nodes()[index][0].key
        context.chain = self.validator.release(context.chain, key, site(place), _places(context))

    def irqs_on(self, context: Context, place: Spot) -> None:
        """Hard or soft interrupts came back on: whatever is held is now held with them on."""
        if context.chain.lock is not None and not context.irqstate & HARD_OFF:
            self.validator.irqs_on(context.chain, context.irqstate, site(place), _places(context))

    # -- what the locks themselves notice ------------------------------------

    def bad_unlock(self, context: Context, lock: Lock, place: Spot | None) -> None:
        """A lock was released by a context that does not hold it."""
        if context.cpu_id < 0:
            # a block that Python closes with its thread (one that never went on) gives nothing up
            if sys.exc_info()[0] is not GeneratorExit:
                self.machine.sched.no_cpu(f"the {lock.kind} {lock.name}")
            return
        owner = next((other.name for other in lock.holders), "nobody")
        self.tell(
            "bad unlock balance detected!",
            lock,
            place or driver_here(),
            f"{context.name} releases {lock.name}, which {owner} holds",
        )

    def still_held(self, context: Context) -> None:
        """A thread or handler has ended: it should have let go of everything, and have on what was on."""
        hold = context.innermost
        if hold is not None:  # what it keeps off is off with it
            self.tell("WARNING: still has locks held!", hold, hold.place, f"{context.name} has ended")
        elif context.kind == TASK and context.irqstate & HARD_OFF:
            self._left_off("irqs disabled", "hard interrupts were", context, context.off_since[1])
        elif context.preempt:
            what = "softirqs were" if context.bh_count else "preemption was"
            self._left_off("preempt_count", what, context, context.preempt_site)

    def _left_off(self, how: str, what: str, context: Context, place: Spot | None) -> None:
        """The kernel's own words (make_task_dead() in kernel/exit.c)."""
        self.machine.check.report(
            f"note: exited with {how}",
            context.name,
            (place,),
            text=f"{context.name} has ended; {what} switched off here and not on again",
            about=context,
        )

    def tell(self, kind: str, lock: Any, place: Spot | None, text: str, *earlier: Spot | None) -> None:
        """A rule of locks was broken; nothing is said if the validator is off."""
        if self.lockdep is not None:
            self.machine.check.report(kind, lock.name, (place, *earlier), text=text)

    def _found(self, found: Report) -> None:
        """The validator has found something."""
        own = found.kind.startswith(("WARNING", "BUG", "[ BUG"))
        where = (" -> " if found.cycle else ", ").join(found.classes)
        places = tuple(place for place in found.sites if isinstance(place, Site))
        self.machine.check.report(
            found.kind if own else f"WARNING: {found.kind}",
            where,
            places,
            text=found.text,
            held=tuple(str(each) for each in found.held),
        )


def _places(context: Context) -> list[Site]:
    return [hold.place.site for hold in context.held]
