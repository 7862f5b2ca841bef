"""Lesson 20: each machine shows the fault it is about, the logs are explained, and wrong answers are
refused."""

from __future__ import annotations

import pytest

from lessons import lesson20 as lesson
from vtdkit.explain.reading import explain
from vtdkit.vtd.requests import Fault

CALLS = [lesson.FLUSHED, lesson.MISALIGNED, lesson.SILENT, lesson.SNOOPED, lesson.FIRMWARE]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("exercise", CALLS, ids=lambda exercise: exercise.name)
def test_each_exercise_takes_the_right_answer_and_no_other(exercise, seed: int) -> None:
    asked = exercise.seeded(seed)
    found, letter = asked.answer(seed)
    assert asked.check((found, letter))
    others = [each for each in "abc" if each != letter]
    assert not any(asked.check((found, other)) for other in others)
    wrong = found + 8 if isinstance(found, int) else "00:1f.7"
    assert not asked.check((wrong, letter))
    assert asked.solution().right


@pytest.mark.parametrize(("seed", "code"), [(0, 0x51), (1, 0x59), (2, 0x41), (3, 0x39)])
def test_an_entry_that_is_not_flushed_refuses_the_device_until_it_is(seed: int, code: int) -> None:
    call = lesson.not_flushed(seed)
    answer = call.dma()
    assert isinstance(answer, Fault)
    assert answer.code == code
    walk = call.unit.walk(call.request)
    assert walk.steps[-1].address == call.forgotten
    told = repr(explain(call.log))
    assert f"reason {code:02X}h" in told
    assert "memory as printed translates" in told
    assert "not flushed in time" in told
    call.memory.flush(call.forgotten)
    assert call.dma()


def test_a_mask_for_another_range_leaves_pages_reachable() -> None:
    for seed in range(6):
        call = lesson.misaligned(seed)
        reached = call.reached()
        assert reached
        assert set(reached) < set(call.pages)
        assert "not aligned to its mask" in repr(explain(call.log))
    assert not lesson.misaligned(0, first=0x40, count=8).reached()


def test_of_two_devices_that_are_gone_one_has_an_invalidation_in_the_queue() -> None:
    for seed in range(6):
        call = lesson.silent(seed)
        asked = {lesson.bdf(entry.SID) for entry in call.queue[:-1]}
        silent = {name for name in call.endpoints if call.config(name) == 0xFFFF_FFFF}
        assert len(silent) == 2
        assert len(silent & asked) == 1
        assert "ITE (invalidation time-out)" in repr(explain(call.log))


def test_a_snoop_bit_is_refused_in_a_unit_without_snoop_control() -> None:
    call = lesson.snooped()
    assert len(call.refused()) == 2
    told = repr(explain(call.log))
    assert "LSS.2" in told
    assert "reason 0Ch" in told


def test_the_table_names_a_unit_at_address_0() -> None:
    for seed in range(6):
        told = explain(lesson.firmware(seed))
        offset = lesson.wrong_base(lesson.firmware(seed)) - 8
        assert f"offset {offset:#x}: DRHD at address 0" in told.pieces[0].notes[0]
