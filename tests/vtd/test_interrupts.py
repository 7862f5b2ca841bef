"""The interrupt range and interrupt remapping."""

from __future__ import annotations

import pytest

from tests.reality_check.compare import msi_of
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.interrupts.remapping import NotModelled
from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.quirks import QEMU_7_2
from vtdkit.vtd.requests import Fault, Interrupt, Request, Translation

from .cases import IRTE_HIGH, IRTE_LOW, interrupts, msi
from .rig import IQA, IQT, IRTA, QIE, SID, SIRTP, TE, command, drain, legacy, read, write


def delivered(answer: Translation | Fault) -> Interrupt:
    assert isinstance(answer, Translation), answer
    assert answer.interrupt is not None
    return answer.interrupt


def code(answer: Translation | Fault) -> int | None:
    return answer.code if isinstance(answer, Fault) else None


def test_a_message_is_looked_up_by_its_handle_and_leaves_with_the_entrys_fields() -> None:
    tables, unit, table = interrupts()
    tables.memory[table + 16 * 5] = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 0x4A << 16 | 0x300 << 32
    tables.memory[table + 16 * 5 + 8] = IRTE_HIGH
    answer = delivered(unit.translate(msi(5)))
    assert (answer.vector, answer.destination, answer.delivery, answer.logical, answer.hint) == (
        0x4A,
        3,
        1,
        True,
        True,
    )
    assert msi_of(answer) == (0xFEE0_300C, 0x414A)


def test_the_subhandle_is_added_to_the_handle() -> None:
    tables, unit, table = interrupts()
    tables.memory[table + 16 * 12], tables.memory[table + 16 * 12 + 8] = IRTE_LOW, IRTE_HIGH
    assert delivered(unit.translate(msi(8, data=4, shv=1))).vector == 0x31
    assert code(unit.translate(msi(8, data=4))) == 0x22
    assert code(unit.translate(msi(255, data=1, shv=1))) == 0x21


def test_handle_bit_fifteen_counts() -> None:
    tables, unit, _ = interrupts()
    big = tables.page()
    unit.write(IRTA, big | 15, 8)
    command(unit, SIRTP)
    at = big + 16 * 0x8003
    tables.memory[at], tables.memory[at + 8] = IRTE_LOW, IRTE_HIGH
    assert delivered(unit.translate(msi(0x8003))).vector == 0x31


def test_x2apic_mode_uses_the_whole_destination() -> None:
    tables, unit, table = interrupts(eime=1)
    tables.memory[table], tables.memory[table + 8] = 1 | 0x31 << 16 | 0x1234_5678 << 32, IRTE_HIGH
    answer = delivered(unit.translate(msi()))
    assert (answer.destination, answer.extended) == (0x1234_5678, True)
    tables, unit, table = interrupts()
    tables.memory[table], tables.memory[table + 8] = 1 | 0x31 << 16 | 0x1234_5678 << 32, IRTE_HIGH
    assert code(unit.translate(msi())) == 0x24


@pytest.mark.parametrize(
    ("svt", "sq", "sid", "requester", "allowed"),
    [
        (0, 0, 0x18, 0x999, True),
        (1, 0, 0x18, 0x18, True),
        (1, 0, 0x18, 0x1A, False),
        (1, 1, 0x18, 0x1C, True),
        (1, 1, 0x18, 0x19, False),
        (1, 2, 0x18, 0x1E, True),
        (1, 2, 0x18, 0x19, False),
        (1, 3, 0x18, 0x1F, True),
        (1, 3, 0x18, 0x20, False),
        (2, 0, 0x0205, 0x0200, True),
        (2, 0, 0x0205, 0x05FF, True),
        (2, 0, 0x0205, 0x0100, False),
        (2, 0, 0x0205, 0x0600, False),
    ],
)
def test_the_requester_is_checked_as_the_entry_says(
    svt: int, sq: int, sid: int, requester: int, allowed: bool
) -> None:
    tables, unit, table = interrupts()
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW, svt << 18 | sq << 16 | sid
    assert code(unit.translate(msi(sid=requester))) == (None if allowed else 0x26)


def test_a_bus_range_runs_from_the_high_byte_to_the_low_one_and_the_other_way_round_in_qemu() -> None:
    for sid, spec, emulated in ((0x0005, True, False), (0x0500, False, True), (0x0000, True, True)):
        for quirks, allowed in ((None, spec), (QEMU_7_2, emulated)):
            tables, unit, table = interrupts()
            if quirks:
                unit.quirks = quirks
                unit.latch_root(unit.root_table, 0, 0)
            tables.memory[table], tables.memory[table + 8] = IRTE_LOW, 2 << 18 | sid
            assert (code(unit.translate(msi(sid=0x18))) is None) is allowed


def test_a_reserved_check_is_a_reserved_field() -> None:
    tables, unit, table = interrupts()
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW, 3 << 18 | SID
    assert code(unit.translate(msi())) == 0x24


def test_fpd_of_the_entry_silences_qualified_faults() -> None:
    tables, unit, table = interrupts()
    for low, quiet in (
        (2, True),
        (IRTE_LOW & ~1 | 2, True),
        (IRTE_LOW | 2 | 1 << 12, True),
        (IRTE_LOW | 1 << 12, False),
    ):
        tables.memory[table], tables.memory[table + 8] = low, IRTE_HIGH
        unit.interrupt_cache.drop(lambda _, e: True)
        answer = unit.translate(msi())
        assert isinstance(answer, Fault)
        assert answer.recorded is not quiet


def test_a_fault_record_of_an_interrupt_holds_its_index() -> None:
    _, unit, _ = interrupts()
    unit.translate(msi(0x41))
    record = unit.faults.records()[0]
    assert (record.FI >> 48, record.FI & (1 << 48) - 1, record.FR, record.SID) == (0x41, 0, 0x22, SID)


def test_with_remapping_off_messages_pass_as_they_are() -> None:
    _, unit, _ = interrupts(enable=False)
    answer = unit.translate(write(0xFEE0_500C, data=0x4131))
    assert isinstance(answer, Translation)
    assert (answer.path, answer.address, answer.interrupt) == ("interrupt window", 0xFEE0_500C, None)


@pytest.mark.parametrize("eime", [0, 1])
def test_compatibility_messages_are_blocked_while_interrupts_are_remapped(eime: int) -> None:
    _, unit, _ = interrupts(eime=eime)
    assert code(unit.translate(write(0xFEE0_1000, data=0x31))) == 0x25


def test_interrupts_are_never_translated_even_where_a_table_maps_them() -> None:
    tables, root = legacy()
    tables.map(root, 0xFEE0_0000, 0x20_0000)
    answer = tables.unit().translate(write(0xFEE0_0000, data=0x31))
    assert isinstance(answer, Translation)
    assert answer.path == "interrupt window"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (read(0xFEE0_0000), 0x29),
        (write(0xFEE0_0000, length=8), 0x29),
        (write(0xFEE0_0000, length=2), 0x29),
        (Request(SID, 0xFEE0_0000, "atomic"), 0x29),
        (Request(SID, 0xFEEF_FFFC, "zero-length read"), None),
        (write(0xFEE0_0002, length=4), 0x29),
        (read(0xFEDF_FFFC), 6),
        (read(0xFEF0_0000), 6),
    ],
)
def test_other_requests_to_the_range_are_blocked_and_recorded(
    request_: Request, expected: int | None
) -> None:
    unit = legacy()[0].unit()
    assert code(unit.translate(request_)) == expected
    if expected == 0x29:
        assert unit.faults.records()[0].FR == 0x29


def test_with_everything_off_the_range_is_plain_memory_to_remapping() -> None:
    unit = legacy()[0].unit()
    command(unit, TE, on=False)
    assert isinstance(unit.translate(read(0xFEE0_0000)), Translation)


def test_entries_are_cached_until_their_index_is_invalidated() -> None:
    tables, unit, table = interrupts()
    for index in range(4):
        tables.memory[table + 16 * index], tables.memory[table + 16 * index + 8] = IRTE_LOW, IRTE_HIGH
        unit.translate(msi(index))
        tables.memory[table + 16 * index] = IRTE_LOW & ~(0xFF << 16) | 0x77 << 16
    base = tables.page()
    unit.write(IQA, base, 8)
    command(unit, QIE)
    vectors = [delivered(unit.translate(msi(i))).vector for i in range(4)]
    assert vectors == [0x31] * 4
    tables.memory[base] = 0x4 | 1 << 4 | 1 << 27 | 2 << 32
    unit.write(IQT, 16, 8)
    drain(unit)
    assert [delivered(unit.translate(msi(i))).vector for i in range(4)] == [0x31, 0x31, 0x77, 0x77]
    tables.memory[base + 16] = 0x4
    unit.write(IQT, 32, 8)
    drain(unit)
    assert [delivered(unit.translate(msi(i))).vector for i in range(4)] == [0x77] * 4


def test_an_absent_entry_is_not_cached() -> None:
    tables, unit, table = interrupts()
    assert code(unit.translate(msi())) == 0x22
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW, IRTE_HIGH
    assert delivered(unit.translate(msi())).vector == 0x31


@pytest.mark.parametrize(("esirtps", "vector"), [(0, 0x31), (1, 0x77)])
def test_a_new_table_pointer_drops_cached_entries_only_with_esirtps(esirtps: int, vector: int) -> None:
    tables, unit, table = interrupts(Capabilities(HAW=46, ESIRTPS=esirtps))
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW, IRTE_HIGH
    unit.translate(msi())
    tables.memory[table] = IRTE_LOW & ~(0xFF << 16) | 0x77 << 16
    command(unit, SIRTP)
    assert delivered(unit.translate(msi())).vector == vector


def test_the_table_in_force_changes_only_at_sirtp() -> None:
    tables, unit, table = interrupts()
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW, IRTE_HIGH
    unit.write(IRTA, tables.page() | 7, 8)
    assert delivered(unit.translate(msi())).vector == 0x31


def test_posted_interrupts_are_decoded_and_refused_in_words() -> None:
    tables, unit, table = interrupts(Capabilities(HAW=46, PI=1))
    tables.memory[table] = 1 | 1 << 15 | 0x31 << 16 | 0x123 << 38
    tables.memory[table + 8] = IRTE_HIGH
    with pytest.raises(NotModelled, match=r"posted interrupt: IRTE, posted .*VV=0x31 PDAL=0x123"):
        unit.translate(msi())


def test_without_posted_interrupts_their_mode_bit_is_reserved() -> None:
    tables, unit, table = interrupts()
    tables.memory[table], tables.memory[table + 8] = IRTE_LOW | 1 << 15, IRTE_HIGH
    assert code(unit.translate(msi())) == 0x24


def test_a_table_beyond_the_host_address_width_is_out_of_bounds() -> None:
    tables, unit, _ = interrupts(Capabilities(HAW=40, MGAW=48))
    unit.write(IRTA, 1 << 41 | 7, 8)
    command(unit, SIRTP)
    assert code(unit.translate(msi())) == 0x21
    with pytest.raises(AccessError):
        tables.memory.read64(1 << 41)
