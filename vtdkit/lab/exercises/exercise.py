"""Exercises that check themselves.

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
    entry.solution()      # the answer, and why
    entry.seeded(7)       # the same exercise with other numbers: one for each student

An answer is read as it was meant (`answers`). What is asked for may be a function: then `cases(seed)` gives
arguments, the student's function is called with each, and the first call that goes wrong is shown. Code that
runs in a driver is judged by `judge`. Everything is a function of the seed and of what was answered; nothing
is stored and nobody is told.
"""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Self

from . import student
from .answers import difference, read, same

Hint = Callable[[int, Any], str | None]


@dataclass(frozen=True, slots=True)
class Said:
    """Something said to a student, fit for a notebook cell: a word in front (`Right`, `Not yet`), a text,
    whether it was right; `code` if the text is source.
    """

    word: str
    text: str
    right: bool = False
    code: bool = False

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        if self.code:
            return f"{self.word}:\n\n{self.text}"
        return f"{self.word}: {self.text}" if self.text else f"{self.word}."

    def _repr_html_(self) -> str:
        word = f"<strong>{html.escape(self.word)}</strong>"
        if self.code:
            return f'<div role="status">{word}:<pre>{html.escape(self.text)}</pre></div>'
        lines = html.escape(self.text).replace("\n", "<br>")
        return f'<div role="status">{word}{": " if lines else "."}{lines}</div>'


@dataclass(slots=True)
class Exercise:
    """One exercise.

    - `prompt(seed)` the question; `answer(seed)` what is right (a value, or with
      `cases` a reference function)
    - `cases(seed)` argument tuples to call the student's function with
    - `hints` given one after the other, one for each wrong answer
    - `mistakes` functions of (seed, answer) that know a usual misconception and say what it is, or None
    - `words(seed)` the words that an answer may be made of, so that a slip in spelling can be forgiven
    - `why` the explanation that the solution adds; `form` how values are printed (`hex`, for instance)

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
    words: Callable[[int], Sequence[str]] = lambda seed: ()
    seed: int = 0
    tries: int = field(default=0, compare=False)

    def __repr__(self) -> str:
        return f"Exercise({self.name!r}, seed={self.seed})"

    def seeded(self, seed: int) -> Self:
        """The same exercise with the numbers of another seed, from the start."""
        return replace(self, seed=seed, tries=0)

    def show(self) -> Said:
        """The question."""
        return Said(f"Exercise {self.name}", self.prompt(self.seed))

    def check(self, given: Any) -> Said:
        """Whether `given` is right; if not, what is wrong with it, as far as that can be told, and the next
        hint. What is no answer yet, or has a slip in it, costs none.
        """
        if student.unanswered(given):
            return Said("Not yet", student.NOT_WRITTEN if callable(given) else student.NO_ANSWER)
        problem, costs = self._judged(given)
        if problem is None:
            return Said("Right", "", right=True)
        return self.not_yet(problem) if costs else Said("Not yet", problem)

    def not_yet(self, problem: str) -> Said:
        """What is wrong with an answer, and the next hint."""
        hint = f"\nHint: {self.hints[min(self.tries, len(self.hints) - 1)]}" if self.hints else ""
        self.tries += 1
        return Said("Not yet", problem + hint)

    def solution(self) -> Said:
        """The answer, checked as any answer is, and why it is that."""
        answer = self.answer(self.seed)
        verdict = self.seeded(self.seed).check(answer)
        if callable(answer):
            shown = textwrap.dedent(inspect.getsource(answer)).strip()
        elif isinstance(answer, Set) and self.form is repr:  # in one order, whatever the hashes are
            shown = f"{{{', '.join(sorted(map(self.form, answer)))}}}"
        else:
            shown = self.form(answer)
        text = "\n\n".join(each for each in (shown, self.why, repr(verdict)) if each)
        return Said("Solution", text, right=bool(verdict), code=callable(answer))

    def _judged(self, given: Any) -> tuple[str | None, bool]:
        """What is wrong with an answer, None if nothing; and whether that costs a hint."""
        if self.cases is not None:
            return self._problem_of_calls(given, self.cases(self.seed))
        return self._problem(given, self.answer(self.seed)), True

    def _problem(self, given: Any, right: Any) -> str | None:
        meant = read(given, right, self.words(self.seed))
        if same(meant, right):
            return None
        for mistake in self.mistakes:
            if known := mistake(self.seed, meant):
                return known
        return difference(meant, right, self.form)

    def _problem_of_calls(self, given: Any, cases: Sequence[tuple[Any, ...]]) -> tuple[str | None, bool]:
        reference = self.answer(self.seed)
        if problem := student.wrong_kind(given, reference):
            return problem, False
        for arguments in cases:
            call = f"{getattr(given, '__name__', 'your function')}({', '.join(map(self.form, arguments))})"
            result, problem, costs = student.attempt(lambda _, a=arguments: given(*a), given)  # type: ignore[misc]
            if problem is None and result is None:
                problem, costs = "it returns nothing (None)", True
            if problem is None:
                problem, costs = self._problem(result, reference(*arguments)), True
            if problem:
                return f"{call}: {problem}", costs
        return None, False
