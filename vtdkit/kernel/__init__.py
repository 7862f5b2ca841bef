"""What a kernel gives a driver: CPUs, virtual time, interrupts, locks, RCU, pages; its checkers; three ways to run.

Start at `Machine`. See README.md in this folder for the map of the room.
"""

from .costs import IDEAL, NEAR, TWO_SOCKET, Costs
from .explorer import Exploration, Schedule
from .exploring import ScenarioExploration, explore, replay, sample, shortest
from .findings import Deadlock, Finding, Findings, KernelBug, Oops
from .gfp import GFP_ATOMIC, GFP_KERNEL, GFP_ZERO
from .leaks import Leak
from .lockstat import Contention, LockStat
from .machine import CHECKERS, Machine
from .objects import KObject, shared
from .pages import Page
from .record import Event, Trace
from .sites import Site
from .spans import Span
from .workload import Constant, Exponential, Measured, Uniform, closed_loop, open_loop

__all__ = [
    "CHECKERS",
    "GFP_ATOMIC",
    "GFP_KERNEL",
    "GFP_ZERO",
    "IDEAL",
    "NEAR",
    "TWO_SOCKET",
    "Constant",
    "Contention",
    "Costs",
    "Deadlock",
    "Event",
    "Exploration",
    "Exponential",
    "Finding",
    "Findings",
    "KObject",
    "KernelBug",
    "Leak",
    "LockStat",
    "Machine",
    "Measured",
    "Oops",
    "Page",
    "ScenarioExploration",
    "Schedule",
    "Site",
    "Span",
    "Trace",
    "Uniform",
    "closed_loop",
    "explore",
    "open_loop",
    "replay",
    "sample",
    "shared",
    "shortest",
]
