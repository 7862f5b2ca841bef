"""Lesson 00: the walk by hand agrees with the hardware, and the exercises judge rightly."""

from __future__ import annotations

import pytest

from lessons import lesson00 as lesson
from vtdkit.lab.lesson.base import reality
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.stale import explain
from vtdkit.vtd.requests import Request, sid

SEEDS = range(20)


@pytest.fixture(scope="module")
def guest() -> Image:
    return Image.load(reality(lesson.GUEST))


def test_the_walk_by_hand_agrees_with_the_hardware_on_every_mapped_page(guest: Image) -> None:
    disk = sid(lesson.DISK)
    addresses = [lesson._address(seed) & ~3 for seed in SEEDS]
    for iova in addresses:
        answer = guest.unit.from_memory(Request(disk, iova, length=1))
        assert answer.address == lesson.walk(lesson.read_word, lesson.page_table(), iova)


def test_the_page_unmapped_a_moment_before_is_stale_and_no_longer_there(guest: Image) -> None:
    found = explain(guest)
    assert sum("00:03.0" in repr(entry) for entry in found) == 288  # of 300, says the lesson
    assert len(found) == 300
    assert sum(entry.mapped.iova == lesson.STALE for entry in found) == 1
    assert lesson.walk(lesson.read_word, lesson.page_table(), lesson.STALE) == -1
    assert lesson.walk(lesson.read_word, lesson.page_table(), lesson.MAPPED) == 0x3048000


@pytest.mark.parametrize("seed", SEEDS)
def test_which_entry_takes_the_right_index_and_knows_the_usual_mistakes(seed: int) -> None:
    exercise = lesson.WHICH_ENTRY.seeded(seed)
    iova = lesson._address(seed)
    assert f"{iova:#x}" in exercise.show().text
    assert exercise.check(iova >> 12 & 511)
    assert "mask" in exercise.check(iova >> 12).text
    if (iova >> 21 & 511) != (iova >> 12 & 511):
        assert "one level higher" in exercise.check(iova >> 21 & 511).text


def test_the_notebook_answers_the_first_exercise_for_its_seed() -> None:
    assert lesson.WHICH_ENTRY.seeded(0).check(0xFFFF9D20 >> 12 & 511)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_be_the_hardware_takes_a_walk_and_says_where_a_wrong_one_goes_wrong(seed: int) -> None:
    exercise = lesson.BE_THE_HARDWARE.seeded(seed)
    assert exercise.check(lesson.walk)

    def without_offset(read: lesson.Read, table: int, iova: int) -> int:
        return lesson.walk(read, table, iova) & ~4095

    def always_there(read: lesson.Read, table: int, iova: int) -> int:
        for shift in (39, 30, 21, 12):
            table = read(table + 8 * (iova >> shift & 511)) & lesson.ADDRESS
        return table + (iova & 4095)

    assert "too small" in exercise.check(without_offset).text
    assert "0xbf73f000" in exercise.check(always_there).text
    assert " at 0x" not in exercise.check(always_there).text
