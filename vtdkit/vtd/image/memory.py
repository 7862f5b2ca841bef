"""The memory of a machine that was stopped and copied out: some pages are there, all others are absent.

Absent is not zero: reading an absent page is an access error, unless the owner says that the machine had RAM
there and that it was empty (`ram`), as is true of the fresh machines on which QEMU replayed requests. Nothing
can be written unless the memory was made `writable`; then the first write to a page copies it, so the image
itself never changes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vtdkit.vtd.memory import AccessError


class ImageMemory:
    """Pages by page frame number, 512 words each. No locks: one agent at a time."""

    observed = False

    def __init__(
        self,
        pages: Mapping[int, array[int]],
        *,
        writable: bool = False,
        ram: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.pages: dict[int, array[int]] = dict(pages)
        self.writable = writable
        self.ram = ram
        self.version = 0
        self._own: set[int] = set()

    def read64(self, address: int) -> int:
        try:
            return self.pages[address >> 12][address >> 3 & 511]
        except KeyError:
            return self._absent(address)

    def _absent(self, address: int) -> int:
        if any(low <= address < high for low, high in self.ram):
            return 0
        raise AccessError(address, "not in the image")

    def write64(self, address: int, value: int) -> None:
        if not self.writable:
            raise AccessError(address, "the image is read-only")
        self.poke(address, value)

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        if not self.writable:
            raise AccessError(address, "the image is read-only")
        found = self.read64(address)
        if found == expected:
            self.poke(address, value)
        return found

    def poke(self, address: int, value: int) -> None:
        """Change one word of this memory, as software would; the image it was made from stays as it is."""
        pfn = address >> 12
        if pfn not in self._own:
            page = self.pages.get(pfn)
            if page is None:
                self._absent(address)
            self.pages[pfn] = array("Q", page if page is not None else bytes(4096))
            self._own.add(pfn)
        self.pages[pfn][address >> 3 & 511] = value
        self.version += 1

    @contextmanager
    def changed(self, address: int, value: int) -> Iterator[None]:
        """One word holds `value` for the length of a `with` block."""
        old = self.read64(address)
        self.poke(address, value)
        try:
            yield
        finally:
            self.poke(address, old)

    def read_page(self, pfn: int) -> array[int] | None:
        """The 512 words of one page, or None where a read would fail: the bulk door for `translate_many`."""
        page = self.pages.get(pfn)
        if page is None and any(low <= pfn << 12 < high for low, high in self.ram):
            return array("Q", bytes(4096))
        return page

    def __contains__(self, pfn: int) -> bool:
        return pfn in self.pages

    def __len__(self) -> int:
        return len(self.pages)

    def __repr__(self) -> str:
        return f"<ImageMemory {len(self.pages)} pages>"
