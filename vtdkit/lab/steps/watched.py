"""What is shown beside the source while a schedule is stepped through: words of pages, fields of
objects, what was freed.

A rehearsal notices which words and fields the threads stop at; the run that is recorded then reads their
values after every step, from the first. Pages are known by their address and objects by their serial, which
are the same in every execution; `follow` wraps the scenario so that every object that is made is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from vtdkit.kernel.explored.points import Doing
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import POISON, Page

MOST = 12  #: words and fields that are shown
MOST_NOTICED = 1000


class Watched:
    """The things watched in one schedule. Guards: used by one thread."""

    def __init__(self) -> None:
        self.things: dict[tuple[Any, ...], tuple[str, set[Any]]] = {}  # its name, and who stops at it
        self.machine: Any = None
        self.objects: dict[Any, KObject] = {}
        self.gone: set[Any] = set()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of what is watched, in the order of `values`."""
        return tuple(name for name, _ in self.things.values())

    def notice(self, thread: Any, doing: Doing) -> None:
        """A thread stops at this."""
        thing, part = doing.thing, doing.part
        if part is None or not isinstance(thing, Page | KObject):
            return
        key = ("page", thing.address, part) if isinstance(thing, Page) else ("field", thing.serial, part)
        if len(self.things) < MOST_NOTICED:
            self.things.setdefault(key, (doing.target, set()))[1].add(thread)

    def telling(self, rows: Sequence[tuple[str, ...]]) -> list[int]:
        """Which columns of `values` are worth showing: what changed; what two threads touched."""
        changed = [len(set(column)) > 1 for column in zip(*rows, strict=True)]
        several = [len(users) > 1 for _, users in self.things.values()]
        worth = [i for i in range(len(changed)) if changed[i] or several[i]]
        return sorted(sorted(worth, key=lambda i: not changed[i])[:MOST])

    def follow(self, scenario: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The scenario, with every object that is made on its machine noted."""

        def followed(machine: Any) -> Any:
            self.objects, self.gone = {}, set()
            make = machine.check.new_object

            def made(obj: KObject) -> Any:
                serial = make(obj)
                self.objects[serial] = obj
                return serial

            machine.check.new_object = made
            return scenario(machine)

        return followed

    def begin(self, machine: Any) -> None:
        """A machine that has just been set up."""
        self.machine = machine
        self.freed()

    def values(self) -> tuple[str, ...]:
        """What everything holds now, as text."""
        return tuple(self._value(*key) for key in self.things)

    def _value(self, kind: str, where: Any, what: Any) -> str:
        thing: Any = self.machine.pages.page(where) if kind == "page" else self.objects.get(where)
        if thing is None:
            return "not allocated yet" if kind == "page" else "not made yet"
        word = thing.words[what] if kind == "page" else None
        if thing.freed is not None or word == POISON:
            return "freed"
        return value_text(thing.peek(what)) if word is None else f"{word:#x}"

    def freed(self) -> tuple[str, ...]:
        """Pages and objects freed since the last question."""
        freed = {
            (type(each), key): each
            for key, each in chain(self.machine.pages.frames.items(), self.objects.items())
            if each.freed is not None
        }
        new = [each for key, each in freed.items() if key not in self.gone]
        self.gone.update(freed)
        return tuple(
            f"page {each.name} at {each.address:#x}" if isinstance(each, Page) else each.label for each in new
        )


def value_text(value: object) -> str:
    """A value as a person reads it: NULL, hex for large numbers, objects by their label."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:#x}" if abs(value) > 9 else str(value)
        case tuple() | list():
            return f"[{', '.join(map(value_text, value))}]"
        case KObject():
            return value.label
    return str(getattr(value, "name", value))
