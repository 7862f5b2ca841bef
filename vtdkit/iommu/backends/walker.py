"""Hardware that walks page tables in a machine's memory: what all kinds share.

A kind says where the walk begins and what an entry means (`root`, `entry`); here are the caches
that go stale, the steps at which others get in, and invalidation. Two caches, as every such unit has them: of
finished translations, and of upper entries (a *walk cache*). Neither looks at memory again until software
invalidates it.

Software queues an invalidation and spins until the unit has written its number to a status word. The unit
finishes walks that have begun first: an invalidation is complete only when nothing in flight goes by what it
invalidates (Arm: CMD_SYNC; AMD: COMPLETION_WAIT).

Guards: the caches are the unit's own; `commands` is filled by software in one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from vtdkit.iommu.hardware import MachineMemory
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.memory import AccessError

from .backend import Access, Answer, Looked


@dataclass(frozen=True, slots=True)
class Next:
    """An entry that leads to a table, whose own entries are of `level`; and what the way so far allows."""

    table: int
    level: int
    readable: bool = True
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry that maps 2^shift bytes.

    `marked` is the entry as a first write leaves it; None where there is nothing left to mark.
    """

    base: int
    shift: int
    readable: bool
    writable: bool
    marked: int | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """An entry that refuses, and why."""

    why: str


class TableWalker(ABC):
    """One unit in front of one domain's table. A kind says `root` and `entry`, and how its tables are made,
    if not of 512 entries of 64 bits.
    """

    index_bits = 9  #: of an address choose an entry of a table
    entry_size = 8  #: bytes

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        self.memory = MachineMemory(machine, name)
        self.translations: dict[tuple[int, int], Leaf] = {}  # (shift, iova >> shift)
        self.uppers: dict[tuple[int, int], Next] = {}  # (level, iova >> span of that level's table)
        self.commands: list[tuple[int, int, bool]] = []
        self.walking = self.done = 0
        self.wait = machine.costs.iotlb_wait  # ns from a command to its answer
        self.status = machine.pages.take_run(1, -1, f"{name} status", None)[0]
        machine.steps.hardware(self)

    # -- what a kind says ----------------------------------------------------

    @abstractmethod
    def root(self, iova: int) -> Next | Bad:
        """Where a walk begins."""

    @abstractmethod
    def entry(self, level: int, raw: int, iova: int) -> Next | Leaf | Bad:
        """What an entry of a table of this level says."""

    def shift(self, level: int) -> int:
        """How many bytes one entry of a table of this level covers, as a power of two."""
        return 12 + self.index_bits * (level - 1)

    # -- a device's access ---------------------------------------------------

    async def translate(self, iova: int, kind: Access = "read") -> Answer:
        """One access of a device, an entry at a time."""
        await self.machine.steps.device(self, None)
        self.walking += 1
        try:
            return await self._translate(iova, kind)
        finally:
            self.walking -= 1
            self.machine.steps.hardware(self)
            if not self.walking:
                self._drain()

    async def _translate(self, iova: int, kind: Access) -> Answer:
        looked = list[Looked]()
        table: Next | Leaf | Bad = self._remembered(iova, kind) or self._start(iova)
        while isinstance(table, Next):
            index = iova >> self.shift(table.level) & (1 << self.index_bits) - 1
            address = table.table + self.entry_size * index
            await self.machine.steps.device(self, address)
            try:
                raw = self.memory.read64(address & -8) >> 8 * (address & 7) & (1 << 8 * self.entry_size) - 1
            except AccessError:
                return Answer(None, why="no memory there", looked=tuple(looked))
            looked.append(Looked(table.level, address, raw))
            found = self.entry(table.level, raw, iova)
            if isinstance(found, Leaf):
                found = await self._finish(found, table, kind, address, raw, iova)
            elif isinstance(found, Next):
                found = replace(
                    found,
                    readable=found.readable and table.readable,
                    writable=found.writable and table.writable,
                )
                self.uppers[found.level, iova >> self.shift(found.level + 1)] = found
            table = found
        if isinstance(table, Bad):
            return Answer(None, why=table.why, looked=tuple(looked))
        if not (table.writable if kind == "write" else table.readable):
            return Answer(None, why=f"no {kind} access", looked=tuple(looked))
        size = 1 << table.shift
        return Answer(
            table.base | iova & size - 1, size, table.readable, table.writable, looked=tuple(looked)
        )

    def _start(self, iova: int) -> Next | Bad:
        """The remembered table nearest the leaf, or the root."""
        root = self.root(iova)
        if isinstance(root, Bad):
            return root
        known = (self.uppers.get((level, iova >> self.shift(level + 1))) for level in range(1, root.level))
        return next(filter(None, known), root)

    def _remembered(self, iova: int, kind: Access) -> Leaf | None:
        """A translation that is known; not for a write that has still to be marked."""
        known = (leaf for (shift, page), leaf in self.translations.items() if iova >> shift == page)
        return next((leaf for leaf in known if kind != "write" or leaf.marked is None), None)

    async def _finish(
        self, leaf: Leaf, table: Next, kind: Access, address: int, raw: int, iova: int
    ) -> Leaf | Next:
        """A leaf was found: what the way to it allows, its mark, and into the cache with it."""
        leaf = replace(
            leaf, readable=leaf.readable and table.readable, writable=leaf.writable and table.writable
        )
        if kind == "write" and leaf.writable and leaf.marked is not None:
            await self.machine.steps.device(self, address)
            if self.memory.read64(address) != raw:
                return table  # somebody changed it meanwhile: look again
            self.machine.steps.memory(address)
            self.memory.write64(address, leaf.marked)
            leaf = replace(leaf, marked=None)
        if leaf.readable or leaf.writable:
            self.translations[leaf.shift, iova >> leaf.shift] = leaf
        return leaf

    # -- what software does to it --------------------------------------------

    async def invalidate(self, first: int, last: int, *, leaf: bool = False) -> None:
        """Queue the command, and spin until the unit has done it."""
        machine = self.machine
        await machine.work(machine.costs.mmio)
        await machine.steps.register(self, 0, True)
        self.commands.append((first, last, leaf))
        number = self.done + len(self.commands)
        machine.steps.hardware(self)
        await machine.work(self.wait)
        if not self.walking:
            self._drain()
        while (done := await self.status.load(0)) < number:
            await self.status.relax_until_written(0, done)

    def _drain(self) -> None:
        """Do everything that was asked for, and say so."""
        if not self.commands:
            return
        for first, last, leaf in self.commands:
            self._forget(first, last, leaf)
        self.done += len(self.commands)
        self.commands.clear()
        self.machine.steps.memory(self.status.address)
        self.memory.write64(self.status.address, self.done)

    def _forget(self, first: int, last: int, leaf: bool) -> None:
        def stays(number: int, shift: int) -> bool:
            return number << shift > last or first > (number + 1 << shift) - 1

        self.translations = {key: kept for key, kept in self.translations.items() if stays(key[1], key[0])}
        if not leaf:
            self.uppers = {
                key: kept for key, kept in self.uppers.items() if stays(key[1], self.shift(key[0] + 1))
            }

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.translations)} translations, {len(self.uppers)} upper entries held>"
