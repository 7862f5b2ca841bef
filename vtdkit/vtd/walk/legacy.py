"""Legacy mode: from a source id, through the root and context tables, to a page table (VT-d, rev 5.10, 3.4).

      source id 15       8 7        0
               | bus      | devfn    |   the bus picks one of 256 root entries,
                                         devfn one of the 256 context entries of that bus

Steps and labels are those of the legacy-mode fault conditions (LRT.*, LCT.*). The context cache stands in
front of both tables. What an entry means depends on nothing but its bits and the unit's rules, so it is
worked out once for each.
"""

from __future__ import annotations

from functools import lru_cache

from vtdkit.vtd.caches.caches import TableTag
from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, ROOT_ENTRY
from vtdkit.vtd.tables.layout import Entry

from .job import Access, Job, Steps
from .rules import Rules, first_met
from .space import TOP, Space

_ANY_REQUEST, _PASS_THROUGH, _RESERVED = 1, 2, 3


def find(job: Job) -> Steps[Space]:
    """The page table of the request's source id, and what the context entry says about it."""
    sid = job.request.sid
    cached = job.caches and job.caches.context.use(sid)
    if cached:
        raw = cached.entry.raw
        job.mark(CONTEXT_ENTRY, 0, sid & 255, raw, source="context cache")
    else:
        raw = yield from _read(job, sid)
    label, space = context(job.rules, raw)
    job.fpd = space.fpd
    if job.caches and not cached and (not label or job.rules.caps.CM):
        # With caching mode a faulting entry is cached as well, under domain id 0 (chapter 6).
        job.caches.context.put(sid, TableTag(0 if label else space.did, Entry(CONTEXT_ENTRY, raw)))
    job.insist(label)
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
    job.insist(label)
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
    return first_met(("LRT.2", not entry.P), ("LRT.3", raw & rules.reserved[ROOT_ENTRY])), entry.CTP


@lru_cache(maxsize=4096)
def context(rules: Rules, raw: int) -> tuple[str, Space]:
    """What a context entry says: the condition that refuses all its requests, and where they go else."""
    entry, caps = Entry(CONTEXT_ENTRY, raw), rules.caps
    through, limit = entry.TT == _PASS_THROUGH, rules.input_limit(entry.AW)
    lacking = (entry.TT == _ANY_REQUEST and not caps.DT) or (through and not caps.PT)
    # A pass-through entry must name the widest tables there are, although none are walked.
    only_widest = through and not rules.quirks.pass_through_unchecked
    supported = rules.widest == entry.AW if only_widest else rules.width_supported(entry.AW)
    label = first_met(
        ("LCT.2", not entry.P),
        ("LCT.3", raw & rules.reserved[CONTEXT_ENTRY]),
        ("LCT.4.2", entry.TT == _RESERVED or lacking),
        ("LCT.4.1", not supported),
    )
    space = Space(
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
    return label, space
