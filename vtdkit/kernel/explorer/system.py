"""What the explorer needs to know of a system: who can move, one step at a time, and
what the step touched.

The explorer knows no machine, no lock and no memory. It is handed a `System` and drives it: it starts it,
asks who can take a step, has one process take one step, and learns from the step's *accesses* which steps
depend on each other. Everything else (sleep sets, race reversals, bounds) follows from that.

Rules for whoever writes a system:

- `start()` brings the same initial state every time, and a schedule replayed step by step gives the same
  accesses. No wall clock, no randomness, no order taken from a hash.
- A process is named the same way in executions that differ only in the order of independent steps. A name
  and a location have a `repr` that does not change from run to run (numbers, text, tuples of these).
- Two steps that do not conflict commute: done in either order they touch the same things and lead to the
  same state, and neither of them can switch the other on or off. So a step that takes a lock, ends a wait
  or stops another process must say so by an access to a location which the other one touches as well.
- A step is one visible operation and all that the process does up to its next one. It may touch several
  locations; list them in the order in which they were touched.

Mirrors nothing in a kernel. The theory is that of Abdulla, Aronis, Jonsson, Sagonas, "Source Sets: A
Foundation for Optimal Dynamic Partial Order Reduction", Journal of the ACM 64(4), 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

READ, WRITE, ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT = range(7)
"""The kinds of access.

READ            looks; never waits (a failed compare-and-swap, a failed trylock, a plain load)
WRITE           changes; never waits (a store, a fetch-and-add, a compare-and-swap or trylock that
                succeeded)
ACQUIRE         takes a lock for itself; waits while anybody holds it
RELEASE         gives such a lock back, or sets a lock free in any other way; never waits
SHARED_ACQUIRE  takes a lock together with others; waits while somebody holds it alone
SHARED_RELEASE  gives a shared hold back
WAIT            looks, and waits until what it sees lets it go on: until nobody holds the lock alone, until
                a word has the right value, until anything at all was done there

Two accesses to one location conflict unless both only look (READ, WAIT) or both are shared (SHARED_*).
"""

KIND_NAMES = ("read", "write", "acquire", "release", "shared acquire", "shared release", "wait")
WAITING_KINDS = frozenset({ACQUIRE, SHARED_ACQUIRE, WAIT})

Process = Any
"""The name of a process: a number, a word, or a tuple of these (of numbers, if schedules are to be read
from text)."""

Access = tuple[Hashable, int]
"""(location, kind): one location that a step touched, and how."""


def access_text(accesses: Sequence[Access]) -> str:
    """Accesses as a person reads them."""
    return ", ".join(f"{KIND_NAMES[kind]} {location!r}" for location, kind in accesses)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an observer says at the end of one execution.

    value     what came of it, compared with `==` and counted: any hashable value with a stable `repr`
    findings  what the checkers found in this execution, each a hashable value with a stable `repr`
    """

    value: Hashable = None
    findings: tuple[Hashable, ...] = ()


class System(Protocol):
    """A set of processes that can be started again and again, and driven step by
    step (rules: module docstring).
    """

    def start(self) -> None:
        """Bring the system to its initial state."""

    def born(self, process: Process) -> int:
        """Return how many steps had been taken in this execution when a process came to be: 0 for one that
        is there from the start.
        """

    def enabled(self) -> Sequence[Process]:
        """Return the processes that can take a step now, in a fixed order (a sequence that
        is not changed later).
        """

    def step(self, process: Process) -> Sequence[Access]:
        """Have an enabled process take one step; return what the step touched, in the order
        in which it did.
        """

    def blocked(self) -> Mapping[Process, Sequence[Access]]:
        """Return the unfinished processes that cannot move now, with what their next step would touch."""

    def finish(self) -> Outcome:
        """Say what came of the execution, at its end: all processes done, or the rest stuck."""


SystemFactory = Callable[[], System]
"""Makes a fresh system. For work spread over processes it must be picklable: a function or
class of a module.
"""
