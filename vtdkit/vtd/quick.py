"""A short cut for the commonest request: legacy mode, untranslated, no PASID, read or write, and nothing
wrong.

It may only say yes. Whatever is out of the ordinary (a fault, a width, an interrupt address, a cached entry
that does not fit) it leaves to `engine.answer`, which is the one definition of the right answer; a test holds
the two together. Written as one flat function, since this is what a million-translation loop spends its time
in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memory import AccessError
from .requests import NEEDS, Request, Translation
from .rules import INTERRUPT_HIGH, INTERRUPT_LOW

if TYPE_CHECKING:
    from .unit import RemappingUnit

_ADDRESS = 0x000F_FFFF_FFFF_F000
_PAGE = 0xFFFF_FFFF_FFFF_F000


class Quick:
    """The short cut of one unit, rebuilt whenever the root table pointer is latched."""

    def __init__(self, unit: RemappingUnit) -> None:
        rules = unit.rules
        self.unit = unit
        self.possible = unit.mode == 0 and not unit.ssirwe and not rules.quirks.interrupt_page
        self.root_masks = rules.root
        self.context_masks = rules.context
        self.limits = {aw: rules.input_limit(aw) for aw in (1, 2, 3) if rules.width_supported(aw)}
        self.table_masks = rules.second_table
        self.leaf_masks = rules.second_leaf
        self.did_mask = rules.did_mask

    def translate(self, request: Request) -> Translation | None:
        """The answer, or None when it takes the whole algorithm to tell."""
        unit = self.unit
        need = NEEDS[request.kind]
        if (
            not self.possible
            or not unit.translating
            or request.at != "untranslated"
            or request.pasid is not None
            or need == 3
            or request.kind == "zero-length read"
            or unit.registers.values["PMEN"] & 1
            or unit.diagnostics.enabled
            or getattr(unit.memory, "observed", False)
            or INTERRUPT_LOW <= request.address + 7 < INTERRUPT_HIGH + 7
        ):
            return None
        return self._walk(request, need) if unit.caches is None else self._cached(request, need)

    def _cached(self, request: Request, need: int) -> Translation | None:
        assert self.unit.caches is not None
        hit = self.unit.caches.iotlb.find(request.sid, None, request.address)
        if hit is None or hit.space.path != "SS" or not hit.space.legacy:
            return None
        leaf = hit.leaf
        if not (leaf.second_readable if need == 1 else leaf.second_writable):
            return None
        result = leaf.base | request.address & (1 << leaf.shift) - 1
        if result + request.length >= INTERRUPT_LOW and result < INTERRUPT_HIGH:
            return None
        readable, writable = leaf.second_readable, leaf.second_writable
        return Translation(
            request, result, 1 << leaf.shift, readable, writable, "second stage", hit.did,
            leaf.level, leaf.entry, True,
        )  # fmt: skip

    def _walk(self, request: Request, need: int) -> Translation | None:
        unit, sid, address = self.unit, request.sid, request.address
        read = unit.memory.read64
        try:
            at = unit.root_table + (sid >> 8) * 16
            low, high = read(at), read(at + 8)
            masks = self.root_masks
            if not low & 1 or low & masks[0] or high & masks[1]:
                return None
            at = (low & _PAGE) + (sid & 255) * 16
            low, high = read(at), read(at + 8)
            masks = self.context_masks
            if not low & 1 or low & 8 or low & masks[0] or high & masks[1]:
                return None
            if low & 4 and not unit.capabilities.DT:
                return None
            level = (high & 7) + 2
            if address >= self.limits.get(level - 2, 0):
                return None
            table, allowed, shift = low & _PAGE, 3, 3 + 9 * level
            while True:
                entry = read(table + ((address >> shift & 511) << 3))
                allowed &= entry
                if not allowed & need:
                    return None
                if level == 1 or (entry & 0x80 and level <= 3):
                    break
                if entry & self.table_masks[level]:
                    return None
                table, level, shift = entry & _ADDRESS, level - 1, shift - 9
        except AccessError:
            return None
        if entry & self.leaf_masks[level]:
            return None
        offset = (1 << shift) - 1
        result = entry & _ADDRESS & ~offset | address & offset
        if result + request.length >= INTERRUPT_LOW and result < INTERRUPT_HIGH:
            return None
        return Translation(
            request, result, offset + 1, bool(allowed & 1), bool(allowed & 2), "second stage",
            high >> 8 & self.did_mask, level, entry,
        )  # fmt: skip
