"""The kernel's linked list, with the two ways it goes wrong: adding or deleting an entry that is not
where it should be.

A `ListHead` is `struct list_head` as a list's anchor; entries are objects. `add` and `del_` take two steps
each (look at the neighbours, then link), so that two of them without a lock between them lose an entry, as in
the kernel, and the list's own check says so in the kernel's words. `del_` poisons the entry: walking on from
it, or deleting it again, is found.

Walking is an ordinary `for` over `lst.entries()`.

Guards: whatever the owner says; the list has no lock. Mirrors include/linux/list.h, lib/list_debug.c.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from types import coroutine
from typing import Any

from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Spot, here

from .objects import KObject, shared


class ListHead(KObject):
    """A list. `entries` in order, newest first for `add`, last for `add_tail`. One object may
    be on several lists.
    """

    items = shared(())

    def __init__(self, machine: Host, label: str) -> None:
        super().__init__(machine, label)
        self.preset(items=())
        self._gone: deque[Any] = deque(maxlen=64)  # the entries deleted last
        self.check.lists.add(self)

    def name_of_field(self, field: str) -> str:
        """A list has but one field: its entries."""
        return str(self.label)

    @coroutine
    def add(self, entry: Any) -> Generator[int | None, None, None]:
        """`list_add`: put `entry` first."""
        yield from self._edit(entry, True, lambda items: (entry, *items), here())

    @coroutine
    def add_tail(self, entry: Any) -> Generator[int | None, None, None]:
        """`list_add_tail`: put `entry` last."""
        yield from self._edit(entry, True, lambda items: (*items, entry), here())

    @coroutine
    def del_(self, entry: Any) -> Generator[int | None, None, None]:
        """`list_del`: take `entry` out and poison it."""
        yield from self._edit(
            entry, False, lambda items: tuple(item for item in items if item is not entry), here()
        )

    @coroutine
    def _edit(self, entry: Any, adds: bool, change: Any, place: Spot) -> Generator[int | None, None, None]:
        """Look at the neighbours, then link: two steps, with room for others between them."""
        machine, what = self.machine, "list_add" if adds else "list_del"
        words = "add to {}" if adds else "delete from {}"
        yield from machine.steps.field(self, "items", False, words)
        seen = self._access("items", False, False, place)
        if (_position(seen, entry) >= 0) is adds:
            kind, why = "corruption", "it is not on this list"
            if adds:
                kind, why = "double add", "it is on the list already"
            elif _position(self._gone, entry) >= 0:
                why = "its next pointer is LIST_POISON1: it was deleted before"
            self.check.list_corruption(self, entry, f"{what} {kind}", why, place)
            return
        yield from machine.steps.field(self, "items", True, words)
        if self.cells["items"].value is not seen:
            why = "its neighbours changed while it was being linked"
            self.check.list_corruption(self, entry, f"{what} corruption", why, place)
        self._access("items", True, False, place)
        self.cells["items"].value = change(seen)
        if not adds:
            self._gone.append(entry)

    def entries(self) -> Iterator[Any]:
        """`list_for_each_entry`: walk the list; hold its lock. Who deletes the entry that the walk stands on
        walks a copy (`list(lst.entries())`), as `list_for_each_entry_safe` does.
        """
        place = here()
        return self._walk(self._access("items", False, False, place), place)

    def _walk(self, items: tuple[Any, ...], place: Spot) -> Iterator[Any]:
        for entry in items:
            yield entry
            now = self._access("items", False, False, place)
            if now is not items and _position(now, entry) < 0:
                why = "the entry the walk stood on was deleted (LIST_POISON1)"
                self.check.list_corruption(self, entry, "list walk", why, place)
                return

    def empty(self) -> bool:
        """`list_empty`."""
        return not self._access("items", False, False, here())

    def peek_entries(self) -> tuple[Any, ...]:
        """The entries without any check: for observers and pictures."""
        return tuple(self.cells["items"].value)


def _position(items: Iterable[Any], entry: Any) -> int:
    return next((i for i, item in enumerate(items) if item is entry), -1)
