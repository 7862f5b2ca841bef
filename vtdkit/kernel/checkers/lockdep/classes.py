"""Lock classes: what the validator reasons about.

All locks that play the same part (every `iommu->lock`, however many units there are) are one class. A lock
taken nested inside another of its class gets a subclass of its own. Which waiting a lock brings is a property
of its class too: `KINDS` lists the kernel's primitives with their wait types (include/linux/lockdep_types.h,
spinlock_types.h, mutex.h, rwsem.h, local_lock_internal.h; RCU's maps in kernel/rcu/update.c).
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from . import usage
from .keys import CLASS_SHIFT, EXCLUSIVE, TRYLOCK

if TYPE_CHECKING:
    from .graph import Edge


class WaitType(IntEnum):
    """How a waiter for the lock may wait, from the strictest to the laxest.

    An inner lock must not be laxer than what surrounds it.
    """

    FREE = 1  # never waits: the outside of an RCU read-side section
    SPIN = 2  # spins always: raw_spinlock_t
    CONFIG = 3  # spins, but sleeps on PREEMPT_RT: spinlock_t, rwlock_t, local_lock_t
    SLEEP = 4  # sleeps: mutex, rwsem, rtmutex
    MAX = 5  # anything goes: a task that holds nothing


@dataclass(frozen=True, slots=True)
class Kind:
    """A primitive: what may be waited for inside it (`inner`), and how one waits for it (`outer`).

    `percpu`: no lock between CPUs, so interrupt searches go round it (local_lock_t). `checked`: False for
    marks that take part in nothing but the wait-context rule.
    """

    name: str
    inner: WaitType
    outer: WaitType
    percpu: bool = False
    checked: bool = True


_W = WaitType
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("plain", _W.MAX, _W.FREE),  # of no kind: no rule about waiting hangs on it
        Kind("raw_spinlock", _W.SPIN, _W.SPIN),
        Kind("spinlock", _W.CONFIG, _W.CONFIG),
        Kind("rwlock", _W.CONFIG, _W.CONFIG),
        Kind("local_lock", _W.CONFIG, _W.CONFIG, percpu=True),
        Kind("mutex", _W.SLEEP, _W.SLEEP),
        Kind("rwsem", _W.SLEEP, _W.SLEEP),
        Kind("rtmutex", _W.SLEEP, _W.SLEEP),
        Kind("rcu", _W.CONFIG, _W.FREE, checked=False),
        Kind("rcu_bh", _W.CONFIG, _W.FREE, checked=False),
        Kind("rcu_sched", _W.SPIN, _W.FREE, checked=False),
    )
}


@dataclass(slots=True, eq=False, repr=False)
class LockClass:
    """One class; `name` ends in its subclass, if that is not 0. Written by the validator only; callers read
    all but its edges.

    No lock guards these fields: the validator runs inside one simulated machine, which is one Python thread.
    """

    id: int
    name: str
    kind: Kind
    inner: WaitType
    outer: WaitType
    usage: int = 0
    usage_sites: dict[int, Hashable] = field(default_factory=dict)
    after: "dict[int, Edge]" = field(default_factory=dict)
    before: "dict[int, Edge]" = field(default_factory=dict)

    def key(self, read: int = EXCLUSIVE, *, trylock: bool = False) -> int:
        """The key for taking a lock of this class this way."""
        return self.id << CLASS_SHIFT | (TRYLOCK if trylock else 0) | read

    def __repr__(self) -> str:
        return f"<{self.kind.name} {self.name} {{{usage.characters(self.usage)}}}>"

    def uses(self) -> dict[str, Hashable]:
        """The first place of each usage, by name."""
        return {usage.NAMES[bit]: self.usage_sites[bit] for bit in sorted(self.usage_sites)}
