"""What is left over: pages, objects, references, list entries, timers that nobody gave back.

`machine.check.leaks()` lists what is there now and was not at the last `machine.check.leak_baseline()`
(without one: what was made since the machine began). Each `Leak` names the thing and the place where it
came from. The kernel's kmemleak finds memory that nothing points to any more; here the end of a scenario is
known, so whatever is left is left over.

Mirrors, in purpose, mm/kmemleak.c. Guards: the engine's; a query between runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from vtdkit.kernel.record.sites import Site, Spot, site

if TYPE_CHECKING:
    from vtdkit.kernel.machine.host import Host

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leak:
    """Things of one kind and name left over: how many, and where the first came from. `what` says which."""

    kind: str
    name: str
    count: int
    site: Site
    what: str = ""

    def __str__(self) -> str:
        return f"{self.count} x {self.kind} {self.name}, from {self.site}" + (
            f": {self.what}" if self.what else ""
        )

    __repr__ = __str__


class Ledger:
    """What exists on a machine besides pages and objects, and what existed at the baseline."""

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.made = 0
        # by number, in order of creation; what nobody keeps any more has left nothing behind
        self.refcounts: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.lists: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._known: set[Any] = set()
        self._counts: dict[int, int] = {}

    def enter_refcount(self, ref: T) -> T:
        """A reference count was made."""
        return self._enter(self.refcounts, ref)

    def enter_list(self, lst: T) -> T:
        """A list was made."""
        return self._enter(self.lists, lst)

    def _enter(self, table: WeakValueDictionary[int, Any], thing: T) -> T:
        self.made += 1
        table[self.made] = thing
        return thing

    def baseline(self) -> None:
        """What exists now is no leak later."""
        self._known = {key for key, *_ in self._everything()}
        self._counts = {number: ref.value for number, ref in self.refcounts.items()}

    def leaks(self) -> tuple[Leak, ...]:
        """What exists now and did not at the baseline, put together by kind, name and place."""
        groups: dict[tuple[str, str, Site], list[str]] = {}
        for key, kind, name, place, what in self._everything():
            if key not in self._known:
                groups.setdefault((kind, name, site(place)), []).append(what)
        return tuple(
            Leak(kind, name, len(found), place, found[0]) for (kind, name, place), found in groups.items()
        )

    def _everything(self) -> Iterator[tuple[Any, str, str, Spot | None, str]]:
        """(what tells it apart, kind, name, place it came from, which) of all there is, in a fixed order."""
        machine = self.machine
        for page in machine.pages.live():
            yield ("page", page.serial), "page", page.name, page.allocated, f"frame {page.pfn:#x}"
        for serial, obj in machine.check.objects.items():
            yield ("object", serial), "object", obj.label, obj.allocated, ""
        for number, ref in sorted(self.refcounts.items()):
            above = ref.value - self._counts.get(number, ref.initial)
            if above > 0:
                yield (
                    ("reference", number, ref.value),
                    "reference",
                    ref.name,
                    ref.last_get,
                    f"{above} too many",
                )
        for number, lst in sorted(self.lists.items()):
            for entry in lst.peek_entries() if lst.freed is None else ():
                freed = getattr(entry, "freed", None)
                what = f"on {lst.label}" + (", though it was freed" if freed is not None else "")
                yield (
                    ("entry", number, id(entry)),
                    "list entry",
                    getattr(entry, "label", type(entry).__name__),
                    freed,
                    what,
                )
        for timer in machine.irq.timers:
            if timer.pending:
                yield ("timer", id(timer)), "timer", timer.name, timer.armed, "still armed"
        if machine.rcu.pending_callbacks:
            yield "rcu", "RCU callback", "call_rcu", None, f"{machine.rcu.pending_callbacks} not run yet"
