"""Scalable mode: from a source id and a PASID, through root, context, PASID directory and PASID table.

Steps and labels are those of the scalable-mode fault conditions (SRT.*, SCT.*, SPD.*, SPT.*) of the VT-d
specification, rev 5.10. The context cache stands in front of root and context table, the PASID cache in front
of directory and table. A request that carries no PASID uses the context entry's RID_PASID.
"""

from __future__ import annotations

from vtdkit.vtd.tables.entries import (
    PASID_DIR_ENTRY,
    PASID_ENTRY,
    PGTT_NAMES,
    SM_CONTEXT_ENTRY,
    SM_ROOT_ENTRY,
)
from vtdkit.vtd.tables.layout import Entry

from . import first_stage as first
from .job import Job, Steps
from .rules import Rules
from .space import TOP, Space

_HALF = (1 << 64) - 1


def find(job: Job) -> Steps[Space]:
    """The page tables for the request, and what the PASID table entry says about them."""
    context_entry = yield from context(job)
    entry = yield from pasid_entry(job, context_entry)
    label = _caller_complaint(job, entry)
    if label:
        job.refuse(label)
    return space_of(job, entry, context_entry)


def context(job: Job) -> Steps[Entry]:
    """The context entry of the request's source id, checked, with the PASID to use left in `job.pasid`."""
    request = job.request
    if request.pasid is not None and request.pasid >> job.rules.caps.PSS:
        job.refuse("SGN.10")
    cached = job.caches and job.caches.context.find(request.sid)
    if cached:
        entry = cached.entry
        job.mark(SM_CONTEXT_ENTRY, 0, request.sid & 127, entry.raw, source="context cache")
    else:
        entry = yield from _read_context(job, request.sid)
    job.fpd = bool(entry.FPD)
    label = _context_complaint(job, entry)
    if job.caches and not cached and (not label or job.rules.caps.CM):
        job.caches.context.keep(request.sid, None, entry)
    label = label or _request_complaint(job, entry)
    if label:
        job.refuse(label)
    job.pasid = _rid_pasid(job, entry) if request.pasid is None else request.pasid
    if request.pasid is None:
        job.supervisor = _rid_priv(job, entry)
    job.remark("PASID directory at {:#x}, PASID {:#x}", entry.PASIDDIRPTR, job.pasid)
    return entry


def _read_context(job: Job, sid: int) -> Steps[Entry]:
    rules = job.rules
    raw = yield from job.read(SM_ROOT_ENTRY, job.unit.root_table + 16 * (sid >> 8), sid >> 8, "SRT.1")
    root = Entry(SM_ROOT_ENTRY, raw)
    upper = bool(sid & 0x80)
    if not (root.UP if upper else root.LP):
        job.refuse("SRT.2")
    checked = _HALF << 64 if upper else _HALF
    if raw & rules.sm_root & (checked if not rules.quirks.both_root_halves else -1):
        job.refuse("SRT.3")
    table = root.UCTP if upper else root.LCTP
    job.remark("context table of the {} half at {:#x}", "upper" if upper else "lower", table)
    raw = yield from job.read(SM_CONTEXT_ENTRY, table + 32 * (sid & 127), sid & 127, "SCT.1")
    return Entry(SM_CONTEXT_ENTRY, raw)


def _context_complaint(job: Job, entry: Entry) -> str:
    """What is wrong with the context entry, whoever asks."""
    if not entry.P:
        return "SCT.2"
    if entry.raw & job.rules.sm_context:
        return "SCT.3"
    if job.rules.quirks.context_features_unchecked:
        return ""
    if entry.PRE and not entry.DTE:
        return "SCT.4.1"
    if _rid_pasid(job, entry) >= _pasid_limit(entry):
        return "SCT.4.2"
    if entry.EPTR and not entry.PASIDE:
        return "SCT.4.3"
    return ""


def _request_complaint(job: Job, entry: Entry) -> str:
    """What the context entry does not allow this request to do."""
    request = job.request
    if request.at != "untranslated" and not entry.DTE:
        return "SCT.5"
    if request.pasid is not None and request.at != "translated" and not entry.PASIDE:
        return "SCT.6"
    if request.pasid is not None and request.pasid >= _pasid_limit(entry):
        return "SCT.7"
    if request.pasid is not None and request.pasid == _rid_pasid(job, entry):
        return "SCT.9"
    if request.at == "translated" and request.pasid is not None and not entry.EPTR:
        return "SCT.10"
    return ""


def _rid_pasid(job: Job, entry: Entry) -> int:
    used = job.rules.caps.RPS or job.rules.quirks.context_features_unchecked
    return entry.RID_PASID if used else 0


def _rid_priv(job: Job, entry: Entry) -> bool:
    return bool(entry.RID_PRIV) and not job.rules.quirks.context_features_unchecked


def _pasid_limit(entry: Entry) -> int:
    return 1 << entry.PDTS + 13


def pasid_entry(job: Job, context_entry: Entry) -> Steps[Entry]:
    """The PASID table entry for `job.pasid`, checked."""
    assert job.pasid is not None
    sid, pasid, rules = job.request.sid, job.pasid, job.rules
    cached = job.caches and job.caches.pasid.find(sid, pasid)
    if cached:
        entry, directory_fpd = cached.entry, cached.fpd
        job.mark(PASID_ENTRY, 0, pasid & 63, entry.raw, source="PASID cache")
    else:
        directory = yield from _directory(job, context_entry.PASIDDIRPTR, pasid)
        directory_fpd = bool(directory.FPD)
        slot = directory.SMPTBLPTR + 64 * (pasid & 63)
        raw = yield from job.read(PASID_ENTRY, slot, pasid & 63, "SPT.1")
        entry = Entry(PASID_ENTRY, raw)
    job.fpd |= directory_fpd or bool(entry.FPD)
    label = _entry_complaint(job, entry)
    if job.caches and not cached and (not label or rules.caps.CM):
        job.caches.pasid.keep(sid, pasid, 0 if label else entry.DID & rules.did_mask, entry, directory_fpd)
    if label:
        job.refuse(label)
    return entry


def _directory(job: Job, directory: int, pasid: int) -> Steps[Entry]:
    """The PASID directory entry, checked."""
    rules = job.rules
    raw = yield from job.read(PASID_DIR_ENTRY, directory + 8 * (pasid >> 6), pasid >> 6, "SPD.1")
    entry = Entry(PASID_DIR_ENTRY, raw)
    job.fpd |= bool(entry.FPD)
    if not entry.P:
        job.refuse("SPD.2")
    if entry.raw & rules.directory and not rules.quirks.pasid_reserved_ignored:
        job.refuse("SPD.3")
    job.remark("PASID table at {:#x}", entry.SMPTBLPTR)
    return entry


def _entry_complaint(job: Job, entry: Entry) -> str:
    """What is wrong with the PASID table entry, whoever asks."""
    quirks = job.rules.quirks
    if not entry.P and not quirks.type_before_present:
        return "SPT.2"
    if entry.raw & job.rules.pasid and not quirks.pasid_reserved_ignored:
        return "SPT.3"
    return _type_complaint(job, entry) or ("" if entry.P else "SPT.2")


def _type_complaint(job: Job, entry: Entry) -> str:
    """What the translation type of the entry asks for and this unit does not have."""
    rules, caps, path = job.rules, job.rules.caps, _path(job, entry)
    walked = path in ("SS", "NEST") or (path == "PT" and rules.quirks.pass_through_width_checked)
    if walked and not rules.width_supported(entry.AW):
        return "SPT.4.1"
    supported = {"FS": caps.FSTS, "SS": caps.SSTS, "NEST": caps.NEST, "PT": caps.PT}
    if not supported.get(path):
        return "SPT.4.2"
    if path in ("FS", "NEST") and (entry.FSPM > 1 or (entry.FSPM and not caps.FS5LP)):
        return "SPT.4.3"
    if path == "NEST" and rules.input_limit(entry.AW) <= entry.FSPTPTR:
        return "SPT.4.4"
    return ""


def _path(job: Job, entry: Entry) -> str:
    path = PGTT_NAMES.get(entry.PGTT, "")
    return "SS" if path in ("FS", "NEST") and job.rules.quirks.first_stage_unknown else path


def _caller_complaint(job: Job, entry: Entry) -> str:
    """What the PASID table entry does not allow this request to do."""
    if job.request.execute and not job.rules.caps.ERS:
        return "SPT.5"
    if job.supervisor and not entry.SRE:
        return "SPT.6"
    return ""


def space_of(job: Job, entry: Entry, context_entry: Entry) -> Space:
    """What a checked PASID table entry, with the context entry before it, says about its requests."""
    rules, caps = job.rules, job.rules.caps
    path = job.path = _path(job, entry)
    job.remark(_next(path, entry))
    return Space(
        path,
        legacy=False,
        did=entry.DID & rules.did_mask,
        tag=job.pasid,
        fpd=job.fpd,
        second_root=entry.SSPTPTR,
        second_levels=entry.AW + 2,
        second_limit=rules.input_limit(entry.AW),
        first_root=entry.FSPTPTR,
        first_levels=5 if entry.FSPM else 4,
        outside=_outside(rules, path, entry),
        sre=bool(entry.SRE),
        wpe=bool(entry.WPE),
        eafe=bool(entry.EAFE and caps.EAFS),
        ssade=bool(entry.SSADE and caps.SSADS and path in ("SS", "NEST")),
        snooped=bool(entry.PWSNP and caps.SMPWC),
        pgsnp=bool(entry.PGSNP),
        rid_priv=job.request.pasid is None and _rid_priv(job, context_entry),
        translations_allowed=bool(context_entry.DTE),
    )


def _outside(rules: Rules, path: str, entry: Entry) -> tuple[int, int, str]:
    """The input addresses that are refused before any table is looked at."""
    if path == "SS":
        return rules.input_limit(entry.AW), TOP, "SGN.5"
    if path == "PT":
        return rules.beyond_host("SGN.4.2")
    width = 57 if entry.FSPM else 48
    if rules.quirks.first_stage_width_from_aw:
        width = min(rules.caps.MGAW, 30 + 9 * entry.AW)
    return first.hole(width)


def _next(path: str, entry: Entry) -> str:
    first, second = f"first stage at {entry.FSPTPTR:#x}", f"second stage at {entry.SSPTPTR:#x}"
    return {"FS": first, "SS": second, "NEST": f"{first} inside {second}"}.get(path, "pass-through")
