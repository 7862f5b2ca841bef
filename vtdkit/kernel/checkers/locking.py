"""Between the machine and its lock validator: keys and chains for locks and contexts, and
reports turned into findings.

The validator itself (`vtdkit.kernel.checkers.lockdep`) knows no machine; this is the only place that knows
both. With the checker off, locks have key -1 and no chain is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtdkit.kernel.machine.context import AGENT, HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context
from vtdkit.kernel.record.sites import Site, Spot, here, site

from .findings import driver_here
from .lockdep.chain import Chain
from .lockdep.keys import EXCLUSIVE, READ, RECURSIVE
from .lockdep.report import Report
from .lockdep.validator import Lockdep

if TYPE_CHECKING:
    from .checks import Checks
    from .host import LockLike


class Locking:
    """What the locks of one machine tell, and what comes of it (`machine.check.locking`)."""

    def __init__(self, check: Checks, wanted: bool) -> None:
        self.check = check
        self.lockdep = Lockdep(self._found, raw_nesting=False) if wanted else None
        validator = self.lockdep or Lockdep(lambda _: None)
        self._roots = {kind: validator.root(kind) for kind in (TASK, SOFTIRQ, HARDIRQ)}
        self._roots[AGENT] = self._roots[TASK]

    # -- keys and chains -----------------------------------------------------

    def root_chain(self, kind: str) -> Chain:
        """The chain of a context of this kind that holds nothing."""
        return self._roots[kind]

    def key(self, lock: LockLike) -> int:
        """The validator's key for taking this lock; -1 when the validator is off."""
        if self.lockdep is None:
            return -1
        lock.lockdep_class = self.lockdep.lock_class(lock.name, subclass=lock.subclass, kind=lock.kind)
        return lock.lockdep_class.key(EXCLUSIVE)

    def read_key(self, context: Context, lock: Any) -> int:
        """The key for sharing it: a reader of a rwlock in an interrupt overtakes waiting writers."""
        if self.lockdep is None:
            return -1
        overtakes = lock.recursive_read and (context.kind != TASK or context.irqstate & 2)
        key: int = lock.lockdep_class.key(RECURSIVE if overtakes else READ)
        return key

    def chain_of(self, context: Context, key: int, place: Spot) -> Chain:
        """The slow path of taking a lock: a chain never seen before is checked."""
        assert self.lockdep is not None
        return self.lockdep.acquire(context.chain, context.irqstate, key, place.site, _places(context))

    def chain_without(self, context: Context, index: int, place: Spot | None) -> None:
        """A lock that was not the innermost one is being released; `index` is its place among those held."""
        assert self.lockdep is not None
        keys = [node.key for node, _ in context.chain.upwards()][::-1]
        context.chain = self.lockdep.release(context.chain, keys[index], site(place), _places(context))

    def irqs_on(self, context: Context, place: Spot) -> None:
        """Hard or soft interrupts came back on: whatever is held is now held with them on."""
        if context.chain.lock is not None and self.lockdep is not None and not context.irqstate & HARD_OFF:
            self.lockdep.irqs_on(context.chain, context.irqstate, site(place), _places(context))

    # -- what the locks themselves notice ------------------------------------

    def bad_unlock(self, context: Context, lock: LockLike, place: Spot | None) -> None:
        """A lock was released by a context that does not hold it."""
        owner = next((other.name for other in lock.holders), "nobody")
        text = f"{context.name} releases {lock.name}, which {owner} holds"
        self._tell("bad unlock balance detected!", lock, place or driver_here(), text)

    def not_held(self, lock: LockLike) -> None:
        """A lock that the running context must hold here is not its own."""
        self._tell(
            "WARNING: lockdep_assert_held", lock, here(2), f"{lock.name} must be held here, and is not"
        )

    def held_by_nobody(self, lock: LockLike) -> None:
        """A spin lock that somebody must hold here is free: no checker's business, a BUG_ON. Linux stops
        here; the run goes on.
        """
        text = f"{lock.name} must be held here, and is free; Linux would stop here"
        self.check.report("kernel BUG: assert_spin_locked", lock.name, (here(2),), text=text)

    def init_of_held(self, lock: LockLike, place: Spot) -> None:
        """A lock is initialised while somebody holds it: whoever waits for it is lost."""
        for owner in lock.holders:
            text = f"{lock.name} is initialised while {owner.name} holds it"
            self._tell("WARNING: held lock freed!", lock, place, text, lock.place)

    def lock_freed(self, lock: LockLike, place: Spot) -> None:
        """The object a lock is in is freed while somebody holds the lock."""
        for owner in lock.holders:
            self._tell("held lock freed!", lock, place, f"held by {owner.name}", lock.place)

    def still_held(self, context: Context) -> None:
        """A thread or handler has ended: it should have let go of everything."""
        for hold in context.held[-1:]:
            self._tell("WARNING: still has locks held!", hold, hold.place, f"{context.name} has ended")

    def _tell(self, kind: str, lock: Any, place: Spot | None, text: str, *earlier: Spot | None) -> None:
        if self.lockdep is not None:
            self.check.report(kind, lock.name, (place, *earlier), text=text)

    def _found(self, found: Report) -> None:
        """The validator has found something."""
        own = found.kind.startswith(("WARNING", "BUG", "[ BUG"))
        where = " -> ".join(found.classes) if found.cycle else ", ".join(found.classes)
        places = tuple(place for place in found.sites if isinstance(place, Site))
        held = tuple(str(each) for each in found.held)
        kind = found.kind if own else f"WARNING: {found.kind}"
        self.check.report(kind, where, places, text=found.text, held=held)


def _places(context: Context) -> list[Site]:
    return [hold.place.site for hold in context.held]
