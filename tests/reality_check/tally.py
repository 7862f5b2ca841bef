"""How many of a kind agreed, and what did not: the unit of account of `check`."""

from __future__ import annotations

from dataclasses import dataclass, field

_SHOWN = 5


@dataclass(slots=True)
class Tally:
    """Counts of one comparison. `problems` keeps the first few disagreements, in words."""

    name: str
    agree: int = 0
    total: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, agrees: bool, problem: str = "", count: int = 1) -> None:
        """`count` cases were compared; they agree or, as `problem` says, do not."""
        self.total += count
        if agrees:
            self.agree += count
        else:
            self.complain(problem)

    def complain(self, problem: str) -> None:
        if len(self.problems) < _SHOWN:
            self.problems.append(f"{self.name}: {problem}")

    @property
    def complete(self) -> bool:
        return self.agree == self.total

    def __str__(self) -> str:
        return f"{self.name} {self.agree}/{self.total}"
