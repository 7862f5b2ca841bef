"""What every lock has: an owner, a class for the validator, statistics, the price of its cache line.

`async with lock:` releases on every way out of the block, also when the block raises; `release` is what the kernel's
unlock function does. A lock is created by its machine (`machine.spinlock(name)`, `machine.mutex(name)`); locks of one name
are one class to the validator and to the statistics, as locks initialised at one place are in Linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .context import Context
from .lockdep import LockClass
from .lockstat import LockStats
from .record import ACQUIRE, RELEASE
from .sites import Spot, Spots

if TYPE_CHECKING:
    from .machine import Machine


class LockLog:
    """What the locks of one class did since the statistics were last folded.

    `holds` and `waits` are lists of nanoseconds, appended to on the hot path; `spots` are the places where locks of the class are
    taken, each with its counts. `fold` turns them into `lockstat.LockStats`.
    """

    __slots__ = ("acq_bounces", "con_bounces", "holds", "name", "spots", "stats", "waits")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holds: list[int] = []
        self.waits: list[int] = []
        self.spots = Spots()
        self.acq_bounces = 0
        self.con_bounces = 0
        self.stats = LockStats()

    def fold(self) -> LockStats:
        """Bring the statistics up to date and return them."""
        stats, holds, waits = self.stats, self.holds, self.waits
        stats.acq_bounces, stats.con_bounces = self.acq_bounces, self.con_bounces
        if holds:
            stats.acquisitions += len(holds)
            stats.hold_total += sum(holds)
            stats.hold_max = max(stats.hold_max, max(holds))
            stats.hold_min = min(stats.hold_min, min(holds))
            holds.clear()
        if waits:
            stats.contentions += len(waits)
            stats.wait_total += sum(waits)
            stats.wait_max = max(stats.wait_max, max(waits))
            stats.wait_min = min(stats.wait_min, min(waits))
            waits.clear()
        return stats

    def read(self) -> LockStats:
        """The statistics with their places, up to date."""
        stats = self.fold()
        spots = self.spots.all()
        stats.points = {spot.site: spot.waits for spot in spots if spot.waits}
        stats.holders = {spot.site: spot.holds for spot in spots if spot.holds}
        return stats


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock at one moment: who has it, who waits."""

    name: str
    owner: str | None
    waiters: tuple[str, ...]

    def __str__(self) -> str:
        if self.owner is None:
            return f"{self.name}: free"
        waiting = f", {len(self.waiters)} waiting: {', '.join(self.waiters)}" if self.waiters else ""
        return f"{self.name}: held by {self.owner}{waiting}"

    __repr__ = __str__


class Lock:
    """The common part. Guards: the fields belong to the lock and change only in its acquire and release steps."""

    __slots__ = (
        "cost_far", "cost_near", "cost_own", "handover", "id", "key", "kind", "last_cpu", "lockdep_class", "log", "machine", "name",
        "owner", "place", "since", "subclass", "vc",
    )  # fmt: skip
    sleeps = False  #: may the caller be put to sleep?

    def __init__(self, machine: Machine, name: str, kind: str, subclass: int = 0) -> None:
        self.machine = machine
        self.name = name
        self.kind = kind
        self.subclass = subclass
        self.id = machine.register(name)
        self.owner: Context | None = None
        self.place: Spot | None = None  # where the owner took it
        self.last_cpu = 0
        self.since = 0
        self.vc: dict[int, int] | None = None
        self.log = machine.log_of(self)
        self.lockdep_class: LockClass | None = None
        self.key = machine.lockdep_key(self)
        costs = machine.costs
        self.handover = costs.handover
        self.cost_own = costs.lock
        self.cost_near = costs.lock + costs.line_near
        self.cost_far = costs.lock + costs.line_far

    @property
    def lock(self) -> Lock:
        """An exclusive lock stands for itself in the list of what a context holds."""
        return self

    # -- prices ----------------------------------------------------------------------------------------------------

    def fetch_cost(self, cpu: int) -> int:
        """Nanoseconds to take the free lock on `cpu`: dearer when the line was last written on another CPU."""
        if cpu == self.last_cpu:
            return self.cost_own
        sockets = self.machine.socket_of
        return self.cost_near if sockets is None or sockets[cpu] == sockets[self.last_cpu] else self.cost_far

    def line_cost(self, heir: Context) -> int:
        """Nanoseconds to pass the contended lock to the heir's CPU: one cache line, unless the costs say otherwise."""
        if self.handover is not None:
            return self.handover
        machine = self.machine
        sockets = machine.socket_of
        near = sockets is None or sockets[heir.cpu_id] == sockets[self.last_cpu]
        return machine.costs.line_near if near else machine.costs.line_far

    # -- bookkeeping -----------------------------------------------------------------------------------------------

    def order_check(self, context: Context, key: int, place: Spot) -> None:
        """Tell the validator, before waiting, that `context` takes this lock."""
        node = context.chain.next[context.irqstate].get(key)
        context.chain = node if node is not None else self.machine.chain_of(context, key, place)

    def taken(self, context: Context, place: Spot) -> None:
        """`context` has the lock now."""
        machine = self.machine
        if context.cpu_id != self.last_cpu:
            self.log.acq_bounces += 1
            self.last_cpu = context.cpu_id
        context.held.append(self)
        self.since, self.place = machine.now, place
        machine.note_at(context, ACQUIRE, self.id, place)
        if machine.order is not None:
            machine.order.acquire(context, self)

    def given_up(self, context: Context) -> None:
        """`context` is giving the lock up."""
        machine = self.machine
        self.log.holds.append(machine.now - self.since)
        machine.note_at(context, RELEASE, self.id, None)
        if machine.order is not None:
            machine.order.release(context, self)

    def owner_sleeps(self) -> None:
        """The owner goes to sleep with the lock held (for those that spin on it meanwhile)."""

    def take_unwaited(self, context: Context, place: Spot) -> None:
        """The bookkeeping of an acquisition that did not wait and cost nothing (trylock)."""
        if not self.sleeps:
            if not context.preempt:
                context.preempt_at, context.preempt_site = self.machine.now, place
            context.preempt += 1
        self.owner = context
        if self.key >= 0:
            self.order_check(context, self.machine.trylock_key(self), place)
        self.taken(context, place)

    def release_out_of_order(self, context: Context, place: Spot | None) -> bool:
        """Release of a lock that is not the innermost one, or not held at all. False: it was not ours; nothing is done."""
        machine = self.machine
        if self.owner is not context:
            machine.bad_unlock(context, self, place)
            return False
        index = len(context.held) - 1 - context.held[::-1].index(self)
        if self.key >= 0:
            machine.chain_without(context, index, place)
        del context.held[index]
        return True

    # -- questions -------------------------------------------------------------------------------------------------

    def held_by_me(self) -> bool:
        """Does the running context own this lock?"""
        return self.owner is self.machine.current

    def assert_held(self) -> None:
        """`lockdep_assert_held`: report it if the running context does not hold this lock."""
        if self.owner is not self.machine.current:
            self.machine.not_held(self)

    def assert_spin_locked(self) -> None:
        """`assert_spin_locked`: report it if nobody holds this lock (whoever holds it will do; that is what Linux checks)."""
        if self.owner is None:
            self.machine.not_held(self, "assert_spin_locked")

    def state(self) -> LockState:
        """Who has it and who waits, now."""
        waiting = (c.name for c in getattr(self, "queue", ()))
        return LockState(self.name, self.owner.name if self.owner else None, tuple(waiting))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.state()}>"
