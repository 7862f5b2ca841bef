"""Scalable mode: the way to the page tables, first stage, nesting, flags, supervisor requests."""

from __future__ import annotations

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Request, Translation

from .cases import CASES, Case
from .rig import RW, SCALABLE, SID, R, Tables, W, read, scalable, write

A, D, EA = 1 << 5, 1 << 6, 1 << 10
SSA, SSD = 1 << 8, 1 << 9
P, FRW, US = 1, 2, 4


def ok(answer: Translation | Fault) -> Translation:
    assert isinstance(answer, Translation), answer
    return answer


def label(answer: Translation | Fault) -> str:
    return answer.label if isinstance(answer, Fault) else ""


def first(caps: Capabilities = SCALABLE, *, bits: int = 0x67, **more: int) -> tuple[Tables, int, int, int]:
    """A first-stage device with one page at 0x1000; returns tables, entry, root, leaf."""
    tables, _, entry, root = scalable("FS", caps, **more)
    return tables, entry, root, tables.map(root, 0x1000, 0x20_0000, bits=bits, middle=0x27)


# finding the page tables


@pytest.mark.parametrize("sid", [0x0018, 0x007F, 0x0080, 0x00FF, 0x12C3])
def test_each_half_of_the_root_entry_serves_its_devices(sid: int) -> None:
    tables = Tables()
    directory = tables.sm_context(sid, rid_pasid=0)
    root = tables.page()
    tables.pasid(directory, 0, w0=1 | 2 << 2 | 2 << 6 | root, w1=9)
    tables.map(root, 0x1000, 0x20_0000)
    answer = ok(tables.unit(SCALABLE, mode=1).translate(read(0x1000, sid)))
    assert (answer.address, answer.did, answer.path) == (0x20_0000, 9, "second stage")


def test_only_the_half_that_is_used_is_checked() -> None:
    tables, *_, root = scalable()
    tables.map(root, 0x1000, 0x20_0000)
    tables.memory[tables.root + 8] = 0xFFE
    assert tables.unit(SCALABLE, mode=1).translate(read(0x1000))
    tables.memory[tables.root + 8] = 0xFFF
    assert tables.unit(SCALABLE, mode=1).translate(read(0x1000))
    assert label(tables.unit(SCALABLE, mode=1).translate(read(0x1000, 0x98))) == "SRT.3"


def test_each_pasid_has_its_own_page_table_and_requests_without_one_use_rid_pasid() -> None:
    tables, directory, _, root = scalable()
    tables.map(root, 0x1000, 0x20_0000)
    for pasid in (3, 64, 0x1FFF):
        other = tables.page()
        tables.pasid(directory, pasid, w0=1 | 2 << 2 | 2 << 6 | other, w1=pasid)
        tables.map(other, 0x1000, pasid << 12)
    unit = tables.unit(SCALABLE, mode=1)
    assert ok(unit.translate(read(0x1000))).address == 0x20_0000
    for pasid in (3, 64, 0x1FFF):
        answer = ok(unit.translate(read(0x1000, pasid=pasid)))
        assert (answer.address, answer.did) == (pasid << 12, pasid)


def test_without_rps_requests_without_pasid_use_pasid_zero() -> None:
    caps = Capabilities.scalable(HAW=46, RPS=0)
    tables, directory, _, _ = scalable(rid_pasid=0)
    root = tables.page()
    tables.pasid(directory, 0, w0=1 | 2 << 2 | 2 << 6 | root, w1=9)
    tables.map(root, 0x1000, 0x20_0000)
    assert ok(tables.unit(caps, mode=1).translate(read(0x1000))).did == 9
    tables.memory[tables.sm_context_at() + 8] = 7
    assert label(tables.unit(caps, mode=1).translate(read(0x1000))) == "SCT.3"


def test_the_size_of_the_directory_limits_the_pasid() -> None:
    for pdts in range(4):
        tables, directory, _, _ = scalable(rid_pasid=0)
        directory = tables.sm_context(flags=0x1C, pdts=pdts, rid_pasid=0)
        limit = 1 << pdts + 13
        tables.pasid(directory, limit - 1, w0=1 | 4 << 6, w1=6)
        unit = tables.unit(SCALABLE, mode=1)
        assert ok(unit.translate(read(0x1000, pasid=limit - 1))).path == "pass-through"
        assert label(unit.translate(read(0x1000, pasid=limit))) == "SCT.7"


def test_pass_through_by_pasid() -> None:
    tables, *_ = scalable("PT")
    answer = ok(tables.unit(SCALABLE, mode=1).translate(write(0x12_3450)))
    assert (answer.address, answer.path, answer.did) == (0x12_3450, "pass-through", 5)


@pytest.mark.parametrize(
    ("path", "capability"), [("FS", "FSTS"), ("SS", "SSTS"), ("NEST", "NEST"), ("PT", "PT")]
)
def test_each_translation_type_needs_its_capability(path: str, capability: str) -> None:
    less = {"FSTS": {"FSTS": 0, "NEST": 0, "EAFS": 0}, "SSTS": {"SSTS": 0, "NEST": 0}}.get(
        capability, {capability: 0}
    )
    tables, _, entry, _ = scalable(path, w0=0)
    tables.memory[entry] &= ~0x1C if capability == "SSTS" else ~0
    caps = Capabilities.scalable(HAW=46, **less)
    found = label(tables.unit(caps, mode=1).translate(read(0x1000)))
    assert found in ("SPT.4.2", "SPT.3")
    assert label(tables.unit(SCALABLE, mode=1).translate(read(0x1000))) not in ("SPT.4.2", "SPT.3")


# first stage


@pytest.mark.parametrize(("size", "level"), [(4096, 1), (1 << 21, 2), (1 << 30, 3)])
def test_first_stage_pages_of_every_size(size: int, level: int) -> None:
    tables, _, _, root = scalable("FS")
    tables.map(root, 3 * size, 5 * size, bits=0x67, middle=0x27, size=size)
    answer = ok(tables.unit(SCALABLE, mode=1).translate(write(3 * size + 0x40)))
    assert (answer.address, answer.size, answer.level, answer.path) == (
        5 * size + 0x40,
        size,
        level,
        "first stage",
    )


@pytest.mark.parametrize(
    ("levels", "address", "expected"),
    [
        (4, 0x7FFF_FFFF_F000, ""),
        (4, 0xFFFF_8000_0000_0000, ""),
        (4, 0x8000_0000_0000, "SGN.1"),
        (4, 0xFFFF_7FFF_FFFF_F000, "SGN.1"),
        (5, 0x00FF_FFFF_FFFF_F000, ""),
        (5, 0xFF00_0000_0000_0000, ""),
        (5, 0x0100_0000_0000_0000, "SGN.1"),
    ],
)
def test_first_stage_addresses_are_canonical(levels: int, address: int, expected: str) -> None:
    tables, _, _, root = scalable("FS", w2=(levels - 4) << 2)
    tables.map(root, address, 0x20_0000, bits=0x67, middle=0x27, levels=levels)
    assert label(tables.unit(SCALABLE, mode=1).translate(read(address))) == expected


def test_user_requests_need_us_and_rw_in_every_entry() -> None:
    for level in range(4):
        for missing, request, expected in ((US, read(0x1000), "SGN.2"), (FRW, write(0x1000), "SGN.6")):
            tables, _, root, _ = first()
            table = root
            for _ in range(level):
                table = tables.memory[table] & ~0xFFF
            slot = table + (8 if level == 3 else 0)
            tables.memory[slot] &= ~missing
            assert label(tables.unit(SCALABLE, mode=1).translate(request)) == expected
            assert tables.unit(SCALABLE, mode=1).translate(read(0x1000)) or missing == US


@pytest.mark.parametrize(
    ("bits", "wpe", "kind", "expected"),
    [
        (P, 0, "read", ""),
        (P, 0, "write", ""),
        (P, 1, "write", "SGN.6"),
        (P | FRW, 1, "write", ""),
        (P | US, 0, "write", ""),
        (P | US, 1, "write", "SGN.6"),
        (P, 1, "atomic", "SGN.6"),
        (P, 1, "read", ""),
    ],
)
def test_supervisor_requests_ignore_us_and_obey_rw_only_with_wpe(
    bits: int, wpe: int, kind: str, expected: str
) -> None:
    tables, _, _, _ = first(bits=bits | A | D, rid_priv=1, w2=1 | wpe << 4)
    answer = tables.unit(SCALABLE, mode=1).translate(Request(SID, 0x1000, kind))  # type: ignore[arg-type]
    assert label(answer) == expected


def test_the_supervisor_flag_of_a_pasid_counts_and_needs_sre() -> None:
    tables, directory, _, root = scalable("FS")
    tables.map(root, 0x1000, 0x20_0000, bits=P | A, middle=P | A)
    for pasid, sre in ((3, 1), (4, 0)):
        tables.pasid(directory, pasid, w0=1 | 1 << 6, w1=6 | 1 << 23, w2=root | sre)
    unit = tables.unit(SCALABLE, mode=1)
    assert ok(unit.translate(read(0x1000, pasid=3, supervisor=True)))
    assert label(unit.translate(read(0x1000, pasid=4, supervisor=True))) == "SPT.6"
    assert label(unit.translate(read(0x1000, pasid=3))) == "SGN.2"


# flags


def test_first_stage_flags_are_set_on_the_way_and_dirty_only_by_writes() -> None:
    tables, _, root, leaf = first(bits=P | FRW | US)
    chain = [root]
    for _ in range(2):
        chain.append(tables.memory[chain[-1]] & ~0xFFF)
    for slot in chain:
        tables.memory[slot] &= ~A
    unit = tables.unit(SCALABLE, mode=1)
    ok(unit.translate(read(0x1000)))
    assert [bool(tables.memory[slot] & A) for slot in chain] == [True] * 3
    assert tables.memory[leaf] & (A | D | EA) == A
    ok(unit.translate(write(0x1000)))
    assert tables.memory[leaf] & (A | D | EA) == A | D


def test_the_extended_flag_is_set_where_the_entry_asks_for_it() -> None:
    tables, entry, _, leaf = first(bits=P | FRW | US)
    tables.memory[entry + 16] |= 1 << 7
    ok(tables.unit(SCALABLE, mode=1).translate(read(0x1000)))
    assert tables.memory[leaf] & (A | EA | D) == A | EA


def test_second_stage_flags_only_with_ssade() -> None:
    for ssade in (0, 1):
        tables, _, _, root = scalable("SS", w0=ssade << 9)
        leaf = tables.map(root, 0x1000, 0x20_0000)
        unit = tables.unit(SCALABLE, mode=1)
        ok(unit.translate(read(0x1000)))
        assert tables.memory[leaf] & (SSA | SSD) == (SSA if ssade else 0)
        assert bool(tables.memory[root] & SSA) is bool(ssade)
        ok(unit.translate(write(0x1000)))
        assert tables.memory[leaf] & (SSA | SSD) == (SSA | SSD if ssade else 0)


def test_a_write_that_is_refused_dirties_nothing() -> None:
    tables, _, _, root = scalable("SS", w0=1 << 9)
    leaf = tables.map(root, 0x1000, 0x20_0000, bits=R)
    assert label(tables.unit(SCALABLE, mode=1).translate(write(0x1000))) == "SGN.6"
    assert tables.memory[leaf] & SSD == 0


def test_a_translation_request_dirties_only_what_may_be_written() -> None:
    for upper, dirty in ((RW, True), (R, False)):
        tables, _, _, root = scalable("SS", w0=1 << 9)
        leaf = tables.map(root, 0x1000, 0x20_0000)
        tables.memory[root] = tables.memory[root] & ~3 | upper
        answer = ok(tables.unit(SCALABLE, mode=1).translate(read(0x1000, at="translation")))
        assert answer.writable is dirty
        assert bool(tables.memory[leaf] & SSD) is dirty


def test_looking_changes_no_flags() -> None:
    tables, _, _, leaf = first(bits=P | FRW | US)
    unit = tables.unit(SCALABLE, mode=1)
    unit.from_memory(write(0x1000))
    unit.walk(write(0x1000))
    assert tables.memory[leaf] & (A | D) == 0


@pytest.mark.parametrize("broken", ["SMPWC", "PWSNP"])
def test_flags_need_a_snooped_walk_but_only_if_one_is_missing(broken: str) -> None:
    for bits, expected in ((P | FRW | US, "SFS.9"), (P | FRW | US | A | D, "")):
        tables, entry, _, _ = first(bits=bits)
        caps = SCALABLE
        tables.memory[entry + 8] &= ~(1 << 23)
        if broken == "SMPWC":
            caps = Capabilities.scalable(HAW=46, SMPWC=0, EAFS=0, SSADS=0)
        assert label(tables.unit(caps, mode=1).translate(write(0x1000))) == expected


def test_an_entry_that_changes_under_the_flag_update_is_read_again() -> None:
    tables, _, _, leaf = first(bits=P | FRW | US)
    steps = tables.unit(SCALABLE, mode=1).walk_steps(read(0x1000))
    answer = None
    while answer is None:
        try:
            access = next(steps)
        except StopIteration as end:
            answer = end.value
            break
        if access.update and access.address == leaf:
            tables.memory[leaf] = 0x40_0000 | P | US | A
    assert ok(answer).address == 0x40_0000


# nesting


def nested(**more: int) -> tuple[Tables, int, int, int, dict[int, int]]:
    """A nested device: guest page 0x1000 at guest 0x20_0000, guest memory at host + 0x1000_0000 for data.

    Returns tables, entry, second-stage root, first-stage leaf, and the second-stage leaf of each guest page.
    """
    tables, _, entry, root = scalable("NEST", **more)
    second = tables.memory[entry] & ~0xFFF
    leaf = tables.map(root, 0x1000, 0x20_0000, bits=0x67, middle=0x27)
    slots = {0x20_0000: tables.map(second, 0x20_0000, 0x1020_0000)}
    table = root
    for _ in range(4):
        slots[table] = tables.map(second, table, table)
        table = tables.memory[table] & ~0xFFF
    return tables, entry, second, leaf, slots


def test_a_nested_walk_goes_through_both_stages() -> None:
    tables, *_ = nested()
    unit = tables.unit(SCALABLE, mode=1)
    answer = ok(unit.translate(write(0x1008)))
    assert (answer.address, answer.path, answer.size) == (0x1020_0008, "nested", 4096)
    walk = unit.walk(write(0x1008))
    assert sum(step.inner for step in walk.steps) == 4 * 4
    assert [s.kind for s in walk.steps if not s.inner][-8:] == [
        "FS-PML4E",
        "FS-PDPE",
        "FS-PDE",
        "FS-PTE",
        "SS-PML4E",
        "SS-PDPE",
        "SS-PDE",
        "SS-PTE",
    ]


@pytest.mark.parametrize(
    ("guest", "host"), [(1 << 30, 4096), (4096, 1 << 30), (1 << 21, 1 << 30), (1 << 30, 1 << 21)]
)
def test_the_result_is_the_smaller_of_the_two_pages(guest: int, host: int) -> None:
    tables, _, entry, root = scalable("NEST")
    second = tables.memory[entry] & ~0xFFF
    tables.map(root, 1 << 30, 3 << 30, bits=0x67, middle=0x27, size=guest)
    target = (3 << 30) + 0x23_4000 if guest == 1 << 30 and host == 4096 else 3 << 30
    where = (7 << 30) + (target & (1 << 30) - 1) & -host
    tables.map(second, target & -host, where, size=host)
    tables.map(second, 0, 0, size=1 << 30)
    address = (1 << 30) + (target & (1 << 30) - 1) + 0x48
    answer = ok(tables.unit(SCALABLE, mode=1).translate(read(address)))
    assert answer.size == min(guest, host)
    assert answer.address == where + (target + 0x48) % host


@pytest.mark.parametrize(
    ("stage1", "stage2", "kind", "expected"),
    [
        (0x67, RW, "write", ""),
        (0x65, RW, "write", "SGN.6"),
        (0x67, R, "write", "SGN.6"),
        (0x67, W, "read", "SGN.7"),
        (0x65, R, "read", ""),
        (0x67, R, "atomic", "SGN.6"),
        (0x67, W, "atomic", "SGN.7"),
        (0x67, 0, "read", "SSS.2"),
    ],
)
def test_both_stages_must_allow(stage1: int, stage2: int, kind: str, expected: str) -> None:
    tables, _, _, leaf, slots = nested()
    tables.memory[leaf] = 0x20_0000 | stage1
    tables.memory[slots[0x20_0000]] = 0x1020_0000 | stage2
    answer = tables.unit(SCALABLE, mode=1).translate(Request(SID, 0x1000, kind))  # type: ignore[arg-type]
    assert label(answer) == expected


def test_with_second_stage_flags_first_stage_tables_must_be_writable() -> None:
    for at, expected in (("root", "SFS.6"), ("leaf", "SFS.7")):
        tables, _, _, leaf, slots = nested(w0=1 << 9)
        page = (leaf & ~0xFFF) if at == "leaf" else next(iter(list(slots)[1:]))
        tables.memory[slots[page]] &= ~W
        assert label(tables.unit(SCALABLE, mode=1).translate(read(0x1000))) == expected


def test_structural_second_stage_faults_inside_a_first_stage_fetch_keep_their_own_label() -> None:
    for change, expected in ((lambda v: 0, "SSS.2"), (lambda v: v | 1 << 62, "SSS.3")):
        tables, _, _, leaf, slots = nested()
        slot = slots[leaf & ~0xFFF]
        tables.memory[slot] = change(tables.memory[slot])
        assert label(tables.unit(SCALABLE, mode=1).translate(read(0x1000))) == expected


def test_nested_flags_are_set_in_both_stages() -> None:
    tables, _, _, leaf, slots = nested(w0=1 << 9)
    tables.memory[leaf] &= ~(A | D)
    ok(tables.unit(SCALABLE, mode=1).translate(write(0x1000)))
    assert tables.memory[leaf] & (A | D) == A | D
    assert tables.memory[slots[0x20_0000]] & (SSA | SSD) == SSA | SSD
    assert tables.memory[slots[leaf & ~0xFFF]] & (SSA | SSD) == SSA | SSD


# requests in the interrupt range


def test_requests_with_pasid_to_the_interrupt_range_are_translated() -> None:
    tables, directory, _, _ = scalable()
    root = tables.page()
    tables.pasid(directory, 3, w0=1 | 2 << 2 | 2 << 6 | root, w1=6)
    tables.pasid(directory, 4, w0=1 | 4 << 6, w1=6)
    tables.map(root, 0xFEE0_0000, 0x20_0000)
    unit = tables.unit(SCALABLE, mode=1)
    assert ok(unit.translate(write(0xFEE0_0010, pasid=3))).address == 0x20_0010
    assert label(unit.translate(write(0xFEE0_0010, pasid=4))) == "SGN.8.1"


def test_every_scenario_of_the_fault_tables_also_walks() -> None:
    for build in CASES.values():
        built: Case = build()
        if isinstance(built.request, Request):
            walk = built.unit.walk(built.request)
            assert repr(walk)
            if walk.steps and isinstance(walk.answer, Fault):
                assert walk.steps[-1].label in (walk.answer.label, "")
