"""The hardware of AMD's v1 table: the walk of host page tables as the AMD I/O Virtualization Technology
(IOMMU) Specification defines it (48882, section 2.2.3).

The device table entry has the root and the number of levels (Mode, 1 to 6). Of an entry, bit 0 (PR) says that
it is there, bits 11:9 (NextLevel) of which level the table is that it leads to; 0 and 7 make it a page, of
the level's own size or of the size that the address tells (the lowest bit from 12 up that is 0). Levels may
be skipped: then the address bits of those levels must be 0. IR and IW (bits 61, 62) grant, and every entry on
the way has a say. D (bit 6) is set by a write, with host dirty support on, in the entry that the walk came
through: one replica of several.
"""

from __future__ import annotations

from vtdkit.kernel.machine.machine import Machine

from .walker import Bad, Leaf, Next, TableWalker

PRESENT, DIRTY, READ, WRITE = 1, 1 << 6, 1 << 61, 1 << 62
TABLE = 0x000F_FFFF_FFFF_F000


class AmdWalker(TableWalker):
    """One unit, and the device table entry of its one device. `hd`: host dirty support is on (HD in the
    entry).
    """

    def __init__(self, machine: Machine, root: int, mode: int) -> None:
        super().__init__(machine, "AMD IOMMU")
        self.table_root, self.mode, self.hd = root, mode, False

    async def set_device_table(self, root: int, mode: int) -> None:
        """Software writes the device table entry, and has it flushed."""
        await self.machine.steps.register(self, 8, True)
        self.machine.steps.hardware(self)
        self.table_root, self.mode = root, mode
        await self.invalidate(0, (1 << 64) - 1)

    def root(self, iova: int) -> Next | Bad:
        if self.mode < 6 and iova >> 12 + 9 * self.mode:
            return Bad(f"address beyond {self.mode} levels")
        return Next(self.table_root, self.mode)

    def entry(self, level: int, raw: int, iova: int) -> Next | Leaf | Bad:
        if not raw & PRESENT:
            return Bad(f"entry of level {level} not present")
        below, readable, writable = raw >> 9 & 7, bool(raw & READ), bool(raw & WRITE)
        if below in (0, 7):
            marks = self.hd and not raw & DIRTY
            shift = 3 + 9 * level
            if below == 7:
                shift = 12 + next(bit for bit in range(41) if not raw >> 12 + bit & 1) + 1
                if not 3 + 9 * level < shift < 12 + 9 * level:
                    return Bad(f"page of 2^{shift} bytes in a table of level {level}")
            return Leaf(
                raw & TABLE & -(1 << shift), shift, readable, writable, raw | DIRTY if marks else None
            )
        if below >= level:
            return Bad(f"level {below} below level {level}")
        if iova >> 12 + 9 * below & (1 << 9 * (level - 1 - below)) - 1:
            return Bad(f"address bits of a level that is skipped below level {level}")
        return Next(raw & TABLE, below, readable, writable)
