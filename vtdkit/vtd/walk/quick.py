"""A short cut for the commonest request: legacy mode, untranslated, no PASID, read or write, and nothing
wrong.

It may only say yes. Whatever is out of the ordinary (a fault, a width, an interrupt address, a cached entry
that does not fit) it leaves to `engine.answer`, which is the one definition of the right answer; a test holds
the two together. Written as one flat function, since this is what a million-translation loop spends its time
in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtdkit.vtd.memory import WORD, AccessError
from vtdkit.vtd.requests import Request, Translation

from .rules import INTERRUPT_HIGH, INTERRUPT_LOW

if TYPE_CHECKING:
    from vtdkit.vtd.unit.unit import RemappingUnit

_NEEDS = {"read": 1, "write": 2}
_ADDRESS = 0x000F_FFFF_FFFF_F000
_PAGE = 0xFFFF_FFFF_FFFF_F000


class Quick:
    """The short cut of one unit, rebuilt whenever the root table pointer is latched."""

    def __init__(self, unit: RemappingUnit) -> None:
        rules = unit.rules
        self.unit = unit
        self.possible = unit.mode == 0 and not unit.ssirwe and not rules.quirks.interrupt_page
        limits = {aw: rules.input_limit(aw) for aw in (1, 2, 3) if rules.width_supported(aw)}
        # Reserved bits; the TT bits that lead elsewhere count as reserved here.
        other_types = 8 if rules.caps.DT else 12
        root, context = rules.root, rules.context | other_types
        self.entries = (root & WORD, root >> 64, context & WORD, context >> 64)
        self.pages = (limits, rules.second_table, rules.second_leaf, rules.did_mask)

    def translate(self, request: Request) -> Translation | None:
        """The answer, or None when it takes the whole algorithm to tell."""
        unit, address = self.unit, request.address
        need = _NEEDS.get(request.kind)
        if (
            need is None
            or not self.possible
            or not unit.translating
            or request.at != "untranslated"
            or request.pasid is not None
            or INTERRUPT_LOW <= address + 7 < INTERRUPT_HIGH + 7
            or unit.registers.values["PMEN"] & 1
            or unit.diagnostics.enabled
            or getattr(unit.memory, "observed", False)
        ):
            return None
        return self._walk(request, address, need) if unit.caches is None else self._cached(request, need)

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
            request,
            result,
            1 << leaf.shift,
            readable,
            writable,
            "second stage",
            hit.did,
            leaf.level,
            leaf.entry,
            True,
        )

    def _walk(self, request: Request, address: int, need: int) -> Translation | None:
        root_low, root_high, context_low, context_high = self.entries
        limits, table_masks, leaf_masks, did_mask = self.pages
        read = self.unit.memory.read64
        try:
            at = self.unit.root_table + (request.sid >> 8) * 16
            low, high = read(at), read(at + 8)
            if not low & 1 or low & root_low or high & root_high:
                return None
            at = (low & _PAGE) + (request.sid & 255) * 16
            low, high = read(at), read(at + 8)
            if not low & 1 or low & context_low or high & context_high:
                return None
            level = high & 7
            if address >= limits.get(level, 0):
                return None
            level += 2
            table, allowed, shift = low & _PAGE, 3, 3 + 9 * level
            while True:
                entry = read(table + (address >> shift & 511) * 8)
                allowed &= entry
                if not allowed & need:
                    return None
                if level == 1 or (entry & 0x80 and level <= 3):
                    break
                if entry & table_masks[level]:
                    return None
                table = entry & _ADDRESS
                level -= 1
                shift -= 9
        except AccessError:
            return None
        if entry & leaf_masks[level]:
            return None
        offset = (1 << shift) - 1
        result = entry & _ADDRESS & ~offset | address & offset
        if result + request.length >= INTERRUPT_LOW and result < INTERRUPT_HIGH:
            return None
        return Translation(
            request,
            result,
            offset + 1,
            allowed & 1 == 1,
            allowed & 2 == 2,
            "second stage",
            high >> 8 & did_mask,
            level,
            entry,
        )
