"""Legacy mode: from a source id, through the root and context tables, to a page table.

Steps and labels are those of the legacy-mode fault conditions (LRT.*, LCT.*) of the VT-d specification,
rev 5.10. The context cache stands in front of both tables.
"""

from __future__ import annotations

from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, ROOT_ENTRY
from vtdkit.vtd.tables.layout import Entry

from .job import Job, Space, Steps

_ANY_REQUEST, _PASS_THROUGH, _RESERVED = 1, 2, 3


def find(job: Job) -> Steps[Space]:
    """The page table of the request's source id, and what the context entry says about it."""
    sid = job.request.sid
    cached = job.caches and job.caches.context.find(sid)
    if cached:
        entry = cached.entry
        job.mark(CONTEXT_ENTRY, 0, sid & 255, entry.raw, source="context cache")
    else:
        entry = yield from _read(job, sid)
    job.fpd = bool(entry.FPD)
    label = _complaint(job, entry)
    if job.caches and not cached and (not label or job.rules.caps.CM):
        # With caching mode a faulting entry is cached as well, under domain id 0.
        job.caches.context.keep(sid, 0 if label else entry.DID & job.rules.did_mask, entry)
    if label:
        job.refuse(label)
    space = _space(job, entry)
    if job.request.at != "untranslated" and not space.translations_allowed:
        job.refuse("LCT.5")
    return space


def _read(job: Job, sid: int) -> Steps[Entry]:
    root = yield from job.read(ROOT_ENTRY, job.unit.root_table + 16 * (sid >> 8), sid >> 8, "LRT.1")
    if not root.P:
        job.refuse("LRT.2")
    if root.raw & job.rules.root:
        job.refuse("LRT.3")
    job.remark(f"context table at {root.CTP:#x}")
    entry = yield from job.read(CONTEXT_ENTRY, root.CTP + 16 * (sid & 255), sid & 255, "LCT.1")
    return entry


def _complaint(job: Job, entry: Entry) -> str:
    """The first condition that the context entry meets, if it meets one."""
    rules, caps, kind = job.rules, job.rules.caps, entry.TT
    if not entry.P:
        return "LCT.2"
    if entry.raw & rules.context:
        return "LCT.3"
    if kind == _RESERVED or (kind == _ANY_REQUEST and not caps.DT) or (kind == _PASS_THROUGH and not caps.PT):
        return "LCT.4.2"
    supported = rules.widest == entry.AW if kind == _PASS_THROUGH else rules.width_supported(entry.AW)
    return "" if supported else "LCT.4.1"


def _space(job: Job, entry: Entry) -> Space:
    job.path = "PT" if entry.TT == _PASS_THROUGH else "SS"
    levels = entry.AW + 2
    job.remark("pass-through" if job.path == "PT" else f"page table at {entry.SSPTPTR:#x}, {levels} levels")
    return Space(
        job.path,
        legacy=True,
        did=entry.DID & job.rules.did_mask,
        tag=None,
        fpd=job.fpd,
        second_root=entry.SSPTPTR,
        second_levels=levels,
        second_limit=job.rules.input_limit(entry.AW),
        translations_allowed=entry.TT == _ANY_REQUEST,
    )
