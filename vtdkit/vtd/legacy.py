"""Legacy mode: from a source id, through the root and context tables, to a page table.

Steps and labels are those of the legacy-mode fault conditions (LRT.*, LCT.*) of the VT-d specification, rev
5.10. The context cache stands in front of both tables.
"""

from __future__ import annotations

from .job import Job, Space, Steps
from .rules import PAGE_MASK
from .tables import CONTEXT_ENTRY, ROOT_ENTRY

_FPD = 2


def find(job: Job) -> Steps[Space]:
    """The page table of the request's source id, and what the context entry says about it."""
    sid = job.request.sid
    cached = job.caches and job.caches.context.find(sid)
    if cached:
        words = cached.words
        job.mark(CONTEXT_ENTRY, 0, sid & 255, words[0] | words[1] << 64, source="context cache")
    else:
        words = yield from _read(job, sid)
    job.fpd = bool(words[0] & _FPD)
    space = _check(job, words, fresh=not cached)
    if job.caches and not cached:
        job.caches.context.keep(sid, space.did, words)
    if job.request.at != "untranslated" and not space.translations_allowed:
        job.refuse("LCT.5")
    return space


def _read(job: Job, sid: int) -> Steps[tuple[int, ...]]:
    rules = job.rules
    low, high = yield from job.read(ROOT_ENTRY, job.unit.root_table + 16 * (sid >> 8), sid >> 8, "LRT.1")
    if not low & 1:
        job.refuse("LRT.2")
    if low & rules.root[0] or high & rules.root[1]:
        job.refuse("LRT.3")
    table = low & PAGE_MASK
    job.remark(f"context table at {table:#x}")
    words = yield from job.read(CONTEXT_ENTRY, table + 16 * (sid & 255), sid & 255, "LCT.1")
    return words


def _check(job: Job, words: tuple[int, ...], *, fresh: bool) -> Space:
    """The conditions of the context entry, in order. With caching mode a faulting entry is cached as well."""
    label = _complaint(job, words)
    if label:
        if fresh and job.caches and job.rules.caps.CM:
            job.caches.context.keep(job.request.sid, 0, words)
        job.refuse(label)
    low, high = words
    aw = high & 7
    path = "PT" if low >> 2 & 3 == 2 else "SS"
    job.path = path
    job.remark("pass-through" if path == "PT" else f"page table at {low & PAGE_MASK:#x}, {aw + 2} levels")
    return Space(
        path,
        legacy=True,
        did=high >> 8 & job.rules.did_mask,
        tag=None,
        fpd=job.fpd,
        second_root=low & PAGE_MASK,
        second_levels=aw + 2,
        second_limit=job.rules.input_limit(aw),
        translations_allowed=low >> 2 & 3 == 1,
    )


def _complaint(job: Job, words: tuple[int, ...]) -> str:
    low, high = words
    rules, caps = job.rules, job.rules.caps
    if not low & 1:
        return "LCT.2"
    if low & rules.context[0] or high & rules.context[1]:
        return "LCT.3"
    translation_type, aw = low >> 2 & 3, high & 7
    if (
        translation_type == 3
        or (translation_type == 1 and not caps.DT)
        or (translation_type == 2 and not caps.PT)
    ):
        return "LCT.4.2"
    if aw != rules.widest if translation_type == 2 else not rules.width_supported(aw):
        return "LCT.4.1"
    return ""
