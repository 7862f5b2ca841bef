"""The hardware of Arm's table: a System MMU's walk of stage 1, as its specification defines it.

From the Arm Architecture Reference Manual, D8 (VMSAv8-64): granule 4 KiB, input and output addresses of 48
bits, a walk from level 0. Bits 1:0 of a descriptor: x0 invalid; at levels 1 and 2 01 a block, at levels 0 to
2 11 a table, at level 3 11 a page and 01 reserved (a fault). Bits 47:12 are the address. AP[2] (bit 7) set:
read-only; AP[1] (bit 6): also for the unprivileged, as devices are. AF (bit 10) clear: access flag fault. DBM
(bit 51) with AP[2] set and the unit's HD on: a write clears AP[2], the entry is dirty. The contiguous hint
(bit 52) says that 16 neighbours map one range, and the unit may keep them as one. A table's APTable and
XNTable are ignored here (no software of ours sets them).

Levels are told as everywhere in this kit, from the leaf: Arm's level 3 is 1 here, its level 0 is 4.
"""

from __future__ import annotations

from vtdkit.kernel.machine.machine import Machine

from .walker import Bad, Leaf, Next, TableWalker

OUTPUT = 0x0000_FFFF_FFFF_F000
AP1, AP2, ACCESS, CONTIGUOUS, DIRTY_MODIFIER = 1 << 6, 1 << 7, 1 << 10, 1 << 52, 1 << 51


class SmmuWalker(TableWalker):
    """One unit, one stage-1 table. `hd`: the unit marks what is written to."""

    def __init__(self, machine: Machine, ttb: int, *, hd: bool = False) -> None:
        super().__init__(machine, "SMMU")
        self.ttb, self.hd = ttb, hd

    def root(self, iova: int) -> Next | Bad:
        return Bad("translation fault: more than 48 bits") if iova >> 48 else Next(self.ttb, 4)

    def entry(self, level: int, raw: int, iova: int) -> Next | Leaf | Bad:
        arm = 4 - level
        if raw & 3 == 3 and level > 1:
            return Next(raw & OUTPUT, level - 1)
        if raw & 3 != (3 if level == 1 else 1) or level == 4:
            return Bad(f"translation fault, level {arm}")
        if not raw & ACCESS:
            return Bad(f"access flag fault, level {arm}")
        if not raw & AP1:
            return Bad(f"permission fault, level {arm}")
        shift = 3 + 9 * level + (4 if raw & CONTIGUOUS else 0)
        marks = self.hd and raw & DIRTY_MODIFIER and raw & AP2
        writable = bool(marks) or not raw & AP2
        return Leaf(raw & OUTPUT & -(1 << shift), shift, True, writable, raw & ~AP2 if marks else None)
