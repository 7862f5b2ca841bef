"""What every lock has: an owner, a class for the validator, statistics, the price of its cache line.

`async with lock:` releases on every way out of the block, also when the block raises; `release` is what
the kernel's unlock function does. A lock is created by its machine (`machine.spinlock(name)`,
`machine.mutex(name)`); locks of one name are one class to the validator and to the statistics, as locks
initialised at one place are in Linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.record.record import ACQUIRE, RELEASE, SPIN
from vtdkit.kernel.record.sites import Spot, here

if TYPE_CHECKING:
    from .host import Host


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock at one moment: who has it (several, if it is shared), who waits."""

    name: str
    holders: tuple[str, ...]
    waiters: tuple[str, ...]

    @property
    def owner(self) -> str | None:
        """Who has it; None if nobody has."""
        return self.holders[0] if self.holders else None

    def __str__(self) -> str:
        if not self.holders:
            return f"{self.name}: free"
        waiting = f", {len(self.waiters)} waiting: {', '.join(self.waiters)}" if self.waiters else ""
        return f"{self.name}: held by {', '.join(self.holders)}{waiting}"

    __repr__ = __str__


class Lock:
    """The common part. Guards: the fields belong to the lock and change only in its
    acquire and release steps.
    """

    __slots__ = (
        "below",
        "check",
        "cost_far",
        "cost_near",
        "cost_own",
        "emit",
        "flags",
        "handover",
        "id",
        "key",
        "kind",
        "known_to",
        "last_cpu",
        "lockdep_class",
        "log",
        "machine",
        "name",
        "order",
        "owner",
        "place",
        "recording",
        "sched",
        "since",
        "subclass",
        "vc",
    )
    sleeps = False  #: may the caller be put to sleep?

    def __init__(self, machine: Host, name: str, kind: str, subclass: int = 0) -> None:
        self.machine = machine
        self.sched, self.flags, self.check = machine.sched, machine.irq, machine.check
        self.order = machine.check.order
        self.recording, self.emit = machine.stat.recording, machine.stat.emit
        self.name = name
        self.kind = kind
        self.subclass = subclass
        self.id = machine.stat.register(name, kind)
        self.owner: Context | None = None
        self.place: Spot | None = None  # where the owner took it
        self.below: object = None  # what the owner held before it, see `Context.held`
        self.last_cpu = 0
        self.since = 0
        self.vc: dict[int, int] | None = None  # what the holders so far have published
        self.known_to: dict[int, int] | None = None  # a clock that has all that in it
        self.log = machine.stat.log_of(name, subclass, kind)
        self.lockdep_class: LockClass | None = None
        self.key = machine.check.locking.key(self)
        costs = machine.costs
        self.handover = costs.handover
        self.cost_own = costs.lock
        self.cost_near = costs.lock + costs.line_near
        self.cost_far = costs.lock + costs.line_far

    @property
    def lock(self) -> Lock:
        """An exclusive lock stands for itself in the list of what a context holds."""
        return self

    @property
    def holders(self) -> list[Context]:
        """Who has it now."""
        return [] if self.owner is None else [self.owner]

    @property
    def waiters(self) -> list[Context]:
        """Who waits for it now, in order."""
        return list(getattr(self, "queue", ()))

    # -- prices --------------------------------------------------------------

    def fetch_cost(self, cpu: int) -> int:
        """Nanoseconds to take the free lock on `cpu`: dearer when the line was last
        written on another CPU.
        """
        if cpu == self.last_cpu:
            return self.cost_own
        sockets = self.sched.socket_of
        return self.cost_near if sockets is None or sockets[cpu] == sockets[self.last_cpu] else self.cost_far

    def line_cost(self, heir: Context) -> int:
        """Nanoseconds to pass the contended lock to the heir's CPU: one cache line, unless
        the costs say otherwise.
        """
        if self.handover is not None:
            return self.handover
        sockets = self.sched.socket_of
        near = sockets is None or sockets[heir.cpu_id] == sockets[self.last_cpu]
        return self.machine.costs.line_near if near else self.machine.costs.line_far

    # -- bookkeeping ---------------------------------------------------------

    def order_check(self, context: Context, key: int, place: Spot) -> None:
        """Tell the validator, before waiting, that `context` takes this lock."""
        node = context.chain.next[context.irqstate].get(key)
        # a chain of locks seen before needs no check: one look-up is all
        context.chain = node if node is not None else self.check.locking.chain_of(context, key, place)

    def waits(self, context: Context, place: Spot, shared: bool = False) -> tuple[int, Spot | None, bool]:
        """`context` has to wait from now on; returns what `LockLog.waited` wants to know later."""
        context.since, context.spot = self.sched.now, place
        self.emit(context, SPIN, self.id, place, int(shared))
        return self.sched.now, self.place, context.cpu_id != self.last_cpu

    def granted(self, context: Context, place: Spot) -> None:
        """`context` owns the lock from this step on (it may still have to fetch the line)."""
        if context.cpu_id != self.last_cpu:
            self.log.acq_bounces += 1
            self.last_cpu = context.cpu_id
        self.owner, self.place = context, place

    def taken(self, context: Context) -> None:
        """`context` has the lock and goes on."""
        self.below = context.innermost
        context.innermost = self
        self.since = self.sched.now
        if self.recording:
            self.emit(context, ACQUIRE, self.id, self.place)
        if self.vc is not None and self.known_to is not context.vc:
            self.order.acquire(context, self)

    def given_up(self, context: Context) -> None:
        """`context` is giving the lock up."""
        # set when it was granted
        self.place.holds.append(self.sched.now - self.since)  # type: ignore[union-attr]
        if self.recording:
            self.emit(context, RELEASE, self.id)
        if self.order.on:
            self.order.release(context, self)

    def owner_sleeps(self) -> None:
        """The owner loses its CPU with the lock held: it sleeps, or another thread's turn has come."""

    def take_unwaited(self, context: Context, place: Spot) -> None:
        """The bookkeeping of an acquisition that did not wait and cost nothing (trylock)."""
        if not self.sleeps:
            self.flags.preempt_off(context, place)
        if self.lockdep_class is not None:
            self.order_check(context, self.lockdep_class.key(trylock=True), place)
        self.granted(context, place)
        self.taken(context)

    def release_out_of_order(self, context: Context, place: Spot | None) -> bool:
        """Release of a lock that is not the innermost one, or not held at all. False: it was not
        ours; nothing is done.
        """
        if self.owner is not context:
            self.check.locking.bad_unlock(context, self, place)
            return False
        if self.key >= 0:
            self.check.locking.chain_without(context, context.held.index(self), place)
        context.let_go(self)
        return True

    # -- questions -----------------------------------------------------------

    def held_by_me(self) -> bool:
        """Does the running context hold this lock?"""
        return self.sched.current in self.holders

    def assert_held(self) -> None:
        """`lockdep_assert_held`: report it if the running context does not hold this lock (held
        either way will do, where it is shared).
        """
        if self.sched.current not in self.holders:
            self.check.locking.not_held(self)

    def assert_spin_locked(self) -> None:
        """`assert_spin_locked`: a kernel BUG if nobody holds this lock (whoever holds it will do; that
        is what Linux checks).

        It is a BUG_ON there: the thread would go no further. Here it is reported and the run goes on,
        to show what follows.
        """
        if not self.holders:
            self.check.locking.held_by_nobody(self)

    def init(self) -> None:
        """`spin_lock_init` once more on a lock that was in use: reported if somebody holds it or waits;
        then it is new.
        """
        self.check.locking.init_of_held(self, here())
        self.owner = None
        self.vc = None

    def state(self) -> LockState:
        """Who has it and who waits, now."""
        holders, waiters = (tuple(c.name for c in who) for who in (self.holders, self.waiters))
        return LockState(self.name, holders, waiters)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.state()}>"
