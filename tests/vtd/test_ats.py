"""Address translation services: completions, size codes, translated requests, device TLBs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Completion, Fault, Translation
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.ats import coded_range, size_code
from vtdkit.vtd.walk.job import NotModelled

from .rig import (
    IQA,
    IQT,
    QIE,
    RW,
    SCALABLE,
    SID,
    R,
    Tables,
    W,
    bring_up,
    command,
    drain,
    legacy,
    read,
    scalable,
    write,
)


def ok(answer: Translation | Fault) -> Translation:
    assert isinstance(answer, Translation), answer
    return answer


@given(order=st.integers(0, 30), page=st.integers(0, 1 << 40))
@settings(max_examples=100, deadline=None)
def test_a_size_code_names_exactly_its_range(order: int, page: int) -> None:
    size = 4096 << order
    address = (page << 12) % (1 << 52)
    coded, s = size_code(address, size)
    assert coded_range(coded, s) == (address & -size, (address & -size) + size)


@pytest.mark.parametrize(
    ("address", "size", "coded", "s"),
    [
        (0x1000, 4096, 0x1000, 0),
        (0x2000, 8192, 0x2000, 1),
        (0x4000, 16384, 0x5000, 1),
        (0x4000_0000, 1 << 21, 0x400F_F000, 1),
        (0, 1 << 30, 0x1FFF_F000, 1),
    ],
)
def test_known_size_codes(address: int, size: int, coded: int, s: int) -> None:
    assert size_code(address, size) == (coded, s)


def test_everything_has_a_code() -> None:
    assert coded_range(0x7FFF_FFFF_FFFF_F000, 1) == (0, 1 << 64)


@pytest.mark.parametrize(
    ("bits", "no_write", "nwfs", "granted"),
    [
        (RW, False, 0, (1, 1)),
        (RW, True, 0, (1, 1)),
        (RW, True, 1, (1, 0)),
        (R, False, 0, (1, 0)),
        (W, False, 0, (0, 1)),
        (W, True, 1, (0, 0)),
        (0, False, 0, (0, 0)),
    ],
)
def test_a_completion_carries_the_effective_permissions(
    bits: int, no_write: bool, nwfs: int, granted: tuple[int, int]
) -> None:
    tables, root = legacy(tt=1)
    tables.map(root, 0x1000, 0x20_0000, bits=bits)
    answer = ok(
        tables.unit(Capabilities(HAW=46, NWFS=nwfs)).translate(
            read(0x1000, at="translation", no_write=no_write)
        )
    )
    assert answer.completion is not None
    assert granted == (answer.completion.R, answer.completion.W)
    assert (answer.readable, answer.writable) == tuple(map(bool, granted))
    assert ("" if answer.why is None else answer.why.label) == ("" if bits else "LGN.3")


def test_permissions_are_the_and_of_all_levels_and_nothing_is_left_means_nothing() -> None:
    tables, root = legacy(tt=1)
    tables.map(root, 0x1000, 0x20_0000, bits=W)
    tables.memory[root] &= ~W
    answer = ok(tables.unit().translate(read(0x1000, at="translation")))
    assert (answer.readable, answer.writable) == (False, False)
    assert answer.why is not None
    assert (answer.why.label, answer.why.recorded) == ("LGN.3", False)


@pytest.mark.parametrize(
    ("size", "coded"), [(4096, 0x4000_0000), (1 << 21, 0x400F_F000), (1 << 30, 0x5FFF_F000)]
)
def test_a_completion_codes_the_size_of_the_page(size: int, coded: int) -> None:
    tables, root = legacy(tt=1)
    tables.map(root, 0, 0x4000_0000, size=size)
    completion = ok(tables.unit().translate(read(0, at="translation"))).completion
    assert completion == Completion(1, 1, S=int(size > 4096), address=coded)


def test_no_snoop_comes_from_the_leaf_or_the_pasid_entry() -> None:
    tables, root = legacy(tt=1)
    tables.map(root, 0x1000, 0x20_0000 | 1 << 11)
    completion = ok(tables.unit().translate(read(0x1000, at="translation"))).completion
    assert completion is not None
    assert completion.N == 1
    pgsnp, snp = 1 << 24, 1 << 11
    for path, w1, leaf, expected in (
        *(("SS", 0, 0, 0), ("SS", pgsnp, 0, 1), ("SS", 0, snp, 1)),
        *(("FS", pgsnp, 0, 1), ("FS", 0, snp, 0), ("PT", pgsnp, 0, 1)),
    ):
        tables, _, _, root = scalable(path, w1=w1)
        tables.map(
            root,
            0x1000,
            0x20_0000 | leaf,
            bits=RW if path == "SS" else 0x67,
            middle=RW if path == "SS" else 0x27,
        )
        completion = ok(tables.unit(SCALABLE, mode=1).translate(read(0x1000, at="translation"))).completion
        assert completion is not None
        assert expected == completion.N, (path, w1, leaf)


def test_the_privilege_flag_answers_only_the_one_that_came_with_a_pasid() -> None:
    tables, directory, _, root = scalable("FS", w2=1, rid_priv=1)
    tables.map(root, 0x1000, 0x20_0000, bits=0x67, middle=0x27)
    tables.pasid(directory, 3, w0=1 | 1 << 6, w1=6 | 1 << 23, w2=root | 1)
    tables.pasid(directory, 4, w0=1 | 1 << 6, w1=6 | 1 << 23, w2=root)
    unit = tables.unit(SCALABLE, mode=1)
    for request, priv, granted in (
        (read(0x1000, at="translation"), 0, True),
        (read(0x1000, at="translation", pasid=3), 0, True),
        (read(0x1000, at="translation", pasid=3, supervisor=True), 1, True),
        (read(0x1000, at="translation", pasid=4, supervisor=True), 1, False),
    ):
        answer = ok(unit.translate(request))
        assert answer.completion is not None
        assert (answer.completion.PRIV, answer.readable) == (priv, granted)


def test_a_translation_request_sets_the_flags_a_write_would_unless_it_says_no_write() -> None:
    for no_write, dirty in ((False, 1), (True, 0)):
        tables, _, _, root = scalable("FS")
        leaf = tables.map(root, 0x1000, 0x20_0000, bits=7, middle=0x27)
        ok(tables.unit(SCALABLE, mode=1).translate(read(0x1000, at="translation", no_write=no_write)))
        assert tables.memory[leaf] >> 6 & 1 == dirty
        assert tables.memory[leaf] >> 5 & 1 == 1


def test_pass_through_gives_the_largest_region_that_avoids_the_interrupt_range() -> None:
    tables, *_ = scalable("PT")
    unit = tables.unit(SCALABLE, mode=1)
    assert ok(unit.translate(read(0x1234_5000, at="translation"))).size == 1 << 30
    assert ok(unit.translate(read(0xC000_0000, at="translation"))).size == 1 << 21
    small = tables.unit(Capabilities.scalable(HAW=46, SSLPS=0), mode=1)
    assert ok(small.translate(read(0x1234_5000, at="translation"))).size == 4096


@pytest.mark.parametrize(("no_write", "completion"), [(False, (0, 1, 1)), (True, (0, 0, 0))])
def test_the_interrupt_range_is_a_special_case(no_write: bool, completion: tuple[int, int, int]) -> None:
    tables, directory, _, _ = scalable("PT")
    tables.pasid(directory, 3, w0=1 | 4 << 6, w1=6)
    unit = tables.unit(SCALABLE, mode=1)
    for pasid in (None, 3):
        answer = ok(unit.translate(read(0xFEE0_1000, at="translation", no_write=no_write, pasid=pasid)))
        assert answer.completion is not None
        assert completion == (answer.completion.R, answer.completion.W, answer.completion.U)
    assert not unit.faults.records()[0].F


def test_translated_requests_pass_with_their_address() -> None:
    for tables, unit in (
        (t := legacy(tt=1)[0], t.unit()),
        (s := scalable()[0], s.unit(SCALABLE, mode=1)),
    ):
        assert tables
        answer = ok(unit.translate(write(0x1234_5678, at="translated")))
        assert (answer.address, answer.path) == (0x1234_5678, "translated")


def test_translation_and_translated_requests_need_the_context_entry_to_allow_them() -> None:
    unit = legacy(tt=0)[0].unit()
    for at in ("translation", "translated"):
        answer = unit.translate(read(0x1000, at=at))
        assert isinstance(answer, Fault)
        assert answer.label == "LCT.5"


def test_the_host_permission_table_is_not_walked() -> None:
    caps = Capabilities.scalable(HAW=46, HPTS=1)
    tables, _, _, _ = scalable("SS", caps, flags=0x3C)
    with pytest.raises(NotModelled, match=r"host permission table .* HPTE=0x1"):
        tables.unit(caps, mode=1).translate(read(0x1000, at="translated"))


# endpoints


def with_queue(tables: Tables, unit: RemappingUnit) -> tuple[int, list[int]]:
    base = tables.page()
    unit.write(IQA, base, 8)
    command(unit, QIE)
    return base, [0]


def submit(tables: Tables, unit: RemappingUnit, queue: tuple[int, list[int]], *descriptors: int) -> None:
    base, tail = queue
    for raw in descriptors:
        tables.memory[base + 16 * tail[0]] = raw & (1 << 64) - 1
        tables.memory[base + 16 * tail[0] + 8] = raw >> 64
        tail[0] += 1
    unit.write(IQT, 16 * tail[0], 8)
    drain(unit)


def test_an_endpoint_keeps_using_what_it_was_told_until_it_is_told_otherwise() -> None:
    tables, root = legacy(tt=1)
    leaf = tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    queue = with_queue(tables, unit)
    endpoint = unit.attach_device_tlb(SID)
    assert ok(endpoint.access(0x1010, "write")).address == 0x20_0010
    tables.memory[leaf] = 0x30_0000 | RW
    submit(tables, unit, queue, 0x2 | 2 << 4 | 5 << 16)
    assert ok(endpoint.access(0x1010)).address == 0x20_0010, "the IOTLB is flushed, the device TLB is not"
    submit(tables, unit, queue, 0x3 | SID << 32 | 0x1000 << 64)
    assert ok(endpoint.access(0x1010)).address == 0x30_0010


def test_flushing_the_device_tlb_before_the_iotlb_lets_the_old_translation_back_in() -> None:
    tables, root = legacy(tt=1)
    leaf = tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    queue = with_queue(tables, unit)
    endpoint = unit.attach_device_tlb(SID)
    endpoint.access(0x1000)
    tables.memory[leaf] = 0x30_0000 | RW
    submit(tables, unit, queue, 0x3 | SID << 32 | 0x1000 << 64)
    assert ok(endpoint.access(0x1000)).address == 0x20_0000
    submit(tables, unit, queue, 0x2 | 2 << 4 | 5 << 16, 0x3 | SID << 32 | 0x1000 << 64)
    assert ok(endpoint.access(0x1000)).address == 0x30_0000


def test_invalidations_by_pasid_reach_that_pasid_or_all() -> None:
    tables, directory, _, root = scalable()
    tables.map(root, 0x1000, 0x20_0000)
    for pasid in (3, 4):
        tables.pasid(directory, pasid, w0=1 | 2 << 2 | 2 << 6 | root, w1=5)
    unit = tables.unit(SCALABLE, mode=1)
    endpoint = unit.attach_device_tlb(SID)
    for pasid in (None, 3, 4):
        endpoint.access(0x1000, pasid=pasid)
    assert len(endpoint.tlb) == 3
    unit.device_tlbs.send(SID, 0x1000, 0, pasid=3)
    assert [pasid for pasid, _, _ in endpoint.tlb] == [None, 4]
    unit.device_tlbs.send(SID, 0x1000, 0)
    assert [pasid for pasid, _, _ in endpoint.tlb] == [4]
    unit.device_tlbs.send(SID, 0x7FFF_FFFF_FFFF_F000, 1, pasid=0, everywhere=True)
    assert len(endpoint.tlb) == 0


def test_an_endpoint_without_permission_asks_nobody_else() -> None:
    tables, root = legacy(tt=1)
    tables.map(root, 0x1000, 0x20_0000, bits=R)
    unit = tables.unit()
    endpoint = unit.attach_device_tlb(SID)
    assert isinstance(endpoint.access(0x1000, "write"), Fault)
    assert isinstance(endpoint.access(0x5000), Fault)
    bring_up(unit, tables.page())
    assert isinstance(unit.attach_device_tlb(0x20).access(0x1000), Fault)
