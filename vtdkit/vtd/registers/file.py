"""The register file: storage, attributes of bits, partial-width access. What a write *sets off* is in
`commands`.

Rules for the caller:

- 32-bit registers are read and written as one aligned dword; 64- and 128-bit ones as aligned qwords or dwords
- a qword access is performed as its low dword, then its high dword
- offsets nothing is defined at read 0 and ignore writes

No locks: the hardware serialises accesses to its registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.tables.layout import Entry

from .register_map import Register, available, placed


class BadRegisterAccess(ValueError):
    """An access of a size or alignment that no register takes."""


class _Slot(NamedTuple):
    """A register as stored: where it starts and what may be done to its bits."""

    name: str
    offset: int
    register: Register
    writable: int
    clears: int
    hidden: int


@lru_cache(maxsize=64)
def _made(caps: Capabilities) -> tuple[dict[str, _Slot], dict[str, int], dict[int, str]]:
    """The registers of such a unit, what is in them at first, and which one each four bytes belong to."""
    slots, values, dwords = dict[str, _Slot](), dict[str, int](), dict[int, str]()
    for offset, name, register in placed(caps):
        layout, live = register.layout, available(register, caps)
        usable = (1 << layout.width) - 1 & ~layout.reserved_mask(caps.environment) if live else 0
        slots[name] = _Slot(
            name,
            offset,
            register,
            layout.access_mask("RW", "WO") & usable,
            layout.access_mask("RW1C", "RW1CS") & usable,
            layout.access_mask("WO"),
        )
        values[name] = register.reset if live else 0
        dwords.update(dict.fromkeys(range(offset, offset + layout.width // 8, 4), name))
    values.update(VER=caps.ver, CAP=caps.cap, ECAP=caps.ecap)
    return slots, values, dwords


class RegisterFile(dict[str, int]):
    """The registers of one unit: what each holds, by name, and what an access by offset does. The hardware
    sets them by name, where attributes do not apply. Single threaded; one instance per unit.
    """

    def __init__(self, caps: Capabilities) -> None:
        slots, self._fresh, self._dwords = _made(caps)
        super().__init__(self._fresh)
        self._slots = dict(slots)

    def entry(self, name: str) -> Entry:
        """A register seen through its layout."""
        return self._slots[name].register.layout.decode(self[name])

    def field(self, name: str, field: str) -> int:
        low, mask, shift = self._slots[name].register.layout.places[field]
        return (self[name] >> low & mask) << shift

    def set_field(self, name: str, field: str, value: int) -> None:
        """Set one field from inside the hardware."""
        part = self._slots[name].register.layout.field(field)
        self[name] = self[name] & ~part.mask | part.put(value)

    def reset(self, *, power_good: bool) -> None:
        """Reset values everywhere; without `power_good`, sticky bits (RW1CS, ROS) keep what they hold."""
        for name, slot in self._slots.items():
            sticky = 0 if power_good else slot.register.layout.access_mask("RW1CS", "ROS")
            self[name] = self._fresh[name] & ~sticky | self[name] & sticky

    def restrict(self, name: str, *, hidden: int = 0, writable: int = -1) -> None:
        """Let some bits of a register read 0 whatever they hold, and none but `writable` change."""
        slot = self._slots[name]
        self._slots[name] = slot._replace(hidden=slot.hidden | hidden, writable=slot.writable & writable)

    def read(self, offset: int, size: int) -> int:
        _aligned(offset, size)
        found = 0
        for i in range(0, size, 4):
            name = self._dwords.get(offset + i)
            if name is not None:
                slot = self._slots[name]
                held = (self[name] & ~slot.hidden) >> 8 * (offset + i - slot.offset)
                found |= (held & 0xFFFF_FFFF) << 8 * i
        return found

    def write(self, offset: int, value: int, size: int, written: Callable[[str, int, int], None]) -> None:
        """Write, then call `written(name, old value, bits written)` for each register that was hit."""
        _aligned(offset, size)
        hit: dict[str, tuple[int, int]] = {}
        for i in range(0, size, 4):
            name = self._dwords.get(offset + i)
            if name is not None:
                _, first, _, writable, clears, _ = self._slots[name]
                shift, now = 8 * (offset + i - first), self[name]
                bits, settable = (value >> 8 * i & 0xFFFF_FFFF) << shift, writable & 0xFFFF_FFFF << shift
                self[name] = (now & ~settable | bits & settable) & ~(bits & clears)
                old, so_far = hit.get(name, (now, 0))
                hit[name] = old, so_far | bits
        for name, (old, bits) in hit.items():
            written(name, old, bits)


def _aligned(offset: int, size: int) -> None:
    if size not in (4, 8) or offset % size or offset < 0:
        raise BadRegisterAccess(
            f"{size} bytes at {offset:#x}: registers take aligned accesses of 4 or 8 bytes"
        )
