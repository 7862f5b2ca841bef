"""Everything a unit's tables map: who is attached, and which ranges of addresses lead where.

A survey reads whole tables, as a debugger does, instead of following one request. What an entry says is what
the walk's own `decode` says; `Survey.entries` is the one place that tells which entries of a table lead on.
Each page is read once and remembered, so the work is bounded by the number of pages there are, also when
tables are shared. Ranges are not listed where a page turns up as a table of two different levels of one stage
(`BadImage`): tables like that loop, and no operating system builds them by intent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice, takewhile
from typing import NamedTuple

from vtdkit.vtd.memory import AccessError, read_page
from vtdkit.vtd.requests import Request, bdf, size_name
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk.first_stage import First
from vtdkit.vtd.walk.job import Job, Refused
from vtdkit.vtd.walk.rules import PAGE_MASK
from vtdkit.vtd.walk.second_stage import Second, asked
from vtdkit.vtd.walk.space import ALL, TOP, Space

from .image import BadImage

DECODERS = {"first": First.decode, "second": Second.decode}
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
    permissions: str

    def __repr__(self) -> str:
        ends, pages = f"{self.iova:#014x}-{self.iova + self.size - 1:#014x}", self.size // self.page
        return f"{ends} -> {self.address:#014x}  {self.permissions}  {pages} x {size_name(self.page)}"


class Table(NamedTuple):
    """A page used as a page table: `page` is its host address, `base` the first input address it is looked up
    for.
    """

    stage: str
    page: int
    level: int
    base: int = 0

    @property
    def step(self) -> int:
        """The addresses that one entry covers, as a power of two."""
        return 3 + 9 * self.level


class Lead(NamedTuple):
    """An entry that leads on: present, and no reserved bit set. `rights` are READ, WRITE and (first stage)
    USER; `address` is that of the page or of the next table, under nesting guest physical.
    """

    slot: int
    raw: int
    leaf: bool
    rights: int
    address: int


class Survey:
    """A reading of one unit's tables as they stand. Throw it away when the tables change."""

    def __init__(self, unit: RemappingUnit) -> None:
        self.unit = unit
        self._counts: dict[tuple[str, int, int], int] = {}
        self._leads = cache(self._read_leads)
        self._pasids = cache(self._read_pasids)

    def attached(self) -> Iterator[Attached]:
        """Every present context entry, in order of source id; in scalable mode every present PASID of it.

        Raises BadImage when there are more than MAX_ATTACHED.
        """
        for count, found in enumerate(self._attached()):
            if count == MAX_ATTACHED:
                raise BadImage(f"tables name more than {MAX_ATTACHED} devices and PASIDs")
            yield found

    def _attached(self) -> Iterator[Attached]:
        legacy = self.unit.mode == 0
        roots = [self._words(self.unit.root_table + 16 * bus, 2) for bus in range(256)]
        for source in range(1 << 16):
            root = roots[source >> 8]
            half, size = (0, 2) if legacy else (source >> 7 & 1, 4)
            if not root or not root[half] & 1:
                continue
            index = source & (0xFF if legacy else 0x7F)
            context = self._words((root[half] & PAGE_MASK) + 8 * size * index, size)
            if not context or not context[0] & 1:
                continue
            if legacy:
                yield Attached(source, None, root, context, (), *self.space(source))
                continue
            for pasid, entry in self._pasids(context[0] & PAGE_MASK, 1 << (context[0] >> 9 & 7) + 7).items():
                # RID_PASID serves requests without one
                carried = None if pasid == context[1] & 0xF_FFFF else pasid
                yield Attached(source, pasid, root, context, entry, *self.space(source, carried))

    def _read_pasids(self, directory: int, size: int) -> dict[int, tuple[int, ...]]:
        """The present entries below a PASID directory, as many as a survey may list."""
        tables = takewhile(bool, (self._words(directory + 8 * index, 1) for index in range(size)))
        slots = (
            (64 * index + slot, (table[0] & PAGE_MASK) + 64 * slot)
            for index, table in enumerate(tables)
            for slot in range(64 * (table[0] & 1))
        )
        present = ((pasid, at) for pasid, at in slots if any(word & 1 for word in self._words(at, 1)))
        return {pasid: self._words(at, 8) for pasid, at in islice(present, MAX_ATTACHED + 1)}

    def space(self, sid: int, pasid: int | None = None) -> tuple[Space | None, str]:
        """The page tables of a device, or the label of the condition that keeps it from them."""
        job = Job(self.unit, Request(sid, 0, pasid=pasid), None, commit=False, trace=None)
        try:
            return Job.finish(engine.find_space(job)), ""
        except Refused as refusal:
            return None, refusal.label

    def entries(self, table: Table) -> tuple[Lead, ...]:
        """The entries of a table that lead on."""
        return self._leads(*table[:3])

    def _read_leads(self, stage: str, page: int, level: int) -> tuple[Lead, ...]:
        words = enumerate(read_page(self.unit.memory, page >> 12) or ())
        said = ((slot, raw, *DECODERS[stage](self.unit.rules, level, raw)) for slot, raw in words if raw)
        return tuple(
            Lead(slot, raw, leaf, rights, address)
            for slot, raw, leaf, rights, reserved, address in said
            if rights and not reserved
        )

    def below(self, space: Space, table: Table) -> Iterator[Table]:
        """The tables that the entries of `table` lead to, in order."""
        leads = (lead for lead in self.entries(table) if not lead.leaf)
        return filter(None, (self.next(space, table, lead) for lead in leads))

    def next(self, space: Space, table: Table, lead: Lead) -> Table | None:
        """The table that an entry leads to; None where the second stage has no place for it."""
        page = self.host(space, table.stage, lead.address)
        base = table.base + (lead.slot << table.step)
        return None if page is None else Table(table.stage, page, table.level - 1, base)

    def host(self, space: Space, stage_name: str, address: int) -> int | None:
        """The host address of a table. Under nesting those of the first stage are guest physical; None where
        the second stage has no place for one.
        """
        stage = self._asked(space, stage_name)
        try:
            return address if stage.locate is None else stage.job.finish(stage.locate(address, False))[0]
        except Refused:
            return None

    def _asked(self, space: Space, name: str) -> First | Second:
        """A stage of `space`, asked to read."""
        job = Job(self.unit, Request(0, 0, pasid=0), None, commit=False, trace=None)
        job.supervisor = space.rid_priv
        return First(job, space) if name == "first" else asked(job, space)

    def root(self, space: Space) -> Table:
        """The table that the walk of a request starts from."""
        stage, page, levels = _stage(space)
        found = self.host(space, stage, page)
        return Table(stage, page if found is None else found, levels)

    def mapped(self, space: Space, table: Table) -> int:
        """How many 4 KiB pages are mapped by `table` and what is below it."""
        key = table[:3]
        if key not in self._counts:
            leaves = sum(1 << 9 * (table.level - 1) for lead in self.entries(table) if lead.leaf)
            self._counts[key] = leaves + sum(self.mapped(space, each) for each in self.below(space, table))
        return self._counts[key]

    def pages(self, space: Space) -> int:
        """How many 4 KiB pages `space` maps. Nested spaces are counted by their first stage. Raises BadImage
        for tables that loop.
        """
        if space.path == "PT":
            return 0
        count, levels = self.mapped(space, self.root(space)), dict[tuple[str, int], int]()
        for stage, page, level in self._counts:
            known = levels.setdefault((stage, page), level)
            if known != level:
                raise BadImage(
                    f"tables loop: the page at {page:#x} is a table of level {known} and of level {level}"
                )
        return count

    def ranges(self, space: Space) -> Iterator[MappedRange]:
        """What `space` maps, in order, neighbours merged. Nested spaces show their first stage. Raises
        BadImage for tables that loop.
        """
        if not self.pages(space):
            return
        leaves = enumerate(self._leaves(space, self.root(space), ALL))
        # Pages of one range are alike but for their number in it.
        for _, run in groupby(leaves, lambda each: _start(*each)):
            _, first = next(run)
            yield replace(first, size=first.page * (1 + sum(1 for _ in run)))  # noqa: B031 (each is used once)

    def _leaves(self, space: Space, table: Table, above: int) -> Iterator[MappedRange]:
        stage, size = self._asked(space, table.stage), 1 << table.step
        for lead in self.entries(table):
            rights = above & lead.rights
            allowed = stage.granted(rights)
            if allowed and not lead.leaf and (below := self.next(space, table, lead)):
                yield from self._leaves(space, below, rights)
            iova = _signed(space, table.base + lead.slot * size)
            if allowed and lead.leaf and not space.outside[0] <= iova < space.outside[1]:
                yield MappedRange(iova, lead.address, size, size, ("--", "r-", "-w", "rw")[allowed])

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        """`count` words from memory; none when it is not there."""
        try:
            return tuple(self.unit.memory.read64(address + 8 * i) for i in range(count))
        except AccessError:
            return ()


def _stage(space: Space) -> tuple[str, int, int]:
    first = "first", space.first_root, space.first_levels
    return ("second", space.second_root, space.second_levels) if space.path == "SS" else first


def _signed(space: Space, iova: int) -> int:
    """A first-stage address in its canonical form."""
    top = 12 + 9 * space.first_levels
    return iova | TOP - (1 << top) if space.path != "SS" and iova >> top - 1 else iova


def _start(number: int, part: MappedRange) -> tuple[int, int, int, str]:
    """Where page number 0 of a range would be, and of what kind, if this is its page of that number."""
    before = number * part.page
    return part.iova - before, part.address - before, part.page, part.permissions


def describe(found: Attached) -> str:
    """One line on what a device's entries say."""
    space = found.space
    who = bdf(found.sid) + ("" if found.pasid is None else f" PASID {found.pasid:#x}")
    if space is None:
        return f"{who}  refused: {found.refusal}"
    _, root, levels = _stage(space)
    tables = "" if space.path == "PT" else f", {levels} levels at {root:#x}"
    return f"{who}  DID {space.did}, {engine.PATHS[space.path]}{tables}"
