"""Everything a unit's tables map: who is attached, and which ranges of addresses lead where.

A survey reads whole tables, as a debugger does, instead of following one request. Each table page is read
once and remembered, so the work is bounded by the number of pages there are, also when tables are shared. A
page that turns up as a table of two different levels of one stage is refused (`BadImage`): tables like that
loop, and no operating system builds them by intent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.requests import Request, bdf, size_name
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import legacy, scalable
from vtdkit.vtd.walk.job import Job, Refused
from vtdkit.vtd.walk.rules import ENTRY_ADDRESS, PAGE_MASK
from vtdkit.vtd.walk.space import Space

from .image import BadImage

_PASIDS_PER_TABLE = 64
# Far more devices than any machine has; nonsense for tables can name millions.
MAX_ATTACHED = 4096


@dataclass(frozen=True, slots=True)
class Attached:
    """A device (and PASID) with a present context entry: its raw entries, and the space it leads to or the
    refusal.

    `context` and `pasid_entry` are raw words, lowest first.
    """

    sid: int
    pasid: int | None
    root: tuple[int, ...]
    context: tuple[int, ...]
    pasid_entry: tuple[int, ...]
    space: Space | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class MappedRange:
    """Consecutive input addresses that map to consecutive output addresses with one permission and page
    size.
    """

    iova: int
    address: int
    size: int
    page: int
    readable: bool
    writable: bool

    @property
    def permissions(self) -> str:
        return ("r" if self.readable else "-") + ("w" if self.writable else "-")

    def __repr__(self) -> str:
        last = self.iova + self.size - 1
        pages = f"{self.size // self.page} x {size_name(self.page)}"
        return f"{self.iova:#014x}-{last:#014x} -> {self.address:#014x}  {self.permissions}  {pages}"


@dataclass(frozen=True, slots=True)
class _Table:
    """One page of a page table: entries that lead on, as (index, entry, is a leaf)."""

    entries: tuple[tuple[int, int, bool], ...]


class Survey:
    """A reading of one unit's tables as they stand. Throw it away when the tables change."""

    def __init__(self, unit: RemappingUnit) -> None:
        self.unit = unit
        self._tables: dict[tuple[str, int], tuple[int, _Table]] = {}
        self._counts: dict[tuple[str, int, int], int] = {}
        self._directories: dict[tuple[int, int], tuple[int, ...]] = {}

    def attached(self) -> Iterator[Attached]:
        """Every present context entry, in order of source id; in scalable mode every present PASID of it.

        Raises BadImage when there are more than MAX_ATTACHED.
        """
        for count, found in enumerate(self._attached()):
            if count == MAX_ATTACHED:
                raise BadImage(f"tables name more than {MAX_ATTACHED} devices and PASIDs")
            yield found

    def _attached(self) -> Iterator[Attached]:
        for bus in range(256):
            root = self._words(self.unit.root_table + 16 * bus, 2)
            if self.unit.mode == 0:
                if root and root[0] & 1:
                    yield from self._legacy_bus(bus, root)
            elif root:
                yield from self._scalable_bus(bus, root)

    def _legacy_bus(self, bus: int, root: tuple[int, ...]) -> Iterator[Attached]:
        for devfn in range(256):
            words = self._words((root[0] & PAGE_MASK) + 16 * devfn, 2)
            if words and words[0] & 1:
                space, refusal = self.space(bus << 8 | devfn)
                yield Attached(bus << 8 | devfn, None, root, words, (), space, refusal)

    def _scalable_bus(self, bus: int, root: tuple[int, ...]) -> Iterator[Attached]:
        for devfn in range(256):
            half = root[devfn >> 7]
            words = self._words((half & PAGE_MASK) + 32 * (devfn & 127), 4) if half & 1 else ()
            if words and words[0] & 1:
                for pasid in self._pasids(words):
                    yield self._pasid(bus << 8 | devfn, pasid, root, words)

    def _pasids(self, context: tuple[int, ...]) -> tuple[int, ...]:
        """The PASIDs with a present entry, as many as a survey may list."""
        directory, size = context[0] & PAGE_MASK, context[0] >> 9 & 7
        if (directory, size) not in self._directories:
            found = islice(self._read_directory(directory, 1 << size + 7), MAX_ATTACHED + 1)
            self._directories[directory, size] = tuple(found)
        return self._directories[directory, size]

    def _read_directory(self, directory: int, entries: int) -> Iterator[int]:
        for index in range(entries):
            entry = self._words(directory + 8 * index, 1)
            if not entry:
                return
            if not entry[0] & 1:
                continue
            for slot in range(_PASIDS_PER_TABLE):
                words = self._words((entry[0] & PAGE_MASK) + 64 * slot, 1)
                if words and words[0] & 1:
                    yield index * _PASIDS_PER_TABLE + slot

    def _pasid(self, sid: int, pasid: int, root: tuple[int, ...], context: tuple[int, ...]) -> Attached:
        directory = self._words((context[0] & PAGE_MASK) + 8 * (pasid >> 6), 1)
        entry = self._words((directory[0] & PAGE_MASK) + 64 * (pasid & 63), 8)
        rid = pasid == context[1] & 0xF_FFFF
        space, refusal = self.space(sid, None if rid else pasid)
        return Attached(sid, pasid, root, context, entry, space, refusal)

    def space(self, sid: int, pasid: int | None = None) -> tuple[Space | None, str]:
        """The page tables of a device, or the label of the condition that keeps it from them."""
        job = Job(self.unit, Request(sid, 0, pasid=pasid), None, commit=False, trace=None)
        try:
            return self.unit.finish((legacy if self.unit.mode == 0 else scalable).find(job)), ""
        except Refused as refusal:
            return None, refusal.label

    def pages(self, space: Space) -> int:
        """How many 4 KiB pages `space` maps. Nested spaces are counted by their first stage."""
        if space.path == "PT":
            return 0
        stage, root, levels = _stage(space)
        return self._count(stage, root, levels)

    def ranges(self, space: Space) -> Iterator[MappedRange]:
        """What `space` maps, in order, neighbours merged. Nested spaces show their first stage."""
        if space.path == "PT":
            return
        stage, root, levels = _stage(space)
        last: MappedRange | None = None
        for part in self._leaves(stage, root, levels, 0, 3):
            merged = _merge(last, part) if last else None
            if last and not merged:
                yield last
            last = merged or part
        if last:
            yield last

    def _leaves(self, stage: str, table: int, level: int, base: int, allowed: int) -> Iterator[MappedRange]:
        shift = 3 + 9 * level
        for index, entry, leaf in self._table(stage, table, level).entries:
            iova = base + (index << shift)
            here = allowed & _permissions(stage, entry)
            if not here:
                continue
            if not leaf:
                yield from self._leaves(stage, entry & ENTRY_ADDRESS, level - 1, iova, here)
                continue
            size = 1 << shift
            address = entry & ENTRY_ADDRESS & -size
            yield MappedRange(_signed(stage, iova), address, size, size, bool(here & 1), bool(here & 2))

    def _count(self, stage: str, table: int, level: int) -> int:
        key = (stage, table, level)
        if key not in self._counts:
            total = 0
            for _, entry, leaf in self._table(stage, table, level).entries:
                total += (
                    1 << 9 * (level - 1) if leaf else self._count(stage, entry & ENTRY_ADDRESS, level - 1)
                )
            self._counts[key] = total
        return self._counts[key]

    def _table(self, stage: str, table: int, level: int) -> _Table:
        known = self._tables.get((stage, table))
        if known is None:
            known = self._tables[stage, table] = (level, self._read_table(stage, table, level))
        if known[0] != level:
            raise BadImage(
                f"tables loop: the page at {table:#x} is a table of level {known[0]} and of level {level}"
            )
        return known[1]

    def _read_table(self, stage: str, table: int, level: int) -> _Table:
        rules, present = self.unit.rules, 1 if stage == "first" else 3
        pointers = (rules.first_table if stage == "first" else rules.second_table)[level]
        leaves = (rules.first_leaf if stage == "first" else rules.second_leaf)[level]
        entries = []
        for index, entry in enumerate(self._page(table)):
            if not entry & present:
                continue
            leaf = level == 1 or bool(entry & 0x80 and level <= 3)
            if not entry & (leaves if leaf else pointers):
                entries.append((index, entry, leaf))
        return _Table(tuple(entries))

    def _page(self, address: int) -> Sequence[int]:
        bulk = getattr(self.unit.memory, "read_page", None)
        page: Sequence[int] | None = bulk(address >> 12) if bulk else None
        return page if page is not None else self._words(address, 512)

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        """`count` words from memory; none when it is not there."""
        try:
            return tuple(self.unit.memory.read64(address + 8 * i) for i in range(count))
        except AccessError:
            return ()


def _stage(space: Space) -> tuple[str, int, int]:
    if space.path == "SS":
        return "second", space.second_root, space.second_levels
    return "first", space.first_root, space.first_levels


def _permissions(stage: str, entry: int) -> int:
    """READ and WRITE bits of one entry, for a user request."""
    if stage == "second":
        return entry & 3
    return (1 | entry & 2) if entry & 4 else 0


def _signed(stage: str, iova: int) -> int:
    """A first-stage address in its canonical form (4-level tables)."""
    return iova | 0xFFFF_0000_0000_0000 if stage == "first" and iova >> 47 == 1 else iova


def _merge(a: MappedRange, b: MappedRange) -> MappedRange | None:
    """One range in place of two neighbours, if they are."""
    same = (a.page, a.readable, a.writable) == (b.page, b.readable, b.writable)
    if not same or a.iova + a.size != b.iova or a.address + a.size != b.address:
        return None
    return MappedRange(a.iova, a.address, a.size + b.size, a.page, a.readable, a.writable)


def describe(found: Attached) -> str:
    """One line on what a device's entries say."""
    space = found.space
    who = bdf(found.sid) + ("" if found.pasid is None else f" PASID {found.pasid:#x}")
    if space is None:
        return f"{who}  refused: {found.refusal}"
    if space.path == "PT":
        return f"{who}  DID {space.did}, pass-through"
    names = {"SS": "second stage", "FS": "first stage", "NEST": "nested"}
    _, root, levels = _stage(space)
    return f"{who}  DID {space.did}, {names[space.path]}, {levels} levels at {root:#x}"
