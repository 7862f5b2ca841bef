"""Personalities: each switch makes exactly the difference its sentence speaks of; none is dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.quirks import (
    PERSONALITIES,
    QEMU_7_2,
    QEMU_10,
    SPECIFICATION,
    SWITCHES,
    Quirks,
    qemu,
    version_number,
)
from vtdkit.vtd.requests import Fault, Request
from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, ROOT_ENTRY, SM_CONTEXT_ENTRY, SM_ROOT_ENTRY
from vtdkit.vtd.tables.layout import Structure
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.rules import Rules, rules_for

from .cases import CASES, IRTE_HIGH, IRTE_LOW, msi
from .rig import (
    FSTS,
    IQA,
    IQERCD,
    IQT,
    IRE,
    IRTA,
    QIE,
    SID,
    SIRTP,
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

FULL = Capabilities.scalable(HAW=46)
# A scenario: a personality in, something that can be seen out.
Scenario = Callable[[Quirks], Any]
SCENARIOS: dict[str, tuple[Scenario, Any, Any]] = {}


def scenario(name: str, specified: Any, emulated: Any) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        SCENARIOS[name] = (function, specified, emulated)
        return function

    return keep


def outcome(answer: Any) -> Any:
    return answer.code if isinstance(answer, Fault) else answer.path


def again(label: str, quirks: Quirks) -> Any:
    """The scenario of a fault condition, under another personality."""
    built = CASES[label]()
    old = built.unit
    mode = old.mode
    unit = built.tables.unit(old.capabilities, mode=mode, quirks=quirks)
    assert isinstance(built.request, Request)
    return unit.translate(built.request), unit


scenario("legacy_codes", 0x79, 6)(lambda q: outcome(again("SSS.2", q)[0]))
scenario("one_pasid_code", 0x51, 0x58)(lambda q: outcome(again("SPD.2", q)[0]))
scenario("pasid_reserved_ignored", 0x5A, "second stage")(lambda q: outcome(again("SPT.3", q)[0]))


@scenario("context_features_unchecked", 0x42, "second stage")
def _(q: Quirks) -> Any:
    caps = Capabilities.scalable(HAW=46, RPS=0, RPRIVS=0, SRS=0)
    tables, *_, root = scalable(rid_pasid=7, rid_priv=1)
    tables.map(root, 0x1000, 0x20_0000)
    return outcome(tables.unit(caps, mode=1, quirks=q).translate(read(0x1000)))


@scenario("both_root_halves", "second stage", 0x3A)
def _(q: Quirks) -> Any:
    tables, *_, root = scalable()
    tables.map(root, 0x1000, 0x20_0000)
    tables.memory[tables.root + 8] = 2
    return outcome(tables.unit(FULL, mode=1, quirks=q).translate(read(0x1000)))


@scenario("fpd_spares_not_code_b", False, True)
def _(q: Quirks) -> Any:
    built = CASES["LCT.3"]()
    built.tables.memory[built.tables.context_at()] |= 2
    return built.tables.unit(quirks=q).translate(built.request).recorded  # type: ignore[arg-type, union-attr]


@scenario("fpd_spares_not_pasid", False, True)
def _(q: Quirks) -> Any:
    built = CASES["SPT.2"]()
    built.tables.memory[built.tables.sm_context_at()] |= 2
    return built.tables.unit(FULL, mode=1, quirks=q).translate(built.request).recorded  # type: ignore[arg-type, union-attr]


@scenario("type_before_present", 0x59, 0x5B)
def _(q: Quirks) -> Any:
    tables, directory, _, _ = scalable()
    tables.pasid(directory, 7)
    return outcome(tables.unit(FULL, mode=1, quirks=q).translate(read(0x1000)))


scenario("transient_mapping", 0xC, "second stage")(lambda q: outcome(again("LSS.2", q)[0]))


def second_leaf(q: Quirks, flip: int, caps: Capabilities = FULL) -> Any:
    """A read by way of a scalable-mode second-stage leaf with some bits the other way round."""
    tables, *_, root = scalable()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    tables.memory[leaf] ^= flip
    return outcome(tables.unit(caps, mode=1, quirks=q).translate(read(0x1000)))


NO_SNOOP = Capabilities.scalable(HAW=46, SC=0)
scenario("snoop_bit_accepted", 0x7A, "second stage")(lambda q: second_leaf(q, 1 << 11, NO_SNOOP))


@scenario("all_ones_unreadable", 0x7A, 0x78)
def _(q: Quirks) -> Any:
    return second_leaf(q, (1 << 64) - 1 ^ 0x20_0003)


@scenario("huge_first_stage_accepted", 0x72, "first stage")
def _(q: Quirks) -> Any:
    tables, *_, root = scalable("FS")
    tables.map(root, 0, 1 << 30, size=1 << 30, bits=0x67, middle=0x27)
    caps = Capabilities.scalable(HAW=46, FS1GP=0)
    return outcome(tables.unit(caps, mode=1, quirks=q).translate(read(0x1000)))


@scenario("first_stage_width_from_aw", ("first stage", "first stage"), (0x80, "first stage"))
def _(q: Quirks) -> Any:
    """AW=1 in a PASID entry of a first stage: 39 bits, whatever FSPM says."""
    tables, _, entry, root = scalable("FS")
    tables.memory[entry] = tables.memory[entry] & ~(7 << 2) | 1 << 2
    for address in (1 << 38, 1 << 37):
        tables.map(root, address, 0x20_0000, bits=0x67, middle=0x27)
    unit = tables.unit(FULL, mode=1, quirks=q)
    return tuple(outcome(unit.translate(read(address))) for address in (1 << 38, 1 << 37))


@scenario("pass_through_width_checked", "pass-through", 0x5B)
def _(q: Quirks) -> Any:
    tables, _, entry, _ = scalable("PT")
    tables.memory[entry] &= ~(7 << 2)
    return outcome(tables.unit(FULL, mode=1, quirks=q).translate(read(0x1000)))


def test_a_legacy_pass_through_entry_may_name_any_depth_in_qemu() -> None:
    """§3.2: QEMU asks only whether the depth exists."""
    tables, _ = legacy(tt=2, aw=1)
    both = Capabilities(HAW=46, SAGAW=0b00110)
    assert outcome(tables.unit(both).translate(read(0x1000))) == 3
    for quirks in (QEMU_7_2, QEMU_10):
        assert outcome(tables.unit(both, quirks=quirks).translate(read(0x1000))) == "pass-through"


# QEMU's own masks of reserved bits (hw/i386/intel_iommu_internal.h), for HAW 46: by level, table and leaf.
HIGH = (1 << 52) - (1 << 46)
TM = 1 << 62
SECOND = {
    1: (None, HIGH | TM),
    2: (HIGH | TM | 0x800, HIGH | TM | 0x1F_F000),
    3: (HIGH | TM | 0x800, HIGH | TM | 0x3FFF_F000),
    4: (HIGH | TM | 0x880, None),
}
FIRST = {1: (None, HIGH), 2: (HIGH, HIGH | 0x1F_E000), 3: (HIGH, HIGH | 0x3FFF_E000), 4: (HIGH | 0x80, None)}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_the_reserved_masks_are_qemus(level: int) -> None:
    """§3.2: every mask of both versions, in a unit with scalable mode (SC=0)."""
    caps = Capabilities.scalable(HAW=46, SC=0, FS1GP=0)
    new, old = Rules(caps, QEMU_10), Rules(caps, QEMU_7_2)
    for found, expected in (
        ((new.second_table, new.second_leaf), SECOND),
        ((new.first_table, new.first_leaf), FIRST),
    ):
        for masks, mask in zip(found, expected[level], strict=True):
            assert mask is None or masks[level] == mask, hex(masks[level])
    table, leaf = SECOND[level]
    assert table is None or old.second_table[level] == table
    assert leaf is None or old.second_leaf[level] == leaf & ~TM  # with device TLBs: the old transient hint


scenario("pass_through_unchecked", 4, "pass-through")(lambda q: outcome(again("LGN.1.3", q)[0]))


@scenario("interrupt_page", "second stage", 0xE)
def _(q: Quirks) -> Any:
    tables, root = legacy()
    tables.map(root, 0, 0xC000_0000, size=1 << 30)
    return outcome(tables.unit(quirks=q).translate(read(0x1000)))


@scenario("interrupt_code_by_capability", [0xE, 0xE], [0xE, 0x87])
def _(q: Quirks) -> Any:
    tables, root = legacy()
    tables.map(root, 0x1000, 0xFEE0_0000)
    return [
        outcome(tables.unit(caps, quirks=q).translate(read(0x1000))) for caps in (Capabilities(HAW=46), FULL)
    ]


@scenario("interrupt_window_silent", 0x29, "interrupt window")
def _(q: Quirks) -> Any:
    return outcome(legacy()[0].unit(quirks=q).translate(read(0xFEE0_0000)))


@scenario("first_stage_unknown", "first stage", "second stage")
def _(q: Quirks) -> Any:
    tables, _, entry, first = scalable("FS")
    second = tables.page()
    tables.memory[entry] |= second
    tables.map(first, 0x1000, 0x20_0000, bits=0x67, middle=0x27)
    tables.map(second, 0x1000, 0x30_0000)
    return outcome(tables.unit(FULL, mode=1, quirks=q).translate(read(0x1000)))


scenario("flags_without_snoop", 0x90, "first stage")(lambda q: outcome(again("SFS.9", q)[0]))


@scenario("odd_pasid_field", 0, 0xFFFF)
def _(q: Quirks) -> Any:
    _, unit = again("LGN.3", replace(q, plain_fault_record=True))
    return unit.faults.records()[0].PV


@scenario("plain_fault_record", (1, 1), (1, 0))
def _(q: Quirks) -> Any:
    unit = legacy()[0].unit(quirks=q)
    unit.translate(Request(SID, 0x1000, "atomic"))
    record = unit.faults.records()[0]
    return record.T1, record.T2


@scenario("compression", 2, 1)
def _(q: Quirks) -> Any:
    unit = legacy()[0].unit(quirks=q)
    for _ in range(2):
        unit.translate(read(0x1000))
    return sum(record.F for record in unit.faults.records())


@scenario("hit_keeps_silent", 2, 0)
def _(q: Quirks) -> Any:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000, bits=R)
    unit = tables.unit(quirks=q)
    unit.translate(read(0x1000))
    unit.translate(write(0x1000))
    return unit.read(FSTS)


@scenario("index_restarts_early", 1, 0)
def _(q: Quirks) -> Any:
    unit = legacy()[0].unit(quirks=q)
    unit.interrupts_remapped = True
    unit.translate(read(0x1000))
    command(unit, TE, on=False)
    return unit.faults.index


def queued(
    q: Quirks, *descriptors: int, caps: Capabilities = FULL, mode: int = 0, wide: bool = False
) -> RemappingUnit:
    """A unit that has executed some descriptors."""
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(caps, mode=mode, quirks=q)
    base, size = tables.page(), 32 if wide else 16
    unit.write(IQA, base | wide << 11, 8)
    command(unit, QIE)
    for slot, raw in enumerate(descriptors):
        tables.memory[base + size * slot], tables.memory[base + size * slot + 8] = (
            raw & (1 << 64) - 1,
            raw >> 64,
        )
    unit.write(IQT, size * len(descriptors), 8)
    drain(unit)
    return unit


IQE = 1 << 4
scenario("narrow_queue_everywhere", IQE, 0)(lambda q: queued(q, 0x0005_0026).read(FSTS) & IQE)
scenario("short_type", IQE, 0)(lambda q: queued(q, 1 << 9 | 4).read(FSTS) & IQE)


@scenario("odd_tail_ignored", IQE, 0)
def _(q: Quirks) -> Any:
    unit = queued_wide(q, 0x25)
    unit.write(IQT, 32 + 16, 8)
    unit.step()
    return unit.read(FSTS) & IQE


scenario("pasid_cache_unchecked", IQE, 0)(lambda q: queued(q, 0x27, mode=1, wide=True).read(FSTS) & IQE)
scenario("entry_cache_unchecked", IQE, 0)(lambda q: queued(q, 1 << 20 | 4).read(FSTS) & IQE)
scenario("upper_half_unchecked", IQE, 0)(lambda q: queued_wide(q, 0x25 | 1 << 200).read(FSTS) & IQE)
scenario("empty_wait_is_error", 0, IQE)(lambda q: queued(q, 0x5).read(FSTS) & IQE)
scenario("silent_queue_error", 3, 0)(lambda q: queued(q, 0xF).read(IQERCD, 8) & 15)
scenario("device_tlb_at_once", 1, 0)(lambda q: len(queued(q, 0x18_0000_0003).device_tlbs.outstanding))
scenario("width_reads_zero", 1, 0)(lambda q: queued(q, 0x25, wide=True).read(IQA, 8) >> 11 & 1)


@scenario("width_needs_scalable", IQE, 0)
def _(q: Quirks) -> Any:
    tables, _ = legacy()
    unit, base = tables.unit(quirks=q), tables.page()
    for address in range(base, base + 32, 16):  # two waits of 128 bits where one of 256 would stand
        tables.memory[address] = 0x25
    unit.write(IQA, base | 1 << 11, 8)
    command(unit, QIE)
    unit.write(IQT, 32, 8)
    drain(unit)
    return unit.read(FSTS) & IQE


@scenario("mode_is_one_bit", [(0, 1, 2, 3), (0, 1, 2, 3)], [(0, 1, 0, 1), (0, 0, 0, 0)])
def _(q: Quirks) -> Any:
    return [
        tuple(Tables().unit(caps, mode=ttm, quirks=q).mode for ttm in range(4))
        for caps in (FULL, Capabilities(HAW=46))
    ]


@scenario("message_addresses_short", (7, 7), (0, 0))
def _(q: Quirks) -> Any:
    unit = RemappingUnit(Tables().memory, FULL, quirks=q)
    for offset in (0x44, 0xAC):
        unit.write(offset, 7)
    return unit.read(0x44), unit.read(0xAC)


@scenario("resume_by_tail", 1, 0)
def _(q: Quirks) -> Any:
    unit = queued(q, 0xF)
    memory: Any = unit.memory
    memory[unit.queue.base] = 0x11
    unit.write(FSTS, IQE)
    return len(drain(unit))


@scenario("disable_needs_wait", False, True)
def _(q: Quirks) -> Any:
    unit = queued(q, 0x11)
    command(unit, QIE, on=False)
    return unit.queue.enabled


@scenario("commands_stick", 0, 1)
def _(q: Quirks) -> Any:
    unit = queued(q, 0x25)
    unit.write(0x28, 1 << 63 | 1 << 61, 8)
    return unit.read(0x28, 8) >> 63


@scenario("domain_is_global", 2, 1)
def _(q: Quirks) -> Any:
    unit = legacy()[0].unit(quirks=q)
    unit.write(0x28, 1 << 63 | 2 << 61 | 5, 8)
    return unit.read(0x28, 8) >> 59 & 3


def interrupt(
    q: Quirks, request: Request, low: int = IRTE_LOW, high: int = IRTE_HIGH
) -> tuple[Any, RemappingUnit]:
    tables, _ = legacy()
    unit = tables.unit(quirks=q)
    table = tables.page()
    unit.write(IRTA, table | 7, 8)
    command(unit, SIRTP)
    command(unit, IRE)
    tables.memory[table], tables.memory[table + 8] = low, high
    return outcome(unit.translate(request)), unit


WINDOW = "interrupt window"
scenario("compatibility_passes", 0x25, WINDOW)(lambda q: interrupt(q, write(0xFEE0_1000))[0])
scenario("reversed_bus_range", WINDOW, 0x26)(lambda q: interrupt(q, msi(), high=2 << 18 | 0x0005)[0])
scenario("reserved_check_is_requester_fault", 0x24, 0x26)(lambda q: interrupt(q, msi(), high=3 << 18)[0])
scenario("interrupt_faults_silent", 2, 0)(lambda q: interrupt(q, msi(), low=0)[1].read(FSTS))
WRAPS = msi(0xFFFF, data=1, shv=1)
scenario("handle_wraps", 0x21, WINDOW)(lambda q: interrupt(q, WRAPS)[0])
scenario("interrupt_order", [0x26, 0x20], [0x24, 0x22])(
    lambda q: [
        interrupt(q, msi(sid=0x20), low=IRTE_LOW | 1 << 12)[0],
        interrupt(q, msi(data=1 << 16, shv=1), low=0)[0],
    ]
)
scenario("posted_is_remapped", 0x24, WINDOW)(lambda q: interrupt(q, msi(), low=IRTE_LOW | 1 << 15)[0])
scenario("destination_unchecked", 0x24, WINDOW)(lambda q: interrupt(q, msi(), low=IRTE_LOW | 1 << 32)[0])
scenario("page_event_unmasked", 1 << 31, 0)(
    lambda q: RemappingUnit(Tables().memory, FULL, quirks=q).read(0xE0)
)


def test_every_switch_has_a_scenario() -> None:
    assert set(SCENARIOS) == {f.name for f in fields(Quirks)}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_switch_makes_its_difference(name: str) -> None:
    run, specified, emulated = SCENARIOS[name]
    assert run(SPECIFICATION) == specified
    assert run(replace(SPECIFICATION, **{name: True})) == emulated


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_switch_is_on_in_some_emulator_and_says_why(name: str) -> None:
    assert getattr(QEMU_7_2, name) or getattr(QEMU_10, name)
    assert not getattr(SPECIFICATION, name)
    why = SWITCHES[name]
    assert why.endswith(".")


def test_versions_find_their_personality() -> None:
    assert qemu("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)") is QEMU_7_2
    assert qemu("10.0.13") is QEMU_10
    assert version_number("QEMU emulator version 10.0.13 (x)") == "10.0.13"
    for text in ("", "QEMU", "version"):
        with pytest.raises(ValueError, match="no version number"):
            qemu(text)
    assert set(PERSONALITIES) == {"specification", "qemu-7.2", "qemu-10"}
    assert repr(SPECIFICATION) == "Quirks()"
    assert repr(replace(SPECIFICATION, compression=True)) == "Quirks(compression=True)"


# Reserved bits as QEMU's source has them (hw/i386/intel_iommu_internal.h, the VTD_..._RSVD masks), for a host
# of 39 address bits. A personality refuses these and no others. PASID directories and entries have no masks.
HOST = ~((1 << 39) - 1) & (1 << 64) - 1
ONES = (1 << 64) - 1
TABLE_MASKS = {
    ROOT_ENTRY: 0xFFE | HOST | ONES << 64,
    SM_ROOT_ENTRY: 0xFFE | HOST | (0xFFE | HOST) << 64,
    CONTEXT_ENTRY: 0xFF0 | HOST | 0xFFFF_FFFF_FF00_0080 << 64,
    SM_CONTEXT_ENTRY: 0x1E0 | HOST | 0xFFFF_FFFF_FFE0_0000 << 64 | ONES << 128 | ONES << 192,
}
# QEMU's CAP and ECAP: 39 bits, scalable mode with a second stage, as 7.2 and 10.0 report them.
EMULATED = Capabilities.from_registers(0x80D2_008C_2226_0206, 0x0000_4800_8000_0F42, haw=39)


@pytest.mark.parametrize("personality", [QEMU_7_2, QEMU_10], ids=["7.2", "10"])
@pytest.mark.parametrize("table", TABLE_MASKS, ids=lambda table: table.name)
def test_reserved_bits_of_root_and_context_entries_are_qemus(table: Structure, personality: Quirks) -> None:
    """§3.2, as its kind."""
    assert rules_for(EMULATED, personality).reserved[table] == TABLE_MASKS[table]


# Descriptors by type: the mask of the 256 bits, for 7.2 and for 10.0.
UPPER = ONES << 128 | ONES << 192
DESCRIPTOR_MASKS = {
    1: (0xFFFC_0000_0000_F1C0 | ONES << 64, 0xFFFC_0000_0000_F1C0 | ONES << 64 | UPPER),
    2: (0xFFFF_FFFF_0000_F100 | 0xF80 << 64, 0xFFFF_FFFF_0000_F100 | 0xF80 << 64 | UPPER),
    3: (0xFFFF_0000_FFE0_F1F0 | 0xFFE << 64, 0xFFFF_0000_FFE0_F1F0 | 0xFFE << 64 | UPPER),
    4: (0, 0xFFFF_0000_07FF_F1E0 | ONES << 64 | UPPER),
    5: (0xFFFF_F180 | 3 << 64, 0xFFFF_F180 | 3 << 64 | UPPER),
    6: (0, 0xFFF0_0000_0000_F1C0 | 0xF80 << 64 | UPPER),
    7: (0, 0),
    8: ((1 << 256) - 1, 0xFFF0_0000_0000_F000 | 0x7FE << 64 | UPPER),  # not there in 7.2
}
# A legal descriptor of each type, to flip bits in.
LEGAL = {1: 0x11, 2: 0x12, 3: 0x3, 4: 0x4, 5: 0x25, 6: 0x26, 7: 0x37, 8: 0x8}
TLBS = Capabilities.from_registers(0x80D2_008C_2226_0206, 0x0000_4800_80F0_0F5E, haw=39)


@pytest.mark.parametrize("version", [0, 1], ids=["7.2", "10"])
@pytest.mark.parametrize("kind", DESCRIPTOR_MASKS)
def test_reserved_bits_of_descriptors_are_qemus(kind: int, version: int) -> None:
    """§3.2, as its kind. Bits of the type itself, and of the granularity, are not for this test."""
    personality = (QEMU_7_2, QEMU_10)[version]
    for bit in range(256):
        if bit in (*range(6), *range(9, 12)):
            continue
        raw = LEGAL[kind] ^ 1 << bit
        unit = queued_wide(personality, raw)
        refused = bool(unit.read(FSTS) & IQE)
        wanted = bool(DESCRIPTOR_MASKS[kind][version] >> bit & 1)
        assert refused is wanted, f"bit {bit}"


@pytest.mark.parametrize("kind", LEGAL)
def test_bits_11_to_9_belong_to_the_type_only_in_newer_versions(kind: int) -> None:
    """§3.2, as its kind: 7.2 takes four bits for the type, and looks at the others for some types."""
    for bit in (9, 10, 11):
        old, new = (queued_wide(q, LEGAL[kind] | 1 << bit).read(FSTS) & IQE for q in (QEMU_7_2, QEMU_10))
        assert bool(new), f"bit {bit}"
        assert bool(old) is (kind not in (4, 6, 7)), f"bit {bit}"


def test_reserved_bits_of_interrupt_entries_are_qemus() -> None:
    """§3.2, as its kind: __reserved_0 to _2 of hw/i386/intel_iommu.h, the same in both versions."""
    mask = 7 << 12 | 0xFF << 24 | ((1 << 44) - 1) << 84
    for quirks in (QEMU_7_2, QEMU_10):
        for bit in (*range(1, 64), *range(84, 128)):
            raw = (IRTE_LOW | IRTE_HIGH << 64) ^ 1 << bit
            found = interrupt(quirks, msi(), low=raw & ONES, high=raw >> 64)[0]
            assert found == (0x24 if mask >> bit & 1 else WINDOW), f"bit {bit}"


def queued_wide(q: Quirks, raw: int) -> RemappingUnit:
    """A scalable-mode unit that has been given one descriptor of 256 bits."""
    tables = Tables()
    unit = tables.unit(TLBS, mode=1, quirks=q)
    base = tables.page()
    unit.write(IQA, base | 1 << 11, 8)
    command(unit, QIE)
    for word in range(4):
        tables.memory[base + 8 * word] = raw >> 64 * word & ONES
    unit.write(IQT, 32, 8)
    unit.step()
    return unit


REGISTER_MASKS = {
    "RTADDR": (0x20, 8, 0xFFFF_FFFF_FFFF_FC00),
    "FECTL": (0x38, 4, 0x8000_0000),
    "FEDATA": (0x3C, 4, 0xFFFF),
    "FEADDR": (0x40, 4, 0xFFFF_FFFC),
    "FEUADDR": (0x44, 4, 0),
    "IQT": (0x88, 8, 0x7_FFF0),
    "IQA": (0x90, 8, 0xFFFF_FFFF_FFFF_F807),
    "IECTL": (0xA0, 4, 0x8000_0000),
    "IEDATA": (0xA4, 4, 0xFFFF),
    "IEADDR": (0xA8, 4, 0xFFFF_FFFC),
    "IEUADDR": (0xAC, 4, 0),
    "IRTA": (0xB8, 8, 0xFFFF_FFFF_FFFF_F80F),
}


def test_registers_keep_the_bits_that_qemus_keep() -> None:
    """§3.2: write masks of QEMU's registers, the same in both versions."""
    for personality in (QEMU_7_2, QEMU_10):
        unit = RemappingUnit(Tables().memory, TLBS, quirks=personality)
        for name, (offset, size, mask) in REGISTER_MASKS.items():
            unit.write(offset, (1 << 8 * size) - 1, size)
            kept = unit.registers[name]
            assert kept == mask, f"{name} keeps {kept:#x}"
