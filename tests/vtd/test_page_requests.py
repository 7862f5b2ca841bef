"""Page requests: the queue, overflow, the event, group responses, the implicit invalidation."""

from __future__ import annotations

import pytest

from vtdkit.vtd.queue.page_requests import PageResponse
from vtdkit.vtd.registers.events import Message
from vtdkit.vtd.requests import PageRequest
from vtdkit.vtd.tables.descriptors import PAGE_REQUEST
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import IQA, IQT, QIE, RW, SCALABLE, SID, Tables, command, read, scalable

PQH, PQT, PQA, PRS, PECTL = 0xC0, 0xC8, 0xD0, 0xDC, 0xE0


def listening(path: str = "FS") -> tuple[Tables, RemappingUnit, int]:
    tables, _, entry, root = scalable(path)
    if path == "NEST":
        second = tables.memory[entry] & ~0xFFF
        tables.map(second, 0, 0, size=1 << 30)
    tables.map(
        root, 0x1000, 0x20_0000, bits=RW if path == "SS" else 0x67, middle=RW if path == "SS" else 0x27
    )
    unit = tables.unit(SCALABLE, mode=1)
    queue = tables.page()
    unit.write(PQA, queue, 8)
    unit.write(PECTL + 4, 0x61)
    unit.write(PECTL + 8, 0xFEE0_3000)
    unit.write(PECTL, 0)
    return tables, unit, queue


def test_a_request_is_queued_as_the_device_made_it() -> None:
    tables, unit, queue = listening()
    request = PageRequest(SID, 0x7000_1234, write=True, prgi=5, lpig=False)
    assert unit.page_request(request).queued
    assert unit.read(PQT, 8) == 32
    raw = sum(tables.memory[queue + 8 * i] << 64 * i for i in range(4))
    assert dict(PAGE_REQUEST.decode(raw)) == {
        "TYPE": 1,
        "PP": 0,
        "RID": SID,
        "PASID": 0,
        "EXR": 0,
        "PMR": 0,
        "RDR": 1,
        "WRR": 1,
        "LPIG": 0,
        "PRGI": 5,
        "ADDR": 0x7000_1000,
    }
    assert tables.memory[queue] == 0x0000_0000_0018_0001
    assert tables.memory[queue + 8] == 0x7000_1000 | 5 << 3 | 3


def test_the_event_is_sent_once_until_software_has_looked() -> None:
    _, unit, _ = listening()
    for _ in range(3):
        unit.page_request(PageRequest(SID, 0x1000))
    assert unit.read(PRS) == 1
    assert unit.hooks.messages == [Message("page request", 0xFEE0_3000, 0x61)]
    unit.write(PRS, 1)
    unit.page_request(PageRequest(SID, 0x1000))
    assert len(unit.hooks.messages) == 2


@pytest.mark.parametrize(("lpig", "response"), [(True, "success"), (False, None)])
def test_a_full_queue_overflows_and_tells_the_device_to_try_again(lpig: bool, response: str | None) -> None:
    _, unit, _ = listening()
    for _ in range(127):
        assert unit.page_request(PageRequest(SID, 0x1000)).queued
    answer = unit.page_request(PageRequest(SID, 0x1000, lpig=lpig, prgi=9))
    assert not answer.queued
    assert (answer.response.code if answer.response else None) == response
    assert unit.read(PRS) == 3
    unit.write(PQH, 32, 8)
    assert not unit.page_request(PageRequest(SID, 0x1000)).queued, "PRO still set"
    unit.write(PRS, 2)
    assert unit.page_request(PageRequest(SID, 0x1000)).queued
    assert unit.read(PQT, 8) == 0


def test_a_queue_that_cannot_be_written_overflows() -> None:
    tables, unit, queue = listening()
    tables.memory.read_only(queue, queue + 4096)
    answer = unit.page_request(PageRequest(SID, 0x1000))
    assert (answer.queued, unit.read(PRS)) == (False, 2)


@pytest.mark.parametrize(("path", "left"), [("FS", 1), ("SS", 1), ("NEST", 0), ("PT", 1)])
def test_what_is_cached_for_the_page_is_dropped(path: str, left: int) -> None:
    tables, unit, _ = listening(path)
    assert unit.caches is not None
    if path != "PT":
        entry = tables.memory[tables.sm_context_at()] & ~0xFFF
        assert entry
        root = next(iter(unit.walk(read(0x1000)).steps[4:])).address & ~0xFFF
        if path == "NEST":
            root = next(s.address for s in unit.walk(read(0x1000)) if s.kind == "FS-PML4E") & ~0xFFF
        tables.map(
            root, 0x2000, 0x20_0000, bits=RW if path == "SS" else 0x67, middle=RW if path == "SS" else 0x27
        )
    for page in (0x1000, 0x2000):
        assert unit.translate(read(page))
    assert len(unit.caches.iotlb) == 2
    assert unit.page_request(PageRequest(SID, 0x1000)).queued
    assert len(unit.caches.iotlb) == left


def test_a_group_response_travels_through_the_invalidation_queue() -> None:
    tables, unit, _ = listening()
    base = tables.page()
    unit.write(IQA, base | 1 << 11, 8)
    command(unit, QIE)
    for slot, (rc, code) in enumerate(((0, "success"), (1, "invalid request"), (15, "failure"))):
        tables.memory[base + 32 * slot] = 0x25_0018_0019 | rc << 12
        tables.memory[base + 32 * slot + 8] = 3 << 3
        unit.write(IQT, 32 * (slot + 1), 8)
        unit.drain()
        assert unit.hooks.page_responses[-1] == PageResponse(SID, 0x25, 3, code)


def test_page_requests_need_their_capability() -> None:
    from vtdkit.vtd.capabilities import Capabilities

    tables, *_ = scalable(flags=0x0C)
    unit = tables.unit(Capabilities.scalable(HAW=46, PRS=0), mode=1)
    unit.write(PQA, 0x5000, 8)
    assert unit.read(PQA, 8) == 0
    answer = unit.page_request(PageRequest(SID, 0x1000))
    assert answer.fault is not None
    assert answer.fault.label == "SCT.8"


def test_a_request_with_pasid_carries_it() -> None:
    tables, unit, queue = listening()
    directory = tables.memory[tables.sm_context_at()] & 0x000F_FFFF_FFFF_F000
    tables.pasid(directory, 0x25, w0=1 | 1 << 6, w1=6 | 1 << 23, w2=tables.page())
    request = PageRequest(SID, 0x1000, pasid=0x25, supervisor=True, execute=True)
    assert unit.page_request(request).queued
    assert tables.memory[queue] == 0x0030_0025_0018_0101
