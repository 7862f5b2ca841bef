"""Every register of the DMA-remapping unit: where it is, what its bits are, how each bit behaves.

Mirrors the register descriptions of the VT-d specification, rev 5.10. The `access` of a field is the
specification's attribute:

    RW    read and write                       RO    read only
    WO    write only, reads as 0               RW1C  write 1 to clear
    RW1CS, ROS   the same, kept over a warm reset

Reserved bits read as 0 and ignore what is written to them. A register whose `needs` are not met reads as 0
and cannot be written. Registers of features that this model does not have (memory type ranges, performance
monitoring, virtual commands, enhanced commands) are not listed and read as 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.tables.layout import Field, Structure, flag, reserved

from .capability import CAP, ECAP, VER

_SOURCE = "rev 5.10, register descriptions"


@dataclass(frozen=True, slots=True)
class Register:
    """One register. `offset` is in bytes from the window, or from the block that `block` (IRO, FRO) names."""

    offset: int
    layout: Structure
    reset: int = 0
    needs: str = ""
    block: str = ""

    @property
    def name(self) -> str:
        return self.layout.name.removesuffix("_REG")


def _layout(name: str, width: int, *parts: Field) -> Structure:
    return Structure(f"{name}_REG", width, parts, _SOURCE)


def _commands(access: str, names: tuple[str, ...]) -> tuple[Field, ...]:
    meanings = {
        31: "DMA remapping",
        30: "root table pointer",
        27: "write buffer flush",
        26: "queued invalidation",
        25: "interrupt remapping",
        24: "interrupt table pointer",
        23: "compatibility-format interrupts",
    }
    return tuple(
        flag(n, bit, what, access=access) for n, (bit, what) in zip(names, meanings.items(), strict=True)
    )


# A command and its answer: software writes a bit of GCMD, and polls the bit of the same place in GSTS.
#   31 30   27  26  25  24    23
#   TE SRTP WBF QIE IRE SIRTP CFI
GCMD = _layout("GCMD", 32, *_commands("WO", ("TE", "SRTP", "WBF", "QIE", "IRE", "SIRTP", "CFI")))
GSTS = _layout("GSTS", 32, *_commands("RO", ("TES", "RTPS", "WBFS", "QIES", "IRES", "IRTPS", "CFIS")))
RTADDR = _layout(
    "RTADDR",
    64,
    flag("SSIRWE", 7, "second-stage I/O permissions", needs=("SSIRWS",)),
    Field("TTM", 11, 10, "mode", values=((0, "legacy"), (1, "scalable"), (2, "reserved"), (3, "abort DMA"))),
    Field("RTA", 63, 12, "root table", address=True),
)
CCMD = _layout(
    "CCMD",
    64,
    Field("DID", 15, 0, "domain id"),
    Field("SID", 31, 16, "source id", access="WO"),
    Field("FM", 33, 32, "function bits ignored", access="WO"),
    Field("CAIG", 60, 59, "granularity done; 0: rejected", access="RO"),
    Field("CIRG", 62, 61, "granularity asked", values=((1, "global"), (2, "domain"), (3, "device"))),
    flag("ICC", 63, "start; cleared when done"),
)
FSTS = _layout(
    "FSTS",
    32,
    flag("PFO", 0, "fault overflow", access="RW1CS"),
    flag("PPF", 1, "some fault record is valid", access="ROS"),
    flag("IQE", 4, "invalidation queue error", access="RW1CS"),
    flag("ICE", 5, "invalidation completion error", access="RW1CS", needs=("DT",)),
    flag("ITE", 6, "invalidation time-out", access="RW1CS", needs=("DT",)),
    Field("FRI", 15, 8, "first valid fault record, while PPF=1", access="ROS"),
)


def _word(name: str, high: int, low: int, meaning: str, *, address: bool = False) -> Structure:
    return _layout(name, 32, Field(name, high, low, meaning, address=address))


PMEN = _layout(
    "PMEN",
    32,
    flag("PRS", 0, "protected memory is on", access="RO"),
    flag("EPM", 31, "switch it on or off", access="RW"),
)
IQH = _layout("IQH", 64, Field("QH", 18, 4, "next descriptor, in 16 bytes", access="RO"))
IQT = _layout("IQT", 64, Field("QT", 18, 4, "first free descriptor, in 16 bytes"))
IQA = _layout(
    "IQA",
    64,
    Field("QS", 2, 0, "2^QS pages"),
    Field("DW", 11, 11, "descriptor width", values=((0, "128 bits"), (1, "256 bits"))),
    Field("IQA", 63, 12, "queue", address=True),
)
ICS = _layout("ICS", 32, flag("IWC", 0, "a wait descriptor with IF=1 completed", access="RW1CS"))
IQERCD = _layout(
    "IQERCD",
    64,
    Field("IQEI", 3, 0, "what was wrong with the queue", access="ROS"),
    Field("ITESID", 47, 32, "source id of the time-out", access="ROS"),
    Field("ICESID", 63, 48, "source id of the bad completion", access="ROS"),
)
IRTA = _layout(
    "IRTA",
    64,
    Field("S", 3, 0, "2^(S+1) entries"),
    flag("EIME", 11, "x2APIC destinations", needs=("EIM",)),
    Field("IRTA", 63, 12, "interrupt remapping table", address=True),
)
PQH = _layout("PQH", 64, Field("PQH", 18, 5, "next request for software, in 32 bytes"))
PQT = _layout("PQT", 64, Field("PQT", 18, 5, "first free slot, in 32 bytes"))
PQA = _layout("PQA", 64, Field("PQS", 2, 0, "2^PQS pages"), Field("PQA", 63, 12, "queue", address=True))
PRS = _layout(
    "PRS",
    32,
    flag("PPR", 0, "page request pending", access="RW1CS"),
    flag("PRO", 1, "queue overflow", access="RW1CS"),
)
IVA = _layout(
    "IVA",
    64,
    Field("AM", 5, 0, "2^AM pages", access="WO"),
    flag("IH", 6, "non-leaf entries did not change", access="WO"),
    Field("ADDR", 63, 12, "page", address=True, access="WO"),
)
IOTLB = _layout(
    "IOTLB",
    64,
    Field("DID", 47, 32, "domain id"),
    flag("DW", 48, "drain writes"),
    flag("DR", 49, "drain reads"),
    Field("IAIG", 58, 57, "granularity done; 0: rejected", access="RO"),
    Field("IIRG", 61, 60, "granularity asked", values=((1, "global"), (2, "domain"), (3, "page"))),
    flag("IVT", 63, "start; cleared when done"),
)
# One record: F is bit 127, in the last of its four dwords, so that software can poll and clear it alone.
#   127 126 125:124 123:104 103:96  95  94   93   92 | 79:64 | 63:12
#    F   T1   AT     PASID  reason  PP  EXE PRIV  T2 |  SID  | page of the request
FRCD = Structure(
    "FRCD_REG",
    128,
    (
        reserved(11, 0),
        Field("FI", 63, 12, "page of the request; interrupt index in 63:48", address=True, access="ROS"),
        Field("SID", 79, 64, "source id", access="ROS"),
        reserved(91, 80),
        flag("T2", 92, "with T1: 00 write, 01 page request, 10 read, 11 atomic", access="ROS"),
        flag("PRIV", 93, "supervisor request", access="ROS"),
        flag("EXE", 94, "execute request", access="ROS"),
        flag("PP", 95, "PV is valid", access="ROS"),
        Field("FR", 103, 96, "fault reason", access="ROS"),
        Field("PV", 123, 104, "PASID", access="ROS"),
        Field("AT", 125, 124, "address type", access="ROS", needs=("DT",)),
        flag("T1", 126, "with T2, the kind of request", access="ROS"),
        flag("F", 127, "record is valid", access="RW1CS"),
    ),
    _SOURCE,
)

_MASKED = 0x8000_0000


def _family(control: int, prefix: str, first: int, needs: str = "") -> list[Register]:
    """The four registers of one event: control, message data, message address, upper address."""
    upper = "EIM" if not needs else f"EIM {needs}"
    pending, masked = flag("IP", 30, "message pending", access="RO"), flag("IM", 31, "message masked")
    return [
        Register(control, _layout(f"{prefix}CTL", 32, pending, masked), _MASKED, needs),
        Register(first, _word(f"{prefix}DATA", 15, 0, "message data"), 0, needs),
        Register(first + 4, _word(f"{prefix}ADDR", 31, 2, "message address", address=True), 0, needs),
        Register(first + 8, _word(f"{prefix}UADDR", 31, 0, "upper message address"), 0, upper),
    ]


REGISTERS: tuple[Register, ...] = (
    Register(0x000, VER),
    Register(0x008, CAP),
    Register(0x010, ECAP),
    Register(0x018, GCMD),
    Register(0x01C, GSTS),
    Register(0x020, RTADDR),
    Register(0x028, CCMD),
    Register(0x034, FSTS),
    *_family(0x038, "FE", 0x03C),
    Register(0x064, PMEN, needs="PLMR|PHMR"),
    Register(0x068, _layout("PLMBASE", 32, Field("BASE", 31, 0, "low region starts")), needs="PLMR"),
    Register(0x06C, _layout("PLMLIMIT", 32, Field("LIMIT", 31, 0, "low region ends")), needs="PLMR"),
    Register(0x070, _layout("PHMBASE", 64, Field("BASE", 63, 0, "high region starts")), needs="PHMR"),
    Register(0x078, _layout("PHMLIMIT", 64, Field("LIMIT", 63, 0, "high region ends")), needs="PHMR"),
    Register(0x080, IQH, needs="QI"),
    Register(0x088, IQT, needs="QI"),
    Register(0x090, IQA, needs="QI"),
    Register(0x09C, ICS, needs="QI"),
    *_family(0x0A0, "IE", 0x0A4, "QI"),
    Register(0x0B0, IQERCD, needs="QI"),
    Register(0x0B8, IRTA, needs="IR"),
    Register(0x0C0, PQH, needs="PRS"),
    Register(0x0C8, PQT, needs="PRS"),
    Register(0x0D0, PQA, needs="PRS"),
    Register(0x0DC, PRS, needs="PRS"),
    *_family(0x0E0, "PE", 0x0E4, "PRS"),
    Register(0x0, IVA, block="IRO"),
    Register(0x8, IOTLB, block="IRO"),
)


def placed(caps: Capabilities) -> Iterator[tuple[int, str, Register]]:
    """Every register a unit has: absolute offset, name (FRCD0, FRCD1 … for the fault records),
    description.
    """
    blocks = {"": 0, "IRO": 16 * caps.IRO}
    for register in REGISTERS:
        yield blocks[register.block] + register.offset, register.name, register
    for i in range(caps.NFR):
        yield 16 * (caps.FRO + i), f"FRCD{i}", Register(0, FRCD, block="FRO")


def available(register: Register, caps: Capabilities) -> bool:
    """Whether the feature the register belongs to exists."""
    return all(any(getattr(caps, name) for name in group.split("|")) for group in register.needs.split())
