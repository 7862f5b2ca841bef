"""Questions that are answered before a run.

    question = predict("How long does the unmap wait?", guess, options=["not at all", "most of the dump"])
    ...
    question.check("most of the dump", "One lock serves all domains.")

A guess is read as a person types it: `6`, `"6"`, `"3,000 ns"`, `3_000`, in any case. Without one, the answer
is folded away behind "Reveal": whoever wants to guess first still can, also in the saved notebook.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .answers import number, read, same, same_word
from .exercise import Said

#: ns in each unit that a guess may be written in
TIMES = {"ns": 1, "\u00b5s": 1_000, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Folded(Said):
    """Something said that is shown only on demand; as text, only that it is there."""

    def __repr__(self) -> str:
        return f'{self.word}: write a guess into the cell above and run both again, or unfold "Reveal".'

    def _repr_html_(self) -> str:
        lines = html.escape(self.text).replace("\n", "<br>")
        return (
            f'<div role="status"><strong>{html.escape(self.word)}</strong>: being wrong is how it sticks, so '
            "write a guess into the cell above and run both again."
            f"<details><summary>Reveal</summary>{lines}</details></div>"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question answered before a run; `check` it with what the run showed."""

    question: str
    guess: Any
    unit: str = ""
    options: tuple[Any, ...] = ()

    @property
    def guessed(self) -> bool:
        """Is there a guess?"""
        return not (self.guess is None or self.guess is ... or self.guess == "")

    def __repr__(self) -> str:
        said = f"Your guess: {self._with_unit(self.guess)}" if self.guessed else "(no guess yet)"
        return f"{self.question} {said}"

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}</div>"

    def check(self, actual: Any, why: str = "") -> Said:
        """Compare the guess with what came out; `why` is told either way: a lucky guess explains nothing.

        Without a guess both are folded away.
        """
        came = f"it is {self._with_unit(actual)}"
        tail = f"\n{why}" if why else ""
        if not self.guessed:
            return Folded("No guess yet", f"{came[0].upper()}{came[1:]}.{tail}")
        guess = self._read(actual)
        if same(guess, actual):
            return Said("As predicted", f"{came}.{tail}", right=True)
        return Said("Surprise", f"you said {self._with_unit(self.guess)}, {came}.{tail}")

    def _read(self, actual: Any) -> Any:
        """The guess, in the form of what came out."""
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            options = [option for option in self.options if isinstance(option, str)]
            return read(self.guess, actual, options)
        if isinstance(self.guess, str):
            return _in_unit(self.guess, self.unit)
        return read(self.guess, actual)

    def _with_unit(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,} {self.unit}".strip()
        text = str(value)
        return text if text[-1:].isalpha() else f"{text} {self.unit}".strip()


def _in_unit(guess: str, unit: str) -> Any:
    """A guess with a unit of time behind it, in the unit of the question."""
    value = number(guess)
    if value is None:
        return guess
    mine = guess.strip().lstrip("+-0123456789_,. ").casefold().replace("\u03bc", "\u00b5")
    if unit in TIMES and mine in TIMES:
        return value * TIMES[mine] / TIMES[unit]
    return value


def predict(question: str, guess: Any = None, *, options: Sequence[Any] = (), unit: str = "") -> Prediction:
    """Ask before a run. Raises `ValueError` if `options` are given and the guess is none of them."""
    if options and not (guess is None or guess is ... or guess == ""):
        guess = _chosen(guess, options)
    choice = f" ({' / '.join(map(str, options))})" if options else ""
    return Prediction(question + choice, guess, unit, tuple(options))


def _chosen(guess: Any, options: Sequence[Any]) -> Any:
    """The option that is meant: by its words, in any case, or a number written as text."""
    for option in options:
        words = isinstance(guess, str) and same_word(guess) == same_word(str(option))
        if words or (type(guess) is type(option) and guess == option):
            return option
    for option in options:
        if (
            isinstance(option, int | float)
            and not isinstance(option, bool)
            and same(read(guess, option), option)
        ):
            return option
        if (
            isinstance(option, str)
            and isinstance(guess, str)
            and read(guess, option, [*map(str, options)]) == option
        ):
            return option
    raise ValueError(f"{guess!r} is none of the options: {', '.join(map(repr, options))}")
