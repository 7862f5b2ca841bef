"""Pages of table words as the explorer has them: each access to a word is a step, and so is a page's
being given out or back. See `primitives` for what a step is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from sys import _getframe
from types import coroutine
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.memory.allocator import PageAllocator
from vtdkit.kernel.memory.gfp import GFP, GFP_KERNEL
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.sites import Spot

from .locations import LIFE, READ, WAIT, WRITE, Access
from .points import GO_ON, Doing, Steps
from .watch import Row, XFaults

if TYPE_CHECKING:
    from .machine import ExploredMachine


_WORDS: Any = vars(Page)["words"]
OWN = "vtdkit.kernel.memory.", __name__  # whose operations say what they touch


class XPage(Page):
    """A page whose words are locations of their own; its life is one more.

    Reading or writing a row of words that nobody else writes or reads is one step, even if somebody may free
    the page: freed under any of those accesses, it could as well have been freed before the first.
    """

    __slots__ = ("base",)
    machine: ExploredMachine

    def __init__(self, *args: Any) -> None:
        self.base = args[0].location("page")
        super().__init__(*args)

    @property
    def words(self) -> Any:
        """The words; to whom does not use the operations, each a location."""
        words = _WORDS.__get__(self)
        if self.machine.running is None or _getframe(1).f_globals["__name__"].startswith(OWN):
            return words
        return Row(self.machine, self.base, words)

    @words.setter
    def words(self, values: list[int]) -> None:
        _WORDS.__set__(self, values)

    def _point(
        self, index: int, kind: int, words: str, ready: Callable[[], bool] | None = None
    ) -> Iterable[Any]:
        """A point before an operation on one word."""
        if not self.machine.steps.exploring:
            return ()
        accesses: tuple[Access, ...] = ((self.base + index, kind),)
        life = self.base + LIFE
        if kind == WAIT:  # its end is a change of the word
            accesses += ((life, WAIT),)
        elif not self.machine.alive(life):
            accesses += ((life, READ),)
        return self.machine.stop(accesses, Doing(words, self, index), ready)

    @coroutine
    def load(self, index: int) -> Generator[Any, None, int]:
        machine = self.machine
        if machine.steps.exploring and (point := machine.word_point(self, self.base, index)):
            yield point
            if not point.spins:
                machine.looks(point.accesses)
        if self.freed is None and not index >> 9 and not self.clocks and machine.sched.current.cpu_id >= 0:
            words: list[int] = _WORDS.__get__(self)
            return words[index]  # as below, where an access costs nothing
        return (yield from super().load(index))

    @coroutine
    def store(self, index: int, value: int, keep: int = 0) -> Steps:
        yield from self._point(index, WRITE, "write {}")
        yield from super().store(index, value, keep)  # type: ignore[misc]  # a generator, see `DONE`

    @coroutine
    def cmpxchg(self, index: int, old: int, new: int) -> Generator[Any, None, int]:
        yield from self.machine.stop_then(
            self.base + index,
            Doing("compare and exchange {}", self, index),
            lambda: WRITE if index >> 9 or self.words[index] == old else READ,
            (self.base + LIFE, READ),
        )
        return self._change(index, lambda found: new if found == old else found)

    @coroutine
    def _modify(self, index: int, change: Any) -> Generator[Any, None, int]:
        yield from self._point(index, WRITE, "change {}")
        return self._change(index, change)

    def _change(self, index: int, change: Callable[[int], int]) -> int:
        """Any read-modify-write of one word, its point being passed."""
        page: Page = self
        if self.freed is not None or index >> 9:
            page, index = self._stray(index, "write")
        found = page.words[index]
        if (word := change(found)) != found:
            page.words[index] = word
        return found

    @coroutine
    def relax_until_written(self, index: int, seen: int, enough: Callable[[], bool] | None = None) -> Steps:
        def ready() -> bool:
            return self.words[index] != seen or bool(enough and enough())

        yield from self._point(index, WAIT, "watch {} until it is written", ready)
        yield from super().relax_until_written(index, seen, enough)

    def changed(self, index: int) -> None:
        if not self.machine.steps.exploring:  # while exploring, whoever spins on the word is found ready
            super().changed(index)


class XPageAllocator(PageAllocator):
    """Page frames by thread, so that who allocates first does not change anybody's addresses."""

    machine: ExploredMachine
    page_class = XPage

    def __init__(self, machine: ExploredMachine, frames: int, nodes: int) -> None:
        super().__init__(machine, frames, nodes)
        self.faults = XFaults(machine)
        machine.location_of(self.faults)

    @coroutine
    def alloc(
        self, count: int, gfp: GFP = GFP_KERNEL, *, node: int, name: str, place: Spot
    ) -> Generator[Any, None, list[Page]]:
        if self.faults.nth is not None or self.faults.probability:
            counted = self.machine.locations.number((self.machine.location_of(self.faults), "count"))
            yield from self.machine.stop(((counted, WRITE),), GO_ON)
        return (yield from super().alloc(count, gfp, node=node, name=name, place=place))

    def _frame(self, node: int) -> int | None:
        return self.machine.frame_for() if self.machine.steps.exploring else super()._frame(node)

    def node_of(self, pfn: int) -> int:
        return super().node_of(pfn) if pfn < self.FIRST_PFN + len(self.next) * self.per_node else 0

    @coroutine
    def free(self, page: Page, place: Spot) -> Steps:
        life = page.base + LIFE  # type: ignore[attr-defined]
        self.machine.ends(life)
        yield from self.machine.stop(((life, WRITE),), Doing("free {}", page))
        yield from super().free(page, place)

    @coroutine
    def reuse(self, page: Page, name: str) -> Steps:
        life = page.base + LIFE  # type: ignore[attr-defined]
        self.machine.ends(life)
        yield from self.machine.stop(((life, WRITE),), Doing(f"give {{}} to {name}", page))
        yield from super().reuse(page, name)
