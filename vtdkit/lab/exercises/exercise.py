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

A lesson's module also says `progress, seed = of_lesson(globals())`: `lesson.progress()` tells how many are
right, `lesson.seed(7)` gives all of them other numbers.

An answer is read as it was meant (`answers`). What is asked for may be a function: then `cases(seed)` gives
arguments, the student's function is called with each, and the first call that goes wrong is shown. Code that
runs in a driver is judged by `judge`. Everything is a function of the seed and of what was answered; what was
right is known as long as the kernel runs, and nobody is told.
"""

from __future__ import annotations

import builtins
import html
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Self

from . import student
from .answers import alike, difference, read, same

Hint = Callable[[int, Any], str | None]
CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Said:
    """Something said to a student, fit for a notebook cell: a word in front (`Right`, `Not yet`), a text,
    whether it was right; `code` if the text is source; `folded` what is shown on demand only, as text never.
    Words in backticks, but in source, are shown as code.
    """

    word: str
    text: str
    right: bool = False
    code: bool = False
    folded: str = ""

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        if self.code:
            return f"{self.word}:\n\n{self.text}"
        text = CODE.sub(r"'\1'", self.text)
        return f"{self.word}: {text}" if text else f"{self.word}."

    def _repr_html_(self) -> str:
        word, text, more = map(html.escape, (self.word, self.text, self.folded))
        if self.code:
            return f'<div role="status"><strong>{word}</strong>:<pre>{text}</pre></div>'
        more = f"<details><summary>Reveal</summary>{more}</details>" if more else ""
        said = f"<strong>{word}</strong>{': ' if text else '.'}{text}{more}"
        said = CODE.sub(r"<code>\1</code>", said).replace("\n", "<br>")
        return f'<div role="status">{said}</div>'


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

    State: `tries` counts wrong answers; `solved` has the seeds that were answered right, and is shared with
    `seeded` copies. It belongs to one notebook and needs no lock.
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
    solved: set[int] = field(default_factory=set, compare=False)

    def __repr__(self) -> str:
        return f"Exercise({self.name!r}, seed={self.seed})"

    def seeded(self, seed: int) -> Self:
        """The same exercise with the numbers of another seed, from the start."""
        return replace(self, seed=seed, tries=0)

    def show(self) -> Said:
        """The question. From now on annotations in a cell are not evaluated, just as in the files that code
        may be copied from.
        """
        if shell := getattr(builtins, "get_ipython", None):
            shell().compile.flags |= annotations.compiler_flag
        return Said(f"Exercise {self.name}", self.prompt(self.seed))

    def check(self, given: Any) -> Said:
        """Whether `given` is right; if not, what is wrong with it, as far as that can be told, and the next
        hint. What is no answer yet, or has a slip in it, costs none.
        """
        said = self._checked(given)
        if said:
            self.solved.add(self.seed)
        elif os.environ.get("NBGRADER_EXECUTION"):
            raise AssertionError(said.text)  # how nbgrader is told that a cell earns nothing
        return said

    def _checked(self, given: Any) -> Said:
        try:
            student.answered(given)
            self.judged(given)
        except student.WrongError as wrong:
            hints = self.hints if wrong.costs else ()
            hint = f"\nHint: {hints[min(self.tries, len(hints) - 1)]}" if hints else ""
            self.tries += wrong.costs
            return Said("Not yet", f"{wrong}{hint}")
        return Said("Right", "", right=True)

    def solution(self) -> Said:
        """The answer, checked as any answer is, and why it is that."""
        answer = self.answer(self.seed)
        verdict = self.seeded(self.seed)._checked(answer)
        if callable(answer):
            shown = textwrap.dedent(inspect.getsource(answer)).strip()
        elif isinstance(answer, Set) and self.form is repr:  # in one order, whatever the hashes are
            shown = f"{{{', '.join(sorted(map(self.form, answer)))}}}"
        else:
            shown = self.form(answer)
        text = "\n\n".join(filter(None, (shown, self.why, repr(verdict))))
        return Said("Solution", text, right=bool(verdict), code=callable(answer))

    def judged(self, given: Any) -> None:
        """Raise `WrongError` for an answer that is not right."""
        right = self.answer(self.seed)
        if self.cases is None:
            self._compare(given, right)
            return
        student.readable(given, right)
        given = student.with_names(given, right.__globals__)
        for arguments in self.cases(self.seed):
            call = f"{getattr(given, '__name__', 'your function')}({', '.join(map(self.form, arguments))}): "
            result = student.attempt(lambda _, a=arguments: given(*a), given, call)  # type: ignore[misc]
            if result is None:
                raise student.WrongError(f"{call}it returns nothing (None)")
            self._compare(result, right(*arguments), call)

    def _compare(self, given: Any, right: Any, call: str = "") -> None:
        meant = read(given, right, self.words(self.seed))
        if not same(meant, right):
            # a misconception is an answer of the right kind
            known = (mistake(self.seed, meant) for mistake in self.mistakes if alike(meant, right))
            raise student.WrongError(
                call + (next(filter(None, known), "") or difference(meant, right, self.form))
            )


def of_lesson(names: Mapping[str, Any]) -> tuple[Callable[[], Said], Callable[[int], None]]:
    """What a lesson's module offers for all its exercises, the names in it: `progress` and `seed`."""

    def exercises() -> list[Exercise]:
        return [each for each in names.values() if isinstance(each, Exercise)]

    def progress() -> Said:
        """How many exercises of this lesson are right, since the kernel was started."""
        count, left = len(exercises()), [each.name for each in exercises() if not each.solved]
        word = f"{count - len(left)} of {count} exercises right"
        return Said(word, f"still open: {', '.join(left)}" if left else "", right=not left)

    def seed(number: int) -> None:
        """Give every exercise of this lesson the numbers of this seed, from the start."""
        for each in exercises():
            each.seed, each.tries = number, 0

    return progress, seed
