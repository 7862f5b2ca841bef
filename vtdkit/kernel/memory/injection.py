"""Fault injection: which allocations fail on purpose, so that a driver's error paths are taken.

Counted over all allocations of one machine, pages and objects alike. Mirrors lib/fault-inject.c,
mm/failslab.c. Guards: the allocator's own.
"""

from __future__ import annotations

from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Spot


class Faults:
    """Makes allocations fail on purpose. `nth`: that one only (1 is the next); `probability`:
    each with this chance.
    """

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        self.count = 0
        self.nth: int | None = None
        self.probability = 0.0
        self.failed: list[Spot | None] = []

    def should_fail(self, place: Spot | None) -> bool:
        """Count one allocation and say whether it is to fail."""
        self.count += 1
        fail = self.count == self.nth
        if self.probability and not fail:
            fail = self.machine.random.random() < self.probability
        if fail:
            self.failed.append(place)
        return fail
