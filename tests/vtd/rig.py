"""Software's side of the tests: table builders and register sequences, written without the package's layouts.

The builders spell out bits by hand on purpose. If they used the declarations the walker reads by, a wrong bit
would be wrong on both sides and no test would see it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.memory import AccessError, Memory, Page
from vtdkit.vtd.queue.ring import QueueStep
from vtdkit.vtd.quirks import SPECIFICATION, Quirks
from vtdkit.vtd.requests import Request
from vtdkit.vtd.unit.unit import RemappingUnit

RTADDR, GCMD, GSTS, CCMD, FSTS, FECTL = 0x20, 0x18, 0x1C, 0x28, 0x34, 0x38
IQH, IQT, IQA, ICS, IECTL, IQERCD, IRTA = 0x80, 0x88, 0x90, 0x9C, 0xA0, 0xB0, 0xB8
IVA, IOTLB, FRCD = 0xF0, 0xF8, 0x220
TE, SRTP, WBF, QIE, IRE, SIRTP = (1 << bit for bit in (31, 30, 27, 26, 25, 24))
ONE_SHOTS = SRTP | WBF | SIRTP | 1 << 29
R, W, RW = 1, 2, 3
FS_RW = 0x67  # P, RW, US, A, D
SID = 0x18


class Access(NamedTuple):
    """One line of a memory's log: `what` is read, write or cmpxchg."""

    what: str
    address: int
    value: int


class Rigged(Memory):
    """Memory that can be broken and watched. `fail(low, high)` makes a range refuse access, `read_only(low,
    high)` refuse writes. With `log` set to a list, every access the unit makes is appended to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Access] | None = None
        self._broken: list[tuple[int, int, bool]] = []

    def fail(self, low: int, high: int) -> None:
        self._broken.append((low, high, True))

    def read_only(self, low: int, high: int) -> None:
        self._broken.append((low, high, False))

    def heal(self) -> None:
        self._broken.clear()

    def read64(self, address: int) -> int:
        self._check(address, writing=False)
        value = super().read64(address)
        self._note("read", address, value)
        return value

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        self._check(address, writing=True)
        found = self[address]
        if found == expected:
            self[address] = value
        self._note("cmpxchg", address, value)
        return found

    def _check(self, address: int, *, writing: bool) -> None:
        if address & 7:
            raise ValueError(f"{address:#x} is not aligned to 8 bytes; hardware makes no such access")
        if address >> 12 not in self.pages:
            raise AccessError(address)
        for low, high, reads_too in self._broken:
            if low <= address < high and (writing or reads_too):
                raise AccessError(address, "access refused")

    def _note(self, what: str, address: int, value: int) -> None:
        if self.log is not None:
            self.log.append(Access(what, address, value))

    def read_page(self, pfn: int) -> Page | None:
        broken = any(
            low < pfn + 1 << 12 and pfn << 12 < high for low, high, reads_too in self._broken if reads_too
        )
        return None if broken else super().read_page(pfn)


class Tables:
    """Memory with a root table, and the edits software makes to it."""

    def __init__(self) -> None:
        self.memory = Rigged()
        self.next = 0x10_0000
        self.root = self.page()

    def page(self) -> int:
        """A zeroed page that nobody uses."""
        self.next += 0x1000
        return self.memory.page(self.next)

    # legacy mode

    def context(
        self, sid: int = SID, *, aw: int = 2, tt: int = 0, did: int = 5, root: int | None = None, fpd: int = 0
    ) -> int:
        """A context entry; returns the page-table root."""
        root = self.page() if root is None else root
        at = self.context_at(sid)
        self.memory[at] = root | tt << 2 | fpd << 1 | 1
        self.memory[at + 8] = did << 8 | aw
        return root

    def context_at(self, sid: int = SID) -> int:
        slot = self.root + 16 * (sid >> 8)
        if not self.memory[slot] & 1:
            self.memory[slot] = self.page() | 1
        return (self.memory[slot] & ~0xFFF) + 16 * (sid & 0xFF)

    # scalable mode

    def sm_context_at(self, sid: int = SID) -> int:
        slot = self.root + 16 * (sid >> 8) + (8 if sid & 0x80 else 0)
        if not self.memory[slot] & 1:
            self.memory[slot] = self.page() | 1
        return (self.memory[slot] & ~0xFFF) + 32 * (sid & 0x7F)

    def sm_context(
        self, sid: int = SID, *, flags: int = 0, pdts: int = 0, rid_pasid: int = 0, rid_priv: int = 0
    ) -> int:
        """A scalable-mode context entry; returns the PASID directory."""
        at = self.sm_context_at(sid)
        directory = self.page()
        for _ in range((1 << pdts + 7) * 8 // 4096):
            self.page()
        self.memory[at] = directory | pdts << 9 | flags | 1
        self.memory[at + 8] = rid_pasid | rid_priv << 20
        self.memory[at + 16] = self.memory[at + 24] = 0
        return directory

    def pasid_at(self, directory: int, pasid: int) -> int:
        slot = directory + 8 * (pasid >> 6)
        if not self.memory[slot] & 1:
            self.memory[slot] = self.page() | 1
        return (self.memory[slot] & ~0xFFF) + 64 * (pasid & 63)

    def pasid(self, directory: int, pasid: int = 0, **words: int) -> int:
        """A PASID table entry from its words `w0`, `w1`, `w2`; returns its address."""
        at = self.pasid_at(directory, pasid)
        for i in range(8):
            self.memory[at + 8 * i] = words.get(f"w{i}", 0)
        return at

    # page tables

    def map(
        self,
        root: int,
        iova: int,
        address: int,
        *,
        bits: int = RW,
        levels: int = 4,
        size: int = 4096,
        middle: int = RW,
    ) -> int:
        """Map one page in either stage; returns the address of the leaf entry."""
        leaf_level = {4096: 1, 1 << 21: 2, 1 << 30: 3}[size]
        table = root
        for level in range(levels, leaf_level, -1):
            slot = table + 8 * (iova >> 12 + 9 * (level - 1) & 511)
            if not self.memory[slot] & 1:
                self.memory[slot] = self.page() | middle
            table = self.memory[slot] & 0x000F_FFFF_FFFF_F000
        slot = table + 8 * (iova >> 12 + 9 * (leaf_level - 1) & 511)
        self.memory[slot] = address | bits | (0x80 if leaf_level > 1 else 0)
        return slot

    # units

    def unit(
        self, caps: Capabilities | None = None, *, mode: int = 0, quirks: Quirks = SPECIFICATION, **more: Any
    ) -> RemappingUnit:
        """A unit brought up over these tables: root pointer set, translation on."""
        unit = RemappingUnit(self.memory, caps or Capabilities(HAW=46), quirks=quirks, **more)
        bring_up(unit, self.root | mode << 10)
        return unit


def command(unit: RemappingUnit, bit: int, on: bool = True) -> None:
    """One GCMD command, by the protocol: read status, drop the one-shots, change one bit, write."""
    status = unit.read(GSTS) & ~ONE_SHOTS
    unit.write(GCMD, status | bit if on else status & ~bit)


def bring_up(unit: RemappingUnit, root: int) -> None:
    unit.write(RTADDR, root, 8)
    command(unit, SRTP)
    command(unit, TE)


def drain(unit: RemappingUnit) -> list[QueueStep]:
    """Step until there is nothing left to do; what each step did."""
    steps: list[QueueStep] = []
    while (step := unit.step()) is not None:
        steps.append(step)
        if step.outcome == "blocked":
            break
    return steps


def legacy(**context: Any) -> tuple[Tables, int]:
    """Tables with one device in legacy mode, and its page-table root."""
    tables = Tables()
    return tables, tables.context(**context)


SCALABLE = Capabilities.scalable(HAW=46)


def scalable(
    path: str = "SS", caps: Capabilities = SCALABLE, *, flags: int = 0x1C, **more: int
) -> tuple[Tables, int, int, int]:
    """Tables with one device in scalable mode at PASID `rid_pasid`; returns them, the directory, the entry's
    address and the root of the second stage (SS), the first stage (FS, NEST) or 0 (PT).

    `w0`, `w1`, `w2` are OR-ed into the PASID entry.
    """
    tables = Tables()
    rid = more.get("rid_pasid", 7)
    directory = tables.sm_context(flags=flags, rid_pasid=rid, rid_priv=more.get("rid_priv", 0))
    second, first = tables.page(), tables.page()
    pgtt = {"FS": 1, "SS": 2, "NEST": 3, "PT": 4}[path]
    words = {
        "w0": 1 | 2 << 2 | pgtt << 6 | (second if path in ("SS", "NEST") else 0) | more.get("w0", 0),
        "w1": 5 | 1 << 23 | more.get("w1", 0),
        "w2": (first if path in ("FS", "NEST") else 0) | more.get("w2", 0),
    }
    entry = tables.pasid(directory, rid, **words)
    return tables, directory, entry, {"SS": second, "FS": first, "NEST": first, "PT": 0}[path]


def read(address: int, sid: int = SID, **more: Any) -> Request:
    return Request(sid, address, "read", **more)


def write(address: int, sid: int = SID, **more: Any) -> Request:
    return Request(sid, address, "write", **more)
