"""Questions that are answered before a run.

    question = predict("How long does the unmap wait?", guess, options=["not at all", "most of the dump"])
    ...
    question.check("most of the dump", "One lock serves all domains.")

A guess is read as a person types it: `6`, `"6"`, `"3,000 ns"`, `3_000`, in any case. Without one, the answer
is folded away behind "Reveal": whoever wants to guess first still can, also in the saved notebook.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .answers import read, same
from .exercise import Said

#: ns in each unit that a guess may be written in
TIMES = {"ns": 1, "\u00b5s": 1_000, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}

MOST_SHOWN = 80  # characters of a guess


FIRST = "being wrong is how it sticks: guess first, in the cell above (then run both again) or on paper."


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question answered before a run; `check` it with what the run showed."""

    question: str
    guess: Any
    unit: str = ""
    options: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        said = f"Your guess: {self._with_unit(self.guess)}" if _is_guess(self.guess) else "(no guess yet)"
        return f"{self.question} {said}"

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}</div>"

    def check(self, actual: Any, why: str = "") -> Said:
        """Compare the guess with what came out; `why` is told either way: a lucky guess explains nothing.

        Without a guess both are folded away.
        """
        mine, theirs = self._with_unit(self.guess), self._with_unit(actual)
        came = f"it is {theirs}.\n{why}".strip()
        if not _is_guess(self.guess):
            return Said("No guess yet", FIRST, folded=came[0].upper() + came[1:])
        if mine == theirs or same(self._read(actual), actual):
            return Said("As predicted", came, right=True)
        return Said("Surprise", f"you said {mine}, {came}")

    def _read(self, actual: Any) -> Any:
        """The guess, in the form of what came out; a time in the unit of the question."""
        value = read(self.guess, actual, [each for each in self.options if isinstance(each, str)])
        if isinstance(self.guess, str) and isinstance(value, int | float) and self.unit in TIMES:
            text = self.guess.casefold().replace("\u03bc", "\u00b5")
            found = re.search(r"\d[.\s]*([a-z\u00b5]+)[\s.?!]*$", text)
            return value * TIMES.get(found[1] if found else "", TIMES[self.unit]) / TIMES[self.unit]
        return value

    def _with_unit(self, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,} {self.unit}".strip()
        text = str(value)
        text = text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
        return text if text[-1:].isalpha() else f"{text} {self.unit}".strip()


def _is_guess(guess: Any) -> bool:
    return not (guess is None or guess is ... or (isinstance(guess, str) and not guess.strip(" ?")))


def predict(question: str, guess: Any = None, *, options: Sequence[Any] = (), unit: str = "") -> Prediction:
    """Ask before a run. Raises `ValueError` if `options` are given and the guess is none of them."""
    if options and _is_guess(guess):
        guess = _chosen(guess, options)
    choice = f" ({' / '.join(map(str, options))})" if options else ""
    return Prediction(question + choice, guess, unit, tuple(options))


def _chosen(guess: Any, options: Sequence[Any]) -> Any:
    """The option that is meant: by its words, in any case, or a number written as text."""
    words = [option for option in options if isinstance(option, str)]
    for option in options:
        if same(read(guess, option, words), option):
            return option
    raise ValueError(f"{guess!r} is none of the options: {', '.join(map(repr, options))}")
