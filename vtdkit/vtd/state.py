"""What the parts of a remapping unit see of it, one `Protocol` for each kind of part.

Walks, descriptors and endpoints are handed the unit they work for, and know of it no more than is written
here. So no part of a unit imports the unit, and each can be tried with something smaller in its place.

    State      what it is, and what its commands have latched; everybody sees that
    Walked     a request on its way through the tables (`walk/`, `interrupts/`)
    Queued     the invalidation queue (`queue/`)
    Asked      endpoints with device TLBs (`caches/device_tlb.py`)

Only the register commands (`unit/commands.py`) change what is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from .caches.caches import CachedIrte, Caches, Lru
from .capabilities import Capabilities
from .faults.log import FaultLog
from .memory import MemoryPort
from .quirks import Quirks
from .registers.events import Event
from .registers.file import RegisterFile
from .requests import Fault, Request, Translation
from .walk.rules import Rules

if TYPE_CHECKING:
    from .caches.device_tlb import DeviceTlbs
    from .queue.ring import InvalidationQueue


class State(Protocol):
    """One unit: what it is, and what its commands have latched."""

    memory: MemoryPort
    capabilities: Capabilities
    quirks: Quirks
    caches: Caches | None
    interrupt_cache: Lru[CachedIrte]

    # GCMD.TE, and what SRTP took over: root table, TTM (0 legacy, 1 scalable, 2 reserved, 3 abort), SSIRWE
    translating: bool
    root_table: int
    mode: int
    ssirwe: int

    # GCMD.IRE, and what SIRTP took over: the table, how many entries it has, EIME and what follows from it
    interrupts_remapped: bool
    interrupt_table: int
    interrupt_table_size: int
    extended_interrupts: bool
    interrupt_environment: Mapping[str, int]


class Walked(State, Protocol):
    """The unit as a request on its way through the tables sees it."""

    rules: Rules

    def protected_regions(self) -> list[tuple[int, int]]:
        """The protected memory regions in force: first address, first after."""
        ...


class Queued(State, Protocol):
    """The unit as its invalidation queue sees it."""

    registers: RegisterFile
    faults: FaultLog
    invalidation_event: Event
    device_tlbs: DeviceTlbs

    @property
    def hooks(self) -> Outgoing: ...


class Asked(Queued, Protocol):
    """The unit as an endpoint sees it: who translates for it, and who waits for its answers."""

    queue: InvalidationQueue

    def translate(self, request: Request) -> Translation | Fault: ...


class Outgoing(Protocol):
    """Where status writes go."""

    def status_write(self, address: int, data: int) -> None: ...
