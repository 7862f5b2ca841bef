"""Test catalogues of other implementations, played again, and the cases that none of them covers.

Only what is tested is theirs: kvm-unit-tests' intel_iommu suite, QEMU's iommu-testdev addresses, OpenVMM's
list of unit tests. Set-ups are described in the VT-d fact sheets those projects can be read from; the code is
ours.
"""

from __future__ import annotations

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.quirks import QEMU_7_2
from vtdkit.vtd.requests import Fault, Interrupt, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import (
    FSTS,
    GCMD,
    GSTS,
    IQA,
    IQT,
    IRE,
    IRTA,
    QIE,
    RTADDR,
    RW,
    SIRTP,
    SRTP,
    TE,
    R,
    Tables,
    command,
    drain,
    legacy,
    read,
    scalable,
    write,
)

EMULATED = Capabilities.from_registers(0xD2_008C_2226_0206, 0xF0_0F4A, ver=0x10)
EDU = 0x20
TES, RTPS, QIES, IRES, IRTPS = (1 << bit for bit in (31, 30, 26, 25, 24))


def ok(answer: Translation | Fault) -> Translation:
    assert isinstance(answer, Translation), answer
    return answer


# kvm-unit-tests: bring-up that ORs bits into what GSTS reads, a 3-level table, one page at IOVA 0, interrupts


def brought_up() -> tuple[Tables, RemappingUnit, int]:
    tables = Tables()
    unit = RemappingUnit(tables.memory, EMULATED, quirks=QEMU_7_2)
    table = tables.memory.page(0x200_0000)
    for page in range(256):
        tables.memory.page(table + (page << 12))

    def gcmd_or(bit: int) -> None:
        unit.write(GCMD, unit.read(GSTS) | bit)

    gcmd_or(QIE)
    unit.write(RTADDR, tables.root, 8)
    gcmd_or(SRTP)
    unit.write(IRTA, table | 0xF, 8)
    gcmd_or(SIRTP)
    gcmd_or(TE)
    gcmd_or(IRE)
    return tables, unit, table


def test_kvm_unit_tests_bring_up_leaves_no_fault_and_every_status_bit() -> None:
    _, unit, _ = brought_up()
    assert unit.read(FSTS) == 0
    assert unit.read(GSTS) == QIES | RTPS | IRTPS | TES | IRES
    assert unit.read(0x08, 8) >> 8 & 0x1F == 0b00010, "SAGAW has 39 bits"
    assert unit.read(0x08, 8) >> 34 & 3, "SSLPS has superpages"


def test_kvm_unit_tests_dma_of_four_bytes() -> None:
    tables, unit, _ = brought_up()
    root = tables.context(EDU, aw=1, did=EDU, fpd=1)
    tables.map(root, 0, 0x30_0000, levels=3)
    assert ok(unit.translate(read(0, EDU))).address == 0x30_0000
    assert ok(unit.translate(write(4, EDU))).address == 0x30_0004
    assert unit.read(FSTS) == 0


@pytest.mark.parametrize(("vector", "index"), [(0xED, 0), (0xEE, 1)])
def test_kvm_unit_tests_interrupts_of_ioapic_and_msi(vector: int, index: int) -> None:
    tables, unit, table = brought_up()
    tables.memory[table + 16 * index] = 1 | vector << 16
    tables.memory[table + 16 * index + 8] = 1 << 18 | EDU
    answer = ok(unit.translate(write(0xFEE0_0010 | index << 5, EDU)))
    assert isinstance(answer.interrupt, Interrupt)
    assert answer.interrupt.vector == vector


# QEMU's iommu-testdev: pass-through and translated, by register commands


def test_iommu_testdev_pass_through_and_translated() -> None:
    for tt, iova in ((2, 0x1010_0000), (0, 0x80_8060_4000)):
        memory = Memory()
        for pfn in range(0x10000, 0x10020):
            memory.page(pfn << 12)
        memory[0x1000_0000] = 0x1000_1001
        memory[0x1000_1000 + 16 * EDU] = 0x1001_0000 | tt << 2 | 1
        memory[0x1000_1008 + 16 * EDU] = 1 << 8 | 2
        for level, table in ((4, 0x1001_0000), (3, 0x1001_1000), (2, 0x1001_2000), (1, 0x1001_3000)):
            below = 0x1010_0000 if level == 1 else table + 0x1000
            memory[table + 8 * (iova >> 3 + 9 * level & 511)] = below | RW
        unit = RemappingUnit(memory, Capabilities(HAW=48))
        unit.write(RTADDR, 0x1000_0000, 8)
        command(unit, SRTP)
        unit.write(0x28, 1 << 63 | 1 << 61, 8)
        unit.write(0xF8, 1 << 63 | 1 << 60, 8)
        command(unit, TE)
        for request in (read, write):
            assert ok(unit.translate(request(iova, EDU))).address == 0x1010_0000


# OpenVMM: a driver's initialisation from end to end


def test_a_drivers_initialisation_from_end_to_end() -> None:
    tables, root = legacy(tt=2)
    unit = RemappingUnit(tables.memory, Capabilities(HAW=46))
    queue, table = tables.page(), tables.page()
    for offset in (0x38, 0xA0):
        unit.write(offset, 0)
        unit.write(offset + 4, 0x21)
        unit.write(offset + 8, 0xFEE0_1000)
    unit.write(IQT, 0, 8)
    unit.write(IQA, queue, 8)
    command(unit, QIE)
    unit.write(IRTA, table | 7, 8)
    command(unit, SIRTP)
    tables.memory[queue], tables.memory[queue + 8] = 0x4, 0
    tables.memory[queue + 16], tables.memory[queue + 24] = 0x2_0000_0025, 0x7000
    unit.write(IQT, 32, 8)
    drain(unit)
    command(unit, IRE)
    unit.write(RTADDR, tables.root, 8)
    command(unit, SRTP)
    for slot, raw in enumerate((0x11, 0x2_0000_0025, 0xD2, 0x2_0000_0025), start=2):
        tables.memory[queue + 16 * slot] = raw
        tables.memory[queue + 16 * slot + 8] = 0x7000 if raw & 0xF == 5 else 0
        unit.write(IQT, 16 * (slot + 1), 8)
        drain(unit)
    command(unit, TE)
    assert unit.hooks.status_writes == [(0x7000, 2)] * 3
    assert ok(unit.translate(write(0x1234_0000))).path == "pass-through"
    tables.memory[tables.context_at()] &= ~0xC
    assert isinstance(unit.from_memory(write(0x1234_0000)), Fault)
    tables.map(root, 0x1234_0000, 0x20_0000)
    assert ok(unit.from_memory(write(0x1234_0000))).address == 0x20_0000


def test_a_middle_entry_restricts_its_pages() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    pdpe = tables.memory[root] & ~0xFFF
    tables.memory[pdpe] &= ~2
    answer = tables.unit().translate(write(0x1000))
    assert isinstance(answer, Fault)
    assert answer.label == "LGN.2"


# what nobody covers


def test_setting_the_root_pointer_while_translating_takes_effect_at_once() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(cached=False)
    other = Tables()
    other.memory = tables.memory
    other.next = 0x400_0000
    other.root = other.page()
    other.map(other.context(), 0x1000, 0x30_0000)
    assert ok(unit.translate(read(0x1000))).address == 0x20_0000
    unit.write(RTADDR, other.root, 8)
    assert ok(unit.translate(read(0x1000))).address == 0x20_0000
    command(unit, SRTP)
    assert ok(unit.translate(read(0x1000))).address == 0x30_0000


def test_a_wide_entry_can_be_read_torn_and_a_context_entry_cannot() -> None:
    """A PASID table entry takes four accesses; software that changes it in between is seen half way."""
    tables, _, entry, root = scalable()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(Capabilities.scalable(HAW=46), mode=1, cached=False)
    torn = [access.address for access in unit.walk_steps(read(0x1000)) if access.what == "PASID table entry"]
    assert torn == [entry, entry + 16, entry + 32, entry + 48]
    steps = unit.walk_steps(read(0x1000))
    answer: Translation | Fault | None = None
    while answer is None:
        try:
            access = next(steps)
        except StopIteration as end:
            answer = end.value
            break
        if access.address == entry + 16:
            tables.memory[entry + 8] = 99 | 1 << 23
            tables.memory[entry + 16] = 1 << 40
    assert ok(answer).did == 5, "DID and SSPTPTR are in one 16-byte store; what follows is not"
    assert ok(unit.translate(read(0x1000))).did == 99
    single, root = legacy()
    single.map(root, 0x1000, 0x20_0000)
    accesses = [a for a in single.unit(cached=False).walk_steps(read(0x1000)) if a.what == "context entry"]
    assert len(accesses) == 1


def test_a_write_after_a_cached_read_only_translation_is_silent_only_in_qemu() -> None:
    for quirks, recorded in ((None, True), (QEMU_7_2, False)):
        tables, root = legacy()
        tables.map(root, 0x1000, 0x20_0000, bits=R)
        unit = tables.unit(**({"quirks": quirks} if quirks else {}))
        ok(unit.translate(read(0x1000)))
        answer = unit.translate(write(0x1000))
        assert isinstance(answer, Fault)
        assert (answer.label, answer.cached, answer.recorded) == ("LGN.2", True, recorded)
        assert bool(unit.read(FSTS)) is recorded


def test_a_permission_upgrade_without_invalidation_still_refuses() -> None:
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000, bits=R)
    unit = tables.unit()
    ok(unit.translate(read(0x1000)))
    tables.memory[leaf] |= 2
    assert isinstance(unit.translate(write(0x1000)), Fault)
    assert ok(unit.from_memory(write(0x1000)))


def test_domain_ids_are_cut_to_their_width_in_the_context_entry_by_a_reserved_check() -> None:
    for nd, did, refused in ((0, 0xF, False), (0, 0x10, True), (6, 0xFFFF, False)):
        tables, root = legacy(did=did)
        tables.map(root, 0x1000, 0x20_0000)
        answer = tables.unit(Capabilities(HAW=46, ND=nd)).translate(Request(0x18, 0x1000))
        assert isinstance(answer, Fault) is refused
