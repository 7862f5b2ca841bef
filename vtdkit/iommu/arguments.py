"""Arguments that C could not be given, or that no lock could make right: one sentence each.

What Linux does with arguments that make no sense to it, its own functions say (`core`).
"""

from __future__ import annotations

from typing import Any

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject


def unsigned(**numbers: Any) -> None:
    """Raise ValueError for what is no unsigned number of 64 bits, with its name."""
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value >> 64:
            raise ValueError(
                f"{name} is {value!r:.80}; it must be a whole number from 0 to 2^64 - 1, as in 0x1000"
            )


def own(machine: Machine, *things: Any) -> None:
    """Raise ValueError for a domain or device of another machine: no lock would be the right one."""
    for thing in things:
        if not isinstance(thing, KObject) or thing.machine is not machine:
            raise ValueError(f"{thing!r:.80} is no domain or device of this machine; make it there")
