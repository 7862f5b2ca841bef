"""What the validator says: frozen records, and the kernel's names for the problems.

A `kind` is the first line of the kernel's own report (kernel/locking/lockdep.c, Linux 6.12), or the name of
the check that warns; everything else is in this project's words. A report prints as its explanation.
"""

from collections.abc import Hashable
from dataclasses import dataclass

RECURSION = "possible recursive locking detected"
CIRCULAR = "possible circular locking dependency detected"
INCONSISTENT = "inconsistent lock state"
INVERSION = "possible irq lock inversion dependency detected"
WAIT_CONTEXT = "[ BUG: Invalid wait context ]"
TOO_DEEP = "BUG: MAX_LOCK_DEPTH too low!"


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that the context holds: its class, how it was taken, and where."""

    lock: str
    how: str
    site: Hashable

    def __str__(self) -> str:
        return f"{self.lock} ({self.how}), taken at {self.site}"


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a path: `next` was taken under `prev`, in this kind (see `graph`) first at these places."""

    prev: str
    next: str
    kind: str
    held_at: Hashable
    taken_at: Hashable

    def __str__(self) -> str:
        return (
            f"{self.prev} -> {self.next}: "
            f"{self.prev} taken at {self.held_at}, then {self.next} at {self.taken_at}"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """One problem.

    kind     the kernel's name for it (the constants of this module)
    classes  the lock classes concerned, the one being taken first (interrupt orders: safe, then unsafe)
    sites    the places concerned: first where it was noticed, then the earlier ones it clashes with
    usage    usage bits concerned, by name, earlier before later
    cycle    the links: the whole circle, or for interrupt orders the path from the safe to the unsafe class
    held     what the context held at that moment, outermost first
    context  what kind of context it was: task, softirq, hardirq, hardirq-threaded
    text     the explanation, several lines
    """

    kind: str
    classes: tuple[str, ...]
    sites: tuple[Hashable, ...]
    usage: tuple[str, ...]
    cycle: tuple[Link, ...]
    held: tuple[Held, ...]
    context: str
    text: str

    def __repr__(self) -> str:
        return self.text
