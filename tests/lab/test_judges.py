"""The judges' own quality: a reference solution with one thing wrong is refused.

Each solution is changed by program (`mutants`). Every change must be refused, or stand in `tests/lab/judged`
with the reason why it is right. An exercise of a lesson takes part as soon as it has scenes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pkgutil import iter_modules
from typing import Any

import pytest

import lessons
from vtdkit.lab.exercises import student
from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.lab.exercises.judge import CodeExercise

from .mutants import mutants

LESSONS = sorted(name[-2:] for _, name, _ in iter_modules(lessons.__path__) if name.startswith("lesson"))
LEAST, LEAST_OF_ALL = 12, 350  # mutants of one exercise, and of all


def exercises() -> Iterator[tuple[str, str, Exercise]]:
    """Lesson, name, exercise, for each whose answer is code."""
    for number in LESSONS:
        lesson = importlib.import_module(f"lessons.lesson{number}")
        for name, found in vars(lesson).items():
            code = isinstance(found, CodeExercise) and (found.scenes or found.races)
            if code or (isinstance(found, Exercise) and found.cases):
                yield number, name, found


ALL = {f"{number} {name}": (number, name, found) for number, name, found in exercises()}


def right(number: str, name: str) -> dict[str, str]:
    """The changes that are right all the same, and why."""
    told: dict[str, dict[str, str]] = importlib.import_module(f"tests.lab.judged.lesson{number}").RIGHT
    return told[name]


def changed(which: str) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """The mutants of an exercise that must be refused, and those that are right."""
    number, name, exercise = ALL[which]
    known = right(number, name)
    found = list(mutants(exercise.answer(0)))
    stale = set(known) - {what for what, _ in found}
    assert not stale, f"no such change any more: {sorted(stale)}"
    wrong = [each for each in found if each[0] not in known]
    return wrong, [each for each in found if each[0] in known]


@pytest.mark.parametrize("which", ALL)
def test_a_solution_with_one_thing_wrong_is_refused(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(student, "PATIENCE", 1.0)
    exercise = ALL[which][2].seeded(0)
    assert exercise.check(exercise.answer(0)), "the solution itself"
    wrong, known = changed(which)
    assert len(wrong) >= LEAST
    accepted = [what for what, mutant in wrong if exercise.check(mutant)]
    assert not accepted, f"accepted although wrong, or right for a reason that is not told: {accepted}"
    refused = [what for what, mutant in known if not exercise.check(mutant)]
    assert not refused, f"refused although right for the reason that is told: {refused}"


def test_there_are_enough_of_them() -> None:
    assert sum(len(changed(which)[0]) for which in ALL) >= LEAST_OF_ALL


@pytest.mark.parametrize("which", ALL)
def test_hints_give_a_student_no_name_that_fools_the_judge(which: str) -> None:
    """What a student names a thing is not what it is recognised by: §2."""
    import ast

    exercise = ALL[which][2].seeded(0)
    ours = exercise.answer(0)
    renamed = [each for each in _renamed(ours, ast) if each is not None]
    for function in renamed:
        assert exercise.check(function), "other names for things, and nothing else"


def _renamed(function: Any, ast: Any) -> Iterator[Any]:
    """The same function with other names of local variables."""
    import inspect
    import textwrap

    from .mutants import compiled

    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    arguments = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    local = {
        each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    } - arguments
    for each in ast.walk(tree):
        if isinstance(each, ast.Name) and each.id in local:
            each.id = f"my_{each.id}"
    yield compiled(ast.unparse(tree), function) if local else None
