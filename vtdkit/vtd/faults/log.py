"""Fault recording: the ring of fault records, overflow, and the fault event.

Mirrors the fault logging rules of the VT-d specification, rev 5.10. A new fault goes to the record at an
internal index; if that record is still valid the overflow bit PFO is set and the fault is lost, and while PFO
is set every fault is. FRI names the record that was filled when none was valid before. Software walks the
records from FRI on, writes 1 to each F, then clears PFO.
"""

from __future__ import annotations

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.quirks import Quirks
from vtdkit.vtd.registers.events import Event
from vtdkit.vtd.registers.file import RegisterFile
from vtdkit.vtd.registers.register_map import FRCD, FSTS
from vtdkit.vtd.requests import AddressType, Fault, Kind
from vtdkit.vtd.tables.interrupts import MSI_ADDRESS
from vtdkit.vtd.tables.layout import Entry

_STATUS = FSTS.mask("PFO", "PPF", "IQE", "ICE", "ITE")
_TYPES: dict[Kind, tuple[int, int]] = {
    "write": (0, 0),
    "read": (1, 0),
    "zero-length read": (1, 0),
    "atomic": (1, 1),
}
_AT: dict[AddressType, int] = {"untranslated": 0, "translation": 1, "translated": 2}


def encode(fault: Fault, quirks: Quirks, widest: int = 64) -> int:
    """The 128-bit record of `fault`, F included. Address bits from `widest` up read 0."""
    request, pasid = fault.request, fault.request.pasid
    t1, t2 = _TYPES[request.kind]
    page = request.address & ~0xFFF & (1 << widest) - 1
    if fault.label.startswith("IR."):  # FI has the index of the interrupt in bits 63:48
        message = MSI_ADDRESS.decode(request.address & 0xFFFF_FFFF)
        index = message.HANDLE + (message.HANDLE_HIGH << 15) + (request.data & 0xFFFF) * message.SHV
        page = (index & 0xFFFF) << 48
    fields = {"FI": page, "SID": request.sid, "FR": fault.code or 0, "T1": t1, "F": 1}
    if quirks.plain_fault_record:
        return FRCD.encode(**{**fields, "T1": int(request.kind != "write")}) | _odd_pasid(fault, quirks)
    fields.update(T2=t2, AT=_AT[request.at])
    if pasid is not None:
        fields.update(PP=1, PV=pasid, PRIV=int(request.supervisor), EXE=int(request.execute))
    return FRCD.encode(**fields)


def _odd_pasid(fault: Fault, quirks: Quirks) -> int:
    """PV and PP as QEMU leaves them: 16 bits of PASID, and odd values for requests without one."""
    told, odd = fault.request.pasid, quirks.odd_pasid_field
    if told is not None:
        return FRCD.encode(PV=told & 0xFFFF, PP=1)
    if odd and fault.label.startswith(("LGN", "LSS", "LCT.4")):
        return FRCD.encode(PV=0xFFFF)
    walked = odd and fault.label.startswith(("SGN", "SSS", "SFS"))
    return FRCD.encode(PV=(fault.pasid or 0) & 0xFFFF, PP=1) if walked else 0


class FaultLog:
    """The fault records of one unit and FSTS. The unit serialises every call."""

    def __init__(
        self,
        registers: RegisterFile,
        event: Event,
        caps: Capabilities,
        quirks: Quirks,
    ) -> None:
        self.registers = registers
        self.event = event
        self.quirks = quirks
        self.count = caps.NFR
        self.widest = max(caps.widths, default=64)  # address bits from here up are recorded as 0
        self.index = 0  # the record that the next fault goes to

    def add(self, fault: Fault) -> bool:
        """Record `fault` if it can be; returns whether it was."""
        registers = self.registers
        alike = self.quirks.compression and any(e.F and fault.request.sid == e.SID for e in self.records())
        # While an overflow is not cleared, every fault is lost, even if records are free again.
        if alike or registers.field("FSTS", "PFO"):
            return False
        if self.records()[self.index].F:
            registers.set_field("FSTS", "PFO", 1)
            return False
        # One interrupt for the group: it fires only where nothing was pending before, of any kind.
        quiet = not self.registers["FSTS"] & _STATUS
        first = not registers.field("FSTS", "PPF")
        registers[f"FRCD{self.index}"] = encode(fault, self.quirks, self.widest)
        if first:
            registers.set_field("FSTS", "FRI", self.index)
            registers.set_field("FSTS", "PPF", 1)
        self.index = (self.index + 1) % self.count
        if first and quiet:
            self.event.fire()
        return True

    def raise_status(self, name: str) -> None:
        """Set IQE, ICE or ITE, and fire the event if it is the first of the group."""
        quiet = not self.registers["FSTS"] & _STATUS
        self.registers.set_field("FSTS", name, 1)
        if quiet:
            self.event.fire()

    def written(self) -> None:
        """Software wrote FSTS or a record: recompute PPF, drop a pending message nobody needs any more."""
        self.registers.set_field("FSTS", "PPF", int(any(e.F for e in self.records())))
        if not self.registers["FSTS"] & _STATUS:
            self.event.acknowledged()

    def records(self) -> list[Entry]:
        return [FRCD.decode(self.registers[f"FRCD{i}"]) for i in range(self.count)]
