"""Exercises that check themselves, and questions to answer before a run.

A lesson's module makes `Exercise` objects and the notebook imports them, so that an answer is not written
where it is asked for:

    entry = Exercise(
        "entry",
        lambda seed: f"Which entry maps {iova(seed):#x}?",
        lambda seed: iova(seed) >> 12 & 511,
        hints=["Nine bits ..."],
    )

    entry.show()          # the question
    entry.check(17)       # right, or what is wrong with it; each wrong answer brings the next hint
    entry.reveal()        # the answer, and why
    entry.seeded(7)       # the same exercise with other numbers: one for each student

What is asked for may be a function: then `cases(seed)` gives arguments, the student's function is called
with each, and the first
call that goes wrong is shown. Everything is a function of the seed and of what was answered; nothing is
stored and nobody is told.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

Hint = Callable[[int, Any], str | None]


@dataclass(frozen=True, slots=True)
class Said:
    """Something said to a student, fit for a notebook cell: a word in front (`Right`, `Not yet`), a text,
    whether it was right.
    """

    word: str
    text: str
    right: bool = False

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.word}: {self.text}" if self.text else f"{self.word}."

    def _repr_html_(self) -> str:
        lines = html.escape(self.text).replace("\n", "<br>")
        return f'<div role="status"><strong>{html.escape(self.word)}</strong>{": " if lines else "."}{lines}</div>'


@dataclass(slots=True)
class Exercise:
    """One exercise.

    - `prompt(seed)` the question; `answer(seed)` what is right (a value, or with
      `cases` a reference function)
    - `cases(seed)` argument tuples to call the student's function with
    - `hints` given one after the other, one for each wrong answer
    - `mistakes` functions of (seed, answer) that know a usual misconception and say what it is, or None
    - `why` the explanation that `reveal` adds; `form` how values are printed (`hex`, for instance)

    `tries` counts wrong answers; it is the only state, belongs to one notebook and needs no lock.
    """

    name: str
    prompt: Callable[[int], str]
    answer: Callable[[int], Any]
    hints: Sequence[str] = ()
    mistakes: Sequence[Hint] = ()
    cases: Callable[[int], Sequence[tuple[Any, ...]]] | None = None
    why: str = ""
    form: Callable[[Any], str] = repr
    seed: int = 0
    tries: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return f"Exercise({self.name!r}, seed={self.seed})"

    def seeded(self, seed: int) -> Exercise:
        """The same exercise with the numbers of another seed, from the start."""
        return replace(self, seed=seed, tries=0)

    def show(self) -> Said:
        """The question."""
        return Said(f"Exercise {self.name}", self.prompt(self.seed))

    def check(self, given: Any) -> Said:
        """Whether `given` is right; if not, what is wrong with it, as far as that can be told,
        and the next hint.
        """
        problem = (
            self._problem_of_calls(given) if self.cases else self._problem(given, self.answer(self.seed))
        )
        if problem is None:
            return Said("Right", "", right=True)
        hint = f"\nHint: {self.hints[min(self.tries, len(self.hints) - 1)]}" if self.hints else ""
        self.tries += 1
        return Said("Not yet", problem + hint)

    def reveal(self) -> Said:
        """The answer, and why it is that."""
        answer = self.answer(self.seed)
        shown = inspect.getsource(answer).strip() if callable(answer) else self.form(answer)
        return Said("Answer", f"{shown}\n{self.why}" if self.why else shown)

    def _problem(self, given: Any, right: Any) -> str | None:
        if given is None or given is ...:
            return "there is no answer yet"
        if _same(given, right):
            return None
        for mistake in self.mistakes:
            if known := mistake(self.seed, given):
                return known
        return _difference(given, right, self.form)

    def _problem_of_calls(self, given: Any) -> str | None:
        if not callable(given):
            return f"the answer is a function; this is {_kind(given)}"
        reference = self.answer(self.seed)
        for arguments in self.cases(self.seed) if self.cases else ():
            call = f"{getattr(given, '__name__', 'your function')}({', '.join(map(self.form, arguments))})"
            try:
                result = given(*arguments)
            except NotImplementedError:
                return "the function is not written yet"
            except Exception as error:  # whatever a student's function raises is an answer too
                return f"{call} raises {type(error).__name__}: {error}"
            if problem := self._problem(result, reference(*arguments)):
                return f"{call}: {problem}"
        return None


def _same(given: Any, right: Any) -> bool:
    if isinstance(right, bool) or isinstance(given, bool):
        return given is right
    if isinstance(right, float) and isinstance(given, int | float):
        return abs(given - right) <= 1e-6 * max(1.0, abs(right))
    return bool(given == right)


def _difference(given: Any, right: Any, form: Callable[[Any], str]) -> str:
    """What is wrong with an answer, without giving the right one away where the kind or the size of
    it already says something.
    """
    if isinstance(right, int | float) and not isinstance(right, bool):
        if isinstance(given, bool) or not isinstance(given, int | float):
            return f"the answer is a number; this is {_kind(given)}"
        return f"{form(given)} is too {'large' if given > right else 'small'}"
    if isinstance(right, Set) and isinstance(given, Set):
        parts = [(len(right - given), "missing"), (len(given - right), "too many")]
        return ", ".join(f"{count} {what}" for count, what in parts if count)
    if isinstance(right, list | tuple) and isinstance(given, list | tuple):
        if len(given) != len(right):
            return f"{len(given)} items; there should be {len(right)}"
        place = next(
            (n for n, (mine, theirs) in enumerate(zip(given, right, strict=True)) if not _same(mine, theirs)),
            None,
        )
        if place is not None:
            return f"item {place} is not {form(given[place])}"
    if type(given) is not type(right):
        return f"the answer is {_kind(right)}; this is {_kind(given)}"
    return f"it is not {form(given)}"


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question answered before a run; `check` it with what the run showed."""

    question: str
    guess: Any
    unit: str = ""

    def __repr__(self) -> str:
        return (
            f"{self.question} "
            f"{'(no guess yet)' if self.guess is None else f'Your guess: {self._with_unit(self.guess)}'}"
        )

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}</div>"

    def check(self, actual: Any, why: str = "") -> Said:
        """Compare the guess with what came out; `why` is told either way, since a
        lucky guess explains nothing.
        """
        came = f"it is {self._with_unit(actual)}"
        tail = f"\n{why}" if why else ""
        if self.guess is None:
            return Said(
                "No guess",
                f"{came}. Next time write guess=... before you run: being wrong is how it sticks.{tail}",
            )
        if _same(self.guess, actual):
            return Said("As predicted", came + "." + tail, right=True)
        return Said("Surprise", f"you said {self._with_unit(self.guess)}, {came}.{tail}")

    def _with_unit(self, value: Any) -> str:
        return f"{value} {self.unit}".strip()


def predict(question: str, guess: Any = None, *, options: Sequence[Any] = (), unit: str = "") -> Prediction:
    """Ask before a run. Raises `ValueError` if `options` are given and the guess is none of them."""
    if options and guess is not None and guess not in options:
        raise ValueError(f"{guess!r} is none of the options: {', '.join(map(repr, options))}")
    choice = f" ({' / '.join(map(str, options))})" if options else ""
    return Prediction(question + choice, guess, unit)
