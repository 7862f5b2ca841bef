"""Scalable mode: from a source id and a PASID, through root, context, PASID directory and PASID table (VT-d,
rev 5.10, 3.4).

      source id 15       8  7  6     0          PASID 19             6 5        0
               | bus      |half| devfn|               | directory index | table   |

The bus picks a root entry, whose two halves each lead to a context table for 128 devfns. Steps and labels are
those of the scalable-mode fault conditions (SRT.*, SCT.*, SPD.*, SPT.*). The context cache stands in front of
root and context table, the PASID cache in front of directory and table. A request that carries no PASID uses
the context entry's RID_PASID.
"""

from __future__ import annotations

from vtdkit.vtd.caches.caches import TableTag
from vtdkit.vtd.requests import Request
from vtdkit.vtd.tables.entries import (
    PASID_DIR_ENTRY,
    PASID_ENTRY,
    PGTT_NAMES,
    SM_CONTEXT_ENTRY,
    SM_ROOT_ENTRY,
)
from vtdkit.vtd.tables.layout import Entry

from .job import Job, Steps
from .rules import Rules, first_met
from .space import TOP, Space

_HALF = (1 << 64) - 1


def find(job: Job) -> Steps[Space]:
    """The page tables for the request, and what the PASID table entry says about them."""
    context_entry = yield from context(job)
    entry = yield from pasid_entry(job, context_entry)
    job.insist(
        first_met(
            ("SPT.5", job.request.execute and not job.rules.caps.ERS),
            ("SPT.6", job.supervisor and not entry.SRE),
        )
    )
    return space_of(job, entry, context_entry)


def context(job: Job) -> Steps[Entry]:
    """The context entry of the request's source id, checked, with the PASID to use left in `job.pasid`."""
    request, rules = job.request, job.rules
    if request.pasid is not None and request.pasid >> rules.caps.PSS:
        job.refuse("SGN.10")
    cached = job.caches and job.caches.context.use(request.sid)
    if cached:
        entry = cached.entry
        job.mark(SM_CONTEXT_ENTRY, 0, request.sid & 127, entry.raw, source="context cache")
    else:
        entry = yield from _read_context(job, request.sid)
    job.fpd = bool(entry.FPD)
    label = _context_complaint(rules, entry)
    if job.caches and not cached and (not label or rules.caps.CM):
        job.caches.context.put(request.sid, TableTag(None, entry))
    job.insist(label or _request_complaint(rules, entry, request))
    if request.pasid is None:
        job.pasid, job.supervisor = _rid_pasid(rules, entry), _rid_priv(rules, entry)
    job.remark("PASID directory at {:#x}, PASID {:#x}", entry.PASIDDIRPTR, job.pasid)
    return entry


def _read_context(job: Job, sid: int) -> Steps[Entry]:
    rules, upper = job.rules, bool(sid & 0x80)
    raw = yield from job.read(SM_ROOT_ENTRY, job.unit.root_table + 16 * (sid >> 8), sid >> 8, "SRT.1")
    root, half = Entry(SM_ROOT_ENTRY, raw), _HALF << 64 if upper else _HALF
    reserved = raw & rules.reserved[SM_ROOT_ENTRY] & (-1 if rules.quirks.both_root_halves else half)
    job.insist(first_met(("SRT.2", not (root.UP if upper else root.LP)), ("SRT.3", reserved)))
    table = root.UCTP if upper else root.LCTP
    job.remark("context table of the {} half at {:#x}", "upper" if upper else "lower", table)
    at = table + 32 * (sid & 127)
    return Entry(SM_CONTEXT_ENTRY, (yield from job.read(SM_CONTEXT_ENTRY, at, sid & 127, "SCT.1")))


def _context_complaint(rules: Rules, entry: Entry) -> str:
    """What is wrong with the context entry, whoever asks."""
    looked_at = not rules.quirks.context_features_unchecked
    return first_met(
        ("SCT.2", not entry.P),
        ("SCT.3", entry.raw & rules.reserved[SM_CONTEXT_ENTRY]),
        ("SCT.4.1", looked_at and entry.PRE and not entry.DTE),
        ("SCT.4.2", looked_at and _rid_pasid(rules, entry) >= _pasid_limit(entry)),
        ("SCT.4.3", looked_at and entry.EPTR and not entry.PASIDE),
    )


def _request_complaint(rules: Rules, entry: Entry, request: Request) -> str:
    """What the context entry does not allow this request to do."""
    pasid, translated = request.pasid, request.at == "translated"
    if pasid is None:
        return "SCT.5" if request.at != "untranslated" and not entry.DTE else ""
    return first_met(
        ("SCT.5", request.at != "untranslated" and not entry.DTE),
        ("SCT.6", not translated and not entry.PASIDE),
        ("SCT.7", pasid >= _pasid_limit(entry)),
        ("SCT.9", pasid == _rid_pasid(rules, entry)),
        ("SCT.10", translated and not entry.EPTR),
    )


def _rid_pasid(rules: Rules, entry: Entry) -> int:
    return entry.RID_PASID if rules.caps.RPS or rules.quirks.context_features_unchecked else 0


def _rid_priv(rules: Rules, entry: Entry) -> bool:
    return bool(entry.RID_PRIV) and not rules.quirks.context_features_unchecked


def _pasid_limit(entry: Entry) -> int:
    return 1 << entry.PDTS + 13


def pasid_entry(job: Job, context_entry: Entry) -> Steps[Entry]:
    """The PASID table entry for `job.pasid`, checked."""
    assert job.pasid is not None
    sid, pasid, rules = job.request.sid, job.pasid, job.rules
    cached = job.caches and job.caches.pasid.use((sid, pasid))
    if cached:
        entry, directory_fpd = cached.entry, cached.fpd
        job.mark(PASID_ENTRY, 0, pasid & 63, entry.raw, source="PASID cache")
    else:
        directory = yield from _directory(job, context_entry.PASIDDIRPTR, pasid)
        directory_fpd, slot = bool(directory.FPD), directory.SMPTBLPTR + 64 * (pasid & 63)
        entry = Entry(PASID_ENTRY, (yield from job.read(PASID_ENTRY, slot, pasid & 63, "SPT.1")))
    job.fpd |= directory_fpd or bool(entry.FPD)
    label = _entry_complaint(rules, entry)
    if job.caches and not cached and (not label or rules.caps.CM):
        did = 0 if label else entry.DID & rules.did_mask
        job.caches.pasid.put((sid, pasid), TableTag(did, entry, directory_fpd))
    job.insist(label)
    return entry


def _directory(job: Job, directory: int, pasid: int) -> Steps[Entry]:
    """The PASID directory entry, checked."""
    at = directory + 8 * (pasid >> 6)
    entry = Entry(PASID_DIR_ENTRY, (yield from job.read(PASID_DIR_ENTRY, at, pasid >> 6, "SPD.1")))
    job.fpd |= bool(entry.FPD)
    reserved = not job.rules.quirks.pasid_reserved_ignored and entry.raw & job.rules.reserved[PASID_DIR_ENTRY]
    job.insist(first_met(("SPD.2", not entry.P), ("SPD.3", reserved)))
    job.remark("PASID table at {:#x}", entry.SMPTBLPTR)
    return entry


def _entry_complaint(rules: Rules, entry: Entry) -> str:
    """What is wrong with the PASID table entry, whoever asks: presence, reserved bits, then what its
    translation type asks for and this unit does not have.
    """
    caps, quirks, path = rules.caps, rules.quirks, _path(rules, entry)
    walked = path in ("SS", "NEST") or (path == "PT" and quirks.pass_through_width_checked)
    supported = {"FS": caps.FSTS, "SS": caps.SSTS, "NEST": caps.NEST, "PT": caps.PT}.get(path)
    return first_met(
        ("SPT.2", not entry.P and not quirks.type_before_present),
        ("SPT.3", entry.raw & rules.reserved[PASID_ENTRY] and not quirks.pasid_reserved_ignored),
        ("SPT.4.1", walked and not rules.width_supported(entry.AW)),
        ("SPT.4.2", not supported),
        ("SPT.4.3", path in ("FS", "NEST") and (1 if caps.FS5LP else 0) < entry.FSPM),
        ("SPT.4.4", path == "NEST" and rules.input_limit(entry.AW) <= entry.FSPTPTR),
        ("SPT.2", not entry.P),
    )


def _path(rules: Rules, entry: Entry) -> str:
    path = PGTT_NAMES.get(entry.PGTT, "")
    return "SS" if path in ("FS", "NEST") and rules.quirks.first_stage_unknown else path


def space_of(job: Job, entry: Entry, context_entry: Entry) -> Space:
    """What a checked PASID table entry, with the context entry before it, says about its requests."""
    rules, caps = job.rules, job.rules.caps
    path = job.path = _path(rules, entry)
    one, other = f"first stage at {entry.FSPTPTR:#x}", f"second stage at {entry.SSPTPTR:#x}"
    job.remark({"FS": one, "SS": other, "NEST": f"{one} inside {other}"}.get(path, "pass-through"))
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
        rid_priv=job.request.pasid is None and _rid_priv(rules, context_entry),
        translations_allowed=bool(context_entry.DTE),
    )


def _outside(rules: Rules, path: str, entry: Entry) -> tuple[int, int, str]:
    """The input addresses that are refused before any table is looked at."""
    second = rules.input_limit(entry.AW)
    by_aw = rules.quirks.first_stage_width_from_aw
    # Alone or nested, a first stage takes canonical addresses: the bits above repeat the highest bit below.
    half = 1 << (second.bit_length() - 1 if by_aw else 57 if entry.FSPM else 48) - 1
    others = {"SS": (second, TOP, "SGN.5"), "PT": rules.beyond_host("SGN.4.2")}
    return others.get(path, (half, TOP - half, "SGN.1"))
