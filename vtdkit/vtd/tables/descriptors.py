"""Invalidation descriptors, and the page requests that hardware queues for software.

Mirrors the descriptor formats of the VT-d specification, rev 5.10. The type of a descriptor is in bits 11:9
and 3:0. A descriptor of 128 bits in a queue of 256-bit slots has its upper half zero. `TYPES` finds the
layout by type.
"""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Entry, Field, Structure, flag, ignored

_LOW = Field("TYPE", 3, 0, "descriptor type, low bits")
_HIGH = Field("TYPE_HIGH", 11, 9, "descriptor type, high bits")
_ADDR = Field("ADDR", 127, 76, "page", address=True)
_AM = Field("AM", 69, 64, "2^AM pages")
_IH = flag("IH", 70, "non-leaf entries did not change")
_PFSID_LOW = Field("PFSID_LOW", 15, 12, "physical function, low bits", needs=("DIT",))
_PFSID_HIGH = Field("PFSID_HIGH", 63, 52, "physical function, high bits", needs=("DIT",))
_GRANULARITY = ((1, "global"), (2, "domain"), (3, "device"))


def _short(name: str, *parts: Field) -> Structure:
    """A 128-bit descriptor; bits nobody names are reserved."""
    every = sorted((_LOW, _HIGH, *parts), key=lambda part: part.low)
    return Structure(name, 128, every, "rev 5.10, invalidation descriptors")


# Every descriptor   63                        12 11     9 8        4 3     0
#                    | what to invalidate ...    | type 6:4 | granularity ...| type 3:0 |
# The upper half carries an address and its mask, or is reserved; a slot of 256 bits has zeros above that.
CC_INV = _short(
    "cc_inv_dsc",
    Field("G", 5, 4, "granularity", values=_GRANULARITY),
    Field("DID", 31, 16, "domain id"),
    Field("SID", 47, 32, "source id"),
    Field("FM", 49, 48, "function bits ignored"),
)
IOTLB_INV = _short(
    "iotlb_inv_dsc",
    Field("G", 5, 4, "granularity", values=((1, "global"), (2, "domain"), (3, "page"))),
    flag("DW", 6, "drain writes"),
    flag("DR", 7, "drain reads"),
    Field("DID", 31, 16, "domain id"),
    _AM,
    _IH,
    _ADDR,
)
DEV_TLB_INV = _short(
    "dev_tlb_inv_dsc",
    _PFSID_LOW,
    Field("MIP", 20, 16, "most invalidations pending; 0 is 32"),
    Field("SID", 47, 32, "source id"),
    _PFSID_HIGH,
    flag("S", 64, "ADDR carries a size code"),
    _ADDR,
)
IEC_INV = _short(
    "iec_inv_dsc",
    Field("G", 4, 4, "granularity", values=((0, "global"), (1, "index"))),
    Field("IM", 31, 27, "index bits ignored"),
    Field("IIDX", 47, 32, "interrupt index"),
)
INV_WAIT = _short(
    "inv_wait_dsc",
    flag("IF", 4, "interrupt when done"),
    flag("SW", 5, "write status when done"),
    flag("FN", 6, "fence: later descriptors start only after this"),
    flag("PD", 7, "page requests drained", needs=("PDS",)),
    Field("DATA", 63, 32, "status data"),
    Field("ADDR", 127, 66, "status address", address=True),
)
P_IOTLB_INV = _short(
    "p_iotlb_inv_dsc",
    Field("G", 5, 4, "granularity", values=((2, "PASID"), (3, "page"))),
    Field("DID", 31, 16, "domain id"),
    Field("PASID", 51, 32, "PASID"),
    _AM,
    _IH,
    _ADDR,
)
PC_INV = _short(
    "pc_inv_dsc",
    Field("G", 5, 4, "granularity", values=((0, "domain"), (1, "PASID"), (3, "global"))),
    Field("DID", 31, 16, "domain id"),
    Field("PASID", 51, 32, "PASID"),
)
P_DEV_TLB_INV = _short(
    "p_dev_tlb_inv_dsc",
    Field("MIP", 8, 4, "most invalidations pending; 0 is 32"),
    _PFSID_LOW,
    Field("SID", 31, 16, "source id"),
    Field("PASID", 51, 32, "PASID"),
    _PFSID_HIGH,
    flag("GI", 64, "every PASID"),
    flag("S", 75, "ADDR carries a size code"),
    _ADDR,
)
PAGE_GRP_RESP = _short(
    "page_grp_resp_dsc",
    flag("PP", 4, "PASID is valid"),
    Field("RC", 15, 12, "response code", values=((0, "success"), (1, "invalid request"), (15, "failure"))),
    Field("RID", 31, 16, "requester id"),
    Field("PASID", 51, 32, "PASID"),
    ignored(66, note="was LPIG"),
    Field("PRGI", 75, 67, "group index"),
)
HPT_INV = _short(
    "hpt_inv_dsc",
    Field("G", 5, 4, "granularity"),
    Field("HPTDID", 31, 16, "domain id of the host permission table"),
    _AM,
    Field("IH", 71, 70, "levels to invalidate"),
    _ADDR,
)


@dataclass(frozen=True, slots=True)
class DescriptorType:
    """A kind of descriptor: its layout, the granularities there are of it (if any), the queue width it needs
    and the capability it belongs to. `unchecked` is the quirk under which it is taken as it is.
    """

    layout: Structure
    granularities: tuple[int, ...] = ()
    wide: bool = False
    needs: str = ""
    unchecked: str = ""


TYPES: dict[int, DescriptorType] = {
    0x1: DescriptorType(CC_INV, (1, 2, 3)),
    0x2: DescriptorType(IOTLB_INV, (1, 2, 3)),
    0x3: DescriptorType(DEV_TLB_INV, needs="DT"),
    0x4: DescriptorType(IEC_INV, unchecked="entry_cache_unchecked"),
    0x5: DescriptorType(INV_WAIT),
    0x6: DescriptorType(P_IOTLB_INV, (2, 3), wide=True, unchecked="entry_cache_unchecked"),
    0x7: DescriptorType(PC_INV, (0, 1, 3), wide=True, unchecked="pasid_cache_unchecked"),
    0x8: DescriptorType(P_DEV_TLB_INV, wide=True, needs="DT"),
    0x9: DescriptorType(PAGE_GRP_RESP, wide=True, needs="PRS"),
    0xA: DescriptorType(HPT_INV, (1, 2, 3), wide=True, needs="HPTS"),
}

PAGE_REQUEST = Structure(
    "page request",
    256,
    (
        Field("TYPE", 7, 0, "1"),
        flag("PP", 8, "PASID is valid"),
        Field("RID", 31, 16, "requester id"),
        Field("PASID", 51, 32, "PASID"),
        flag("EXR", 52, "execute"),
        flag("PMR", 53, "supervisor"),
        flag("RDR", 64, "read"),
        flag("WRR", 65, "write"),
        flag("LPIG", 66, "last of its group"),
        Field("PRGI", 75, 67, "group index"),
        Field("ADDR", 127, 76, "page", address=True),
    ),
    "rev 5.10, page request descriptor",
)

DESCRIPTORS = tuple(kind.layout for kind in TYPES.values())


def type_of(raw: int) -> int:
    """The type code of a descriptor."""
    return raw & 0xF | (raw >> 9 & 7) << 4


def decode(raw: int) -> Entry | None:
    """A descriptor seen through the layout of its type; None for a type there is none of."""
    kind = TYPES.get(type_of(raw))
    return kind.layout.decode(raw) if kind else None
