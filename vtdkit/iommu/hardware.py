"""A remapping unit in a machine: the hardware model of `vtdkit.vtd` behind the machine's memory,
registers, clock and interrupts.

The hardware is handed the machine's page frames as memory, so it reads the very words the driver wrote, and
freed ones are noticed. Moving the queue's tail sets it to work: one descriptor after another, each taking its
time; a wait descriptor's status write is seen by whoever spins on it. A fault raises the unit's interrupt.
Devices do DMA through `dma`, step by step, so that software can get in between two reads of one walk.
"""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING

from vtdkit.kernel.machine.context import AGENT
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.timers import IrqLine
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.sites import site
from vtdkit.vtd.caches.device_tlb import Endpoint
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.hooks import Hooks
from vtdkit.vtd.memory import AccessError, read_words
from vtdkit.vtd.registers.events import Message
from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

from .pinning import PAGE_SHIFT

if TYPE_CHECKING:
    from .pci import PciDevice

HARDWARE_UAF = "IOMMU: use-after-free"  #: kind of finding: it is the hardware that uses a freed page
DEVICE_TLB_TYPES = (3, 8)
WAIT_TYPE = 5


class MachineMemory:
    """The machine's page frames as the hardware sees them (a `vtd.memory.MemoryPort`). Reading a
    freed frame is reported.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.frames = machine.pages.frames

    def read64(self, address: int) -> int:
        page = self.frames.get(address >> PAGE_SHIFT)
        if page is None:
            raise AccessError(address)
        index = address >> 3 & 511
        if page.freed is not None:
            self.use_after_free(page, index, "read")
        return page.words[index]

    def use_after_free(self, page: Page, index: int, what: str) -> None:
        """The unit uses a frame that was freed. No kernel's KASAN sees that: only a model can tell."""
        if "kasan" in self.machine.check.wanted:
            text = f"{what} of word {index} of page {page.pfn:#x} by {self.name}, freed at {site(page.freed)}"
            self.machine.check.report(HARDWARE_UAF, page.name, (page.freed,), text=text)

    def read_words(self, address: int, count: int) -> int:
        page, index = self.frames.get(address >> PAGE_SHIFT), address >> 3 & 511
        if count != 2 or page is None or page.freed is not None:
            return read_words(self, address, count)
        return page.words[index] | page.words[index + 1] << 64

    def write64(self, address: int, value: int, keep: int = 0) -> None:
        """Write a word; its bits in `keep` stay."""
        page = self.frames.get(address >> PAGE_SHIFT)
        if page is None:
            raise AccessError(address)
        index = address >> 3 & 511
        if page.freed is not None:
            self.use_after_free(page, index, "write")
        page.words[index] = page.words[index] & keep | value
        page.changed(index)

    def cmpxchg64(self, address: int, expected: int, value: int) -> int:
        found = self.read64(address)
        if found == expected:
            self.write64(address, value)
        return found


QUEUE = range(0x80, 0x90)  #: head and tail: whoever moves the tail touches the whole unit, see `doorbell`


class RemappingHardware(Hooks):
    """One DMAR unit of a machine: `unit` is the model, `devices` the PCI devices in its scope.

    `reg` accesses are awaited: `await hardware.readl(offset)`. Guards: the hardware's own
    state is its own; software serialises register sequences with `intel_iommu::register_lock`
    and the queue with `q_inval::q_lock`.
    """

    def __init__(
        self,
        machine: Machine,
        capabilities: Capabilities,
        *,
        segment: int = 0,
        node: int = -1,
        name: str = "unit 0",
    ) -> None:
        self.machine = machine
        self.name = name
        self.segment = segment
        self.node = node
        self.memory = MachineMemory(machine, name)
        self.unit = RemappingUnit(self.memory, capabilities, hooks=self)
        self.working = False
        self.walking = 0  # DMA requests whose walk is under way
        self.agent = machine.sched.new_context(name, AGENT)
        self.agent.send = self._work
        self.fault_irq: IrqLine | None = None
        self.device_tlb_flushes = 0  # device-TLB invalidations executed so far
        self.busy = 0  # ns spent on all descriptors, and on the one under way
        self.polled: list[Page] = []  # status pages that software spins on
        self.endpoints: dict[int, Endpoint] = {}
        self.include_all = True
        self.scope: set[tuple[int, int]] = set()
        machine.steps.hardware(self)  # the explorer learns of it now, whoever uses it first

    # -- registers -----------------------------------------------------------

    @coroutine
    def _access(self, offset: int, writes: bool) -> Generator[int | None, None, None]:
        """What comes before an access to a register: the way to the unit, and, explored, a step."""
        yield from self.machine.work(self.machine.costs.mmio)
        if self.machine.steps.exploring and offset not in QUEUE:
            yield from self.machine.steps.register(self, offset, writes)

    async def readl(self, offset: int) -> int:
        """Read a 32-bit register."""
        await self._access(offset, False)
        return self.unit.read(offset, 4)

    async def readq(self, offset: int) -> int:
        """Read a 64-bit register."""
        await self._access(offset, False)
        return self.unit.read(offset, 8)

    async def writel(self, offset: int, value: int) -> None:
        """Write a 32-bit register."""
        await self._access(offset, True)
        self.unit.write(offset, value, 4)

    async def writeq(self, offset: int, value: int) -> None:
        """Write a 64-bit register."""
        await self._access(offset, True)
        self.unit.write(offset, value, 8)

    # -- the queue -----------------------------------------------------------

    def doorbell(self) -> None:
        """The tail moved, or an error was cleared: go to work, if not at it already."""
        if self.working:
            return
        machine = self.machine
        machine.steps.hardware(self)
        if machine.steps.exploring:
            if not self.walking:
                self._drain()
            return
        self.working = True
        machine.sched.at(self.agent, self._time_of_next())

    def _drain(self) -> None:
        """Execute everything at once (where time stands still).

        Not while a walk is under way: an invalidation is complete only when nothing in flight goes by what it
        invalidated (6.5.4, draining), so a walk that has begun is waited for.
        """
        while (step := self.unit.step()) is not None and step.executed:
            pass

    def _work(self, _: None) -> int | None:
        """Execute one descriptor; what the next one takes, None when there is none or an error
        has stopped the queue.
        """
        step = self.unit.step()
        if step is not None and step.executed:
            if self.unit.queue.fetching:
                return self._time_of_next()
        else:
            for page in self.polled:
                page.nudge()
        self.working = False
        return None

    def queue_error(self) -> bool:
        """Does the fault status register show a queue error (IQE, ITE, ICE)?"""
        return bool(self.unit.registers["FSTS"] & 0x70)

    def _time_of_next(self) -> int:
        """What the descriptor at the head takes: a wait nothing of its own, a device TLB a round trip.
        At least 1 ns.
        """
        queue, costs = self.unit.queue, self.machine.costs
        try:
            low = self.memory.read64(queue.base + self.unit.registers["IQH"])
            kind = low & 0xF | low >> 5 & 0x70
        except AccessError:
            kind = 0
        if kind in DEVICE_TLB_TYPES:
            self.device_tlb_flushes += 1
            cost = costs.device_tlb_wait
        else:
            cost = costs.line_near if kind == WAIT_TYPE else costs.iotlb_wait
        self.busy += cost or 1
        return cost or 1

    def status_write(self, address: int, data: int) -> None:
        """A wait descriptor completed: 32 bits go to memory, coherently."""
        shift = (address & 4) * 8
        self.machine.steps.memory(address & ~7)
        self.memory.write64(address & ~7, data << shift, 0xFFFF_FFFF << 32 - shift)

    # -- faults --------------------------------------------------------------

    def message(self, message: Message) -> None:
        """The unit sends one of its own interrupts; only the fault event is connected."""
        if self.fault_irq is not None and message.source == "fault":
            self.fault_irq.fire()

    # -- DMA -----------------------------------------------------------------

    async def dma(self, request: Request) -> Translation | Fault:
        """One transaction of a device: the walk, a memory access at a time, others in between."""
        await self.machine.steps.device(self, None)
        steps = self.unit.walk_steps(request)
        self.walking += 1
        try:
            while True:
                try:
                    access = next(steps)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                await self.machine.steps.device(self, access.address)
        finally:
            self.walking -= 1
            if self.machine.steps.exploring and not self.walking:
                self.machine.steps.hardware(self)
                self._drain()

    def connect_device_tlb(self, dev: PciDevice) -> None:
        """A device has switched ATS on: from now on it may keep translations of its own."""
        if dev.sid not in self.endpoints:
            self.endpoints[dev.sid] = self.unit.attach_device_tlb(dev.sid)

    def in_scope(self, dev: PciDevice) -> bool:
        """Is this unit responsible for the device?"""
        return (dev.bus, dev.devfn) in self.scope or (self.include_all and dev.segment == self.segment)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.unit!r}>"
