"""What is left over: pages, objects, references, list entries, timers that nobody gave back.

`machine.check.leaks()` lists what is there now and was not at the last `machine.check.ledger.baseline()`
(without one: what was made since the machine began). Each `Leak` names the thing and the place where it
came from. The kernel's kmemleak finds memory that nothing points to any more; here the end of a scenario is
known, so whatever is left is left over.

Mirrors, in purpose, mm/kmemleak.c. Guards: the engine's; a query between runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Site, Spot, site

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leak:
    """Things of one kind and name left over: how many, and where the first came from."""

    kind: str
    name: str
    count: int
    site: Site

    def __str__(self) -> str:
        return f"{self.count} x {self.kind} {self.name}, from {self.site}"

    __repr__ = __str__


class Ledger:
    """What exists on a machine besides pages and objects, and what existed at the baseline."""

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.made = 0
        # counts and lists by number, in order of creation; what nobody keeps has left nothing behind
        self.things: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.known: set[Any] = set()

    def enter(self, thing: T) -> T:
        """A reference count or a list was made."""
        self.made += 1
        self.things[self.made] = thing
        return thing

    def baseline(self) -> None:
        """What exists now is no leak later."""
        self.known = {key for key, *_ in self.everything()}

    def leaks(self) -> tuple[Leak, ...]:
        """What exists now and did not at the baseline, put together by kind, name and place."""
        groups = Counter(
            (key[0], name, site(place)) for key, name, place in self.everything() if key not in self.known
        )
        return tuple(Leak(kind, name, n, place) for (kind, name, place), n in groups.items())

    def everything(self) -> Iterator[tuple[Any, str, Spot | None]]:
        """All there is, in a fixed order: (kind and what tells it apart, name, place it came from)."""
        machine = self.machine
        for page in machine.pages.live():
            yield ("page", page.serial), page.name, page.allocated
        for serial, obj in machine.check.objects.items():
            yield ("object", serial), obj.label, obj.allocated
        for number, thing in sorted(self.things.items()):
            if hasattr(thing, "last_get"):
                for nth in range(thing.initial, thing.value):
                    yield ("reference", number, nth), thing.name, thing.last_get
            else:
                for entry in thing.peek_entries() if thing.freed is None else ():
                    freed = getattr(entry, "freed", None)
                    kind = "list entry" if freed is None else "freed list entry"
                    yield (kind, number, id(entry)), getattr(entry, "label", type(entry).__name__), freed
        for timer in machine.irq.timers:
            if timer.pending:
                yield ("timer", id(timer)), timer.name, timer.armed
        for nth in range(machine.rcu.pending_callbacks):
            yield ("RCU callback", nth), "call_rcu", None
