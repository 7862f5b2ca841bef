"""Replaying a real guest's maps and unmaps through the DMA API of a simulated computer: every call on its
CPU, in its order.

What is kept of the trace (`traces`): which CPU made which call, the order of the calls of each CPU,
that no buffer is unmapped before it is mapped, sizes, devices, and the pieces each buffer has. What is
not: the guest's addresses; our allocator gives its own, and a table leads from one to the other.

How fast? By default each CPU makes its next call as soon as the last one has returned (`speed=None`):
load without pause, which shows the lock that gives out first, whatever the cost figures. With `speed=1`
calls begin at the times of the trace, with `speed=20` twenty times as fast; a CPU that is late catches
up. The guests ran on emulated CPUs, about twenty times slower than the processors our costs are from (a
map every 3.5 µs against 0.2 µs); and their waits for the queue lock lasted milliseconds because the
emulated CPU that held it had lost its real one. So counts can be compared in kind, times cannot.

Guards: none here; the threads share a table of handles, where each entry is written by one and read
by one after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from typing import Any

from vtdkit.iommu.contract import Contract
from vtdkit.iommu.dma import DMA_MAPPING_ERROR, DmaApi, Segment
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pinning import PAGE_SIZE as PAGE
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.checkers.races import WordClock
from vtdkit.kernel.locks.sync import Completion
from vtdkit.lab.computer import Computer
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.survey import Survey

from .traces import Mapping, MapTrace

#: the unit of the recorded guests, as far as it matters: legacy mode, three levels
GUEST_UNIT = Capabilities(SAGAW=0b10, MGAW=39)
#: where the memory of buffers stands in that were mapped before the trace began (their own is not known)
EARLIER = 1 << 40


@dataclass(frozen=True, slots=True)
class Contended:
    """How often a lock had to be waited for, and in which function."""

    lock: str
    function: str
    count: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    - `events` lines of the trace, `calls` of the DMA API, `duration` in virtual ns
    - `contended` the locks that had to be waited for, the most often first; `acquired` how
      often each was taken
    - `pages` mapped at the end, `wrong` what is mapped otherwise than the trace leaves it (nothing,
      if all is well)
    - `broken` findings of the contract checker, None if it was off
    - `computer` the computer as it stands now
    """

    name: str
    driver: str
    lazy: bool
    events: int
    calls: int
    duration: int
    contended: tuple[Contended, ...]
    acquired: ReadOnly[str, int]
    pages: int
    wrong: tuple[str, ...]
    broken: int | None
    computer: Computer = field(repr=False, compare=False)

    def waits(self, lock: str) -> int:
        """How often a lock was waited for."""
        return sum(row.count for row in self.contended if row.lock == lock)

    def __repr__(self) -> str:
        mode = "lazy" if self.lazy else "strict"
        lines = [
            f"{self.name}, {mode}, driver {self.driver}: {self.events} events, {self.calls} calls in "
            f"{self.duration / 1e6:.1f} ms",
            *(f"{row.count:>8} waits for {row.lock} in {row.function}" for row in self.contended[:8]),
            f"{self.pages} pages mapped at the end, as the trace leaves them"
            if not self.wrong
            else self.wrong[0],
        ]
        return "\n".join(lines)


def replay(
    trace: MapTrace,
    *,
    driver: type[IntelIommu] = IntelIommu,
    speed: float | None = None,
    lazy: bool | None = None,
    units: Capabilities = GUEST_UNIT,
    record: bool = False,
    contract: bool = False,
    **options: Any,
) -> Replayed:
    """Replay a trace on a computer made for it; `lazy` decides how it flushes (None: as the guest did); with
    `contract`, calls on one range that nothing orders are found.

    `driver` is the version under test; `options` go to `Computer` and its `Machine` (costs, checkers,
    seed ...). Raises ValueError for a speed that is not above 0, `BadTrace` for a trace that contradicts
    itself, `KernelBug` when a mapping fails.
    """
    if speed is not None and not speed > 0:
        raise ValueError(
            "speed is how many times faster than the guest, above 0, or None for no "
            f"pause at all; it is {speed!r}"
        )
    lazy = bool(trace.lazy) if lazy is None else lazy
    options = {"cpus": trace.cpus, **options}
    pc = Computer(
        driver=driver,
        devices=(),
        units=units,
        default_type="dma-fq" if lazy else "dma",
        record=record,
        **options,
    )
    return _Replay(trace, pc, speed, lazy, Contract(pc.core) if contract else None).run()


class _Replay:
    """One replay under way."""

    def __init__(
        self, trace: MapTrace, pc: Computer, speed: float | None, lazy: bool, contract: Contract | None
    ) -> None:
        self.trace = trace
        self.pc = pc
        self.machine = pc.machine
        self.speed = speed
        self.lazy = lazy
        self.contract = contract
        self.told: dict[int, WordClock] = {}  # a device's interrupt tells the CPU that unmaps of the map
        self.api = DmaApi(pc.core)
        self.mappings = trace.mappings()
        self.handles: dict[int, list[Segment]] = {}  # number of a mapping -> where it is for the device
        self.awaited: dict[int, Completion] = {}
        self.start = 0

    def run(self) -> Replayed:
        for address in self.trace.devices:
            self.pc.add_device(address)
        self.pc.run(self.map_earlier())
        before = _taken(self.pc)
        self.start = self.machine.now
        first = self.trace.events[0].time if self.trace.events else 0
        for cpu, work in enumerate(self.work()):
            self.machine.spawn(self.cpu(work, first), cpu, f"guest CPU {cpu}")
        self.machine.simulate()
        pages, wrong = self.compare()
        return Replayed(
            self.trace.name,
            self.pc.driver.title,
            self.lazy,
            len(self.trace.events),
            sum((mapping.map_cpu >= 0) + (mapping.unmap_cpu >= 0) for mapping in self.mappings),
            self.machine.now - self.start,
            _contended(self.pc),
            dict(_taken(self.pc) - before),
            pages,
            wrong,
            None if self.contract is None else len(self.machine.findings.of("contract")),
            self.pc,
        )

    # -- the calls -----------------------------------------------------------

    def work(self) -> list[list[tuple[int, int, bool]]]:
        """For each CPU its calls: time, number of the mapping, whether it maps."""
        work: list[list[tuple[int, int, bool]]] = [[] for _ in self.machine.cpus]
        for number, mapping in enumerate(self.mappings):
            if mapping.map_cpu >= 0:
                work[mapping.map_cpu].append((mapping.map_time, number, True))
            if mapping.unmap_cpu >= 0:
                work[mapping.unmap_cpu].append((mapping.unmap_time, number, False))
        return [sorted(calls, key=lambda call: call[:2]) for calls in work]

    async def map_earlier(self) -> None:
        """What had been mapped before the trace began."""
        for number, mapping in enumerate(self.mappings):
            if mapping.map_cpu < 0:
                await self.map(number, ((EARLIER + mapping.iova, mapping.size),))

    async def cpu(self, calls: list[tuple[int, int, bool]], first: int) -> None:
        """The thread of one CPU."""
        machine, speed = self.machine, self.speed
        for time, number, maps in calls:
            if speed is not None:
                # who is late already does not wait
                await machine.work(max(self.start + int((time - first) / speed) - machine.now, 0))
            if maps:
                await self.map(number, self.mappings[number].segments)
            else:
                await self.unmap(number)

    async def map(self, number: int, segments: tuple[Segment, ...]) -> None:
        """One buffer: in one piece, or as a list."""
        dev = self.pc.devices[self.mappings[number].device]
        if len(segments) == 1:
            ((phys, size),) = segments
            handle = await self.api.iommu_dma_map_page(dev, phys, size)
            mapped = [(handle, size)] if handle != DMA_MAPPING_ERROR else []
        else:
            mapped = await self.api.iommu_dma_map_sg(dev, segments)
        if not mapped:
            raise KernelBug(f"mapping {number} of {self.trace.name} failed: {self.mappings[number]!r}")
        self.handles[number] = mapped
        if self.contract is not None:
            told = self.told[number] = WordClock()
            self.machine.check.order.publish(self.machine.sched.current, told)
        if number in self.awaited:
            await self.awaited[number].complete_all()

    async def unmap(self, number: int) -> None:
        """Undo it, as soon as it is there: another CPU may be about to map it."""
        if number not in self.handles:
            waiting = self.awaited[number] = self.machine.make(Completion, f"mapping {number}")
            await waiting.wait()
        if self.contract is not None:
            self.machine.check.order.observe(self.machine.sched.current, self.told.pop(number))
        mapping, mapped = self.mappings[number], self.handles.pop(number)
        dev = self.pc.devices[mapping.device]
        if len(mapped) == 1:
            await self.api.iommu_dma_unmap_page(dev, *mapped[0])
        else:
            await self.api.iommu_dma_unmap_sg(dev, mapped)

    # -- afterwards ----------------------------------------------------------

    def compare(self) -> tuple[int, tuple[str, ...]]:
        """Pages mapped, as the hardware reads the tables, and where that differs from what
        the trace leaves mapped.
        """
        expected = {
            (mapping.device, *page)
            for number, mapping in enumerate(self.mappings)
            for page in self.left(number, mapping)
        }
        found = {
            (address, *page) for address in self.trace.devices for page in mapped_pages(self.pc, address)
        }
        wrong = [
            f"{device}: {iova:#x} should lead to {phys:#x}" for device, iova, phys in sorted(expected - found)
        ]
        wrong += [
            f"{device}: {iova:#x} leads to {phys:#x}, and should not"
            for device, iova, phys in sorted(found - expected)
        ]
        return len(found), tuple(wrong)

    def left(self, number: int, mapping: Mapping) -> list[tuple[int, int]]:
        """The pages of a mapping that the trace does not undo: our address, memory."""
        if mapping.unmap_cpu >= 0:
            return []
        pieces = zip(self.handles[number], mapping.segments, strict=True)
        return [(at + i, phys + i) for (at, size), (phys, _) in pieces for i in range(0, size, PAGE)]


def mapped_pages(pc: Computer, address: str) -> list[tuple[int, int]]:
    """Every page a device can reach, (bus address, physical address), as the hardware
    model reads the tables.
    """
    survey = Survey(pc.hardware_of(address).unit)
    space, label = survey.space(pc.devices[address].sid)
    if space is None:
        raise KernelBug(f"{address} has no address space: {label}")
    return [(r.iova + i, r.address + i) for r in survey.ranges(space) for i in range(0, r.size, PAGE)]


def _contended(pc: Computer) -> tuple[Contended, ...]:
    """What was waited for, the most often first. (Setting up waits for nothing.)"""
    waits: Counter[tuple[str, str]] = Counter()
    for row in pc.machine.lock_stat():
        for place, count in row.points:
            waits[row.name, place.function] += count  # type: ignore[attr-defined]  # a Site
    ordered = sorted(waits.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Contended(lock, function, count) for (lock, function), count in ordered)


def _taken(pc: Computer) -> Counter[str]:
    """How often each lock was taken so far."""
    rows = pc.machine.lock_stat()
    return Counter({row.name: row.write.acquisitions + row.read.acquisitions for row in rows})
