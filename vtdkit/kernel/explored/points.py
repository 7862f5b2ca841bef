"""Points: where an explored thread stops before it does something visible, and what that is.

A primitive says at its point which operation it is about to do, on what, and at which word or field of it.
Whoever shows a thread (the stepper, the report of a deadlock) reads it here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page

from .locations import Access

Steps = Generator[Any, None, None]


class Doing(NamedTuple):
    """An operation in words, `{}` standing for the thing; the thing; which part of it: the word of a page,
    the field of an object, the side of a lock that readers share."""

    words: str
    thing: Any = None
    part: Any = None

    @property
    def target(self) -> str:
        """The name of what it is done to."""
        thing, part = self.thing, self.part
        if isinstance(thing, KObject):
            return thing.label if part is None else thing.name_of_field(part)
        name = thing if isinstance(thing, str) else getattr(thing, "name", type(thing).__name__)
        if part is None:
            return name
        return f"{name}[{part}]" if isinstance(thing, Page) else f"{name} {part}"

    def __str__(self) -> str:
        return self.words.format(self.target)


BEGIN = Doing("begin")
GO_ON = Doing("go on")
ENDED = Doing("has ended")


class Point(NamedTuple):
    """What a thread is about to do: the accesses, the operation, whether it can go through (None: always)."""

    accesses: tuple[Access, ...] = ()
    doing: Doing = BEGIN
    ready: Callable[[], bool] | None = None
    spins: tuple[Access, ...] = ()  # the look, if it would only look again at what nobody has changed

    @property
    def awaited(self) -> Any:
        """What the thread waits for while the operation cannot go through: a lock or the like, the name of
        a word; None if it never has to."""
        if self.ready is None:
            return None
        return self.doing.target if isinstance(self.doing.thing, Page | KObject) else self.doing.thing
