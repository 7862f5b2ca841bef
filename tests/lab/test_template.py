"""The lesson's scene and exercises: what the notebook shows comes out, and wrong answers are refused."""

from __future__ import annotations

import pytest

from lessons import template as lesson


@pytest.mark.parametrize("seed", range(3))
def test_the_exercise_takes_the_right_entry_and_no_other(seed: int) -> None:
    exercise = lesson.ENTRY.seeded(seed)
    right = lesson.iova(seed) >> 12 & 511
    assert exercise.check(right)
    assert not exercise.check(right + 1)
    assert not exercise.check(lesson.iova(seed))
