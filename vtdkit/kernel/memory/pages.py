"""Pages of table words.

A page is 512 words of 64 bits, read and written one word at a time: `load`, `store`, `cmpxchg`, `xchg`,
bit operations. Each is atomic and (as everywhere in this kit) sequentially consistent. Each pays for its
cache line if another CPU has it; beyond that, read-modify-write operations cost `Costs.atomic`, plain
loads and stores nothing.

Mirrors, in purpose, include/linux/atomic and a page table's own entries. Guards: a page's words are shared
and unguarded, as in hardware.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import coroutine

from vtdkit.kernel.checkers.races import WordClock
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.engine import DONE, FREE_LOOKS
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Spot

PAGE_SHIFT = 12
WORDS = 512  # `index >> 9` is not 0 for any other index
POISON = 0xAAAA_AAAA_AAAA_AAAA  #: what a freed page reads as
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
NUMA_NO_NODE = -1


@dataclass(slots=True, eq=False, repr=False)
class Page:
    """One page frame in use. `freed` is None while it lives, then the place that freed it.

    Guards: `words` by whatever protocol the users agree on (for page tables:
    compare-and-exchange, no lock).
    """

    machine: Host
    pfn: int
    node: int
    name: str
    allocated: Spot | None
    serial: int = 0  # how many pages had been handed out by then
    words: list[int] = field(default_factory=lambda: [0] * WORDS)
    freed: Spot | None = None
    lines: dict[int, int] = field(default_factory=dict)  # cache line -> bit mask of the CPUs that have a copy
    watchers: dict[int, list[Context]] = field(default_factory=dict)  # word -> contexts that spin on it
    clocks: dict[int, WordClock] = field(default_factory=dict)  # for races: words written by atomics

    @property
    def address(self) -> int:
        """Physical address of the first word."""
        return self.pfn << PAGE_SHIFT

    # -- one word at a time --------------------------------------------------

    @coroutine
    def load(self, index: int) -> Generator[int | None, None, int]:
        """Read word `index` (0…511), marked as READ_ONCE is."""
        machine = self.machine
        context = machine.sched.current
        cpu, cost = context.cpu_id, 0
        if cpu >= 0 and not self.lines.get(index >> 3, 0) >> cpu & 1:
            cost = machine.sched.line(self, index >> 3, False, 0)
        elif cpu < 0:
            machine.sched.mine(self)
        if cost := cost or machine.sched.beat(FREE_LOOKS):
            yield cost
        if self.freed is not None or index >> 9:
            page, index = self._stray(index, "read")
            return page.words[index]
        if index in self.clocks:
            # what was done before the word was put there by an atomic is seen by who follows it
            clock = self.clocks[index]
            if context.vc is None or clock.known.get(context.id) is not context.vc:
                machine.check.order.observe(context, clock)
                clock.known[context.id] = context.vc
        return self.words[index]

    def store(self, index: int, value: int, keep: int = 0) -> Awaitable[None]:
        """Write word `index`, marked as WRITE_ONCE is; its bits in `keep` stay. Await it at once: it
        may be written already.
        """
        cpu = self.machine.sched.current.cpu_id
        if (cpu < 0 or self.lines.get(index >> 3) != 1 << cpu) and (
            cost := self.machine.sched.line(self, index >> 3, True, 0)
        ):
            return self._store_after(cost, index, value, keep)
        if self.freed is not None or self.watchers or index >> 9:
            self._put(index, lambda word: word & keep | value)
        else:
            words = self.words
            words[index] = (words[index] & keep | value) & MASK64
        return DONE

    @coroutine
    def _store_after(self, cost: int, index: int, value: int, keep: int) -> Generator[int | None, None, None]:
        yield cost
        self._put(index, lambda word: word & keep | value)

    @coroutine
    def load32(self, index: int) -> Generator[int | None, None, int]:
        """Read half a word: the 32 bits at byte 4 * `index`."""
        return (yield from self.load(index >> 1)) >> 32 * (index & 1) & MASK32

    def store32(self, index: int, value: int) -> Awaitable[None]:
        """Write half a word, the 32 bits at byte 4 * `index`, in one step: the other half stays."""
        shift = 32 * (index & 1)
        return self.store(index >> 1, (value & MASK32) << shift, MASK32 << 32 - shift)

    @coroutine
    def copy_in(self, index: int, values: Sequence[int]) -> Generator[int | None, None, None]:
        """`memcpy` of a few words to `index` and on, within one page. Each word is written by itself."""
        for i, value in enumerate(values, index):
            yield from self.store(i, value)  # type: ignore[misc]  # a generator of ours

    @coroutine
    def cmpxchg_local(self, index: int, old: int, new: int) -> Generator[int | None, None, int]:
        """`cmpxchg_local`: atomic for this CPU only, and ordered with nothing. Other CPUs can get
        in between: two steps.
        """
        found = yield from self.load(index)
        if found == old:
            yield from self.store(index, new)  # type: ignore[misc]  # a generator of ours
        return found

    @coroutine
    def cmpxchg(self, index: int, old: int, new: int) -> Generator[int | None, None, int]:
        """Write `new` if the word is `old`, in one step; returns what it was before. Fully ordered."""
        return (yield from self._modify(index, lambda word: new if word == old else word))

    @coroutine
    def xchg(self, index: int, value: int) -> Generator[int | None, None, int]:
        """Write a word and return what it was before, in one step."""
        return (yield from self._modify(index, lambda _: value))

    @coroutine
    def test_and_set_bit(self, index: int, bit: int) -> Generator[int | None, None, bool]:
        """Set one bit of a word; returns whether it was set before."""
        return bool((yield from self._modify(index, lambda word: word | 1 << bit)) >> bit & 1)

    @coroutine
    def test_and_clear_bit(self, index: int, bit: int) -> Generator[int | None, None, bool]:
        """Clear one bit of a word; returns whether it was set before."""
        return bool((yield from self._modify(index, lambda word: word & ~(1 << bit))) >> bit & 1)

    @coroutine
    def _modify(self, index: int, change: Callable[[int], int]) -> Generator[int | None, None, int]:
        """Any read-modify-write of one word in one step, fully ordered; returns what the word was before."""
        machine = self.machine
        if cost := machine.sched.line(self, index >> 3, True, machine.costs.atomic):
            yield cost
        found = self._put(index, change)
        order = machine.check.order
        if order.on:
            clock = self.clocks.setdefault(index, WordClock())
            order.full_barrier(machine.sched.current, clock)
            clock.known.clear()
        return found

    def _put(self, index: int, change: Callable[[int], int]) -> int:
        """Make a new word of the old one; returns what it was before. Spinning contexts see a
        write that changes something.
        """
        page = self
        if self.freed is not None or index >> 9:
            page, index = self._stray(index, "write")
        found, word = page.words[index], change(page.words[index]) & MASK64
        page.words[index] = word
        if page.watchers and word != found:
            page.changed(index)
        return found

    def _stray(self, index: int, what: str) -> tuple[Page, int]:
        """An access to a freed page, or beyond the end of one: reported; the page and word
        that it really hits.
        """
        if self.freed is not None:
            self.machine.check.use_after_free(self, index, what)
            return self, index % WORDS
        self.machine.check.out_of_bounds(self, index, what)
        nowhere = Page(self.machine, 0, self.node, "nowhere", None)
        return self.machine.pages.frames.get(self.pfn + index // WORDS, nowhere), index % WORDS

    def _found(self, index: int) -> int:
        """A word as it is found now; that of a freed page is reported."""
        page = self
        if self.freed is not None or index >> 9:
            page, index = self._stray(index, "read")
        return page.words[index]

    @coroutine
    def relax_until_written(
        self,
        index: int,
        seen: int,
        enough: Callable[[], bool] | None = None,
    ) -> Generator[int | None, None, None]:
        """`cpu_relax` in a loop until word `index` is no longer `seen`; the CPU stays busy,
        no lock is touched.

        `enough()`, if given, ends the wait too; it is looked at again when somebody calls `nudge`.
        """
        machine = self.machine
        machine.sched.line(self, index >> 3, False, 0)
        while self._found(index) == seen and not (enough is not None and enough()):
            self.watchers.setdefault(index, []).append(machine.sched.current)
            yield from machine.sched.busy_wait(f"{self.name}[{index}]")

    def changed(self, index: int) -> None:
        """Word `index` was written: whoever spins on it sees it after one line transfer."""
        machine = self.machine
        for context in self.watchers.pop(index, ()):
            machine.sched.at(context, machine.costs.line_near)

    def nudge(self) -> None:
        """Have everybody who spins on a word of this page look again."""
        for index in list(self.watchers):
            self.changed(index)

    def __repr__(self) -> str:
        used = f"{sum(word != 0 for word in self.words)} of {WORDS} words set"
        state = used if self.freed is None else "freed"
        return f"<page {self.pfn:#x} {self.name}: {state}>"
