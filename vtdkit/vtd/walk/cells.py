"""What the walk would make of a page-table entry, without walking: one *cell* an entry.

A cell says for one kind of request whether the entry refuses and with which condition, or what it grants and
whether a page or a table comes next. Nothing is decided here: `decode` and `objection` of the two stages are
asked, so whoever follows cells (`many` with arrays, the page-table explorer in a browser) follows the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from vtdkit.vtd.requests import READ, WRITE

from . import first_stage as first
from . import second_stage as second
from .job import Job
from .rules import ENTRY_ADDRESS, Rules
from .space import ALL, Reading, Space

Decoder = Callable[[Rules, int, int], Reading]
DECODERS: dict[str, Decoder] = {"first": first.decode, "second": second.decode}


class Cell(NamedTuple):
    """One entry for one kind of request: `label` refuses ("" goes on), `rights` are READ and WRITE granted.

    `nothing` is the label where the entries above leave none of these rights.
    """

    label: str
    nothing: str
    leaf: bool
    rights: int


@dataclass(frozen=True)
class Second:
    """Cells of second-stage tables that are asked `ask`."""

    job: Job
    space: Space
    ask: second.Ask

    @property
    def unreadable(self) -> tuple[str, str]:
        """The conditions of a table that cannot be read: the topmost, and any other."""
        return self.ask.sites.root, self.ask.sites.lower

    def cell(self, level: int, raw: int, *, updatable: bool = True) -> Cell:
        said = leaf, rights, _, _ = second.decode(self.job.rules, level, raw)
        label, nothing = (
            second.objection(self.job, self.space, self.ask, level, raw, said, before)
            for before in (READ | WRITE, (READ | WRITE) & ~rights)
        )
        return Cell(label, nothing, leaf, rights)

    def indifferent(self, level: int, *, sized: bool) -> int:
        """The bits of an entry that make no difference to its cell, if PS (bit 7) is as `sized` says."""
        rules = self.job.rules
        return ENTRY_ADDRESS & ~(rules.second_leaf if sized else rules.second_table)[level]


@dataclass(frozen=True)
class First:
    """Cells of first-stage tables. `updatable`: the second stage lets the entry be written."""

    job: Job
    space: Space
    unreadable: tuple[str, str] = (first.ROOT, first.LOWER)

    def cell(self, level: int, raw: int, *, updatable: bool = True) -> Cell:
        said = leaf, rights, _, _ = first.decode(self.job.rules, level, raw)
        label = first.objection(self.job, self.space, level, raw, said, ALL, updatable=updatable)
        may = first.granted(self.space, rights, supervisor=self.job.supervisor)
        return Cell(label, label, leaf, may)

    def indifferent(self, level: int, *, sized: bool) -> int:
        """The bits of an entry that make no difference to its cell, if PS (bit 7) is as `sized` says."""
        rules, address = self.job.rules, ENTRY_ADDRESS
        if self.space.path == "NEST":  # a guest address must be within the second stage's width
            address &= self.space.second_limit - 1
        return address & ~(rules.first_leaf if sized else rules.first_table)[level]


Judge = First | Second
