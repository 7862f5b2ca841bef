"""What a checker found: a value that can be printed, asserted on, and replayed.

`kind` is the first line of the kernel's own report of such a thing ("possible circular locking dependency
detected", "BUG: KASAN: use-after-free", ...), so that a reader can search for it. A finding is reported once
per kind, object and pair of places; `count` in `Findings` says how often it came up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from vtdkit.kernel.record.sites import Site


class KernelBug(Exception):
    """The simulated kernel hit something it does not survive (a BUG_ON, a wild pointer, a
    task that never ends).
    """


class Oops(KernelBug):
    """A context followed a pointer to nothing; Linux would kill it ("unable to handle page fault")."""


class Deadlock(KernelBug):
    """Nothing can go on any more, and something still waits."""


@dataclass(frozen=True, slots=True, repr=False)
class Finding:
    """One defect. `where` names the lock, page or object; `sites` the places involved, the present one first.

    Two are equal if kind, object and places are: who was there, and when, may differ.
    """

    kind: str
    where: str
    sites: tuple[Site, ...]
    contexts: tuple[str, ...] = field(default=(), compare=False)
    held: tuple[str, ...] = field(default=(), compare=False)
    stack: tuple[Site, ...] = field(default=(), compare=False)
    text: str = field(default="", compare=False)
    time: int = field(default=0, compare=False)
    replay: str = field(default="", compare=False)

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions of the places involved, in order, each once."""
        return tuple(dict.fromkeys(site.function for site in self.sites))

    def __repr__(self) -> str:
        return f"{self.kind}: {self.where} [{', '.join(self.functions)}]"

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.where}", *(f"  at {site}" for site in self.sites)]
        details = (
            ("in ", ", then ".join(self.contexts)),
            ("holding ", ", ".join(self.held)),
            ("", self.text.replace("\n", "\n  ")),
            ("replay: ", self.replay),
        )
        return "\n".join([*lines, *(f"  {word}{what}" for word, what in details if what)])


class Findings:
    """The findings of one machine, in order of first appearance. Behaves as a sequence of `Finding`."""

    def __init__(self) -> None:
        self._count: Counter[Finding] = Counter()  # of equal ones it keeps the first

    def add(self, finding: Finding) -> bool:
        """Add one; True if it is new."""
        self._count[finding] += 1
        return self._count[finding] == 1

    def count(self, finding: Finding) -> int:
        """How often this finding came up."""
        return self._count[finding]

    def of(self, kind: str) -> list[Finding]:
        """Those whose kind contains `kind`."""
        return [finding for finding in self if kind in finding.kind]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._count)

    def __len__(self) -> int:
        return len(self._count)

    def __getitem__(self, index: int) -> Finding:
        return list(self._count)[index]

    def __repr__(self) -> str:
        return "\n".join(f"{times} x {found!r}" for found, times in self._count.items()) or "no findings"
