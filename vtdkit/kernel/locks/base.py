"""What every lock has: an owner, a class for the validator, statistics, the price of its cache line.

`async with lock:` releases on every way out of the block, also when the block raises; `release` is what
the kernel's unlock function does. A lock is created by its machine (`machine.spinlock(name)`,
`machine.mutex(name)`); locks of one name are one class to the validator and to the statistics, as locks
initialised at one place are in Linux. A lock can only be taken by what runs on a CPU of its own machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from sys import _getframe
from types import coroutine
from typing import Any, NoReturn

from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.checkers.lockdep.keys import TRYLOCK
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.engine import DONE
from vtdkit.kernel.machine.host import Host, Wait
from vtdkit.kernel.record.record import ACQUIRE, SPIN
from vtdkit.kernel.record.sites import Spot, here


class Lock:
    """The common part. Guards: the fields belong to the lock and change only in its
    acquire and release steps.
    """

    __slots__ = (
        "below",
        "check",
        "cost_own",
        "emit",
        "flags",
        "handover",
        "id",
        "key",
        "kind",
        "known_to",
        "last_cpu",
        "log",
        "machine",
        "name",
        "note",
        "order",
        "owner",
        "place",
        "queue",
        "recording",
        "sched",
        "since",
        "subclass",
        "vc",
    )
    sleeps = False  #: may the caller be put to sleep?
    queue: Any  # who waits, in order

    def __init__(self, machine: Host, name: str, kind: str, subclass: int = 0) -> None:
        self.machine = machine
        self.sched, self.flags, self.check = machine.sched, machine.irq, machine.check
        self.order = machine.check.order
        self.recording, self.emit, self.note = machine.stat.recording, machine.stat.emit, machine.stat.note
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
        # how the validator knows it taken alone; -1, whatever else is put into it, where there is none
        self.key = machine.check.locking.key(self)
        self.handover, self.cost_own = machine.costs.handover, machine.costs.lock

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
        return list(self.queue)

    # -- prices --------------------------------------------------------------

    def fetch_cost(self, cpu: int) -> int:
        """Nanoseconds to take the free lock on `cpu`: dearer when the line was last
        written on another CPU.
        """
        return self.cost_own + (cpu != self.last_cpu and self.sched.line_between(cpu, 1 << self.last_cpu))

    def line_cost(self, heir: Context) -> int:
        """Nanoseconds to pass the contended lock to the heir's CPU: one cache line, unless
        the costs say otherwise.
        """
        if self.handover is not None:
            return self.handover
        return self.sched.line_between(heir.cpu_id, 1 << self.last_cpu)

    # -- bookkeeping ---------------------------------------------------------

    def no_cpu(self) -> NoReturn:
        """Something that is on no CPU of this machine wants it."""
        self.sched.no_cpu(f"the {self.kind} {self.name}")

    def comes(self, context: Context, key: int, place: Spot) -> None:
        """`context` is about to take it: the validator is told before it waits."""
        if context.cpu_id < 0:
            self.no_cpu()
        if key >= 0:
            # a chain of locks seen before needs no check: one look-up is all
            node = context.chain.next[context.irqstate].get(key)
            context.chain = node if node is not None else self.check.locking.chain_of(context, key, place)

    def waits(self, context: Context, place: Spot, shared: bool = False) -> tuple[int, Spot | None, bool]:
        """`context` has to wait from now on; returns what `LockLog.waited` wants to know later."""
        context.since, context.spot = self.sched.now, place
        self.note(context, SPIN, self.id, place, int(shared))
        return self.sched.now, self.place, context.cpu_id != self.last_cpu

    def let_go(self, context: Context, hold: Any, place: Spot | None) -> None:
        """Take a hold of this lock out of what `context` has, wherever it is in it."""
        if self.key >= 0:
            self.check.locking.chain_without(context, context.held.index(hold), place)
        context.let_go(hold)

    def owner_sleeps(self) -> None:
        """The owner loses its CPU with the lock held: it sleeps, or another thread's turn has come."""

    # -- questions -----------------------------------------------------------

    def assert_held(self) -> None:
        """`lockdep_assert_held`: report it if the running context does not hold this lock (held
        either way will do, where it is shared).
        """
        if self.sched.current not in self.holders:
            text = f"{self.name} must be held here, and is not"
            self.check.locking.tell("WARNING: lockdep_assert_held", self, here(), text)

    def assert_spin_locked(self) -> None:
        """`assert_spin_locked`: a kernel BUG if nobody holds this lock (whoever holds it will do; that
        is what Linux checks).

        It is a BUG_ON there: the thread goes no further. Here it is reported, and the run goes on to show
        what follows; with `machine.check.bugs_end` the thread ends with KernelBug, as in Linux.
        """
        if not self.holders:
            text = f"{self.name} must be held here, and is free; Linux would stop here"
            self.check.report("kernel BUG: assert_spin_locked", self.name, (here(),), text=text)
            if self.check.bugs_end:
                raise KernelBug(text)

    def __repr__(self) -> str:
        who, waiting = (", ".join(c.name for c in them) for them in (self.holders, self.waiters))
        return (
            f"<{self.kind} {self.name}: {f'held by {who}' if who else 'free'}"
            f"{f', {len(self.waiters)} waiting: {waiting}' if waiting else ''}>"
        )


class OwnedLock(Lock):
    """A lock that one context has at a time."""

    __slots__ = ()

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
            self.note(context, ACQUIRE, self.id, self.place)
        if self.vc is not None and self.known_to is not context.vc:
            self.order.acquire(context, self)

    def release_out_of_order(self, context: Context, place: Spot | None) -> bool:
        """Release of a lock that is not the innermost one, or not held at all. False: it was not
        ours; nothing is done.
        """
        if self.owner is not context or self not in context.held:  # a record may be a later thread's by now
            self.check.locking.bad_unlock(context, self, place)
            return False
        self.let_go(context, self, place)
        return True

    @coroutine
    def trylock(self) -> Generator[int | None, None, bool]:
        """`spin_trylock`, `mutex_trylock`: take it if it is free, never wait. True if taken."""
        place = self.log.spots.at(_getframe(1))
        if self.owner is not None:
            if looked := self.sched.beat():
                yield looked
            return False
        self.take_unwaited(self.sched.current, place)
        return True

    def take_unwaited(self, context: Context, place: Spot) -> None:
        """The bookkeeping of an acquisition that did not wait and cost nothing (trylock)."""
        # it cannot wait, so it closes no circle: the validator is told that it was a try
        self.comes(context, self.key | TRYLOCK, place)
        if not self.sleeps:
            context.preempt += 1
        self.granted(context, place)
        self.taken(context)


@dataclass(slots=True, eq=False)
class Block:
    """A lock for the length of an `async with`, used once, with something switched off around it: hard
    interrupts ("irqsave": then back as they were; "irq": then on, whatever they were) or softirqs ("bh").

    First off, then the lock; first the lock, then on: an interrupt that came in between could wait for the
    lock on the very CPU that holds it.
    """

    lock: Any
    off: str
    saved: int = 0

    def __aenter__(self) -> Awaitable[None]:
        lock = self.lock
        place = lock.log.spots.at(_getframe(1))
        if self.off == "bh":
            lock.flags.local_bh_disable(place)
        else:
            self.saved = lock.flags.local_irq_save(place)
        return lock.take(place)  # type: ignore[no-any-return]

    def __aexit__(self, kind: object, *_: object) -> Awaitable[None]:
        if kind is GeneratorExit:  # nobody leaves the block: its thread is put away
            return DONE
        place, flags = here(), self.lock.flags
        rest = self.lock.drop(place)
        if self.off == "bh":
            on = flags.local_bh_enable(place)
        else:
            on = flags.local_irq_restore(self.saved if self.off == "irqsave" else 0, place)
        return on if rest is DONE else _both(rest, on)


@coroutine
def _both(first: Any, then: Any) -> Wait:
    yield from first
    yield from then


class Blocks:
    """What can be held for the length of a block with something switched off meanwhile."""

    __slots__ = ()

    def irqsave(self) -> Block:
        """`spin_lock_irqsave` … `spin_unlock_irqrestore` as a block: interrupts off, then
        back as they were.
        """
        return Block(self, "irqsave")

    def irq(self) -> Block:
        """`spin_lock_irq` … `spin_unlock_irq` as a block: interrupts off, then on whatever they were."""
        return Block(self, "irq")

    def bh(self) -> Block:
        """`spin_lock_bh` … `spin_unlock_bh` as a block: softirqs off."""
        return Block(self, "bh")
