"""Fault records: layout, ring, overflow, the event and its mask."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.quirks import QEMU_7_2, Quirks
from vtdkit.vtd.registers.events import Message
from vtdkit.vtd.requests import Request
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import CCMD, FECTL, FRCD, FSTS, SID, TE, Tables, command, legacy, read, scalable, write

PFO, PPF = 1, 2


def unmasked(unit: RemappingUnit) -> RemappingUnit:
    unit.write(FECTL + 4, 0x41)
    unit.write(FECTL + 8, 0xFEE0_1000)
    unit.write(FECTL, 0)
    return unit


def record(unit: RemappingUnit, index: int = 0) -> tuple[int, int]:
    return unit.read(FRCD + 16 * index + 8, 8), unit.read(FRCD + 16 * index, 8)


def clear(unit: RemappingUnit, index: int) -> None:
    """Software acknowledges one record by writing 1 to F, in the last dword."""
    unit.write(FRCD + 16 * index + 12, 1 << 31)


@pytest.mark.parametrize(
    ("request_", "high"),
    [
        (write(0x1234_5008), 0x8000_0005_0000_0018),
        (read(0x1234_5008), 0xC000_0006_0000_0018),
        (Request(SID, 0x1234_5008, "atomic"), 0xC000_0005_1000_0018),
    ],
)
def test_a_record_holds_page_source_reason_and_kind(request_: Request, high: int) -> None:
    tables, _ = legacy()
    unit = tables.unit()
    unit.translate(request_)
    assert record(unit) == (high, 0x1234_5000)


def test_a_record_of_a_request_with_pasid_says_so() -> None:
    tables, directory, _, _ = scalable()
    tables.pasid(directory, 0x25, w0=1 | 1 << 6, w1=6 | 1 << 23, w2=tables.page())
    unit = tables.unit(Capabilities.scalable(HAW=46), mode=1)
    unit.translate(read(0x7F00_0000_1000, pasid=0x25))
    assert record(unit) == (0xC000_0071_8000_0018 | 0x25 << 40, 0x7F00_0000_1000)


def test_a_request_without_pasid_is_recorded_without_one() -> None:
    tables, *_ = scalable("FS")
    unit = tables.unit(Capabilities.scalable(HAW=46), mode=1)
    unit.translate(read(0x1000))
    assert record(unit) == (0xC000_0071_0000_0018, 0x1000)


def test_a_translation_request_is_recorded_as_a_read_with_its_address_type() -> None:
    tables, _ = legacy(tt=1)
    tables.memory[tables.context_at()] |= 1 << 4
    unit = tables.unit()
    unit.translate(read(0x1000, at="translation"))
    assert record(unit)[0] == 0xC000_000B_0000_0018 | 1 << 60


def test_address_bits_above_the_widest_table_read_zero() -> None:
    tables, _ = legacy()
    unit = tables.unit()
    unit.translate(read(0xFFFF_8000_0000_1000))
    assert record(unit) == (0xC000_0004_0000_0018, 0x8000_0000_1000)


def test_records_fill_in_a_ring_and_overflow_loses_the_rest() -> None:
    unit = legacy()[0].unit(Capabilities(HAW=46, NFR=3))
    for page in range(5):
        unit.translate(read(page << 12))
    assert [record(unit, i)[1] for i in range(3)] == [0, 0x1000, 0x2000]
    assert unit.read(FSTS) == PPF | PFO
    clear(unit, 0)
    unit.translate(read(0x9000))
    assert record(unit, 0)[0] >> 63 == 0
    unit.write(FSTS, PFO)
    unit.translate(read(0xA000))
    assert record(unit, 0)[1] == 0xA000
    assert unit.read(FSTS) == PPF


def test_fri_names_the_first_record_after_all_were_clear() -> None:
    unit = legacy()[0].unit(Capabilities(HAW=46, NFR=4))
    for page in range(2):
        unit.translate(read(page << 12))
    assert unit.read(FSTS) == PPF
    for i in range(2):
        clear(unit, i)
    assert unit.read(FSTS) == 0
    unit.translate(read(0x5000))
    assert unit.read(FSTS) == PPF | 2 << 8
    assert record(unit, 2)[1] == 0x5000


def test_the_index_starts_over_only_when_both_remappings_are_off() -> None:
    tables, _ = legacy()
    unit = tables.unit(Capabilities(HAW=46, NFR=4))
    unit.translate(read(0))
    clear(unit, 0)
    command(unit, TE, on=False)
    command(unit, TE)
    unit.translate(read(0x7000))
    assert record(unit, 0)[1] == 0x7000


def test_compression_drops_a_second_fault_of_the_same_source() -> None:
    tables, _ = legacy()
    tables.context(0x20)
    unit = tables.unit(Capabilities(HAW=46, NFR=4), quirks=Quirks(compression=True))
    for sid in (SID, SID, 0x20):
        unit.translate(read(0x1000, sid))
    assert [entry.SID for entry in unit.faults.records() if entry.F] == [SID, 0x20]
    assert unit.read(FSTS) == PPF


def test_an_event_is_sent_for_the_first_fault_only() -> None:
    unit = unmasked(legacy()[0].unit(Capabilities(HAW=46, NFR=2)))
    for page in range(4):
        unit.translate(read(page << 12))
    assert unit.hooks.messages == [Message("fault", 0xFEE0_1000, 0x41)]
    for i in range(2):
        clear(unit, i)
    unit.translate(read(0))
    assert len(unit.hooks.messages) == 1, "PFO alone raises no event and keeps later ones from being raised"
    unit.write(FSTS, PFO)
    unit.translate(read(0))
    assert len(unit.hooks.messages) == 2


@pytest.mark.parametrize(
    ("setting", "low", "high"),
    [
        ({}, 0x1000, 0xC0FF_FF06_0000_0018),
        ({"fpd": 0, "tt": 3}, 0x1000, 0xC0FF_FF03_0000_0018),
        (None, 0x1000, 0xC000_0002_0000_0018),
    ],
)
def test_records_as_an_emulator_leaves_them(setting: dict[str, int] | None, low: int, high: int) -> None:
    """Page-walk faults carry PV=FFFF with PP=0 there; a context entry that is not present does not."""
    tables, _ = legacy(**(setting or {}))
    if setting is None:
        tables.memory[tables.context_at()] = 0
    unit = tables.unit(Capabilities(HAW=46, NFR=1), quirks=QEMU_7_2)
    unit.translate(read(0x1000))
    assert record(unit) == (high, low)


def test_the_upper_address_register_counts_where_it_exists() -> None:
    for eim, upper in ((1, 0x12), (0, 0)):
        unit = legacy()[0].unit(Capabilities(HAW=46, EIM=eim))
        unit.write(FECTL + 12, 0x12)
        unmasked(unit).translate(read(0))
        assert unit.hooks.messages == [Message("fault", upper << 32 | 0xFEE0_1000, 0x41)]


def test_a_masked_event_waits_and_goes_out_when_the_mask_is_cleared() -> None:
    unit = legacy()[0].unit()
    unit.translate(read(0))
    assert unit.read(FECTL) == 0xC000_0000
    assert unit.hooks.messages == []
    unmasked(unit)
    assert len(unit.hooks.messages) == 1
    assert unit.read(FECTL) == 0


def test_a_masked_event_is_forgotten_when_software_has_seen_to_it() -> None:
    unit = legacy()[0].unit()
    unit.translate(read(0))
    clear(unit, 0)
    assert unit.read(FECTL) == 0x8000_0000
    unmasked(unit)
    assert unit.hooks.messages == []


@given(ops=st.lists(st.integers(0, 6), max_size=40))
@settings(max_examples=150, deadline=None)
def test_status_and_records_never_contradict_each_other(ops: list[int]) -> None:
    unit = legacy()[0].unit(Capabilities(HAW=46, NFR=3))
    for op in ops:
        if op < 3:
            clear(unit, op)
        elif op == 3:
            unit.write(FSTS, PFO)
        else:
            before = [e.F for e in unit.faults.records()]
            index, overflow = unit.faults.index, unit.read(FSTS) & PFO
            unit.translate(read(op << 12))
            lost = bool(overflow or before[index])
            assert bool(unit.read(FSTS) & PFO) == lost or overflow
            assert sum(e.F for e in unit.faults.records()) == sum(before) + (0 if lost else 1)
        assert bool(unit.read(FSTS) & PPF) == any(e.F for e in unit.faults.records())


def test_high_half_of_a_record_can_be_polled_alone() -> None:
    unit = Tables().unit()
    assert unit.read(FRCD + 12) == 0
    unit.translate(read(0x1000))
    assert unit.read(FRCD + 12) == 0xC000_0001
    unit.write(CCMD, 0, 8)
    clear(unit, 0)
    assert unit.read(FRCD + 12) == 0x4000_0001
