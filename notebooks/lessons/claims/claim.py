"""A claim, the experiment that decides it, and the verdict.

A claim is something said in the thread, in our words. Its `experiment` runs the model and says whether the
claim holds there; its `counter` is the variant in which it comes out the other way, so that neither is an
experiment that could not have failed. A claim without an experiment says why there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What running said: does the claim hold, in figures, and was every order tried (or is there but one)?"""

    holds: bool
    evidence: str
    complete: bool = True

    @property
    def word(self) -> str:
        """In a word; what was not seen in a part of all orders was only not seen."""
        if self.holds:
            return "holds" if self.complete else "not seen to fail"
        return "does not hold"

    def __repr__(self) -> str:
        return f"{self.word}: {self.evidence}"


Experiment = Callable[[], Measured]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim with what running said of it; `counter` is what the variant said, if it was run; `on` is what
    was run, if that was not the claim's own experiment.
    """

    number: int
    who: str
    said: str
    word: str
    evidence: str
    lesson: str
    counter: Measured | None = None
    on: str = ""

    def __repr__(self) -> str:
        found = f"{self.word}: {self.evidence}" + (f" ({self.on})" if self.on else "")
        lines = [f"{self.number}. {self.who}: {self.said}", found]
        return "\n".join([*lines, f"otherwise: {self.counter!r}"] if self.counter else lines)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said in the thread.

    `number` is its place in the thread, `who` the author and the day, `lesson` the two digits of the lesson
    that shows it. Either `experiment` and `counter` are given, or `why` says why nothing is computed, and
    `opinion` whether that is because it is one (`beside` may then measure what can be measured).
    """

    number: int
    who: str
    said: str
    lesson: str
    experiment: Experiment | None = None
    counter: Experiment | None = None
    why: str = ""
    opinion: bool = False
    beside: Experiment | None = None

    def __post_init__(self) -> None:
        if (self.experiment is None) == (not self.why) or (self.experiment is None) != (self.counter is None):
            raise ValueError(
                f"claim {self.number} needs an experiment with its counter-experiment, or a reason why not"
            )

    def verdict(self, otherwise: bool = True) -> Verdict:
        """Run what decides the claim; `otherwise`: and its counter-experiment."""
        if self.experiment is None:
            word = "opinion" if self.opinion else "not decided here"
            beside = self.beside() if self.beside else None
            evidence = self.why + (f"; measured: {beside.evidence}" if beside else "")
            return self.judged(word, evidence)
        found = self.experiment()
        counter = self.counter() if self.counter and otherwise else None
        return self.judged(found.word, found.evidence, counter)

    def judged(self, word: str, evidence: str, counter: Measured | None = None, on: str = "") -> Verdict:
        """A verdict on this claim, from whatever was run (`on`)."""
        return Verdict(self.number, self.who, self.said, word, evidence, self.lesson, counter, on)

    def __repr__(self) -> str:
        return f"{self.number}. {self.who}: {self.said}"
