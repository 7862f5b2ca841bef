"""The five machines of lesson 20: each with a fault that real ones had, and the log that Linux would print.

Nothing in a log is written by hand: each line is made from what the model's unit did. A machine is made for a
seed, has `log`, and can be asked the rest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

from vtdkit.vtd.caches.device_tlb import Endpoint
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.faults.reasons import linux_reason
from vtdkit.vtd.firmware.dmar import HEADER_BYTES, Dmar, Drhd, Rmrr, Scope
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.queue.execute import execute
from vtdkit.vtd.requests import Fault, Request, Translation, bdf, sid
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.entries import (
    CONTEXT_ENTRY,
    PASID_DIR_ENTRY,
    PASID_ENTRY,
    ROOT_ENTRY,
    SM_CONTEXT_ENTRY,
    SM_ROOT_ENTRY,
)
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.unit.unit import RemappingUnit

ON = {"GSTS": 0xC000_0000}
PAGE = 4096


def places(seed: int, count: int) -> list[int]:
    """Page addresses for tables, others for each seed."""
    return [page << 12 for page in random.Random(seed).sample(range(0x1000, 0x9000), count)]


def printed(fault: Fault) -> str:
    """A fault as Linux prints it."""
    request, code = fault.request, fault.code or 0
    kind = "Write" if request.writes else "Read"
    where = f"[DMA {kind} NO_PASID] Request device [{bdf(request.sid)}] fault addr {request.address:#x}"
    return f"DMAR: {where} [fault reason {code:#04x}] {linux_reason(code)}"


def outcome(answer: Translation | Fault) -> str:
    """One line on what a device was told."""
    return printed(answer) if isinstance(answer, Fault) else repr(answer)


# -- call 1: an entry that was written and not flushed ---------------------------


class CachedMemory(Memory):
    """Memory behind the cache of a processor. The unit reads memory, software stores into the cache: `flush`
    writes one line of 64 bytes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[int, int] = {}

    def store(self, address: int, *words: int) -> None:
        """What software does: it stays in the cache."""
        self.page(address)
        self.cache.update({address + 8 * place: word for place, word in enumerate(words)})

    def load(self, address: int) -> int:
        """What software reads: its own stores, flushed or not."""
        return self.cache.get(address, self[address])

    def flush(self, address: int) -> None:
        """Write back the line that `address` is in."""
        for place in range(address & ~63, (address | 63) + 1, 8):
            if place in self.cache:
                self[place] = self.cache.pop(place)


@dataclass(frozen=True)
class Flushed:
    """Call 1: the tables are right as the processor sees them, and the device is refused."""

    unit: RemappingUnit
    memory: CachedMemory
    request: Request
    entries: tuple[tuple[str, int], ...]  # name and address, from the root table down
    forgotten: int

    def dma(self) -> Translation | Fault:
        """What the device is told now."""
        return self.unit.from_memory(self.request)

    @property
    def log(self) -> str:
        """The fault, and the tables that Linux printed after it: what the processor sees."""
        loads = {name: (self.memory.load(at), self.memory.load(at + 8)) for name, at in self.entries}
        lines = [
            outcome(self.dma()),
            f"DMAR: Dump dmar1 table entries for IOVA {self.request.address:#x}",
            f"DMAR: scalable mode root entry: hi {loads['root'][1]:#018x}, low {loads['root'][0]:#018x}",
            f"DMAR: context entry: hi {loads['context'][1]:#018x}, low {loads['context'][0]:#018x}",
            f"DMAR: pasid dir entry: {loads['PASID directory'][0]:#018x}",
        ]
        at = dict(self.entries)["PASID table"]
        lines += [f"DMAR: pasid table entry[{n}]: {self.memory.load(at + 8 * n):#018x}" for n in range(8)]
        return "\n".join(lines)


def not_flushed(seed: int = 0) -> Flushed:
    """A unit whose walks are not coherent. Software flushed every entry but one."""
    caps = Capabilities.scalable(SMPWC=0, SSADS=0, EAFS=0, C=0)
    memory, device = CachedMemory(), sid("00:0d.2")
    root, context, directory, pasids = places(seed, 4)
    entries = (
        ("root", root, SM_ROOT_ENTRY.encode(LP=1, LCTP=context)),
        (
            "context",
            context + 32 * (device & 127),
            SM_CONTEXT_ENTRY.encode(P=1, PDTS=2, PASIDDIRPTR=directory),
        ),
        ("PASID directory", directory, PASID_DIR_ENTRY.encode(P=1, SMPTBLPTR=pasids)),
        ("PASID table", pasids, PASID_ENTRY.encode(P=1, AW=2, PGTT=4, DID=1)),
    )
    for page in (root, context, directory, pasids):
        memory.page(page)
    forgotten = (2, 3, 1, 0)[seed % 4]
    for number, (_, at, raw) in enumerate(entries):
        memory.store(at, *(raw >> 64 * word & (1 << 64) - 1 for word in range(8)))
        if number != forgotten:
            memory.flush(at)
    unit = RemappingUnit(memory, caps, cached=False)
    unit.restore({"RTADDR": root | 1 << 10, **ON})
    request = Request(device, 0x1_026A_4000 + (seed << 12))
    return Flushed(unit, memory, request, tuple(each[:2] for each in entries), entries[forgotten][1])


# -- calls 2 and 4: page tables in legacy mode --------------------------------------


def legacy_unit(seed: int, caps: Capabilities, device: str) -> tuple[RemappingUnit, Memory, int]:
    """A unit with one device in domain 5, the memory, and the address of its last page table."""
    memory, source = Memory(), sid(device)
    root, context, *levels = places(seed, 6)
    for page in (root, context, *levels):
        memory.page(page)
    memory[root + 16 * (source >> 8)] = ROOT_ENTRY.encode(P=1, CTP=context)
    entry = CONTEXT_ENTRY.encode(P=1, SSPTPTR=levels[0], AW=2, DID=5)
    memory[context + 16 * (source & 255)] = entry & (1 << 64) - 1
    memory[context + 16 * (source & 255) + 8] = entry >> 64
    for upper, lower in pairwise(levels):
        memory[upper] = lower | 3  # the first entry: every address here is below 2 MiB
    unit = RemappingUnit(memory, caps)
    unit.restore({"RTADDR": root, **ON})
    return unit, memory, levels[-1]


@dataclass(frozen=True)
class Unmapped:
    """Call 2: pages were unmapped and invalidated, and the device still reaches some of them."""

    unit: RemappingUnit
    device: str
    pages: tuple[int, ...]
    descriptor: Entry

    def read(self, page: int) -> Translation | Fault:
        """What the device is told when it reads there."""
        return self.unit.translate(Request(sid(self.device), page))

    def reached(self) -> list[int]:
        """The pages that it still reaches."""
        return [page for page in self.pages if self.read(page)]

    @property
    def log(self) -> str:
        """The descriptor that the driver had queued, as Linux prints one."""
        low, high = self.descriptor.raw & (1 << 64) - 1, self.descriptor.raw >> 64
        return f"DMAR: QI PRIOR: IOTLB Invalidation qw0 = {low:#x}, qw1 = {high:#x}"


def misaligned(seed: int = 0, first: int | None = None, count: int | None = None) -> Unmapped:
    """Pages are used, unmapped, and invalidated with a mask for as many pages, wherever the first is."""
    rng = random.Random(seed)
    count = rng.choice((3, 4, 6, 8)) if count is None else count
    mask = (count - 1).bit_length()
    size = 1 << mask
    first = (
        0x40 + rng.randrange(size - count + 1, size) if first is None else first
    )  # beyond one aligned range
    unit, memory, table_at = legacy_unit(seed, Capabilities(), "00:03.0")
    pages = tuple((first + n) << 12 for n in range(count))
    for page in pages:
        memory[table_at + 8 * (page >> 12)] = 0x5000_0003 + page
        unit.translate(Request(sid("00:03.0"), page))  # now the IOTLB knows it
    for page in pages:
        memory[table_at + 8 * (page >> 12)] = 0
    entry = descriptors.IOTLB_INV
    raw = entry.encode(TYPE=2, G=3, DW=1, DR=1, DID=5, AM=mask, ADDR=pages[0])
    execute(unit, entry.decode(raw))
    return Unmapped(unit, "00:03.0", pages, entry.decode(raw))


@dataclass(frozen=True)
class Snooped:
    """Call 4: some pages of a device work, others are refused."""

    unit: RemappingUnit
    memory: Memory
    device: str
    pages: tuple[int, ...]
    table_at: int

    def read(self, page: int) -> Translation | Fault:
        """What the device is told when it reads there."""
        return self.unit.from_memory(Request(sid(self.device), page))

    def entry(self, page: int) -> int:
        """The page-table entry of a page."""
        return self.memory[self.table_at + 8 * (page >> 12)]

    def refused(self) -> list[int]:
        """The pages that do not work."""
        return [page for page in self.pages if not self.read(page)]

    @property
    def log(self) -> str:
        """Boot line of the unit, and its faults."""
        caps = self.unit.capabilities
        lines = [f"DMAR: dmar0: reg_base_addr fed90000 ver 1:0 cap {caps.cap:x} ecap {caps.ecap:x}"]
        return "\n".join([*lines, *(outcome(self.read(page)) for page in self.refused())])


def snooped(seed: int = 0) -> Snooped:
    """A driver that asks for snooping on a unit that cannot be told (SC=0)."""
    rng = random.Random(seed)
    unit, memory, table_at = legacy_unit(seed, Capabilities(SC=0), "00:02.0")
    pages = tuple(sorted(page << 12 for page in rng.sample(range(1, 500), 6)))
    asked = rng.sample(pages, 2)
    for page in pages:
        target = rng.randrange(0x10_0000, 0x20_0000) << 12
        memory[table_at + 8 * (page >> 12)] = target | 3 | (1 << 11 if page in asked else 0)
    return Snooped(unit, memory, "00:02.0", pages, table_at)


# -- call 3: a device that does not answer ------------------------------------------


@dataclass(frozen=True)
class Silent:
    """Call 3: the queue stopped. `queue` has the descriptors in order; `endpoints` the devices."""

    unit: RemappingUnit
    queue: tuple[Entry, ...]
    endpoints: dict[str, Endpoint] = field(repr=False)
    gone: frozenset[str] = field(repr=False)

    def config(self, device: str) -> int:
        """The first word of a device's configuration space; all ones if nobody answers."""
        return 0xFFFF_FFFF if device in self.gone else 0x1572_8086

    @property
    def log(self) -> str:
        """What Linux printed: this unit does not say which device it was, and the wait came last."""
        status, prior = self.unit.registers["FSTS"], self.queue[-1].raw
        return "\n".join(
            (
                f"DMAR: DRHD: handling fault status reg {status:x}",
                "DMAR: VT-d detected Invalidation Time-out Error: SID 0",
                f"DMAR: QI PRIOR: Invalidation Wait qw0 = {prior & (1 << 64) - 1:#x}, qw1 = {prior >> 64:#x}",
            )
        )


def silent(seed: int = 0) -> Silent:
    """Two devices are gone; the driver invalidates the TLB of one of them."""
    rng = random.Random(seed)
    names = [
        f"{bus:02x}:00.{function}"
        for bus, function in zip(rng.sample(range(2, 0x60), 5), (0, 1, 0, 0, 1), strict=True)
    ]
    culprit, forgotten = rng.sample(names, 2)
    unit = RemappingUnit(Memory(), Capabilities())
    endpoints = {name: unit.attach_device_tlb(sid(name), prompt=name != culprit) for name in names}
    layout, queue = descriptors.DEV_TLB_INV, []
    for name in rng.sample(sorted(set(names) - {forgotten}), 4):
        queue.append(
            layout.decode(layout.encode(TYPE=3, SID=sid(name), S=1, ADDR=rng.randrange(1, 1 << 20) << 13))
        )
    queue.append(descriptors.INV_WAIT.decode(descriptors.INV_WAIT.encode(TYPE=5, SW=1, DATA=2, ADDR=0x1000)))
    for entry in queue[:-1]:
        execute(unit, entry)
    unit.device_tlbs.time_out()
    return Silent(unit, tuple(queue), endpoints, frozenset((culprit, forgotten)))


# -- call 5: a unit at address 0 -----------------------------------------------------


def firmware(seed: int = 0) -> bytes:
    """A DMAR table one of whose units has no registers."""
    rng = random.Random(seed)
    paths = [Scope(1, 0, ((rng.randrange(1, 31), 0),)) for _ in range(rng.randrange(1, 4))]
    units = [Drhd(0xFED9_0000 + 0x1000 * n, scopes=(scope,)) for n, scope in enumerate(paths)]
    units.insert(rng.randrange(len(units) + 1), Drhd(0, scopes=(Scope(1, 0, ((2, 0),)),)))
    units.append(Drhd(0xFED9_F000, flags=1, scopes=(Scope(3, 0xF0, ((31, 0),), 2),)))
    return Dmar(
        39, 1, (*units, Rmrr(0x9B80_0000, 0x9F9F_FFFF, scopes=(Scope(1, 0, ((2, 0),)),))), oem_id=b"LENOVO"
    ).to_bytes()


def wrong_base(data: bytes) -> int:
    """Where in a table the register base of a DRHD is 0: in bytes from its start; -1 for nowhere."""
    at = HEADER_BYTES
    while at + 16 <= len(data):
        kind, length = (int.from_bytes(data[at + n : at + n + 2], "little") for n in (0, 2))
        if kind == 0 and not any(data[at + 8 : at + 16]):
            return at + 8
        at += max(length, 4)
    return -1
