"""What a kernel gives a driver: CPUs, virtual time, interrupts, locks, RCU, pages; its checkers; three ways to run.

Start at `Machine`. See README.md in this folder for the map of the room.
"""

from .costs import IDEAL, NEAR, TWO_SOCKET, Costs
from .findings import Deadlock, Finding, Findings, KernelBug, Oops
from .machine import CHECKERS, Machine
from .objects import KObject, shared
from .pages import GFP_ATOMIC, GFP_KERNEL, GFP_ZERO, Page
from .record import Event, Trace
from .sites import Site

__all__ = [
    "CHECKERS",
    "GFP_ATOMIC",
    "GFP_KERNEL",
    "GFP_ZERO",
    "IDEAL",
    "NEAR",
    "TWO_SOCKET",
    "Costs",
    "Deadlock",
    "Event",
    "Finding",
    "Findings",
    "KObject",
    "KernelBug",
    "Machine",
    "Oops",
    "Page",
    "Site",
    "Trace",
    "shared",
]
