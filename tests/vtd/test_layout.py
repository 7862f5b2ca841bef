"""Structures: coverage of bits, round trips, reserved masks, the golden encodings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.registers import register_map
from vtdkit.vtd.registers.capability import CAP, ECAP, VER
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables import entries as tables
from vtdkit.vtd.tables import interrupts as interrupt_tables
from vtdkit.vtd.tables import pages as stages
from vtdkit.vtd.tables.layout import Entry, Field, Structure

STRUCTURES = [
    *tables.TABLES,
    *stages.PAGE_ENTRIES,
    *stages.PERMISSION_ENTRIES,
    *interrupt_tables.INTERRUPT_TABLES,
    *descriptors.DESCRIPTORS,
    descriptors.PAGE_REQUEST,
    *(register.layout for register in register_map.REGISTERS),
    register_map.FRCD,
]
ENVIRONMENTS = [
    Capabilities(HAW=46),
    Capabilities(HAW=39, MGAW=39, SAGAW=2, ND=2, SC=0, DT=0),
    Capabilities.scalable(),
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.name)
def test_every_field_survives_a_round_trip_alone_and_together(structure: Structure) -> None:
    everything = {}
    for name in structure.names:
        part = structure.field(name)
        value = part.get(part.mask)
        assert structure.decode(structure.encode(**{name: value}))[name] == value
        assert structure.encode(**{name: value}) == part.mask
        everything[name] = value
    whole = structure.encode(**everything)
    assert dict(structure.decode(whole)) == everything


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.name)
@pytest.mark.parametrize("caps", ENVIRONMENTS, ids=("plain", "small", "scalable"))
def test_a_description_accounts_for_every_bit_once(structure: Structure, caps: Capabilities) -> None:
    rows = structure.rows(caps.environment)
    masks = [(1 << row.high + 1) - (1 << row.low) for row in rows]
    assert sum(masks) == (1 << structure.width) - 1
    reserved = sum(mask for row, mask in zip(rows, masks, strict=True) if row.state == "reserved")
    assert reserved == structure.reserved_mask(caps.environment)


def test_overlaps_are_refused_and_gaps_are_reserved() -> None:
    assert Structure("gap", 8, (Field("A", 6, 1),)).reserved_mask({}) == 0x81
    for fields in ((Field("A", 7, 0), Field("B", 3, 3)), (Field("A", 8, 0),), (Field("A", 0, 1),)):
        with pytest.raises(ValueError, match="overlaps or does not fit"):
            Structure("overlap", 8, fields)


def test_a_value_that_does_not_fit_says_how_wide_the_field_is() -> None:
    with pytest.raises(ValueError, match=r"DID \[87:72\] cannot hold 0x10000: it has 16 bits"):
        tables.CONTEXT_ENTRY.encode(DID=0x10000)
    with pytest.raises(ValueError, match="SSPTPTR"):
        tables.CONTEXT_ENTRY.encode(SSPTPTR=0x1234)
    with pytest.raises(KeyError, match="has no field 'ASR'; it has P, FPD, TT"):
        tables.CONTEXT_ENTRY.encode(ASR=1)
    with pytest.raises(AttributeError, match="has no field 'ASR'"):
        _ = tables.CONTEXT_ENTRY.decode(0).ASR


@given(raw=st.integers(0, (1 << 128) - 1))
@settings(max_examples=200, deadline=None)
def test_reserved_and_used_bits_together_make_the_raw_value(raw: int) -> None:
    entry = tables.CONTEXT_ENTRY.decode(raw)
    used = sum(tables.CONTEXT_ENTRY.encode(**{name: value}) for name, value in entry)
    rest = sum(f.mask for f in tables.CONTEXT_ENTRY.fields if f.role != "used")
    assert used | raw & rest == raw


# Golden encodings: layout, field values, raw value. Worked out by hand from the specification's figures.
D = descriptors
GOLDEN = [
    (tables.CONTEXT_ENTRY, {"P": 1, "SSPTPTR": 0x1001_0000, "AW": 2, "DID": 1}, 0x0102 << 64 | 0x1001_0001),
    (tables.CONTEXT_ENTRY, {"P": 1, "TT": 2, "AW": 2, "DID": 1}, 0x0102 << 64 | 9),
    (D.CC_INV, {"TYPE": 1, "G": 1}, 0x11),
    (D.CC_INV, {"TYPE": 1, "G": 2, "DID": 5}, 0x0005_0021),
    (D.CC_INV, {"TYPE": 1, "G": 3, "DID": 5, "SID": 0x18}, 0x0000_0018_0005_0031),
    (D.IOTLB_INV, {"TYPE": 2, "G": 1, "DR": 1, "DW": 1}, 0xD2),
    (D.IOTLB_INV, {"TYPE": 2, "G": 2, "DR": 1, "DW": 1, "DID": 5}, 0x0005_00E2),
    (
        D.IOTLB_INV,
        {"TYPE": 2, "G": 3, "DR": 1, "DW": 1, "DID": 5, "AM": 9, "IH": 1, "ADDR": 0x4000_0000},
        0x0005_00F2 | 0x4000_0049 << 64,
    ),
    (D.DEV_TLB_INV, {"TYPE": 3, "SID": 0x18, "ADDR": 0x1000}, 0x18_0000_0003 | 0x1000 << 64),
    (
        D.DEV_TLB_INV,
        {"TYPE": 3, "SID": 0x18, "ADDR": 0x400F_F000, "S": 1},
        0x18_0000_0003 | 0x400F_F001 << 64,
    ),
    (
        D.DEV_TLB_INV,
        {"TYPE": 3, "SID": 0x18, "ADDR": 0x7FFF_FFFF_FFFF_F000, "S": 1},
        0x18_0000_0003 | 0x7FFF_FFFF_FFFF_F001 << 64,
    ),
    (D.IEC_INV, {"TYPE": 4}, 0x04),
    (D.IEC_INV, {"TYPE": 4, "G": 1, "IIDX": 0x20, "IM": 4}, 0x0000_0020_2000_0014),
    (D.INV_WAIT, {"TYPE": 5, "SW": 1, "DATA": 1, "ADDR": 0x1000}, 0x1_0000_0025 | 0x1000 << 64),
    (
        D.INV_WAIT,
        {"TYPE": 5, "IF": 1, "SW": 1, "FN": 1, "DATA": 2, "ADDR": 0x2000},
        0x2_0000_0075 | 0x2000 << 64,
    ),
    (D.P_IOTLB_INV, {"TYPE": 6, "G": 2, "PASID": 0x25, "DID": 5}, 0x25_0005_0026),
    (
        D.P_IOTLB_INV,
        {"TYPE": 6, "G": 3, "PASID": 0x25, "DID": 5, "ADDR": 0x7F00_0000_1000},
        0x25_0005_0036 | 0x7F00_0000_1000 << 64,
    ),
    (D.PC_INV, {"TYPE": 7, "G": 1, "PASID": 0x25, "DID": 5}, 0x25_0005_0017),
    (D.PC_INV, {"TYPE": 7, "G": 0, "DID": 5}, 0x0005_0007),
    (D.PC_INV, {"TYPE": 7, "G": 3}, 0x37),
    (
        D.P_DEV_TLB_INV,
        {"TYPE": 8, "SID": 0x18, "PASID": 0x25, "S": 1, "ADDR": 0x7FFF_FFFF_FFFF_F000},
        0x25_0018_0008 | 0x7FFF_FFFF_FFFF_F800 << 64,
    ),
    (
        D.PAGE_GRP_RESP,
        {"TYPE": 9, "RID": 0x18, "PASID": 0x25, "PP": 1, "PRGI": 3},
        0x25_0018_0019 | 0x18 << 64,
    ),
    (
        register_map.FRCD,
        {"F": 1, "FR": 5, "SID": 0x10, "FI": 0x1234_5000},
        0x8000_0005_0000_0010 << 64 | 0x1234_5000,
    ),
    (
        register_map.FRCD,
        {"F": 1, "T1": 1, "PP": 1, "PV": 0x25, "FR": 0x71, "SID": 0x20, "FI": 0x7F00_0000_1000},
        0xC000_2571_8000_0020 << 64 | 0x7F00_0000_1000,
    ),
    (
        register_map.FRCD,
        {"F": 1, "T1": 1, "T2": 1, "FR": 0x85, "SID": 8, "FI": 0x1000},
        0xC000_0085_1000_0008 << 64 | 0x1000,
    ),
]


@pytest.mark.parametrize(("structure", "values", "raw"), GOLDEN, ids=lambda v: getattr(v, "name", ""))
def test_golden_encodings(structure: Structure, values: dict[str, int], raw: int) -> None:
    assert structure.encode(**values) == raw
    assert {name: value for name, value in structure.decode(raw) if value} == {
        k: v for k, v in values.items() if v
    }


def test_an_entry_shows_what_is_set_and_compares_by_value() -> None:
    entry = tables.CONTEXT_ENTRY.decode(0x0102 << 64 | 0x1001_0001)
    assert repr(entry) == "context entry {P=0x1 SSPTPTR=0x10010000 AW=0x2 DID=0x1}"
    assert entry == Entry(tables.CONTEXT_ENTRY, entry.raw)
    assert len({entry, Entry(tables.CONTEXT_ENTRY, entry.raw)}) == 1
    assert entry != tables.CONTEXT_ENTRY.decode(entry.raw ^ 1)
    assert entry != tables.ROOT_ENTRY.decode(entry.raw)
    assert repr(tables.ROOT_ENTRY.decode(0)) == "root entry {all zero}"
    assert repr(tables.ROOT_ENTRY) == "<Structure root entry, 128 bits>"


def test_ignored_depends_on_the_translation_type() -> None:
    environment = Capabilities.scalable().environment
    states = {
        pgtt: {r.part.name: r.state for r in tables.PASID_ENTRY.rows(environment, pgtt)}
        for pgtt in ("FS", "SS", "NEST", "PT")
    }
    assert [states[p]["FSPTPTR"] for p in ("FS", "SS", "NEST", "PT")] == [
        "used",
        "ignored",
        "used",
        "ignored",
    ]
    assert [states[p]["SSPTPTR"] for p in ("FS", "SS", "NEST", "PT")] == [
        "ignored",
        "used",
        "used",
        "ignored",
    ]
    assert {states[p]["DID"] for p in states} == {"used"}


# The masks of a widely used emulator's source, as an independent check of ours. HAW is 48 here.
@pytest.mark.parametrize(
    ("structure", "mask"),
    [
        (descriptors.CC_INV, 0xFFFC_0000_0000_F1C0),
        (descriptors.IOTLB_INV, 0xFFFF_FFFF_0000_F100 | 0xF80 << 64),
        (descriptors.IEC_INV, 0xFFFF_0000_07FF_F1E0),
        (descriptors.P_IOTLB_INV, 0xFFF0_0000_0000_F1C0 | 0xF80 << 64),
        (stages.SS_TOP, 0x400F_0000_0000_0880),
        (stages.SS_TABLE, 0x400F_0000_0000_0800),
        (stages.SS_2M, 0x400F_0000_001F_F800),
        (stages.SS_1G, 0x400F_0000_3FFF_F800),
        (stages.FS_TOP, 0x000F_0000_0000_0080),
        (stages.FS_2M, 0x000F_0000_001F_E000),
        (stages.FS_1G, 0x000F_0000_3FFF_E000),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_reserved_masks_agree_with_an_independent_source(structure: Structure, mask: int) -> None:
    ours = structure.reserved_mask(Capabilities(HAW=48, SC=0).environment)
    if structure in (descriptors.CC_INV, descriptors.IEC_INV):
        ours &= (1 << 64) - 1
    assert ours == mask


@pytest.mark.parametrize("register", [CAP, ECAP, VER], ids=lambda s: s.name)
def test_capability_registers_are_read_only(register: Structure) -> None:
    assert register.access_mask("RW", "WO", "RW1C", "RW1CS") == 0
