"""Layouts of interrupt remapping: requests, table entries, the posted descriptor.

Mirrors the interrupt remapping formats of the VT-d specification, rev 5.10. Under SVT=2 the high byte of SID
is the first bus of the range and the low byte the last.
"""

from __future__ import annotations

from .layout import Field, Structure, flag, ignored, reserved

_DELIVERY = ((0, "fixed"), (1, "lowest priority"), (2, "SMI"), (4, "NMI"), (5, "INIT"), (7, "ExtINT"))
_CHECKS = ((0, "none"), (1, "SID and SQ"), (2, "bus range"), (3, "reserved"))
_QUALIFIERS = ((0, "all bits"), (1, "ignore bit 2"), (2, "ignore bits 2:1"), (3, "ignore bits 2:0"))

_SOURCE = (
    Field("SID", 79, 64, "requester, or first and last bus"),
    Field("SQ", 81, 80, "function bits compared", values=_QUALIFIERS),
    Field("SVT", 83, 82, "how the requester is checked", values=_CHECKS),
)

# What the index of an interrupt message finds: where the interrupt goes, and who may send it.
# word 0   destination (63:32), vector (23:16), IM (15), delivery and trigger mode, P
# word 1   SVT and SQ: how the requester is checked, against SID (15:0) or a range of buses
IRTE = Structure(
    "IRTE",
    128,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        Field("DM", 2, 2, "destination mode", values=((0, "physical"), (1, "logical"))),
        flag("RH", 3, "redirection hint"),
        Field("TM", 4, 4, "trigger mode", values=((0, "edge"), (1, "level"))),
        Field("DLM", 7, 5, "delivery mode", values=_DELIVERY),
        ignored(11, 8, "left to software"),
        reserved(14, 12),
        flag("IM", 15, "0: remapped format", needs=("PI",)),
        Field("V", 23, 16, "vector"),
        reserved(31, 24),
        Field("DST", 63, 32, "destination; without EIME only bits 15:8", limit="DST"),
        *_SOURCE,
        reserved(127, 84),
    ),
    "rev 5.10 (interrupt remapping table, remapped format)",
)

IRTE_POSTED = Structure(
    "IRTE, posted",
    128,
    (
        flag("P", 0, "present"),
        flag("FPD", 1, "fault processing disabled; looked at even when P=0"),
        reserved(7, 2),
        ignored(11, 8, "left to software"),
        reserved(13, 12),
        flag("URG", 14, "urgent"),
        flag("IM", 15, "1: posted format", needs=("PI",)),
        Field("VV", 23, 16, "virtual vector"),
        reserved(37, 24),
        Field("PDAL", 63, 38, "posted descriptor address, bits 31:6"),
        *_SOURCE,
        reserved(95, 84),
        Field("PDAH", 127, 96, "posted descriptor address, bits 63:32"),
    ),
    "rev 5.10 (interrupt remapping table, posted format)",
)

POSTED_DESCRIPTOR = Structure(
    "posted interrupt descriptor",
    512,
    (
        Field("PIR", 255, 0, "one bit a vector"),
        flag("ON", 256, "notification outstanding"),
        flag("SN", 257, "notifications suppressed"),
        Field("NV", 279, 272, "notification vector"),
        Field("NDST", 319, 288, "notification destination"),
    ),
    "rev 5.10",
)

MSI_ADDRESS = Structure(
    "remappable interrupt address",
    32,
    (
        ignored(1, 0),
        flag("HANDLE_HIGH", 2, "handle bit 15"),
        flag("SHV", 3, "subhandle valid"),
        flag("FORMAT", 4, "1: remappable"),
        Field("HANDLE", 19, 5, "handle bits 14:0"),
        Field("WINDOW", 31, 20, "FEE"),
    ),
    "rev 5.10 (interrupt requests)",
)

INTERRUPT_TABLES = (IRTE, IRTE_POSTED, POSTED_DESCRIPTOR, MSI_ADDRESS)
