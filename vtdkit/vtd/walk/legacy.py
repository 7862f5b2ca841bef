"""Legacy mode: from a source id, through the root and context tables, to a page table.

Steps and labels are those of the legacy-mode fault conditions (LRT.*, LCT.*) of the VT-d specification,
rev 5.10. The context cache stands in front of both tables. What an entry means depends on nothing but its
bits and the unit's rules, so it is worked out once for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, ROOT_ENTRY
from vtdkit.vtd.tables.layout import Entry

from .job import Access, Job, Steps
from .rules import Rules
from .space import TOP, Space

_ANY_REQUEST, _PASS_THROUGH, _RESERVED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a context entry says: where its requests go, or the condition that refuses them all."""

    fpd: bool
    did: int
    label: str
    space: Space | None


def find(job: Job) -> Steps[Space]:
    """The page table of the request's source id, and what the context entry says about it."""
    sid = job.request.sid
    cached = job.caches and job.caches.context.find(sid)
    if cached:
        raw = cached.entry.raw
        job.mark(CONTEXT_ENTRY, 0, sid & 255, raw, source="context cache")
    else:
        raw = yield from _read(job, sid)
    meaning = context(job.rules, raw)
    job.fpd = meaning.fpd
    if job.caches and not cached and (not meaning.label or job.rules.caps.CM):
        # With caching mode a faulting entry is cached as well, under domain id 0.
        job.caches.context.keep(sid, 0 if meaning.label else meaning.did, Entry(CONTEXT_ENTRY, raw))
    space = meaning.space
    if space is None:
        job.refuse(meaning.label)
    job.path = space.path
    if space.path == "PT":
        job.remark("pass-through")
    elif job.trace is not None:
        job.remark("page table at {:#x}, {} levels", space.second_root, space.second_levels)
    if job.request.at != "untranslated" and not space.translations_allowed:
        job.refuse("LCT.5")
    return space


def _read(job: Job, sid: int) -> Steps[int]:
    """The context entry, by way of the root entry of its bus. Each is one access."""
    at = job.unit.root_table + 16 * (sid >> 8)
    if job.stepped:
        yield Access(ROOT_ENTRY.name, at)
    root = job.load(ROOT_ENTRY, at, 0, sid >> 8, "LRT.1")
    label, table = _root(job.rules, root)
    if job.trace is not None:
        job.mark(ROOT_ENTRY, at, sid >> 8, root)
        job.remark("context table at {:#x}", table)
    if label:
        job.refuse(label)
    at = table + 16 * (sid & 255)
    if job.stepped:
        yield Access(CONTEXT_ENTRY.name, at)
    raw = job.load(CONTEXT_ENTRY, at, 0, sid & 255, "LCT.1")
    job.mark(CONTEXT_ENTRY, at, sid & 255, raw)
    return raw


@lru_cache(maxsize=1024)
def _root(rules: Rules, raw: int) -> tuple[str, int]:
    """What is wrong with a root entry, and the context table it leads to."""
    entry = Entry(ROOT_ENTRY, raw)
    if not entry.P:
        return "LRT.2", 0
    return ("LRT.3" if raw & rules.root else ""), entry.CTP


@lru_cache(maxsize=4096)
def context(rules: Rules, raw: int) -> Meaning:
    """What a context entry says."""
    entry = Entry(CONTEXT_ENTRY, raw)
    label, fpd, did = _complaint(rules, entry), bool(entry.FPD), entry.DID & rules.did_mask
    return Meaning(fpd, did, label, None if label else _space(rules, entry))


def _complaint(rules: Rules, entry: Entry) -> str:
    """The first condition that the context entry meets, if it meets one."""
    caps, kind = rules.caps, entry.TT
    if not entry.P:
        return "LCT.2"
    if entry.raw & rules.context:
        return "LCT.3"
    if kind == _RESERVED or (kind == _ANY_REQUEST and not caps.DT) or (kind == _PASS_THROUGH and not caps.PT):
        return "LCT.4.2"
    # A pass-through entry must name the widest tables there are, although none are walked.
    only_widest = kind == _PASS_THROUGH and not rules.quirks.pass_through_unchecked
    supported = rules.widest == entry.AW if only_widest else rules.width_supported(entry.AW)
    return "" if supported else "LCT.4.1"


def _space(rules: Rules, entry: Entry) -> Space:
    limit = rules.input_limit(entry.AW)
    through = entry.TT == _PASS_THROUGH
    return Space(
        "PT" if through else "SS",
        legacy=True,
        did=entry.DID & rules.did_mask,
        tag=None,
        fpd=bool(entry.FPD),
        second_root=entry.SSPTPTR,
        second_levels=entry.AW + 2,
        second_limit=limit,
        outside=rules.beyond_host("LGN.1.3") if through else (limit, TOP, "LGN.1.1"),
        translations_allowed=entry.TT == _ANY_REQUEST,
    )
