"""Nonsense in, an answer out: random tables, registers and descriptors never hang and raise nothing
undocumented.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.image import BadImage
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.interrupts.remapping import NotModelled
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.queue.ring import QueueStep
from vtdkit.vtd.quirks import QEMU_7_2, QEMU_10, SPECIFICATION
from vtdkit.vtd.registers.register_map import placed
from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit

PAGES = 12
UNITS = [
    Capabilities(HAW=46),
    Capabilities(HAW=39, MGAW=39, SAGAW=0b00010, ND=0, CM=1),
    Capabilities.scalable(HAW=46),
    Capabilities.scalable(HAW=52, PTRS=1, HPTS=1, SSIRWS=1, PI=1, major=9),
]
# A nested walk of 5 levels by 5, the tables before it, and every flag update.
LONGEST = 8 + 2 * (5 + 1) * (5 + 1)


def nonsense(seed: int) -> Memory:
    """A few pages of random words, many of which point back into the pages."""
    rng = random.Random(seed)
    memory = Memory()
    for pfn in range(1, PAGES + 1):
        words = []
        for _ in range(512):
            flags = rng.choice((0, 1, 3, 7, 0x27, 0x67, 0x83, 0x403, rng.getrandbits(12)))
            target = rng.choice((rng.randint(1, PAGES), rng.randint(0, PAGES + 2), rng.getrandbits(40)))
            words.append(rng.choice((0, target << 12 | flags, target << 12 | flags, rng.getrandbits(64))))
        memory.pages[pfn] = words
    return memory


def unit_over(memory: Memory, seed: int) -> RemappingUnit:
    rng = random.Random(seed)
    unit = RemappingUnit(
        memory,
        rng.choice(UNITS),
        quirks=rng.choice((SPECIFICATION, QEMU_7_2, QEMU_10)),
        cached=rng.random() < 0.7,
    )
    unit.restore(
        {
            "RTADDR": rng.randint(1, PAGES) << 12
            | rng.choice((0, 0, 1, 1, 2, 3)) << 10
            | rng.choice((0, 0, 0, 1)) << 7,
            "IRTA": rng.randint(1, PAGES) << 12 | rng.getrandbits(4) | rng.choice((0, 1)) << 11,
            "IQA": rng.randint(1, PAGES) << 12 | rng.choice((0, 1 << 11)),
            "GSTS": 1 << 31 | 1 << 30 | 1 << 26 | 1 << 25 | rng.choice((0, 1)) << 23,
        }
    )
    return unit


def request_from(rng: random.Random) -> Request:
    address = rng.choice(
        (rng.getrandbits(64), rng.getrandbits(40), rng.getrandbits(48), rng.getrandbits(20), 0xFEE0_0010)
    )
    pasid = rng.choice((None, None, rng.getrandbits(20), rng.getrandbits(7)))
    return Request(
        rng.getrandbits(16) if rng.random() < 0.3 else rng.getrandbits(9),
        address & ~0xFF,
        rng.choice(("read", "write", "atomic", "zero-length read")),
        rng.choice(("untranslated", "untranslated", "translation", "translated")),
        pasid,
        supervisor=pasid is not None and rng.random() < 0.3,
        execute=pasid is not None and rng.random() < 0.1,
        no_write=rng.random() < 0.2,
        length=rng.choice((0, 1, 4, 8, 64)),
        data=rng.getrandbits(32),
    )


def run_out(unit: RemappingUnit, request: Request) -> Translation | Fault | None:
    """A walk, with its accesses counted. None: a posted interrupt, which is documented."""
    steps = unit.walk_steps(request)
    for count in range(LONGEST + 1):
        try:
            next(steps)
        except StopIteration as end:
            answer = end.value
            assert isinstance(answer, Translation | Fault)
            return answer
        except NotModelled:
            return None
        assert count < LONGEST, "the walk does not end"
    return None


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=120, deadline=None)
def test_random_tables_give_a_translation_or_a_fault(seed: int) -> None:
    rng = random.Random(seed)
    memory = nonsense(seed)
    unit = unit_over(memory, seed)
    for _ in range(8):
        request = request_from(rng)
        answer = run_out(unit, request)
        assert repr(answer)
        if isinstance(answer, Fault) and answer.recorded:
            assert answer.code is not None
        try:
            assert repr(unit.walk(request))
        except NotModelled:
            continue


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_random_tables_can_be_surveyed_or_are_refused(seed: int) -> None:
    survey = Survey(unit_over(nonsense(seed), seed))
    try:
        for found in survey.attached():
            if found.space:
                survey.pages(found.space)
    except BadImage as error:
        complaint: str | None = str(error)
    else:
        complaint = None
    assert complaint is None or "tables loop" in complaint or "more than" in complaint


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=80, deadline=None)
def test_random_register_traffic_raises_nothing(seed: int) -> None:
    rng = random.Random(seed)
    unit = unit_over(nonsense(seed), seed)
    offsets = [offset for offset, _, _ in placed(unit.capabilities)]
    for _ in range(40):
        offset = rng.choice(offsets) & ~7
        value = rng.choice((rng.getrandbits(64), rng.randint(1, PAGES) << 12, 1 << rng.randrange(64), 0))
        choice = rng.randrange(5)
        if choice == 0:
            unit.write(offset, value, 8)
        elif choice == 1:
            unit.write(offset + rng.choice((0, 4)), value & 0xFFFF_FFFF)
        elif choice == 2:
            assert 0 <= unit.read(offset, 8) < 1 << 64
        elif choice == 3:
            step = unit.step()
            assert step is None or isinstance(step, QueueStep)
            assert repr(step)
        else:
            run_out(unit, request_from(rng))
    status = unit.read(0x34)
    assert bool(status & 2) == any(e.F for e in unit.faults.records())


@given(
    raw=st.integers(0, (1 << 256) - 1),
    wide=st.booleans(),
    kind=st.integers(0, 15),
    mode=st.sampled_from([0, 1, 3]),
)
@settings(max_examples=300, deadline=None)
def test_random_descriptors_are_executed_or_refused(raw: int, wide: bool, kind: int, mode: int) -> None:
    unit = RemappingUnit(Memory(), Capabilities.scalable(HAW=46))
    memory: Any = unit.memory
    memory.page(0x1000)
    unit.restore({"RTADDR": mode << 10, "IQA": 0x1000 | wide << 11, "GSTS": 1 << 26 | 1 << 31})
    mostly_right = raw & ~0xE0F | kind
    if kind in (1, 2, 4, 5, 7):
        mostly_right &= (1 << 128) - 1
    for word in range(4 if wide else 2):
        memory[0x1000 + 8 * word] = mostly_right >> 64 * word & (1 << 64) - 1
    unit.write(0x88, 32 if wide else 16, 8)
    step = unit.step()
    assert step is not None
    assert step.outcome in ("done", "pending", "error")
    assert bool(unit.read(0x34) & 16) == (step.outcome == "error")
    assert (unit.read(0x80, 8) == 0) == (step.outcome == "error")


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_table_that_is_its_own_child_at_every_level_still_ends(kind: Any) -> None:
    memory = Memory()
    for index in range(512):
        memory[0x1000 + 8 * index] = 0x1003
    memory[0x2000] = 0x3001
    memory[0x3000 + 16 * 0x18] = 0x1001
    memory[0x3008 + 16 * 0x18] = 0x0502
    unit = RemappingUnit(memory, Capabilities(HAW=46))
    unit.restore({"RTADDR": 0x2000, "GSTS": 1 << 31})
    answer = unit.translate(Request(0x18, 0x1234_5678_9000, kind))
    assert isinstance(answer, Translation)
    assert answer.address == 0x1000
