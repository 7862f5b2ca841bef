"""`RemappingUnit`: one piece of DMA-remapping hardware, put together.

The unit is a state machine. It is handed memory, register accesses and requests; it answers. It runs nothing
by itself: descriptors are executed by `step`, endpoints time out when told to. It knows no operating system.

    unit = RemappingUnit(memory, Capabilities(MGAW=48))
    unit.write(0x20, root_table, 8)             # RTADDR
    unit.write(0x18, 1 << 30, 4)                # GCMD.SRTP
    unit.write(0x18, 1 << 31, 4)                # GCMD.TE
    unit.translate(Request(sid("00:03.0"), 0x1000))

Rules for the caller: one agent at a time. The hardware's own serialisation is the only one there is; a
driver's locks are the driver's business. Interleaving is explicit: `walk_steps` pauses before each memory
access.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vtdkit.vtd.caches.caches import CachedIrte, Caches, Lru
from vtdkit.vtd.caches.device_tlb import DeviceTlbs, Endpoint
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.faults.log import FaultLog
from vtdkit.vtd.memory import MemoryPort
from vtdkit.vtd.queue import execute
from vtdkit.vtd.queue.execute import Outcome
from vtdkit.vtd.queue.ring import InvalidationQueue, QueueStep
from vtdkit.vtd.quirks import SPECIFICATION, Quirks
from vtdkit.vtd.registers.events import Event
from vtdkit.vtd.registers.file import RegisterFile
from vtdkit.vtd.requests import Fault, Kind, Request, Translation
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk.job import Job, Steps
from vtdkit.vtd.walk.rules import rules_for
from vtdkit.vtd.walk.trace import Step, Walk

from . import commands
from .hooks import Hooks

if TYPE_CHECKING:
    from vtdkit.vtd.walk.many import Addresses, Batch

MODES = ("legacy", "scalable", "reserved", "abort")


class RemappingUnit:
    """One unit. Mutable; one agent at a time, no locks.

    `cached=False` leaves out every cache: each answer is then what memory says now. Raises BadCapabilities
    for a combination that no unit may have.
    """

    def __init__(
        self,
        memory: MemoryPort,
        capabilities: Capabilities | None = None,
        *,
        quirks: Quirks = SPECIFICATION,
        hooks: Hooks | None = None,
        cached: bool = True,
    ) -> None:
        # what it is: its memory, what it can do, whose habits it has, where its messages go
        self.memory = memory
        self.capabilities = caps = capabilities or Capabilities()
        caps.check()
        self.quirks = quirks
        self.hooks = hooks or Hooks()
        # what software sees: registers, and what writing one sets off
        self.registers = RegisterFile(caps)
        self._written = partial(commands.written, self)
        self.fault_event = Event(self.registers, "FE", "fault", self.hooks.message)
        self.invalidation_event = Event(self.registers, "IE", "invalidation", self.hooks.message)
        self.faults = FaultLog(
            self.registers,
            self.fault_event,
            quirks,
            caps.NFR,
            widest=max(caps.widths, default=64),
        )
        # what it remembers, and what makes it forget
        self.caches: Caches | None = Caches(caps) if cached else None
        self.interrupt_cache = Lru[CachedIrte](caps.interrupt_entries)
        self.queue = InvalidationQueue(self)
        self.device_tlbs = DeviceTlbs(self)
        if quirks.width_reads_zero:
            self.registers.restrict("IQA", hidden=1 << 11)
        if quirks.message_addresses_short:
            self.registers.restrict("FEUADDR", writable=0)
            self.registers.restrict("IEUADDR", writable=0)
        self.reset()

    def reset(self, *, power_good: bool = True) -> None:
        """Back to the state after reset. A warm reset (`power_good=False`) keeps the sticky bits: fault
        records too.
        """
        self.registers.reset(power_good=power_good)
        if self.quirks.page_event_unmasked:
            self.registers["PECTL"] = 0
        if self.caches:
            self.caches.clear()
        self.interrupt_cache.clear()
        self.queue.disable()
        self.faults.index = 0
        # What the commands latched: the translation tables and the interrupt table in force.
        self.translating = self.interrupts_remapped = False
        self.latch_root(0, 0, 0)
        self.latch_interrupts(0, 0, False)

    # registers

    def read(self, offset: int, size: int = 4) -> int:
        """Read a register: `size` 4 or 8 bytes. Raises BadRegisterAccess for a shape no register takes."""
        return self.registers.read(offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """Write a register and carry out what it sets off. Raises BadRegisterAccess."""
        self.registers.write(offset, value, size, self._written)

    def latch_root(self, table: int, mode: int, ssirwe: int) -> None:
        """SRTP took effect: the root table, TTM and SSIRWE in force."""
        self.root_table, self.mode, self.ssirwe = table, mode, ssirwe
        self.rules = rules_for(self.capabilities, self.quirks, ssirwe)

    def latch_interrupts(self, table: int, entries: int, extended: bool) -> None:
        """SIRTP took effect: the interrupt remapping table in force."""
        self.interrupt_table, self.interrupt_table_size = table, entries
        self.extended_interrupts = extended
        self.interrupt_environment = self.capabilities.with_modes(EIME=int(extended))

    def restore(self, registers: Mapping[str, int]) -> None:
        """Take over the state of a machine that was stopped: registers by name, as read at the stop."""
        for name, value in registers.items():
            if name in self.registers.names and name not in ("VER", "CAP", "ECAP"):
                self.registers[name] = value
        status, root = self.registers.entry("GSTS"), self.registers.entry("RTADDR")
        self.latch_root(root.RTA, root.TTM, root.SSIRWE)
        table = self.registers.entry("IRTA")
        self.latch_interrupts(table.IRTA, 2 << table.S, bool(table.EIME))
        self.translating = bool(status.TES)
        self.interrupts_remapped = bool(status.IRES)
        if status.QIES:
            self.queue.enable()

    def protected_regions(self) -> list[tuple[int, int]]:
        """The protected memory regions in force: first address, first after."""
        registers = self.registers.values
        if not registers["PMEN"] & 1:
            return []
        low_bits = (1 << self.capabilities.pmr_bits) - 1
        pairs = (
            (registers[f"{name}BASE"], (registers[f"{name}LIMIT"] | low_bits) + 1)
            for name in ("PLM", "PHM")
            if getattr(self.capabilities, f"{name}R")
        )
        return [(start, end) for start, end in pairs if start < end]

    # requests

    def translate(self, request: Request) -> Translation | Fault:
        """Answer a request as this unit would now, from its caches or from memory; faults are recorded."""
        return self.finish(self._answer(request, stepped=False))

    def walk_steps(self, request: Request) -> Steps[Translation | Fault]:
        """`translate`, one memory access at a time: yields before each access, returns the answer at the
        end.
        """
        return self._answer(request, stepped=True)

    def _answer(self, request: Request, *, stepped: bool) -> Steps[Translation | Fault]:
        job = Job(self, request, self.caches, commit=True, trace=None, stepped=stepped)
        answer = yield from engine.answer(job)
        fault = answer if isinstance(answer, Fault) else answer.why
        if fault is not None and fault.recorded:
            self.faults.add(fault)
        return answer

    def from_memory(self, request: Request) -> Translation | Fault:
        """The answer from memory alone, without caches, records or flag updates."""
        return self.finish(engine.answer(Job(self, request, None, commit=False, trace=None)))

    def walk(self, request: Request, *, cached: bool = False) -> Walk:
        """Every step of the way to an answer. Changes nothing; with `cached`, starts from what the caches
        hold.
        """
        steps: list[Step] = []
        caches = self.caches.copy() if cached and self.caches else None
        answer = self.finish(engine.answer(Job(self, request, caches, commit=False, trace=steps)))
        return Walk(request, tuple(steps), answer)

    def translate_many(
        self, sid: int, iovas: Sequence[int] | Addresses, kind: Kind = "read", pasid: int | None = None
    ) -> Batch:
        """Answer a whole array of addresses of one source id from memory alone; see `many`. Needs numpy."""
        from vtdkit.vtd.walk.many import translate_many

        return translate_many(self, sid, iovas, kind, pasid)

    finish = staticmethod(Job.finish)

    # invalidation

    def step(self) -> QueueStep | None:
        """Execute one invalidation descriptor. None when the queue is off, empty or stopped."""
        return self.queue.step()

    def execute(self, entry: Entry) -> Outcome:
        """Carry out a descriptor that is in no queue."""
        return execute.execute(self, entry)

    def attach_device_tlb(self, sid: int, *, capacity: int = 32, prompt: bool = True) -> Endpoint:
        """Put an endpoint with a device TLB at `sid`. One that is not `prompt` answers invalidations when
        told to.
        """
        endpoint = Endpoint(self, self.device_tlbs.completed, sid, capacity=capacity, prompt=prompt)
        self.device_tlbs.endpoints[sid] = endpoint
        return endpoint

    def __repr__(self) -> str:
        state = f"on, {MODES[self.mode]} mode, root table {self.root_table:#x}" if self.translating else "off"
        return f"<RemappingUnit {state}{'' if self.caches else ', no caches'}>"
