"""`State`: one remapping unit as its own parts see it: what it is made of, and what is in force.

Walks, descriptors, endpoints and commands work on a `State`; `RemappingUnit` (unit/unit.py) is one that can
also be asked. So no part of a unit imports the unit. Only the register commands (`unit/commands.py`) and who
restores a stopped machine change what is in force.
"""

from __future__ import annotations

from vtdkit.vtd.caches.caches import Caches, Lru
from vtdkit.vtd.caches.device_tlb import DeviceTlbs
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.faults.log import FaultLog
from vtdkit.vtd.hooks import Hooks
from vtdkit.vtd.memory import MemoryPort
from vtdkit.vtd.queue.ring import InvalidationQueue
from vtdkit.vtd.quirks import SPECIFICATION, Quirks
from vtdkit.vtd.registers.events import Event
from vtdkit.vtd.registers.file import RegisterFile
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk.rules import rules_for


class State:
    """What a unit is made of, and what its commands have latched. Mutable; one agent at a time, no locks.

    `cached=False` leaves out every cache. Raises BadCapabilities for a combination that no unit may have.
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
        # what software sees: registers, the unit's own interrupts, fault records
        self.registers = RegisterFile(caps)
        self.fault_event = Event(self.registers, "FE", "fault", self.hooks.message)
        self.invalidation_event = Event(self.registers, "IE", "invalidation", self.hooks.message)
        self.faults = FaultLog(self.registers, self.fault_event, caps, quirks)
        # what it remembers, and what makes it forget
        self.caches: Caches | None = Caches(caps) if cached else None
        self.interrupt_cache = Lru[Entry](caps.interrupt_entries)
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
        # GCMD.TE and GCMD.IRE, then what SRTP and SIRTP took over
        self.translating = self.interrupts_remapped = False
        self.latch_root(0, 0, 0)
        self.latch_interrupts(0, 0, False)

    def latch_root(self, table: int, mode: int, ssirwe: int) -> None:
        """SRTP took effect: the root table, TTM (0 legacy, 1 scalable, 2 reserved, 3 abort) and SSIRWE in
        force.
        """
        self.root_table, self.mode, self.ssirwe = table, mode, ssirwe
        self.rules = rules_for(self.capabilities, self.quirks, ssirwe)

    def latch_interrupts(self, table: int, entries: int, extended: bool) -> None:
        """SIRTP took effect: the interrupt remapping table in force, EIME and what follows from it."""
        self.interrupt_table, self.interrupt_table_size = table, entries
        self.extended_interrupts = extended
        self.interrupt_environment = self.capabilities.with_modes(EIME=int(extended))

    def protected_regions(self) -> list[tuple[int, int]]:
        """The protected memory regions in force: first address, first after."""
        registers = self.registers
        if not registers["PMEN"] & 1:
            return []
        low_bits = (1 << self.capabilities.pmr_bits) - 1
        pairs = (
            (registers[f"{name}BASE"], (registers[f"{name}LIMIT"] | low_bits) + 1)
            for name in ("PLM", "PHM")
            if getattr(self.capabilities, f"{name}R")
        )
        return [(start, end) for start, end in pairs if start < end]
