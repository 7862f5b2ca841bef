"""Notes about software that breaks the rules, kept apart from what the hardware does about it.

Real hardware says nothing when software enables translation without a root table or edits a live entry and
forgets to invalidate. A teaching model may. With `unit.diagnose = True` a unit watches for the rules below
and keeps a `Note` for each breach; what it answers does not change. `RULES` is the list, with the reason for
each rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.walk.space import Space

RULES: dict[str, str] = {
    "TE without SRTP": "Set the root table pointer before every 0 to 1 transition of TE.",
    "IRE without SIRTP": "Set the interrupt table pointer before enabling interrupt remapping.",
    "several commands": (
        "Write one field of GCMD at a time and wait for its status bit; mask out the one-shot bits."
    ),
    "mode changed while on": "TTM may change with TES=1 only when ESRTPS=1.",
    "stale caches after SRTP": (
        "Without ESRTPS, invalidate context cache, PASID cache and IOTLB globally after SRTP."
    ),
    "queue enabled with a tail": "Set IQT to 0 before enabling the invalidation queue.",
    "queue disabled while busy": (
        "Disable the queue only when it is empty and the last descriptor was a wait."
    ),
    "register command with the queue on": "Use CCMD and IOTLB_REG only while the invalidation queue is off.",
    "stale answer": (
        "A live entry changed and nothing that covers it was invalidated: hardware uses the old one."
    ),
    "DID reuse": "One domain id names one page table; invalidate the domain before giving its id to another.",
    "DID 0 with caching mode": "With CM=1, DID 0 tags cached faults and may not name a domain.",
}


@dataclass(frozen=True, slots=True)
class Note:
    """One breach: the rule's name in `RULES` and what was seen."""

    rule: str
    seen: str

    def __repr__(self) -> str:
        return f"<Note {self.rule}: {self.seen}. {RULES[self.rule]}>"


class Diagnostics:
    """The watcher of one unit. Off until `enabled`; the unit serialises every call."""

    def __init__(self, from_memory: Callable[[Request], Translation | Fault], *, caching_mode: bool) -> None:
        self.from_memory = from_memory
        self.caching_mode = caching_mode
        self.enabled = False
        self.notes: list[Note] = []
        self._tables: dict[int, tuple[int, int]] = {}

    def note(self, rule: str, seen: str) -> None:
        assert rule in RULES, rule
        if self.enabled:
            self.notes.append(Note(rule, seen))

    def answered(self, answer: Translation | Fault) -> None:
        """An answer came from the IOTLB: is it still what memory says?"""
        if not self.enabled or not answer.cached:
            return
        fresh = self.from_memory(answer.request)
        if _gist(fresh) != _gist(answer):
            self.note("stale answer", f"{answer!r}, but memory says {fresh!r}")

    def space_used(self, space: Space) -> None:
        """A context or PASID entry led to a page table: is its domain id anyone else's?"""
        if not self.enabled:
            return
        if space.did == 0 and self.caching_mode:
            self.note("DID 0 with caching mode", f"{space.path} at {space.second_root:#x}")
        if space.path not in ("SS", "NEST"):
            return
        table = (space.second_root, space.second_levels)
        known = self._tables.setdefault(space.did, table)
        if known != table:
            self.note("DID reuse", f"DID {space.did} named the table at {known[0]:#x}, now {table[0]:#x}")
            self._tables[space.did] = table

    def domain_invalidated(self, did: int | None) -> None:
        """The IOTLB was invalidated for a domain, or (None) for all: its id is free to use again."""
        if did is None:
            self._tables.clear()
        else:
            self._tables.pop(did, None)


def _gist(answer: Translation | Fault) -> tuple[object, ...]:
    if isinstance(answer, Fault):
        return ("fault", answer.label)
    return (answer.address, answer.readable, answer.writable)
