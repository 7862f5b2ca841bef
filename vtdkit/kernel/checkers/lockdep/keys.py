"""How a lock is taken, packed into one int, so that "have I seen this chain?" is a single dictionary look-up.

A key says which class, how it is shared, and whether the taker may fail. Keys are made once per lock
(`LockClass.key`), never on the hot path. The three ways of sharing are the `read` argument of the kernel's
`lock_acquire()` (include/linux/lockdep.h).
"""

from typing import NamedTuple

EXCLUSIVE = 0
"""Alone: spinlocks, mutexes, the writer of a rwlock."""
READ = 1
"""Shared, but queues behind a waiting writer: a rwsem reader, a rwlock reader in task context."""
RECURSIVE = 2
"""Shared, and overtakes a waiting writer: a rwlock reader in an interrupt, an RCU reader."""

HARDIRQS_OFF = 1
"""Bit 0 of an interrupt state: this CPU takes no hard interrupts."""
SOFTIRQS_OFF = 2
"""Bit 1 of an interrupt state: this CPU runs no soft interrupts (bottom halves are off)."""
IRQSTATES = 4

MAX_CLASSES = 1 << 13
"""As many classes as the kernel has room for (MAX_LOCKDEP_KEYS)."""
MAX_SUBCLASSES = 8
MAX_DEPTH = 48
"""Locks that one context may hold at once (MAX_LOCK_DEPTH)."""

TRYLOCK = 4
"""Beside any of the three: it never waits."""
CLASS_SHIFT = 3


class Taken(NamedTuple):
    """A key taken apart."""

    class_id: int
    read: int
    trylock: bool


def unpack(key: int) -> Taken:
    """What a key says; see `LockClass.key`."""
    return Taken(key >> CLASS_SHIFT, key & 3, bool(key & TRYLOCK))


def queued_read(in_irq: bool, irqstate: int) -> int:
    """How `read_lock()` shares on a queued rwlock.

    A reader overtakes waiting writers only where the kernel's `in_interrupt()` holds: in a hard or soft
    interrupt, and in a task that has bottom halves off (`read_lock_is_recursive()`, kernel/locking/lockdep.c;
    `queued_read_lock_slowpath()`).
    """
    return RECURSIVE if in_irq or irqstate & SOFTIRQS_OFF else READ


HOW = ("exclusive", "read", "recursive read")


def how(read: int, trylock: bool = False) -> str:
    """The way of taking in words."""
    return HOW[read] + (", trylock" if trylock else "")
