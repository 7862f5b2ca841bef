"""The tables that a text shows of one unit, made into a unit that can be asked.

`Tables` collects entries as the kernel prints them and knows where each stands: a root entry names the
context table, that the PASID directory or the page tables, and so on down. Where a table stands and the text
does not say (the root table of a fault dump, the PASID table of a debugfs row), a free page stands in for
it. Words that the text does not show are unknown: reading one is an access error, never 0, and `ask` says
which it was. Reserved words of entries that are never printed are the one exception, and `assumed` says so.
"""

from __future__ import annotations

from typing import Any

from vtdkit.views.pagetables.snapshot import Snapshot
from vtdkit.vtd.capabilities import BadCapabilities, Capabilities
from vtdkit.vtd.image.image import BadImage
from vtdkit.vtd.image.survey import Survey, describe
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.requests import Request
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.rules import ENTRY_ADDRESS, PAGE_MASK
from vtdkit.vtd.walk.trace import Walk

WIDEST = 52
#: a unit whose capabilities the text does not show: everything a table may ask for, so that no bit of it is
#: called reserved for want of knowledge
EVERYTHING = Capabilities.scalable(HAW=WIDEST, HPTS=1, PTRS=1)


class Tables:
    """What is known of one unit's tables. Addresses are physical; nothing guards it: one reader. How many
    words there are is bounded by the rows of a text that are kept (`reading.MOST_ROWS`).

    `device`, `pasid` and `iova` are what the explorer shows first.
    """

    def __init__(self, name: str, *, scalable: bool = False) -> None:
        self.name, self.scalable = name, scalable
        self.root: int | None = None
        self.registers: tuple[int, int, int] | None = None  # CAP, ECAP, VER
        self.width: int | None = None  # of host addresses, in bits
        self.device: int | None = None
        self.pasid: int | None = None
        self.iova: int | None = None
        self.assumed: dict[str, None] = {}  # in the order in which it was assumed
        self.memory = Snapshot(Memory())  # knows nothing but what is put there
        self.words = 0
        self._free = 1 << 20
        self._roots: dict[int, tuple[int, int]] = {}

    def put(self, address: int, *words: int) -> None:
        """Words that the text shows, from `address` on."""
        for place, word in enumerate(words):
            self.memory.put(address + 8 * place, word)
        self.words += len(words)

    def free(self) -> int:
        """Another page of which nothing is known, below 4 GiB, for a table whose place is not told."""
        self._free = next(page for page in range(self._free - 1, 0, -1) if self.memory.page(page) is None)
        return self._free << 12

    def root_entry(self, bus: int, low: int, high: int) -> None:
        self._roots[bus] = low, high
        if self.root is not None:
            self.put(self.root + 16 * bus, low, high)

    def context_entry(self, sid: int, low: int, high: int) -> None:
        """The context entry of a device, in the table that its root entry names."""
        self.device = sid if self.device is None else self.device
        table = self._roots.get(sid >> 8, (0, 0))[sid >> 7 & 1 if self.scalable else 0] & PAGE_MASK
        if self.scalable:
            self.put(table + 32 * (sid & 127), low, high, 0, 0)
            self.assumed["words 2 and 3 of context entries are not printed: reserved, taken as 0"] = None
        else:
            self.put(table + 16 * (sid & 255), low, high)

    def pasid_entry(
        self, context: int, pasid: int, words: tuple[int, ...], directory: int | None = None
    ) -> None:
        """Words of a PASID table entry; `directory` is its directory entry, where that is told."""
        at = (context & PAGE_MASK) + 8 * (pasid >> 6)
        page = self.memory.page(at >> 12)
        directory = page[at >> 3 & 511] if directory is None and page else directory
        if directory is None:
            directory = self.free() | 1
            self.assumed[f"where PASID tables stand is not told: {directory - 1:#x} stands in for one"] = None
        self.put(at, directory)
        if 0 < len(words) < 8:
            self.assumed[f"words {len(words)} to 7 of PASID table entries are not printed: taken as 0"] = None
            words = (*words, *[0] * (8 - len(words)))
        self.put((directory & PAGE_MASK) + 64 * (pasid & 63), *words)

    def path(self, table: int, level: int, iova: int, entries: list[int]) -> None:
        """Page-table entries on the way to `iova`, from the table at `table`, which is of `level`, down."""
        for entry in entries:
            self.put(table + (iova >> 9 * level + 3 & 511) * 8, entry)
            table, level = entry & ENTRY_ADDRESS, level - 1

    @property
    def capabilities(self) -> Capabilities:
        """What the unit can do, `EVERYTHING` where the text does not say or its tables tell otherwise."""
        if self.registers is None:
            return EVERYTHING
        cap, ecap, ver = self.registers
        caps = Capabilities.from_registers(cap, ecap, haw=self.width or WIDEST, ver=ver).buildable()
        try:
            caps.check()
        except BadCapabilities:
            return EVERYTHING
        return caps if caps.SMTS or not self.scalable else EVERYTHING

    def unit(self) -> RemappingUnit:
        """A unit over these tables, without caches."""
        if self.root is None:
            self.root = self.free()
            self.assumed[f"where the root table stands is not told: {self.root:#x} stands in for it"] = None
            for bus, entry in self._roots.items():
                self.put(self.root + 16 * bus, *entry)
        unit = RemappingUnit(self.memory, self.capabilities, cached=False)
        unit.restore({"RTADDR": self.root | self.scalable << 10, "GSTS": 0xC000_0000})  # TES and RTPS
        return unit

    def ask(self, request: Request) -> tuple[Walk, int | None]:
        """The walk of a request, and the address of the word it ended at for want of knowledge."""
        walk = self.unit().walk(request)
        for last in walk.steps[-1:]:
            words = (self.memory.page(last.address >> 12) or [None] * 512)[last.address >> 3 & 511 :]
            if None in words[: last.structure.width // 64]:
                return walk, last.address
        return walk, None

    def devices(self) -> list[str]:
        """A line for each device whose tables are known, as far as they can be followed."""
        try:
            return [describe(found) for found in Survey(self.unit()).attached()]
        except BadImage as error:
            return [str(error)]

    def as_data(self) -> dict[str, Any]:
        mode = "scalable" if self.scalable else "legacy"
        return {"name": self.name, "mode": mode, "devices": self.devices(), "assumed": list(self.assumed)}
