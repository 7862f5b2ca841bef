"""The narrow door through which the hardware sees memory, and a memory to stand behind it.

The owner of a `RemappingUnit` hands it an object with two methods (`MemoryPort`). The unit reads tables,
descriptors and interrupt entries with `read64`, and sets accessed and dirty flags with `cmpxchg64`. It
performs no other memory access: status writes of wait descriptors and interrupt messages leave through the
unit's hooks.

Rules for whoever writes a port:

- addresses are physical, in bytes, and multiples of 8; values are unsigned 64-bit numbers
- an address that cannot be accessed raises `AccessError`; nothing else may be raised
- `cmpxchg64` is one atomic step and returns the value it found
- a port may have `read_words(address, count)` beside these, to fetch a descriptor in one call, and
  `read_page(pfn)` for a whole page at once; else these are read by `read64`
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeAlias

WORD = 0xFFFF_FFFF_FFFF_FFFF
Page: TypeAlias = "list[int] | array[int]"


class AccessError(Exception):
    """There is no memory at this physical address, or it refused the access."""

    def __init__(self, address: int, why: str = "no memory there") -> None:
        super().__init__(f"{address:#x}: {why}")
        self.address = address


class MemoryPort(Protocol):
    """What a unit needs of memory."""

    def read64(self, address: int) -> int:
        """The word at an address."""

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        """Store `value` if the word is `expected`; the word found."""


def read_words(memory: MemoryPort, address: int, count: int) -> int:
    """`count` words from `address` on as one number, the first in its lowest bits."""
    return sum(memory.read64(address + 8 * word) << 64 * word for word in range(count))


def read_page(memory: MemoryPort, pfn: int) -> Sequence[int | None] | None:
    """The 512 words of a page frame: None for a word that cannot be read, and for a page without any."""
    words: Sequence[int | None] | None = getattr(memory, "read_page", lambda pfn: None)(pfn)
    if words is not None:
        return words
    single = [_word(memory, pfn << 12 | offset) for offset in range(0, 4096, 8)]
    return None if single.count(None) == len(single) else single


def _word(memory: MemoryPort, address: int) -> int | None:
    try:
        return memory.read64(address)
    except AccessError:
        return None


class Memory:
    """Sparse memory: pages by page frame number, 512 words each; absent is not zero.

    Software stores and loads with `memory[address]`; a page comes into being when it is first written. The
    `pages` given are copied when they change, so who gave them keeps what he gave. Without `writable` the
    unit sets no flags. In the ranges `ram` an absent page is one of zeros: the machine had memory there, and
    it was empty. No locks: one agent at a time.
    """

    def __init__(
        self,
        pages: Mapping[int, Page] | None = None,
        *,
        writable: bool = True,
        ram: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.pages: dict[int, Page] = dict(pages or {})
        self.writable = writable
        self.ram = ram
        self._own: set[int] = set()

    def page(self, address: int) -> int:
        """Make the 4 KiB page at `address` exist, all zero if it is new. Returns the address."""
        if address >> 12 not in self.pages:
            self[address & ~0xFFF] = 0
        return address

    def __setitem__(self, address: int, value: int) -> None:
        """Store one 64-bit word as software does."""
        if address & 7 or not 0 <= value <= WORD:
            raise ValueError(
                f"cannot store {value:#x} at {address:#x}: words are 64 bits, aligned to 8 bytes"
            )
        pfn = address >> 12
        if pfn not in self._own:
            self.pages[pfn] = list(self.pages.get(pfn) or [0] * 512)
            self._own.add(pfn)
        self.pages[pfn][address >> 3 & 511] = value

    def __getitem__(self, address: int) -> int:
        """Load one word as software does; absent memory reads 0."""
        page = self.pages.get(address >> 12)
        return page[address >> 3 & 511] if page else 0

    @contextmanager
    def changed(self, address: int, value: int) -> Iterator[None]:
        """One word holds `value` for the length of a `with` block."""
        old = self.read64(address)
        self[address] = value
        try:
            yield
        finally:
            self[address] = old

    # the port

    def read64(self, address: int) -> int:
        try:
            return self.pages[address >> 12][address >> 3 & 511]
        except KeyError:
            if self.read_page(address >> 12) is None:
                raise AccessError(address) from None
            return 0

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        found = self.read64(address)
        if not self.writable:
            raise AccessError(address, "the memory is read-only")
        self[address] = value if found == expected else found
        return found

    def read_page(self, pfn: int) -> Page | None:
        """The 512 words of one page, or None where a read would fail."""
        page = self.pages.get(pfn)
        if page is None and any(low <= pfn << 12 < high for low, high in self.ram):
            return [0] * 512
        return page
