"""The invalidation queue: ring, wrap, every error and its recovery, waits and fences, device-TLB
time-outs.
"""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.quirks import QEMU_7_2
from vtdkit.vtd.registers.events import Message
from vtdkit.vtd.requests import Fault, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import (
    FECTL,
    FSTS,
    ICS,
    IECTL,
    IQA,
    IQERCD,
    IQH,
    IQT,
    QIE,
    SID,
    TE,
    Tables,
    command,
    drain,
    legacy,
    read,
)

IQE, ICE, ITE = 1 << 4, 1 << 5, 1 << 6
FULL = Capabilities.scalable(HAW=46)
CC_GLOBAL, IOTLB_GLOBAL = 0x11, 0xD2
WAIT = 0x7_0000_0025 | 0x5008 << 64
PLAIN_WAIT = 0x5


class Ring:
    """Software's side of the queue: where the next descriptor goes."""

    def __init__(self, tables: Tables, unit: RemappingUnit, *, wide: bool = False, pages: int = 0) -> None:
        self.tables, self.unit = tables, unit
        self.size = 32 if wide else 16
        self.slots = (256 << pages) >> wide
        self.base = tables.page()
        for _ in range((1 << pages) - 1):
            tables.page()
        self.tail = 0
        unit.write(IQT, 0, 8)
        unit.write(IQA, self.base | wide << 11 | pages, 8)
        command(unit, QIE)

    def put(self, *descriptors: int) -> Ring:
        """Write descriptors and move the tail past them."""
        for raw in descriptors:
            for word in range(self.size // 8):
                at = self.base + self.tail * self.size + 8 * word
                self.tables.memory[at] = raw >> 64 * word & (1 << 64) - 1
            self.tail = (self.tail + 1) % self.slots
        self.unit.write(IQT, self.tail * self.size, 8)
        return self


def ringed(
    caps: Capabilities | None = None, *, wide: bool = False, mode: int = 0, **more: Any
) -> tuple[Ring, RemappingUnit]:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(caps, mode=mode, **more)
    return Ring(tables, unit, wide=wide), unit


def head(unit: RemappingUnit) -> int:
    return unit.read(IQH, 8)


def status(unit: RemappingUnit) -> tuple[int, int]:
    """FSTS without PPF, and IQEI."""
    return unit.read(FSTS) & ~2, unit.read(IQERCD, 8) & 15


def test_one_step_executes_one_descriptor_and_moves_the_head_past_it() -> None:
    ring, unit = ringed()
    unit.translate(read(0x1000))
    ring.put(CC_GLOBAL, IOTLB_GLOBAL, WAIT)
    assert unit.caches is not None
    for expected, contexts, translations in ((0x10, 0, 1), (0x20, 0, 0), (0x30, 0, 0)):
        step = unit.step()
        assert step is not None
        assert step.outcome == "done"
        assert (head(unit), len(unit.caches.context), len(unit.caches.iotlb)) == (
            expected,
            contexts,
            translations,
        )
    assert unit.step() is None
    assert unit.hooks.status_writes == [(0x5008, 7)]


def test_the_ring_wraps_and_holds_one_less_than_its_slots() -> None:
    ring, unit = ringed()
    ring.put(*[PLAIN_WAIT] * 255)
    assert len(drain(unit)) == 255
    assert head(unit) == 0xFF0
    ring.put(IOTLB_GLOBAL, WAIT)
    assert [step.slot for step in drain(unit)] == [255, 0]
    assert head(unit) == 0x10


def test_wide_descriptors_use_twice_the_room() -> None:
    ring, unit = ringed(FULL, wide=True)
    assert unit.queue.slots == 128
    ring.put(IOTLB_GLOBAL, WAIT)
    assert len(drain(unit)) == 2
    assert head(unit) == 0x40
    assert unit.hooks.status_writes == [(0x5008, 7)]


def test_turning_the_queue_off_resets_the_head() -> None:
    ring, unit = ringed()
    ring.put(WAIT)
    drain(unit)
    command(unit, QIE, on=False)
    assert (head(unit), unit.step()) == (0, None)


def test_the_queue_runs_without_translation() -> None:
    ring, unit = ringed()
    command(unit, TE, on=False)
    ring.put(WAIT)
    assert len(drain(unit)) == 1


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (0x0, 3),
        (0xF, 3),
        (0x6, 3),
        (0x7, 3),
        (0x8, 3),
        (0x9, 3),
        (0xA, 3),
        (1 << 9 | 1, 3),
        (CC_GLOBAL | 1 << 6, 4),
        (IOTLB_GLOBAL | 1 << 40, 4),
        (0x1, 4),
        (0x2, 4),
        (0x4 | 1 << 5, 4),
        (0xF2 | 19 << 64, 4),
        (0x3 | 1 << 12, 4),
        (WAIT | 1 << 7, 4),
        (WAIT | 1 << 64, 4),
    ],
)
def test_a_bad_descriptor_stops_the_queue_with_its_cause(raw: int, cause: int) -> None:
    ring, unit = ringed()
    ring.put(WAIT, raw, WAIT)
    outcomes = [step.outcome for step in drain(unit)]
    assert outcomes == ["done", "error"]
    assert status(unit) == (IQE, cause)
    assert head(unit) == 0x10
    ring.put(WAIT)
    assert unit.step() is None
    ring.tables.memory[ring.base + 0x10] = IOTLB_GLOBAL
    ring.tables.memory[ring.base + 0x18] = 0
    unit.write(FSTS, IQE)
    assert [step.outcome for step in drain(unit)] == ["done"] * 3
    assert head(unit) == 0x40


def test_a_tail_beyond_the_queue_or_off_a_slot_is_an_error() -> None:
    _, unit = ringed()
    unit.write(IQT, 0x1000, 8)
    assert [step.note for step in drain(unit)] == ["tail 0x1000 is beyond the queue"]
    assert status(unit) == (IQE, 1)
    _, unit = ringed(FULL, wide=True)
    unit.write(IQT, 0x10, 8)
    assert [step.note for step in drain(unit)] == ["tail 0x10 is not aligned to a descriptor"]
    assert status(unit) == (IQE, 6)


def test_a_descriptor_that_cannot_be_read_is_an_error() -> None:
    ring, unit = ringed()
    ring.tables.memory.fail(ring.base, ring.base + 0x1000)
    ring.put(WAIT)
    assert [step.outcome for step in drain(unit)] == ["error"]
    assert status(unit) == (IQE, 2)
    ring.tables.memory.heal()
    unit.write(FSTS, IQE)
    assert [step.outcome for step in drain(unit)] == ["done"]


@pytest.mark.parametrize(
    ("caps", "mode", "wide", "cause"),
    [
        (FULL, 1, False, 5),
        (FULL, 3, False, 5),
        (Capabilities(HAW=46), 0, True, 5),
        (FULL, 2, True, 7),
        (FULL, 0, True, 0),
    ],
)
def test_the_width_of_the_queue_must_fit_the_mode(
    caps: Capabilities, mode: int, wide: bool, cause: int
) -> None:
    ring, unit = ringed(caps, wide=wide, mode=mode)
    ring.put(WAIT)
    drain(unit)
    assert status(unit) == ((IQE, cause) if cause else (0, 0))


@pytest.mark.parametrize("raw", [0x0005_0017, 0x0005_0026, 0x18_0008 | 1 << 75])
def test_pasid_descriptors_need_scalable_mode(raw: int) -> None:
    for mode, outcome in ((0, "error"), (1, "done"), (3, "done")):
        ring, unit = ringed(FULL, wide=True, mode=mode)
        unit.attach_device_tlb(SID)
        ring.put(raw)
        assert [step.outcome for step in drain(unit)] == [outcome]


def test_upper_bits_of_a_short_descriptor_in_a_wide_slot_must_be_zero() -> None:
    ring, unit = ringed(FULL, wide=True)
    ring.put(IOTLB_GLOBAL | 1 << 200)
    drain(unit)
    assert status(unit) == (IQE, 4)


def test_descriptor_types_follow_capabilities() -> None:
    ring, unit = ringed(Capabilities(HAW=46, DT=0))
    ring.put(0x18_0000_0003)
    drain(unit)
    assert status(unit) == (IQE, 3)


def test_page_granularity_needs_psi() -> None:
    ring, unit = ringed(Capabilities(HAW=46, PSI=0))
    ring.put(0xF2)
    drain(unit)
    assert status(unit) == (IQE, 4)


def test_the_fault_event_reports_a_queue_error_once() -> None:
    ring, unit = ringed()
    unit.write(FECTL, 0)
    ring.put(0xF)
    drain(unit)
    assert unit.hooks.messages == [Message("fault", 0, 0)]
    unit.translate(read(0x9000))
    assert len(unit.hooks.messages) == 1


def test_a_wait_with_interrupt_sets_the_completion_bit_and_sends_one_message() -> None:
    ring, unit = ringed()
    unit.write(IECTL + 4, 0x51)
    unit.write(IECTL + 8, 0xFEE0_2000)
    unit.write(IECTL, 0)
    interrupting = 0x15
    ring.put(interrupting, interrupting)
    drain(unit)
    assert unit.read(ICS) == 1
    assert unit.hooks.messages == [Message("invalidation", 0xFEE0_2000, 0x51)]
    unit.write(ICS, 1)
    ring.put(interrupting)
    drain(unit)
    assert len(unit.hooks.messages) == 2


def test_a_masked_completion_interrupt_is_dropped_when_acknowledged() -> None:
    ring, unit = ringed()
    ring.put(0x15)
    drain(unit)
    assert unit.read(IECTL) == 0xC000_0000
    unit.write(ICS, 1)
    assert unit.read(IECTL) == 0x8000_0000


def test_status_is_written_below_the_host_address_width() -> None:
    ring, unit = ringed()
    ring.put(0x7_0000_0025 | (1 << 60 | 0x5008) << 64)
    drain(unit)
    assert unit.hooks.status_writes == [(0x5008, 7)]


# device TLBs

DEV_TLB = 0x18_0000_0003 | 0x1000 << 64


def test_a_wait_is_not_complete_before_the_endpoint_has_answered() -> None:
    ring, unit = ringed()
    endpoint = unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB, WAIT, IOTLB_GLOBAL)
    assert [step.outcome for step in drain(unit)] == ["pending", "pending", "done"]
    assert unit.hooks.status_writes == []
    endpoint.respond()
    assert unit.hooks.status_writes == [(0x5008, 7)]


def test_nothing_starts_behind_a_fence() -> None:
    ring, unit = ringed()
    endpoint = unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB, WAIT | 1 << 6, IOTLB_GLOBAL)
    assert [step.outcome for step in drain(unit)] == ["pending", "pending", "blocked"]
    endpoint.respond()
    assert [step.outcome for step in drain(unit)] == ["done"]


def test_waits_complete_in_order() -> None:
    ring, unit = ringed()
    endpoint = unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB, WAIT, DEV_TLB, WAIT + (1 << 32))
    drain(unit)
    endpoint.respond()
    assert unit.hooks.status_writes == [(0x5008, 7)]
    endpoint.respond()
    assert unit.hooks.status_writes == [(0x5008, 7), (0x5008, 8)]


def test_a_time_out_drops_pending_waits_and_names_the_endpoint() -> None:
    ring, unit = ringed()
    ring.put(DEV_TLB, WAIT)
    drain(unit)
    assert unit.device_tlbs.time_out() == SID
    assert unit.read(FSTS) == ITE
    assert unit.read(IQERCD, 8) >> 32 & 0xFFFF == SID
    ring.put(WAIT)
    assert unit.step() is None
    unit.write(FSTS, ITE)
    assert [step.outcome for step in drain(unit)] == ["done"]
    assert unit.hooks.status_writes == [(0x5008, 7)]
    assert unit.device_tlbs.time_out() is None


def test_only_the_first_time_out_is_named() -> None:
    ring, unit = ringed()
    ring.put(DEV_TLB, DEV_TLB + (1 << 32))
    drain(unit)
    assert unit.device_tlbs.time_out() == SID
    assert unit.device_tlbs.time_out() == SID + 1
    assert unit.read(IQERCD, 8) >> 32 & 0xFFFF == SID


def test_an_unexpected_completion_is_an_error_and_stops_nothing() -> None:
    ring, unit = ringed()
    endpoint = unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB)
    drain(unit)
    unit.device_tlbs.completed(0x99, 1, count=1)
    unit.device_tlbs.completed(SID, 1 << 5, count=1)
    assert unit.read(FSTS) == ICE
    assert unit.read(IQERCD, 8) >> 48 == 0x99
    endpoint.respond()
    ring.put(WAIT)
    assert [step.outcome for step in drain(unit)] == ["done"]
    unit.write(FSTS, ICE)
    assert unit.read(FSTS) == 0


def test_a_completion_counts_messages_and_zero_means_eight() -> None:
    ring, unit = ringed()
    unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB)
    drain(unit)
    for _ in range(7):
        unit.device_tlbs.completed(SID, 1, count=0)
        assert unit.device_tlbs.outstanding
    unit.device_tlbs.completed(SID, 1, count=0)
    assert not unit.device_tlbs.outstanding


def test_one_completion_answers_every_invalidation_of_its_vector() -> None:
    ring, unit = ringed()
    unit.attach_device_tlb(SID, prompt=False)
    ring.put(DEV_TLB, DEV_TLB, DEV_TLB)
    drain(unit)
    unit.device_tlbs.completed(SID, 0b101, count=1)
    assert unit.device_tlbs.outstanding == {1}


def test_there_are_thirty_two_itags() -> None:
    ring, unit = ringed()
    endpoint = unit.attach_device_tlb(SID, prompt=False)
    ring.put(*[DEV_TLB] * 33)
    assert [step.outcome for step in drain(unit)] == ["pending"] * 32 + ["blocked"]
    endpoint.respond()
    assert [step.outcome for step in drain(unit)] == ["pending"]


# personalities


def test_the_qemu_personality_waits_for_the_tail_after_an_error() -> None:
    ring, unit = ringed(quirks=QEMU_7_2)
    ring.put(PLAIN_WAIT)
    drain(unit)
    assert status(unit) == (IQE, 0)
    ring.tables.memory[ring.base] = IOTLB_GLOBAL
    unit.write(FSTS, IQE)
    assert unit.step() is None
    unit.write(IQT, 0x10, 8)
    assert [step.outcome for step in drain(unit)] == ["done"]


def test_the_qemu_personality_refuses_to_stop_after_anything_but_a_wait() -> None:
    ring, unit = ringed(quirks=QEMU_7_2)
    ring.put(IOTLB_GLOBAL)
    drain(unit)
    command(unit, QIE, on=False)
    assert unit.queue.enabled
    ring.put(WAIT)
    drain(unit)
    command(unit, QIE, on=False)
    assert not unit.queue.enabled


def test_the_owner_hears_of_a_moved_tail() -> None:
    from vtdkit.vtd.hooks import Hooks

    class Bell(Hooks):
        rings = 0

        def doorbell(self) -> None:
            self.rings += 1

    bell = Bell()
    ring, unit = ringed(hooks=bell)
    rings = bell.rings
    ring.put(WAIT)
    assert bell.rings == rings + 1
    unit.write(IQT, 0)
    assert bell.rings == rings + 2
    ring.put(0xF)
    drain(unit)
    unit.write(FSTS, 1)
    assert bell.rings == rings + 3
    unit.write(FSTS, IQE)
    assert bell.rings == rings + 4


def test_domain_id_bits_that_do_not_exist_are_ignored() -> None:
    ring, unit = ringed(Capabilities(HAW=46, ND=2))
    unit.translate(read(0x1000))
    ring.put(0x2 | 2 << 4 | 0xFF05 << 16)
    drain(unit)
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == 0
    assert isinstance(unit.translate(read(0x1000)), Translation)
    assert isinstance(unit.translate(read(0x2000)), Fault)
