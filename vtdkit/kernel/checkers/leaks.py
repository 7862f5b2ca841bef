"""What is left over: pages, objects, references, list entries, timers that nobody gave back.

`machine.check.leaks()` lists what is there now and was not at the last `machine.check.baseline()` (without
one: what was made since the machine began). Each `Leak` names the thing and the place where it came from. The
kernel's kmemleak finds memory that nothing points to any more; here the end of a scenario is known, so
whatever is left is left over.

Mirrors, in purpose, mm/kmemleak.c. Guards: the engine's; a query between runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Site, site

Thing = tuple[str, str, Site]  # its kind, its name, the place it came from


@dataclass(frozen=True, slots=True)
class Leak:
    """Things of one kind and name left over, all from one place: how many."""

    kind: str
    name: str
    site: Site
    count: int

    def __repr__(self) -> str:
        return f"{self.count} x {self.kind} {self.name}, from {self.site}"


def held_now(machine: Host) -> Counter[Thing]:
    """How many things there are of each kind, name and place."""
    things = [("page", page.name, page.allocated) for page in machine.pages.live()]
    things += [("object", obj.label, obj.allocated) for obj in machine.check.objects.values()]
    for count in sorted(machine.check.counts, key=lambda count: (count.name, str(site(count.last_get)))):
        things += [("reference", count.name, count.last_get)] * (count.value - count.initial)
    for lst in sorted(machine.check.lists, key=lambda lst: lst.serial):
        for entry in lst.peek_entries() if lst.freed is None else ():
            freed = getattr(entry, "freed", None)
            kind = "list entry" if freed is None else "freed list entry"
            things.append((kind, getattr(entry, "label", type(entry).__name__), freed))
    things += [("timer", timer.name, timer.armed) for timer in machine.irq.timers if timer.pending]
    things += [("RCU callback", "call_rcu", None)] * machine.rcu.pending_callbacks
    return Counter((kind, name, site(place)) for kind, name, place in things)
