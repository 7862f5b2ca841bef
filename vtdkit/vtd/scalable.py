"""Scalable mode: from a source id and a PASID, through root, context, PASID directory and PASID table.

Steps and labels are those of the scalable-mode fault conditions (SRT.*, SCT.*, SPD.*, SPT.*) of the VT-d
specification, rev 5.10. The context cache stands in front of root and context table, the PASID cache in front
of directory and table. A request that carries no PASID uses the context entry's RID_PASID.
"""

from __future__ import annotations

from .job import Job, Space, Steps
from .rules import PAGE_MASK
from .tables import PASID_DIR_ENTRY, PASID_ENTRY, PGTT_NAMES, SM_CONTEXT_ENTRY, SM_ROOT_ENTRY

_P, _FPD, _DTE, _PASIDE, _PRE, _HPTE, _EPTR = (1 << i for i in range(7))
_RID_PRIV = 1 << 20


def context(job: Job) -> Steps[tuple[int, ...]]:
    """The context entry of the request's source id, checked, with the PASID to use left in `job.pasid`."""
    request = job.request
    if request.pasid is not None and request.pasid >> job.rules.caps.PSS:
        job.refuse("SGN.10")
    cached = job.caches and job.caches.context.find(request.sid)
    if cached:
        words = cached.words
        job.mark(SM_CONTEXT_ENTRY, 0, request.sid & 127, _join(words), source="context cache")
    else:
        words = yield from _read_context(job, request.sid)
    job.fpd = bool(words[0] & _FPD)
    label = _context_complaint(job, words)
    if job.caches and not cached and (not label or job.rules.caps.CM):
        job.caches.context.keep(request.sid, None, words)
    label = label or _request_complaint(job, words)
    if label:
        job.refuse(label)
    job.pasid = _rid_pasid(job, words) if request.pasid is None else request.pasid
    if request.pasid is None:
        job.supervisor = _rid_priv(job, words)
    job.remark(f"PASID directory at {words[0] & PAGE_MASK:#x}, PASID {job.pasid:#x}")
    return words


def _read_context(job: Job, sid: int) -> Steps[tuple[int, ...]]:
    rules = job.rules
    words = yield from job.read(SM_ROOT_ENTRY, job.unit.root_table + 16 * (sid >> 8), sid >> 8, "SRT.1")
    half = sid >> 7 & 1
    if not words[half] & _P:
        job.refuse("SRT.2")
    if words[half] & rules.sm_root[half] or (
        rules.quirks.both_root_halves and words[1 - half] & rules.sm_root[1 - half]
    ):
        job.refuse("SRT.3")
    table = words[half] & PAGE_MASK
    job.remark(f"context table of the {'upper' if half else 'lower'} half at {table:#x}")
    entry = yield from job.read(SM_CONTEXT_ENTRY, table + 32 * (sid & 127), sid & 127, "SCT.1")
    return entry


def _context_complaint(job: Job, words: tuple[int, ...]) -> str:
    """What is wrong with the context entry, whoever asks."""
    if not words[0] & _P:
        return "SCT.2"
    if any(word & mask for word, mask in zip(words, job.rules.sm_context, strict=True)):
        return "SCT.3"
    if job.rules.quirks.context_features_unchecked:
        return ""
    if words[0] & _PRE and not words[0] & _DTE:
        return "SCT.4.1"
    if _rid_pasid(job, words) >= _pasid_limit(words):
        return "SCT.4.2"
    if words[0] & _EPTR and not words[0] & _PASIDE:
        return "SCT.4.3"
    return ""


def _request_complaint(job: Job, words: tuple[int, ...]) -> str:
    """What the context entry does not allow this request to do."""
    request, flags = job.request, words[0]
    if request.at != "untranslated" and not flags & _DTE:
        return "SCT.5"
    if request.pasid is not None and request.at != "translated" and not flags & _PASIDE:
        return "SCT.6"
    if request.pasid is not None and request.pasid >= _pasid_limit(words):
        return "SCT.7"
    if job.page_request and not flags & _PRE:
        return "SCT.8"
    if request.pasid is not None and request.pasid == _rid_pasid(job, words):
        return "SCT.9"
    if request.at == "translated" and request.pasid is not None and not flags & _EPTR:
        return "SCT.10"
    return ""


def _rid_pasid(job: Job, words: tuple[int, ...]) -> int:
    quirks = job.rules.quirks
    supported = job.rules.caps.RPS or quirks.context_features_unchecked
    return words[1] & 0xF_FFFF if supported else 0


def _rid_priv(job: Job, words: tuple[int, ...]) -> bool:
    return bool(words[1] & _RID_PRIV) and not job.rules.quirks.context_features_unchecked


def _pasid_limit(words: tuple[int, ...]) -> int:
    return 1 << (words[0] >> 9 & 7) + 13


def uses_permission_table(words: tuple[int, ...]) -> bool:
    return bool(words[0] & _HPTE)


def find(job: Job) -> Steps[Space]:
    """The page tables for the request, and what the PASID table entry says about them."""
    context_words = yield from context(job)
    words = yield from pasid_words(job, context_words)
    label = _caller_complaint(job, words)
    if label:
        job.refuse(label)
    return space_of(job, words, context_words)


def pasid_words(job: Job, context_words: tuple[int, ...]) -> Steps[tuple[int, ...]]:
    """The PASID table entry for `job.pasid`, checked."""
    assert job.pasid is not None
    sid, pasid = job.request.sid, job.pasid
    cached = job.caches and job.caches.pasid.find(sid, pasid)
    if cached:
        words, directory_fpd = cached.words, cached.fpd
        job.mark(PASID_ENTRY, 0, pasid & 63, _join(words), source="PASID cache")
    else:
        table, directory_fpd = yield from _directory(job, context_words[0] & PAGE_MASK, pasid)
        words = yield from job.read(PASID_ENTRY, table + 64 * (pasid & 63), pasid & 63, "SPT.1")
    job.fpd |= directory_fpd or bool(words[0] & _FPD)
    label = _entry_complaint(job, words)
    if job.caches and not cached and (not label or job.rules.caps.CM):
        job.caches.pasid.keep(sid, pasid, 0 if label else words[1] & job.rules.did_mask, words, directory_fpd)
    if label:
        job.refuse(label)
    return words


def _directory(job: Job, directory: int, pasid: int) -> Steps[tuple[int, bool]]:
    """The address of the PASID table, and the FPD bit of the directory entry that led there."""
    rules, quirks = job.rules, job.rules.quirks
    (entry,) = yield from job.read(PASID_DIR_ENTRY, directory + 8 * (pasid >> 6), pasid >> 6, "SPD.1")
    fpd = bool(entry & _FPD)
    job.fpd |= fpd
    if not entry & _P:
        job.refuse("SPD.2")
    if entry & rules.directory[0] and not quirks.pasid_reserved_ignored:
        job.refuse("SPD.3")
    job.remark(f"PASID table at {entry & PAGE_MASK:#x}")
    return entry & PAGE_MASK, fpd


def _entry_complaint(job: Job, words: tuple[int, ...]) -> str:
    """What is wrong with the PASID table entry, whoever asks."""
    rules, quirks = job.rules, job.rules.quirks
    present = bool(words[0] & _P)
    if not present and not quirks.type_before_present:
        return "SPT.2"
    if not quirks.pasid_reserved_ignored and any(w & m for w, m in zip(words, rules.pasid, strict=True)):
        return "SPT.3"
    return _type_complaint(job, words) or ("" if present else "SPT.2")


def _type_complaint(job: Job, words: tuple[int, ...]) -> str:
    """What the translation type of the entry asks for and this unit does not have."""
    rules, caps, path = job.rules, job.rules.caps, _path(job, words)
    aw, depth = words[0] >> 2 & 7, words[2] >> 2 & 3
    if path in ("SS", "NEST") and not rules.width_supported(aw):
        return "SPT.4.1"
    supported = {"FS": caps.FSTS, "SS": caps.SSTS, "NEST": caps.NEST, "PT": caps.PT}
    if not supported.get(path):
        return "SPT.4.2"
    if path in ("FS", "NEST") and (depth > 1 or (depth == 1 and not caps.FS5LP)):
        return "SPT.4.3"
    if path == "NEST" and words[2] & PAGE_MASK >= rules.input_limit(aw):
        return "SPT.4.4"
    return ""


def _path(job: Job, words: tuple[int, ...]) -> str:
    path = PGTT_NAMES.get(words[0] >> 6 & 7, "")
    return "SS" if path in ("FS", "NEST") and job.rules.quirks.first_stage_unknown else path


def _caller_complaint(job: Job, words: tuple[int, ...]) -> str:
    """What the PASID table entry does not allow this request to do."""
    if job.request.at == "translated":
        return ""
    if job.request.execute and not job.rules.caps.ERS:
        return "SPT.5"
    if job.supervisor and not words[2] & 1:
        return "SPT.6"
    return ""


def space_of(job: Job, words: tuple[int, ...], context_words: tuple[int, ...]) -> Space:
    rules = job.rules
    path, aw = _path(job, words), words[0] >> 2 & 7
    job.path = path
    job.remark(_next(path, words))
    return Space(
        path,
        legacy=False,
        did=words[1] & rules.did_mask,
        tag=job.pasid,
        fpd=job.fpd,
        second_root=words[0] & PAGE_MASK,
        second_levels=aw + 2,
        second_limit=rules.input_limit(aw),
        first_root=words[2] & PAGE_MASK,
        first_levels=5 if words[2] >> 2 & 3 else 4,
        sre=bool(words[2] & 1),
        wpe=bool(words[2] & 16),
        eafe=bool(words[2] & 128 and rules.caps.EAFS),
        ssade=bool(words[0] & 1 << 9 and path in ("SS", "NEST") and rules.caps.SSADS),
        snooped=bool(words[1] & 1 << 23 and rules.caps.SMPWC),
        pgsnp=bool(words[1] & 1 << 24),
        rid_priv=_rid_priv(job, context_words),
        translations_allowed=bool(context_words[0] & _DTE),
    )


def _next(path: str, words: tuple[int, ...]) -> str:
    first, second = f"first stage at {words[2] & PAGE_MASK:#x}", f"second stage at {words[0] & PAGE_MASK:#x}"
    return {"FS": first, "SS": second, "NEST": f"{first} inside {second}"}.get(path, "pass-through")


def _join(words: tuple[int, ...]) -> int:
    return sum(word << 64 * i for i, word in enumerate(words))
