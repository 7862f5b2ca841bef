"""Between the machine and its lock validator: keys and chains for locks and contexts, and
reports turned into findings.

The validator itself (`vtdkit.kernel.checkers.lockdep`) knows no machine; this is the only place that knows
both. With the checker off, locks have key -1 and no chain is kept.
"""

from __future__ import annotations

from typing import Any

from vtdkit.kernel.locks.base import Lock, LockLog
from vtdkit.kernel.machine.context import AGENT, HARD_OFF, TASK, Context
from vtdkit.kernel.record.sites import Site, Spot, here, site, stack

from .checks import Checks
from .findings import Finding
from .lockdep.chain import Chain
from .lockdep.keys import EXCLUSIVE, READ, RECURSIVE
from .lockdep.report import Report
from .lockdep.validator import Lockdep


class Validation(Checks):
    """The machine's part that talks to lockdep."""

    def setup_validation(self) -> None:
        """Start a validator if one is wanted (before the CPUs exist)."""
        self.lockdep = (
            Lockdep(self._lockdep_report, raw_nesting=False) if "lockdep" in self.checkers else None
        )
        self.lock_logs: dict[tuple[str, int, str, bool], LockLog] = {}
        spare = self.lockdep or Lockdep(lambda _: None)
        self._roots = {
            kind: spare.root(kind if kind != AGENT else TASK) for kind in (TASK, "softirq", "hardirq", AGENT)
        }
        self._rcu_key = -1
        if self.lockdep is not None:
            self._rcu_key = self.lockdep.lock_class("rcu_read_lock", kind="rcu").key(RECURSIVE)

    def root_chain(self, kind: str) -> Chain:
        """The chain of a context of this kind that holds nothing."""
        return self._roots[kind]

    def lockdep_key(self, lock: Lock, read: bool = False) -> int:
        """The validator's key for taking this lock; -1 when the validator is off."""
        if self.lockdep is None:
            return -1
        lock.lockdep_class = self.lockdep.lock_class(lock.name, subclass=lock.subclass, kind=lock.kind)
        return lock.lockdep_class.key(READ if read else EXCLUSIVE)

    def trylock_key(self, lock: Lock) -> int:
        """The key for taking it without waiting."""
        assert lock.lockdep_class is not None
        return lock.lockdep_class.key(trylock=True)

    def read_key(self, context: Context, lock: Any) -> int:
        """The key for sharing it: a reader of a rwlock in an interrupt overtakes waiting writers."""
        if self.lockdep is None:
            return -1
        in_irq = context.kind != TASK or bool(context.irqstate & 2)
        key: int = lock.lockdep_class.key(RECURSIVE if lock.recursive_read and in_irq else READ)
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

    def irqs_switched(self, context: Context, on: bool) -> None:
        if on and context.chain.lock is not None and self.lockdep is not None:
            self.lockdep.irqs_on(context.chain, context.irqstate, site(here(2)), _places(context))
        order, cpu = self.order, context.cpu
        if order is not None and order.on and cpu is not None:
            (order.leave_cpu if on else order.enter_cpu)(context, cpu)

    def entered(self, context: Context) -> None:
        if self.order is not None:
            self.order.enter_cpu(context, context.cpu)

    def left(self, context: Context) -> None:
        self.still_held(context)
        if self.order is not None:
            self.order.leave_cpu(context, context.cpu)

    def still_held(self, context: Context) -> None:
        """A thread or handler has ended: it should have let go of everything."""
        if context.held and "lockdep" in self.checkers:
            hold = context.held[-1]
            self.report(
                "WARNING: still has locks held!", hold.name, (hold.place,), text=f"{context.name} has ended"
            )
        if context.rcu:
            self.rcu_misuse("a read-side section was left open", context)

    def softirqs_on(self, context: Context) -> None:
        if context.chain.lock is not None and self.lockdep is not None and not context.irqstate & HARD_OFF:
            self.lockdep.irqs_on(context.chain, context.irqstate, site(here(2)), _places(context))

    # -- what the locks themselves notice ------------------------------------

    def bad_unlock(self, context: Context, lock: Lock, place: Spot | None) -> None:
        """A lock was released by a context that does not hold it."""
        if "lockdep" in self.checkers:
            owner = lock.owner.name if lock.owner else "nobody"
            text = f"{context.name} releases {lock.name}, which {owner} holds"
            self.report("bad unlock balance detected!", lock.name, (place or here(3),), text=text)

    def not_held(self, lock: Lock) -> None:
        """A lock that the running context must hold here is not its own."""
        if "lockdep" in self.checkers:
            text = f"{lock.name} must be held here, and is not"
            self.report("WARNING: lockdep_assert_held", lock.name, (here(2),), text=text)

    def held_by_nobody(self, lock: Lock) -> None:
        """A spin lock that somebody must hold here is free: no checker's business, a BUG_ON. Linux stops
        here; the run goes on.
        """
        text = f"{lock.name} must be held here, and is free; Linux would stop here"
        self.report("kernel BUG: assert_spin_locked", lock.name, (here(2),), text=text)

    def init_of_held(self, lock: Lock, place: Spot) -> None:
        """A lock is initialised while somebody holds it: whoever waits for it is lost."""
        if lock.owner is not None and "lockdep" in self.checkers:
            text = f"{lock.name} is initialised while {lock.owner.name} holds it"
            self.report("WARNING: held lock freed!", lock.name, (place, lock.place), text=text)

    def lock_freed(self, lock: Lock, place: Spot) -> None:
        """The object a lock is in is freed while somebody holds the lock."""
        if lock.owner is not None and "lockdep" in self.checkers:
            self.report("held lock freed!", lock.name, (place, lock.place), text=f"held by {lock.owner.name}")

    def _lockdep_report(self, found: Report) -> None:
        current = getattr(self, "current", None)
        kind = (
            f"WARNING: {found.kind}" if not found.kind.startswith(("WARNING", "BUG", "[ BUG")) else found.kind
        )
        finding = Finding(
            kind,
            " -> ".join(found.classes) if found.cycle else ", ".join(found.classes),
            tuple(place for place in found.sites if isinstance(place, Site)),
            (self.describe(current),) if current is not None else (found.context,),
            tuple(str(held) for held in found.held),
            stack(caller_frame()),
            found.text,
            self.now,
            self.replay_hint,
        )
        if self.findings.add(finding):
            self.note_found(len(self.findings) - 1)


def _places(context: Context) -> list[Site]:
    return [hold.place.site for hold in context.held]


def caller_frame() -> Any:
    """The frame of whoever called the caller."""
    import sys

    return sys._getframe(2)
