"""What the walk makes of each table entry, for the browser: shapes, shared by all entries alike.

A shape says where an entry leads, how it is drawn, and for each *ask* why it refuses or what it grants. An
ask is a way into the tables and a kind of access ("now read"), or under nesting the first stage asking for
one of its tables ("now root", "now table"; "fixed": the second stage does not let the entry be written). It
all comes from `vtdkit.vtd.walk.stage.cell`; `pagewalk.js` combines and knows no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from vtdkit.vtd.caches.caches import IotlbTag, StructureTag
from vtdkit.vtd.image.survey import DECODERS
from vtdkit.vtd.memory import WORD
from vtdkit.vtd.requests import Kind, Request
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk import second_stage as second
from vtdkit.vtd.walk.first_stage import First
from vtdkit.vtd.walk.job import Job, Refused
from vtdkit.vtd.walk.rules import ENTRY_ADDRESS, PAGES
from vtdkit.vtd.walk.second_stage import Second
from vtdkit.vtd.walk.space import Space
from vtdkit.vtd.walk.stage import cell

KINDS: tuple[Kind, ...] = ("read", "write")
LOOKS = ("", "read", "write", "both")
T = TypeVar("T")


def equal_runs(items: Iterable[T]) -> list[tuple[int, int, T]]:
    """Neighbours that are alike: number of the first, how many, and what they are."""
    found, index = list[tuple[int, int, T]](), 0
    for item, run in groupby(items):
        found.append((index, sum(1 for _ in run), item))
        index += found[-1][1]
    return found


def numbered(known: list[T], item: T) -> int:
    """The number of an item among those that are known; a new one becomes the last."""
    if item not in known:
        known.append(item)
    return known.index(item)


class Shapes:
    """The shapes of one record, numbered as they turn up. `spaces`: by the name of the way to them."""

    def __init__(self, unit: RemappingUnit, request: Request, spaces: dict[str, Space]) -> None:
        self.unit, self.request = unit, request
        self.asks: dict[str, dict[str, tuple[First | Second, bool]]] = {"first": {}, "second": {}}
        for name, space in spaces.items():
            for kind in KINDS:
                self._add(name, space, kind)
        self.made: list[dict[str, Any]] = []
        self._known: dict[tuple[str, int, int], int] = {}

    def job(self, space: Space, kind: Kind) -> Job:
        """A request of that kind, as far as its space."""
        made = Job(self.unit, replace(self.request, kind=kind), None, commit=False, trace=None)
        made.path, made.supervisor = space.path, self.request.pasid is None and space.rid_priv
        return made

    def _add(self, name: str, space: Space, kind: Kind) -> None:
        job = self.job(space, kind)
        if space.path in ("FS", "NEST"):
            self.asks["first"][f"{name} {kind}"] = First(job, space), True
        if space.path in ("SS", "NEST"):
            self.asks["second"][f"{name} {kind}"] = second.asked(job, space), True
        if space.path == "NEST":
            self.asks["first"][f"{name} {kind} fixed"] = First(job, space), False
            for root, place in ((True, "root"), (False, "table")):
                self.asks["second"][f"{name} {place}"] = second.asked_for_table(job, space, root=root), True

    def unreadable(self) -> dict[str, dict[str, tuple[str, str]]]:
        """For each stage and ask, the conditions of a table that cannot be read: topmost, and any other."""
        return {
            stage: {ask: judge.sites[:2] for ask, (judge, _) in asks.items()}
            for stage, asks in self.asks.items()
        }

    def number(self, stage: str, level: int, raw: int) -> int:
        """The shape of an entry."""
        asks, alike = self.asks[stage], raw
        if raw != WORD:
            for judge, _ in asks.values():
                alike &= ~judge.indifferent(level, sized=bool(raw & 0x80))
        key = stage, level, alike
        if key not in self._known:
            self._known[key] = numbered(self.made, self._shape(stage, level, raw))
        return self._known[key]

    def _shape(self, stage: str, level: int, raw: int) -> dict[str, Any]:
        leaf, rights, reserved, _ = DECODERS[stage](self.unit.rules, level, raw)
        look = "wrong" if rights and reserved else LOOKS[rights & 3] if leaf or not rights else "table"
        cells = {
            ask: cell(judge, level, raw, updatable=updatable)
            for ask, (judge, updatable) in self.asks[stage].items()
        }
        return {
            "leaf": leaf,
            "to": f"{PAGES[level] if leaf else ENTRY_ADDRESS:#x}",
            "look": look,
            "says": {ask: [each.label, each.nothing, each.rights] for ask, each in cells.items()},
        }

    def runs(self, stage: str, level: int, words: Sequence[int | None]) -> list[tuple[int, int, int]]:
        """The shapes of a whole table as [first index, count, number]."""
        return equal_runs(self.number(stage, level, raw or 0) for raw in words)

    def structure(self, stage: str, tag: StructureTag, space: Space) -> dict[str, Any]:
        """What a remembered upper entry grants, and for which ask it is not enough."""
        judges = {ask: judge for ask, (judge, _) in self.asks[stage].items()}
        granted = [judge.granted(tag.allowed) for judge in judges.values() if judge.space == space]
        return {
            "refuse": {ask: judge.permitted(tag.allowed) for ask, judge in judges.items()},
            "rights": [tag.allowed, *granted][-1],
        }

    def remembered(self, tag: IotlbTag) -> dict[str, Any]:
        """What an IOTLB entry grants, why it refuses, and whether a write goes by the tables all the same
        because the dirty flag is still to be set (`marks`).
        """
        refuse: dict[str, str] = {}
        for kind in KINDS:
            job = self.job(tag.space, kind)
            refuse[kind] = tag.refusal or ("SPT.6" if job.supervisor and not tag.space.sre else "")
            try:
                if not refuse[kind]:
                    engine.insist(job, tag.space, tag.leaf)
            except Refused as refusal:
                refuse[kind] = refusal.label
        return {
            "refuse": refuse,
            "rights": engine.granted(job, tag.space, tag.leaf),
            "marks": engine.needs_dirty(job, tag),
        }
