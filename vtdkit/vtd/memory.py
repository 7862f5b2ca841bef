"""The narrow door through which the hardware sees memory, and two memories to stand behind it.

The owner of a `RemappingUnit` hands it an object with three methods (`MemoryPort`). The unit reads tables,
descriptors and interrupt entries with `read64`, writes page-request descriptors with `write64`, and sets
accessed and dirty flags with `cmpxchg64`. It performs no other memory access: status writes of wait
descriptors and interrupt messages leave through the unit's hooks.

Rules for whoever writes a port:

- addresses are physical, in bytes, and multiples of 8; values are unsigned 64-bit numbers
- an address that cannot be accessed raises `AccessError`; nothing else may be raised
- `cmpxchg64` is one atomic step and returns the value it found
- if every single access matters to you (you log them, or another agent answers them), set `observed = True`:
  the unit then never takes the short cut that may read a table twice
- a port may have `read_words(address, count)` beside these, to fetch a descriptor in one call; else it
  is read by `read64`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

WORD = 0xFFFF_FFFF_FFFF_FFFF


class AccessError(Exception):
    """There is no memory at this physical address, or it refused the access."""

    def __init__(self, address: int, why: str = "no memory there") -> None:
        super().__init__(f"{address:#x}: {why}")
        self.address = address


class MemoryPort(Protocol):
    """What a unit needs of memory."""

    def read64(self, address: int) -> int: ...
    def write64(self, address: int, value: int) -> None: ...
    def cmpxchg64(self, address: int, expected: int, value: int) -> int: ...


def read_words(memory: MemoryPort, address: int, count: int) -> int:
    """`count` words from `address` on as one number, the first in its lowest bits."""
    raw = 0
    for word in range(count):
        raw |= memory.read64(address + 8 * word) << 64 * word
    return raw


def read_page(memory: MemoryPort, pfn: int) -> Sequence[int | None] | None:
    """The 512 words of a page frame: None for a word that cannot be read, and for a page without any."""
    bulk = getattr(memory, "read_page", None)
    words: Sequence[int | None] | None = bulk(pfn) if bulk else None
    if words is None:
        words = [_word(memory, pfn << 12 | offset) for offset in range(0, 4096, 8)]
        if words.count(None) == len(words):
            return None
    return words


def _word(memory: MemoryPort, address: int) -> int | None:
    try:
        return memory.read64(address)
    except AccessError:
        return None


class Access(NamedTuple):
    """One line of a memory's log: `what` is read, write or cmpxchg."""

    what: str
    address: int
    value: int


class Memory:
    """Sparse memory for tests and lessons: pages come into being when written, as in `memory[0x1000] = 3`.

    `fail(low, high)` makes a range refuse access, `read_only(low, high)` refuse writes. With `log` set to a
    list, every access the unit makes is appended to it. No locks: one agent at a time.
    """

    def __init__(self) -> None:
        self.pages: dict[int, list[int]] = {}
        self.log: list[Access] | None = None
        self._broken: list[tuple[int, int, bool]] = []

    @property
    def observed(self) -> bool:
        return self.log is not None

    def page(self, address: int) -> int:
        """Make the 4 KiB page at `address` exist, all zero if it is new. Returns the address."""
        self.pages.setdefault(address >> 12, [0] * 512)
        return address

    def __setitem__(self, address: int, value: int) -> None:
        """Store one 64-bit word as software does, unlogged."""
        if address & 7 or not 0 <= value <= WORD:
            raise ValueError(
                f"cannot store {value:#x} at {address:#x}: words are 64 bits, aligned to 8 bytes"
            )
        self.pages.setdefault(address >> 12, [0] * 512)[address >> 3 & 511] = value

    def __getitem__(self, address: int) -> int:
        """Load one word as software does, unlogged; absent memory reads 0."""
        page = self.pages.get(address >> 12)
        return page[address >> 3 & 511] if page else 0

    def fail(self, low: int, high: int) -> None:
        """Accesses to `low` up to but not including `high` raise AccessError from now on."""
        self._broken.append((low, high, True))

    def read_only(self, low: int, high: int) -> None:
        """Writes to `low` up to but not including `high` raise AccessError from now on."""
        self._broken.append((low, high, False))

    def heal(self) -> None:
        """Forget every `fail` and `read_only`."""
        self._broken.clear()

    def read64(self, address: int) -> int:
        if self._broken or address & 7:
            self._check(address, writing=False)
        try:
            value = self.pages[address >> 12][address >> 3 & 511]
        except KeyError:
            raise AccessError(address) from None
        if self.log is not None:
            self.log.append(Access("read", address, value))
        return value

    def write64(self, address: int, value: int) -> None:
        self._check(address, writing=True)
        self.pages[address >> 12][address >> 3 & 511] = value
        if self.log is not None:
            self.log.append(Access("write", address, value))

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        self._check(address, writing=True)
        page = self.pages[address >> 12]
        found = page[address >> 3 & 511]
        if found == expected:
            page[address >> 3 & 511] = value
        if self.log is not None:
            self.log.append(Access("cmpxchg", address, value))
        return found

    def _check(self, address: int, *, writing: bool) -> None:
        if address & 7:
            raise ValueError(f"{address:#x} is not aligned to 8 bytes; hardware makes no such access")
        if address >> 12 not in self.pages:
            raise AccessError(address)
        for low, high, reads_too in self._broken:
            if low <= address < high and (writing or reads_too):
                raise AccessError(address, "access refused")

    def read_page(self, pfn: int) -> list[int] | None:
        """The 512 words of one page, or None where a read would fail: the bulk door for `translate_many`."""
        page = self.pages.get(pfn)
        broken = any(
            low < pfn + 1 << 12 and pfn << 12 < high for low, high, reads_too in self._broken if reads_too
        )
        return None if broken else page
