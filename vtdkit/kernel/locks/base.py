"""What every lock has: an owner, a class for the validator, statistics, the price of its cache line.

`async with lock:` releases on every way out of the block, also when the block raises; `release` is what
the kernel's unlock function does. A lock is created by its machine (`machine.spinlock(name)`,
`machine.mutex(name)`); locks of one name are one class to the validator and to the statistics, as locks
initialised at one place are in Linux.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.record.lockstat import LockStat, LockStats, Side
from vtdkit.kernel.record.record import ACQUIRE, RELEASE, SPIN
from vtdkit.kernel.record.sites import Spot, Spots, here

if TYPE_CHECKING:
    from vtdkit.kernel.machine.machine import Machine


MANY = 1000  # from so many on it pays to import numpy


class LockLog:
    """What the locks of one class and side did: statistics, and the places where they are taken.

    On the hot path nanoseconds are appended to the lists of a place; `fold` turns them into `stats`, and
    the engine has it called every few thousand steps.
    """

    __slots__ = ("acq_bounces", "con_bounces", "spots", "stats")

    def __init__(self) -> None:
        self.spots = Spots()
        self.stats = LockStats()
        self.acq_bounces = 0
        self.con_bounces = 0

    def fold(self) -> LockStats:
        """Bring the statistics up to date and return them."""
        stats = self.stats
        stats.acq_bounces, stats.con_bounces = self.acq_bounces, self.con_bounces
        for spot in self.spots.all():
            if spot.holds:
                count, total, least, most = summary(spot.holds)
                stats.acquisitions += count
                stats.hold_total += total
                stats.hold_min, stats.hold_max = min(stats.hold_min, least), max(stats.hold_max, most)
                spot.holds.clear()
            if spot.waits:
                count, total, least, most = summary(spot.waits)
                spot.waited += count
                stats.contentions += count
                stats.wait_total += total
                stats.wait_min, stats.wait_max = min(stats.wait_min, least), max(stats.wait_max, most)
                spot.waits.clear()
        return stats

    def waited(self, ns: int, place: Spot, holder: Spot | None, bounced: bool) -> None:
        """Somebody waited `ns` at `place` for a lock taken at `holder`. No wait at all is no contention,
        as in the kernel.
        """
        if ns:
            place.waits.append(ns)
            self.con_bounces += bounced
            if holder is not None:
                holder.blocked += 1


def summary(times: list[int]) -> tuple[int, int, int, int]:
    """How many, their sum, the least and the greatest. Long lists with numpy, if there is one: that
    takes half the time.
    """
    if len(times) >= MANY:
        try:
            import numpy as np
        except ImportError:
            pass
        else:
            column = np.fromiter(times, np.int64, len(times))
            return len(times), int(column.sum()), int(column.min()), int(column.max())
    return len(times), sum(times), min(times), max(times)


def class_stat(name: str, subclass: int, write: LockLog, read: LockLog | None) -> LockStat:
    """The record of one lock class: both its sides, and its places."""
    points: dict[Hashable, int] = {}
    holders: dict[Hashable, int] = {}
    sides = [log.fold().record() for log in (write, read) if log is not None]
    for log in (write, read):
        for spot in log.spots.all() if log is not None else ():
            for places, count in ((points, spot.waited), (holders, spot.blocked)):
                places[spot.site] = places.get(spot.site, 0) + count
    shared = sides[1] if read is not None else Side()
    found = [tuple((site, count) for site, count in places.items() if count) for places in (points, holders)]
    return LockStat(name, subclass, sides[0], shared, *found)


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
    """The common part. Guards: the fields belong to the lock and change only in its
    acquire and release steps.
    """

    __slots__ = (
        "below",
        "cost_far",
        "cost_near",
        "cost_own",
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
        "owner",
        "place",
        "since",
        "subclass",
        "vc",
    )
    sleeps = False  #: may the caller be put to sleep?

    def __init__(self, machine: Machine, name: str, kind: str, subclass: int = 0) -> None:
        self.machine = machine
        self.name = name
        self.kind = kind
        self.subclass = subclass
        self.id = machine.register(name, kind)
        self.owner: Context | None = None
        self.place: Spot | None = None  # where the owner took it
        self.below: object = None  # what the owner held before it, see `Context.held`
        self.last_cpu = 0
        self.since = 0
        self.vc: dict[int, int] | None = None  # what the holders so far have published
        self.known_to: dict[int, int] | None = None  # a clock that has all that in it
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

    # -- prices --------------------------------------------------------------

    def fetch_cost(self, cpu: int) -> int:
        """Nanoseconds to take the free lock on `cpu`: dearer when the line was last
        written on another CPU.
        """
        if cpu == self.last_cpu:
            return self.cost_own
        sockets = self.machine.socket_of
        return self.cost_near if sockets is None or sockets[cpu] == sockets[self.last_cpu] else self.cost_far

    def line_cost(self, heir: Context) -> int:
        """Nanoseconds to pass the contended lock to the heir's CPU: one cache line, unless
        the costs say otherwise.
        """
        if self.handover is not None:
            return self.handover
        machine = self.machine
        sockets = machine.socket_of
        near = sockets is None or sockets[heir.cpu_id] == sockets[self.last_cpu]
        return machine.costs.line_near if near else machine.costs.line_far

    # -- bookkeeping ---------------------------------------------------------

    def order_check(self, context: Context, key: int, place: Spot) -> None:
        """Tell the validator, before waiting, that `context` takes this lock."""
        node = context.chain.next[context.irqstate].get(key)
        context.chain = node if node is not None else self.machine.chain_of(context, key, place)

    def waits(self, context: Context, place: Spot, shared: bool = False) -> tuple[int, Spot | None, bool]:
        """`context` has to wait from now on; returns what `waited` wants to know later."""
        machine = self.machine
        context.since, context.spot = machine.now, place
        machine.note_at(context, SPIN, self.id, place, int(shared))
        return machine.now, self.place, context.cpu_id != self.last_cpu

    def granted(self, context: Context, place: Spot) -> None:
        """`context` owns the lock from this step on (it may still have to fetch the line)."""
        if context.cpu_id != self.last_cpu:
            self.log.acq_bounces += 1
            self.last_cpu = context.cpu_id
        self.owner, self.place = context, place

    def taken(self, context: Context) -> None:
        """`context` has the lock and goes on."""
        machine = self.machine
        self.below = context.innermost
        context.innermost = self
        self.since = now = machine.now
        if machine.rows is not None:
            machine.rows.extend((now, context.cpu_id, context.id, ACQUIRE, self.id, self.place, 0))
        if self.vc is not None and self.known_to is not context.vc:
            machine.order.acquire(context, self)

    def given_up(self, context: Context) -> None:
        """`context` is giving the lock up."""
        machine = self.machine
        # set when it was granted
        self.place.holds.append(machine.now - self.since)  # type: ignore[union-attr]
        if machine.rows is not None:
            machine.rows.extend((machine.now, context.cpu_id, context.id, RELEASE, self.id, None, 0))
        if machine.order is not None:
            machine.order.release(context, self)

    def owner_sleeps(self) -> None:
        """The owner loses its CPU with the lock held: it sleeps, or another thread's turn has come."""

    def take_unwaited(self, context: Context, place: Spot) -> None:
        """The bookkeeping of an acquisition that did not wait and cost nothing (trylock)."""
        if not self.sleeps:
            self.machine.preempt_off(context, place)
        if self.key >= 0:
            self.order_check(context, self.machine.trylock_key(self), place)
        self.granted(context, place)
        self.taken(context)

    def release_out_of_order(self, context: Context, place: Spot | None) -> bool:
        """Release of a lock that is not the innermost one, or not held at all. False: it was not
        ours; nothing is done.
        """
        if self.owner is not context:
            self.machine.bad_unlock(context, self, place)
            return False
        if self.key >= 0:
            self.machine.chain_without(context, context.held.index(self), place)
        context.let_go(self)
        return True

    # -- questions -----------------------------------------------------------

    def held_by_me(self) -> bool:
        """Does the running context own this lock?"""
        return self.owner is self.machine.current

    def assert_held(self) -> None:
        """`lockdep_assert_held`: report it if the running context does not hold this lock."""
        if self.owner is not self.machine.current:
            self.machine.not_held(self)

    def assert_spin_locked(self) -> None:
        """`assert_spin_locked`: a kernel BUG if nobody holds this lock (whoever holds it will do; that
        is what Linux checks).

        It is a BUG_ON there: the thread would go no further. Here it is reported and the run goes on,
        to show what follows.
        """
        if self.owner is None:
            self.machine.held_by_nobody(self)

    def init(self) -> None:
        """`spin_lock_init` once more on a lock that was in use: reported if somebody holds it or waits;
        then it is new.
        """
        self.machine.init_of_held(self, here())
        self.owner = None
        self.vc = None

    def state(self) -> LockState:
        """Who has it and who waits, now."""
        waiting = (c.name for c in getattr(self, "queue", ()))
        return LockState(self.name, self.owner.name if self.owner else None, tuple(waiting))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.state()}>"
