"""Registers: attributes of every bit, partial access, handshakes, commands, protected memory."""

from __future__ import annotations

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.registers.file import BadRegisterAccess
from vtdkit.vtd.registers.register_map import available, placed
from vtdkit.vtd.requests import Fault, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import (
    CCMD,
    FECTL,
    FSTS,
    GCMD,
    GSTS,
    IECTL,
    IOTLB,
    IQA,
    IQH,
    IQT,
    IRE,
    IRTA,
    IVA,
    ONE_SHOTS,
    QIE,
    RTADDR,
    SIRTP,
    SRTP,
    TE,
    WBF,
    Tables,
    command,
    legacy,
    read,
    write,
)

TES, RTPS, QIES, IRES, IRTPS = (1 << bit for bit in (31, 30, 26, 25, 24))
FULL = Capabilities.scalable(HAW=46)


def fresh(caps: Capabilities | None = None) -> RemappingUnit:
    return RemappingUnit(Memory(), caps or Capabilities(HAW=46))


@pytest.mark.parametrize(
    "caps", [Capabilities(HAW=46), FULL, Capabilities(QI=0, DT=0, IR=0, EIM=0, MHMV=0, PLMR=0, PHMR=0)]
)
def test_every_bit_of_every_register_behaves_as_its_attribute_says(caps: Capabilities) -> None:
    quiet = {"GCMD", "CCMD", "IOTLB", "PMEN", "PLMBASE", "PLMLIMIT", "PHMBASE", "PHMLIMIT"}
    for offset, name, register in placed(caps):
        if name in quiet or "FRCD" in name or name == "FSTS":
            continue
        usable = (1 << register.layout.width) - 1 & ~register.layout.reserved_mask(caps.environment)
        usable = usable if available(register, caps) else 0
        for ones in (0, (1 << register.layout.width) - 1):
            unit = fresh(caps)
            before = unit.registers[name]
            for i in range(register.layout.width // 32):
                unit.write(offset + 4 * i, ones >> 32 * i & 0xFFFF_FFFF)
            stored = register.layout.access_mask("RW") & usable
            expected = before & ~stored | ones & stored
            read_back = sum(unit.read(offset + 4 * i) << 32 * i for i in range(register.layout.width // 32))
            hidden = register.layout.access_mask("WO")
            assert read_back == expected & ~hidden, (name, hex(read_back), hex(expected))


def test_reset_values() -> None:
    unit = fresh(FULL)
    assert (unit.read(0x08, 8), unit.read(0x10, 8), unit.read(0)) == (FULL.cap, FULL.ecap, FULL.ver)
    for control in (FECTL, IECTL, 0xE0):
        assert unit.read(control) == 0x8000_0000
    for offset in (GCMD, GSTS, FSTS, 0x58, 0x9C, 0xDC):
        assert unit.read(offset) == 0
    assert unit.read(IQH, 8) == unit.read(RTADDR, 8) == unit.read(IOTLB, 8) == 0


@pytest.mark.parametrize("power_good", [True, False])
def test_a_reset_gives_back_a_fresh_unit_and_a_warm_one_keeps_what_is_sticky(power_good: bool) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    unit.translate(write(0x9000))
    command(unit, QIE)
    unit.write(IQA, 0x5000, 8)
    record = unit.faults.records()[0].raw
    unit.reset(power_good=power_good)
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == 0
    assert (unit.read(GSTS), unit.read(RTADDR, 8), unit.read(IQA, 8), unit.queue.enabled) == (0, 0, 0, False)
    assert unit.faults.records()[0].raw == (0 if power_good else record)
    assert unit.read(FSTS) == (0 if power_good else 2)
    answer = unit.translate(read(0x1000))
    assert isinstance(answer, Translation)
    assert answer.path == "off"
    if power_good:
        assert unit.registers == fresh().registers


def test_a_qword_is_two_dwords_and_other_shapes_are_refused() -> None:
    unit = fresh()
    unit.write(RTADDR, 0x0000_1234_5678_9000, 8)
    assert (unit.read(RTADDR), unit.read(RTADDR + 4)) == (0x5678_9000, 0x1234)
    unit.write(RTADDR + 4, 0x77)
    assert unit.read(RTADDR, 8) == 0x0000_0077_5678_9000
    for offset, size in ((RTADDR + 4, 8), (RTADDR + 2, 4), (RTADDR, 2), (RTADDR, 16), (-4, 4)):
        with pytest.raises(BadRegisterAccess, match="registers take aligned accesses"):
            unit.read(offset, size)
    assert unit.read(0x400, 8) == 0
    unit.write(0x400, 0xFFFF_FFFF)
    assert unit.read(0x400) == 0


def test_registers_of_missing_features_read_zero_and_ignore_writes() -> None:
    unit = fresh(Capabilities(QI=0, DT=0, IR=0, EIM=0, MHMV=0, PLMR=0, PHMR=0))
    for offset in (IQA, IRTA, 0x64, 0x68, 0xC0, IECTL):
        unit.write(offset, 0xFFFF_FFFF)
        assert unit.read(offset) == 0
    command(unit, QIE)
    command(unit, IRE)
    assert unit.read(GSTS) == 0


@pytest.mark.parametrize(
    ("bit", "status"), [(TE, TES), (SRTP, RTPS), (QIE, QIES), (SIRTP, IRTPS), (IRE, IRES)]
)
def test_each_command_is_answered_by_its_status_bit(bit: int, status: int) -> None:
    unit = fresh()
    command(unit, bit)
    assert unit.read(GSTS) == status
    assert unit.read(GCMD) == 0
    if not bit & ONE_SHOTS:
        command(unit, bit, on=False)
        assert unit.read(GSTS) == 0


def test_the_root_pointer_counts_only_once_it_is_latched() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.write(RTADDR, tables.page(), 8)
    assert isinstance(unit.translate(read(0x1000)), Translation)
    command(unit, SRTP)
    unit.write(IVA, 0, 8)
    assert isinstance(unit.from_memory(read(0x1000)), Fault)


def test_several_commands_in_one_write_are_all_done() -> None:
    """Some software ORs its bit into what GSTS reads and sets one-shots again by accident."""
    unit = fresh()
    unit.write(GCMD, TE | SRTP | QIE)
    assert unit.read(GSTS) == TES | RTPS | QIES
    unit.write(GCMD, unit.read(GSTS) | IRE)
    assert unit.read(GSTS) == TES | RTPS | QIES | IRES


@pytest.mark.parametrize("rwbf", [0, 1])
def test_a_write_buffer_flush_is_over_when_it_is_asked_about(rwbf: int) -> None:
    unit = fresh(Capabilities(HAW=46, RWBF=rwbf))
    command(unit, WBF)
    assert not unit.read(GSTS)


@pytest.mark.parametrize(("asked", "did", "done"), [(1, 5, 1), (2, 5, 2), (3, 5, 3), (0, 5, 0)])
def test_context_command_reports_what_it_did(asked: int, did: int, done: int) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    assert unit.caches is not None
    assert len(unit.caches.context) == 1
    unit.write(CCMD, 1 << 63 | asked << 61 | 0x18 << 16 | did, 8)
    assert unit.read(CCMD, 8) >> 59 == done | asked << 2
    assert unit.read(CCMD, 8) & 0x0000_0003_FFFF_0000 == 0
    assert len(unit.caches.context) == (1 if not done else 0)


@pytest.mark.parametrize(
    ("granularity", "am", "done", "left"),
    [(1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 3, 1), (3, 1, 3, 0), (3, 19, 0, 2), (0, 0, 0, 2)],
)
def test_iotlb_command_invalidates_and_reports(granularity: int, am: int, done: int, left: int) -> None:
    tables, root = legacy()
    unit = tables.unit()
    for page in (0x1000, 0x0000):
        tables.map(root, page, 0x20_0000 + page)
        unit.translate(read(page))
    unit.write(IVA, 0x1000 | am, 8)
    unit.write(IOTLB, 1 << 63 | granularity << 60 | 5 << 32, 8)
    assert unit.read(IOTLB, 8) >> 57 & 3 == done
    assert not unit.read(IOTLB, 8) >> 63
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == left


def test_register_commands_act_on_the_upper_half() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.translate(read(0x1000))
    assert unit.caches is not None
    unit.write(IOTLB, 0)
    assert len(unit.caches.iotlb) == 1
    unit.write(IOTLB + 4, 1 << 31 | 1 << 28)
    assert len(unit.caches.iotlb) == 0


@pytest.mark.parametrize(("caps", "mode"), [(Capabilities(HAW=46, major=6), 0), (FULL, 1)])
def test_register_commands_are_rejected_on_new_parts_and_in_scalable_mode(
    caps: Capabilities, mode: int
) -> None:
    unit = Tables().unit(caps, mode=mode)
    unit.write(CCMD, 1 << 63 | 1 << 61, 8)
    unit.write(IOTLB, 1 << 63 | 1 << 60, 8)
    assert unit.read(CCMD, 8) >> 59 & 3 == 0
    assert unit.read(IOTLB, 8) >> 57 & 3 == 0
    assert not unit.read(CCMD, 8) >> 63


def test_the_queue_base_does_not_move_while_the_queue_is_on() -> None:
    unit = fresh()
    unit.write(IQA, 0x5000, 8)
    command(unit, QIE)
    unit.write(IQA, 0x9000, 8)
    assert unit.read(IQA, 8) == 0x5000
    command(unit, QIE, on=False)
    unit.write(IQA, 0x9000, 8)
    assert unit.read(IQA, 8) == 0x9000


def test_the_tail_holds_an_offset_of_sixteen_bytes() -> None:
    unit = fresh()
    unit.write(IQT, 0xFFFF_FFFF_FFFF_FFFF, 8)
    assert unit.read(IQT, 8) == 0x7_FFF0


def test_protected_memory_blocks_silently_whatever_translation_does() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x60_0000)
    tables.map(root, 0x2000, 0x20_0000)
    unit = tables.unit()
    unit.write(0x68, 0x40_0000)
    unit.write(0x6C, 0x7F_FFFF)
    assert (unit.read(0x68), unit.read(0x6C)) == (0x40_0000, 0x60_0000)
    unit.write(0x64, 1 << 31)
    assert unit.read(0x64) == 1 << 31 | 1
    blocked = unit.translate(write(0x1000))
    assert isinstance(blocked, Fault)
    assert (blocked.label, blocked.code, blocked.recorded) == ("PMR", None, False)
    assert isinstance(unit.translate(write(0x2000)), Translation)
    command(unit, TE, on=False)
    assert isinstance(unit.translate(read(0x60_0000)), Fault)
    assert isinstance(unit.translate(read(0x80_0000)), Translation)
    unit.write(0x6C, 0)
    assert unit.read(0x6C) == 0x60_0000
    unit.write(0x64, 0)
    assert isinstance(unit.translate(read(0x60_0000)), Translation)
    assert unit.read(FSTS) == 0


def test_the_size_of_a_protected_region_can_be_discovered_by_writing_ones() -> None:
    unit = fresh(Capabilities(HAW=46, pmr_bits=20))
    unit.write(0x68, 0xFFFF_FFFF)
    unit.write(0x70, (1 << 64) - 1, 8)
    assert unit.read(0x68) == 0xFFF0_0000
    assert unit.read(0x70, 8) == 0xFFFF_FFFF_FFF0_0000
    unit.write(0x64, 1 << 31)
    assert unit.protected_regions() == []
    unit.write(0x64, 0)
    unit.write(0x68, 0x10_0000)
    unit.write(0x6C, 0x10_0000)
    unit.write(0x64, 1 << 31)
    assert unit.protected_regions() == [(0x10_0000, 0x20_0000)]


def test_disabling_translation_in_scalable_hardware_drops_its_caches() -> None:
    for caps, left in ((FULL, 0), (Capabilities(HAW=46), 1)):
        tables, root = legacy()
        tables.map(root, 0x1000, 0x20_0000)
        unit = tables.unit(caps)
        unit.translate(read(0x1000))
        command(unit, TE, on=False)
        assert unit.caches is not None
        assert len(unit.caches.iotlb) == left


@pytest.mark.parametrize(("esrtps", "left"), [(0, 1), (1, 0)])
def test_a_new_root_pointer_drops_the_caches_only_with_esrtps(esrtps: int, left: int) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(Capabilities(HAW=46, ESRTPS=esrtps))
    unit.translate(read(0x1000))
    command(unit, SRTP)
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == left


def test_what_is_not_modelled_stays_off() -> None:
    """GCMD.CFI is ignored, as if the unit never got round to it."""
    unit = fresh()
    command(unit, 1 << 23)
    assert unit.read(GSTS) == 0
