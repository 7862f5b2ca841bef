"""Legacy mode: root, context, second stage, every fault of its tables."""

from __future__ import annotations

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Request, Translation

from .rig import RW, SID, R, Tables, W, legacy, read, write


def fault_of(answer: Translation | Fault) -> str:
    assert isinstance(answer, Fault), answer
    return answer.label


def test_a_four_level_walk_translates_and_keeps_the_page_offset() -> None:
    tables, root = legacy()
    tables.map(root, 0x80_8060_4000, 0x1010_0000)
    answer = tables.unit().translate(read(0x80_8060_4123))
    assert isinstance(answer, Translation)
    assert (answer.address, answer.size, answer.did, answer.level) == (0x1010_0123, 4096, 5, 1)
    assert answer.permissions == "rw"
    assert answer.path == "second stage"


@pytest.mark.parametrize(
    ("aw", "levels", "iova"), [(1, 3, 0x7F_FFFF_F000), (2, 4, 0xFFFF_FFFF_F000), (3, 5, 1 << 56)]
)
def test_every_depth_reaches_its_highest_pages(aw: int, levels: int, iova: int) -> None:
    tables, root = legacy(aw=aw)
    tables.map(root, iova, 0x1234_5000, levels=levels)
    unit = tables.unit(Capabilities(HAW=46, MGAW=57, SAGAW=0b01110))
    answer = unit.translate(read(iova + 8))
    assert isinstance(answer, Translation)
    assert answer.address == 0x1234_5008


@pytest.mark.parametrize("size", [1 << 21, 1 << 30])
def test_a_superpage_is_one_leaf(size: int) -> None:
    tables, root = legacy()
    tables.map(root, 3 * size, 5 * size, size=size)
    answer = tables.unit().translate(read(3 * size + 0x12_345))
    assert isinstance(answer, Translation)
    assert (answer.address, answer.size) == (5 * size + 0x12_345, size)


def test_with_remapping_off_every_address_stands_for_itself() -> None:
    tables = Tables()
    unit = tables.unit()
    unit.write(0x18, 0)
    answer = unit.translate(read(0xDEAD_B000))
    assert isinstance(answer, Translation)
    assert (answer.address, answer.path) == (0xDEAD_B000, "off")


def test_pass_through_needs_the_widest_width_and_then_changes_nothing() -> None:
    tables, _ = legacy(tt=2, aw=2)
    answer = tables.unit().translate(write(0x1234_5678 & ~3))
    assert isinstance(answer, Translation)
    assert (answer.address, answer.path) == (0x1234_5678, "pass-through")
    tables, _ = legacy(tt=2, aw=1)
    assert fault_of(tables.unit().translate(write(0x1000))) == "LCT.4.1"


def test_the_context_table_is_indexed_by_device_and_function() -> None:
    tables = Tables()
    for devfn in (0, 1, 0x18, 0xFF):
        tables.map(tables.context(0x300 | devfn, did=devfn + 1), 0x1000, 0x10_0000 * (devfn + 1))
    unit = tables.unit()
    for devfn in (0, 1, 0x18, 0xFF):
        answer = unit.translate(read(0x1000, 0x300 | devfn))
        assert isinstance(answer, Translation)
        assert (answer.address, answer.did) == (0x10_0000 * (devfn + 1), devfn + 1)


def build(label: str) -> tuple[Tables, Request, Capabilities]:
    """Tables that are right but for one thing, and a request that trips over it."""
    caps = Capabilities(HAW=46)
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    memory, context = tables.memory, tables.context_at()
    request = read(0x1000)
    if label == "LRT.1":
        memory.fail(tables.root, tables.root + 4096)
    elif label == "LRT.2":
        memory[tables.root] &= ~1
    elif label == "LRT.3":
        memory[tables.root + 8] = 1
    elif label == "LCT.1":
        memory.fail(context, context + 16)
    elif label == "LCT.2":
        memory[context] &= ~1
    elif label == "LCT.3":
        memory[context] |= 1 << 4
    elif label == "LCT.4.1":
        memory[context + 8] = 5 << 8 | 3
    elif label == "LCT.4.2":
        memory[context] |= 3 << 2
    elif label == "LCT.4.3":
        memory.fail(root, root + 4096)
    elif label == "LCT.5":
        request = read(0x1000, at="translation")
    elif label == "LGN.1.1":
        request = read(1 << 48)
    elif label == "LGN.1.2":
        memory[context] |= 1 << 2
        request = read(1 << 46, at="translated")
    elif label == "LGN.1.3":
        memory[context] |= 2 << 2
        request = read(1 << 46)
    elif label == "LGN.2":
        memory[leaf] = 0x20_0000 | R
        request = write(0x1000)
    elif label == "LGN.3":
        memory[leaf] = 0x20_0000 | W
    elif label == "LGN.4":
        memory[leaf] = 0xFEE0_0000 | RW
    elif label == "LSS.1":
        memory.fail(leaf, leaf + 8)
    elif label == "LSS.2":
        memory[leaf] |= 1 << 62
    return tables, request, caps


# The codes of the specification's table of legacy-mode conditions. All of these requests get UR.
CODES = {
    "LRT.1": 0x8,
    "LRT.2": 0x1,
    "LRT.3": 0xA,
    "LCT.1": 0x9,
    "LCT.2": 0x2,
    "LCT.3": 0xB,
    "LCT.4.1": 0x3,
    "LCT.4.2": 0x3,
    "LCT.4.3": 0x3,
    "LCT.5": 0xD,
    "LGN.1.1": 0x4,
    "LGN.1.2": 0x4,
    "LGN.1.3": 0x4,
    "LGN.2": 0x5,
    "LGN.3": 0x6,
    "LGN.4": 0xE,
    "LSS.1": 0x7,
    "LSS.2": 0xC,
}


@pytest.mark.parametrize("label", CODES)
def test_each_condition_has_its_label_code_and_response(label: str) -> None:
    tables, request, caps = build(label)
    answer = tables.unit(caps).translate(request)
    assert isinstance(answer, Fault)
    assert (answer.label, answer.code, answer.response) == (label, CODES[label], "UR")
    assert answer.recorded


@pytest.mark.parametrize("label", CODES)
def test_fpd_keeps_qualified_faults_out_of_the_records_and_no_others(label: str) -> None:
    tables, request, caps = build(label)
    if not label.startswith("LRT."):
        tables.memory[tables.context_at()] |= 2
    unit = tables.unit(caps)
    answer = unit.translate(request)
    qualified = label not in ("LRT.1", "LRT.2", "LRT.3", "LCT.1")
    assert fault_of(answer) == label
    assert isinstance(answer, Fault)
    assert answer.recorded is not qualified
    assert bool(unit.faults.records()[0].F) is not qualified


def test_fpd_counts_even_in_an_entry_that_is_not_present() -> None:
    tables, _ = legacy()
    tables.memory[tables.context_at()] = 2
    answer = tables.unit().translate(read(0))
    assert isinstance(answer, Fault)
    assert (answer.label, answer.recorded) == ("LCT.2", False)


def test_a_missing_permission_anywhere_on_the_way_refuses() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    for level in range(4):
        table = root
        for _ in range(level):
            table = tables.memory[table] & ~0xFFF
        slot = table + (8 if level == 3 else 0)
        kept = tables.memory[slot]
        for missing, request, label in ((W, write(0x1000), "LGN.2"), (R, read(0x1000), "LGN.3")):
            tables.memory[slot] = kept & ~missing
            assert fault_of(tables.unit().translate(request)) == label
        tables.memory[slot] = kept


@pytest.mark.parametrize(
    ("kind", "bits", "label"),
    [
        ("atomic", RW, ""),
        ("atomic", R, "LGN.2"),
        ("atomic", W, "LGN.3"),
        ("atomic", 0, "LGN.2"),
        ("zero-length read", W, ""),
        ("zero-length read", R, ""),
        ("zero-length read", 0, "LGN.3"),
    ],
)
def test_atomics_need_both_permissions_and_zero_length_reads_any(kind: str, bits: int, label: str) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000, bits=bits)
    answer = tables.unit().translate(Request(SID, 0x1000, kind))  # type: ignore[arg-type]
    assert (answer.label if isinstance(answer, Fault) else "") == label


def test_without_zlr_a_zero_length_read_is_a_read() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000, bits=W)
    unit = tables.unit(Capabilities(HAW=46, ZLR=0))
    assert fault_of(unit.translate(Request(SID, 0x1000, "zero-length read"))) == "LGN.3"


@pytest.mark.parametrize(("first", "label"), [(False, "LGN.2"), (True, "LSS.2")])
def test_one_switch_orders_a_missing_permission_and_a_reserved_bit(first: bool, label: str) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000 | 1 << 62, bits=R)
    assert fault_of(tables.unit(Capabilities(HAW=46, reserved_first=first)).translate(write(0x1000))) == label


def test_the_width_of_the_unit_limits_below_the_width_of_the_table() -> None:
    tables, root = legacy()
    tables.map(root, 0x40_0000_0000, 0x20_0000)
    unit = tables.unit(Capabilities(HAW=46, MGAW=39))
    assert isinstance(unit.translate(read(0x3F_FFFF_F000)), Fault)
    assert fault_of(unit.translate(read(0x3F_FFFF_F000))) == "LGN.3"
    assert fault_of(unit.translate(read(0x80_0000_0000))) == "LGN.1.1"


def test_domain_id_bits_above_the_implemented_width_are_reserved() -> None:
    tables, root = legacy(did=0x100)
    tables.map(root, 0x1000, 0x20_0000)
    assert isinstance(tables.unit(Capabilities(HAW=46, ND=3)).translate(read(0x1000)), Translation)
    assert fault_of(tables.unit(Capabilities(HAW=46, ND=2)).translate(read(0x1000))) == "LCT.3"


def test_only_the_exact_result_counts_for_the_interrupt_range() -> None:
    tables, root = legacy()
    tables.map(root, 0, 0xC000_0000, size=1 << 30)
    unit = tables.unit()
    assert isinstance(unit.translate(read(0x1000)), Translation)
    assert fault_of(unit.translate(read(0x3EE0_0000))) == "LGN.4"


def test_a_request_of_no_length_counts_as_one_byte() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0xFEE0_0000)
    assert fault_of(tables.unit().translate(Request(SID, 0x1000, "zero-length read", length=0))) == "LGN.4"
    zero = Request(SID, 0xFEE0_0000, "zero-length read", length=0)
    assert isinstance(tables.unit().translate(zero), Translation)


def test_a_table_outside_memory_is_an_access_error_of_its_level() -> None:
    tables, root = legacy()
    tables.memory[root] = 0x7000_0000 | RW
    assert fault_of(tables.unit().translate(read(0x1000))) == "LSS.1"
    tables.context(root=0x7000_0000)
    assert fault_of(tables.unit().translate(read(0x1000))) == "LCT.4.3"


def test_requests_with_pasid_and_supervisor_flags_are_refused_in_legacy_mode() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    assert fault_of(tables.unit().translate(read(0x1000, pasid=3))) == "RTA.2"
