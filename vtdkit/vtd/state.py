"""What is in force in a remapping unit, for the parts that go by it.

Walks, descriptors and device TLBs are handed the unit they work for, and know of it no more than a `Protocol`
says. This one is what all of them see; each room adds in a leaf of its own what it needs beside (the walk its
rules, the queue its fault log), so that no part of the unit imports the unit.

Only the register commands (`unit/commands.py`) change what is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .capabilities import Capabilities
from .memory import MemoryPort
from .quirks import Quirks


class State(Protocol):
    """One unit: what it is, and what its commands have latched."""

    memory: MemoryPort
    capabilities: Capabilities
    quirks: Quirks

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
