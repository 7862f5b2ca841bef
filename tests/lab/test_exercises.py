"""Exercises and predictions: what is said to a student, word for word."""

from __future__ import annotations

import builtins
import codeop
import inspect
import textwrap
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons import lesson00, lesson07, lesson15
from vtdkit.lab.exercises.exercise import Exercise, Said, of_lesson
from vtdkit.lab.exercises.prediction import Prediction, predict


def entry(**changes: Any) -> Exercise:
    fields: dict[str, Any] = {
        "name": "entry",
        "prompt": lambda seed: f"Which entry maps {0x5000 + seed * 0x1000:#x}?",
        "answer": lambda seed: 5 + seed,
        "hints": ["nine bits", "start at bit 12"],
        "mistakes": [lambda seed, value: "that is the address, not the index" if value > 511 else None],
        "why": "Bits 12 to 20.",
        "form": hex,
    }
    return Exercise(**{**fields, **changes})


def test_a_question_its_hints_its_answer() -> None:
    exercise = entry()
    assert repr(exercise) == "Exercise('entry', seed=0)"
    assert repr(exercise.show()) == "Exercise entry: Which entry maps 0x5000?"
    assert repr(exercise.check(4)) == "Not yet: 0x4 is too small\nHint: nine bits"
    assert repr(exercise.check(9)) == "Not yet: 0x9 is too large\nHint: start at bit 12"
    assert (
        repr(exercise.check(0x5000)) == "Not yet: that is the address, not the index\nHint: start at bit 12"
    )
    assert repr(exercise.check(5)) == "Right."
    assert bool(exercise.check(5))
    assert not exercise.check(6)
    assert repr(exercise.solution()) == "Solution: 0x5\n\nBits 12 to 20.\n\nRight."


def test_another_seed_is_another_exercise_from_the_start() -> None:
    exercise = entry()
    exercise.check(0)
    other = exercise.seeded(7)
    assert (other.tries, exercise.tries) == (0, 1)
    assert repr(other.show()) == "Exercise entry: Which entry maps 0xc000?"
    assert other.check(12)
    assert not other.check(5)


@pytest.mark.parametrize(
    ("right", "given_answer", "said"),
    [
        (5, None, "there is no answer yet"),
        (5, ..., "there is no answer yet"),
        (5, "five", "the answer is a number; this is a str"),
        (5, True, "the answer is a number; this is a bool"),
        (True, 1, "the answer is True or False; this is an int"),
        (True, False, "it is not False"),
        ({1, 2}, {2, 3, 4}, "1 missing, 2 too many"),
        ([1, 2, 3], [1, 2], "2 items; there should be 3"),
        ([1, 2, 3], [1, 5, 3], "item 1 is not 5"),
        ("CPU 1", "CPU 0", "it is not 'CPU 0'"),
        ("CPU 1", 1, "the answer is a str; this is an int"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong_with_it(right: Any, given_answer: Any, said: str) -> None:
    exercise = entry(answer=lambda seed: right, hints=(), mistakes=(), form=repr)
    assert repr(exercise.check(given_answer)) == f"Not yet: {said}"
    assert exercise.check(right)


def test_an_answer_may_be_a_function_and_the_first_wrong_call_is_shown() -> None:
    def reference(iova: int) -> int:
        return iova >> 12

    exercise = entry(
        answer=lambda seed: reference, cases=lambda seed: [(0x1000,), (0x2000 + seed,)], hints=()
    )

    def page_of(iova: int) -> int:
        raise NotImplementedError

    assert repr(exercise.check(page_of)) == "Not yet: the function is not written yet"
    assert repr(exercise.check(lambda iova: 1)) == "Not yet: <lambda>(0x2000): 0x1 is too small"
    assert repr(exercise.check(lambda iova: 1 // 0)).startswith(
        "Not yet: <lambda>(0x1000): line 1 of your function"
    )
    assert repr(exercise.check(7)) == "Not yet: the answer is the function reference"
    assert exercise.check(reference)
    assert repr(exercise.solution()).splitlines() == [
        "Solution:",
        "",
        "def reference(iova: int) -> int:",
        "    return iova >> 12",
        "",
        "Bits 12 to 20.",
        "",
        "Right.",
    ]


@settings(deadline=None, max_examples=50)
@given(
    st.one_of(st.integers(), st.floats(-1e9, 1e9), st.text(), st.lists(st.integers()), st.sets(st.integers()))
)
def test_the_right_answer_is_right_whatever_it_is(answer: Any) -> None:
    assert entry(answer=lambda seed: answer, mistakes=()).check(answer)


@settings(deadline=None, max_examples=50)
@given(st.integers(), st.integers())
def test_only_the_right_number_is_right(answer: int, given_answer: int) -> None:
    assert bool(entry(answer=lambda seed: answer, mistakes=()).check(given_answer)) == (
        answer == given_answer
    )


def test_floats_are_compared_with_room_for_rounding() -> None:
    exercise = entry(answer=lambda seed: 0.3, mistakes=(), form=repr)
    assert exercise.check(0.1 + 0.2)
    assert not exercise.check(0.31)


def test_a_prediction_is_kept_and_compared() -> None:
    asked = predict("How many CPUs wait?", 1, unit="CPUs")
    assert repr(asked) == "How many CPUs wait? Your guess: 1 CPUs"
    assert (
        repr(asked.check(3, "One holds the lock."))
        == "Surprise: you said 1 CPUs, it is 3 CPUs.\nOne holds the lock."
    )
    assert repr(asked.check(1)) == "As predicted: it is 1 CPUs."
    unanswered = predict("Up or down?", options=["up", "down"])
    assert repr(unanswered) == "Up or down? (up / down) (no guess yet)"
    assert repr(unanswered.check("up")).startswith("No guess yet: being wrong is how")
    with pytest.raises(ValueError, match="'left' is none of the options: 'up', 'down'"):
        predict("Up or down?", "left", options=["up", "down"])


def test_html_is_escaped() -> None:
    assert Said("<b>", "<script>x</script>\n&")._repr_html_() == (
        '<div role="status"><strong>&lt;b&gt;</strong>: &lt;script&gt;x&lt;/script&gt;<br>&amp;</div>'
    )
    assert "<script>" not in Prediction("<script>", "<script>")._repr_html_()
    assert "<script>" not in predict("?", 1).check("<script>")._repr_html_()


def test_a_lesson_tells_how_many_are_right_and_gives_all_other_numbers() -> None:
    first, second = entry(name="first"), entry(name="second")
    progress, seed = of_lesson({"FIRST": first, "SECOND": second, "other": 3})
    assert repr(progress()) == "0 of 2 exercises right: still open: first, second"
    first.solution()
    assert repr(progress()).startswith("0 of 2"), "to look is not to answer"
    seed(4)
    assert first.check(9)
    assert not second.check(5)
    assert repr(progress()) == "1 of 2 exercises right: still open: second"
    assert second.seeded(7).check(12), "a copy counts for the same exercise"
    assert repr(progress()) == "2 of 2 exercises right."
    assert progress()


@pytest.mark.parametrize("exercise", [lesson00.BE_THE_HARDWARE, lesson07.BUSY_AGAIN, lesson15.TAKE_IT_OUT])
def test_code_of_a_patch_runs_in_a_cell_as_it_was_copied(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotations and constants are named there that no notebook imports."""
    shell = SimpleNamespace(compile=codeop.Compile())
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    mine = exercise.seeded(0)
    mine.show()
    ours = mine.answer(0)
    space: dict[str, Any] = {}
    exec(shell.compile(textwrap.dedent(inspect.getsource(ours)), "<cell>", "exec"), space)
    assert mine.check(space[ours.__name__])


def test_words_in_backticks_are_shown_as_code() -> None:
    said = Said("Not yet", "write `a < b`, not `a`", folded="`f()`")
    assert repr(said) == "Not yet: write 'a < b', not 'a'"
    shown = said._repr_html_()
    assert "write <code>a &lt; b</code>, not <code>a</code>" in shown
    assert "<code>f()</code></details>" in shown
    assert (
        "<pre>&quot;&quot;&quot;`f`&quot;&quot;&quot;</pre>"
        in Said("Solution", '"""`f`"""', code=True)._repr_html_()
    )


@pytest.mark.parametrize("number", range(21))
def test_no_exercise_shows_a_backtick(number: int) -> None:
    lesson = import_module(f"lessons.lesson{number:02d}")
    for exercise in (each for each in vars(lesson).values() if isinstance(each, Exercise)):
        source = callable(exercise.answer(0))  # which may have them
        for text in (exercise.prompt(0), exercise.why, *exercise.hints):
            said = Said("", text)
            assert "`" not in repr(said) + said._repr_html_(), (exercise.name, text)
            assert not (source and text == exercise.why and "`" in text), exercise.name
