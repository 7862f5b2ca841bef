"""A walk as a record: every table entry on the way to an answer, and why it went on or stopped.

`unit.walk(request)` makes one. The record is complete in itself: figures and widgets are functions of it, and
its `repr` is the text form that a notebook cell shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.tables.layout import Structure

_LEVEL_NAMES = ("", "PTE", "PDE", "PDPE", "PML4E", "PML5E")


@dataclass(frozen=True, slots=True)
class Step:
    """One table entry. `level` is that of a page table, 0 for the tables before it; `index` that within the
    table.

    `source` is memory or the cache it came from (then `address` is 0); `inner` marks second-stage steps on
    behalf of a first-stage table. `label` names the condition that ended the walk here, if one did; `why`
    says in words why the walk went on or stopped.
    """

    structure: Structure
    address: int
    index: int
    raw: int
    level: int = 0
    source: str = "memory"
    inner: bool = False
    label: str = ""
    why: str = ""

    @property
    def kind(self) -> str:
        """What the table calls its entries: root entry, context entry, SS-PML4E, FS-PTE and so on."""
        stage = self.structure.name[:3]
        return stage + _LEVEL_NAMES[self.level] if self.level else self.structure.name

    def __repr__(self) -> str:
        place = f"{self.address:#014x}[{self.index}]" if self.source == "memory" else self.source
        width = self.structure.width
        raw = f"{self.raw:0{max(16, width // 4)}x}" if width <= 128 else f"{self.raw & (1 << 64) - 1:016x}…"
        end = f"  {self.label}: {self.why}" if self.label else f"  {self.why}"
        return f"{'  ' if self.inner else ''}{self.kind:<28} {place:<22} {raw}{end}"


@dataclass(frozen=True, slots=True)
class Walk:
    """All steps of one request, in order, and the answer they led to."""

    request: Request
    steps: tuple[Step, ...]
    answer: Translation | Fault

    def __repr__(self) -> str:
        return "\n".join([repr(self.request), *map(repr, self.steps), repr(self.answer)])
