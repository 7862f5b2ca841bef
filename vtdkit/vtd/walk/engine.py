"""The translation algorithm, from a request to its answer.

`answer` is the one implementation of it. Run to the end with no caches, it is the answer from memory alone;
with caches, what the hardware would say; paused before each of its memory accesses, a walk that another agent
can disturb. Order of the checks as in the VT-d specification, rev 5.10: what needs no table; the root-table
register; context and PASID tables; page tables; the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vtdkit.vtd.caches.caches import IotlbTag
from vtdkit.vtd.interrupts import remapping as interrupts
from vtdkit.vtd.requests import NEEDS, READ, WRITE, Fault, Translation
from vtdkit.vtd.tables.pages import first_stage_entry, second_stage_entry

from . import ats, legacy, scalable
from . import second_stage as second
from .first_stage import First, nested
from .job import Job, NotModelled, Refused, Steps
from .rules import first_met, in_interrupt_range
from .space import ALL, Leaf, Space
from .stage import walk

LEGACY_MODE, SCALABLE_MODE, RESERVED_MODE, ABORT_MODE = range(4)
PATHS = {"FS": "first stage", "SS": "second stage", "NEST": "nested", "PT": "pass-through"}


def answer(job: Job) -> Steps[Translation | Fault]:
    """Translate `job.request`. Yields before each memory access, if the job is stepped."""
    request, unit = job.request, job.unit
    try:
        # What needs no table. FEEx_xxxx is for interrupts (chapter 5), whatever the tables say of it.
        if request.at == "translation" and request.kind != "read":
            job.refuse("AT")
        if request.pasid is None and in_interrupt_range(request.address, job.end):
            special = yield from interrupts.window(job)
            if special is not None:
                return special
        if not unit.translating:  # remapping is off: untranslated requests go through as they are
            job.insist("" if request.at == "untranslated" else "TES")
            _protected(job, request.address, job.end)
            return Translation(request, request.address, 4096, True, True, "off", None, 0, 0)
        root_table_register(job)
        # A hit in the IOTLB answers without a look at any table (chapter 6): that is how it goes stale.
        if job.caches and request.at == "untranslated":
            hit = job.caches.iotlb.find(request.sid, request.pasid, request.address, request.kind)
            if hit and not needs_dirty(job, hit):
                return _from_iotlb(job, hit)
        if request.at == "translated":  # the device translated it itself, with an answer it got before
            yield from _translated(job)
            return Translation(request, request.address, 4096, True, True, "translated", None, 0, 0)
        # Root, context and PASID tables (3.4): which page tables, and whether this request may use them.
        space = yield from (legacy if unit.mode == LEGACY_MODE else scalable).find(job)
        if job.caches and request.at == "translation":
            hit = job.caches.iotlb.find(request.sid, request.pasid, request.address)
            if hit and not needs_dirty(job, hit):
                return _from_iotlb(job, hit)
        # The width of the address comes first, then the page tables (3.6 to 3.8), then the result.
        low, high, label = space.outside
        if low <= request.address < high:
            job.refuse(label)
        try:
            leaf = yield from _WALKS[space.path](job, space)
        except Refused as refusal:
            # Caching mode: second-stage walks that end in a fault are cached too, first-stage ones never.
            caching = job.rules.caps.CM and space.path == "SS" and not job.translation_request
            if job.caches and caching:
                job.caches.iotlb.keep_refusal(request, space, refusal.label)
            raise
        result = _finish(job, space, leaf, cached=False)
        if job.caches:
            job.caches.iotlb.keep(request.sid, request.pasid, request.address, space, leaf)
        return result
    except Refused as refusal:
        return job.fault(refusal.label)


def root_table_register(job: Job) -> None:
    """The conditions of the root-table address register (RTA.*), checked for every request."""
    caps, unit, mode, request = job.rules.caps, job.unit, job.unit.mode, job.request
    if mode == LEGACY_MODE and not unit.ssirwe and request.pasid is None:
        return  # nothing below can hold
    job.insist(
        first_met(
            ("RTA.1.1", mode == ABORT_MODE and not caps.ADMS),
            ("RTA.4", mode == ABORT_MODE),
            ("RTA.1.2", mode == RESERVED_MODE),
            ("RTA.1.3", mode == SCALABLE_MODE and not caps.SMTS),
            ("RTA.1.4", mode == LEGACY_MODE and unit.ssirwe),
            ("RTA.2", mode == LEGACY_MODE),
            ("RTA.5", request.execute and caps.major >= 8),
        )
    )


def find_space(job: Job) -> Steps[Space]:
    """The way of a request that carries an address of its own, as far as the page tables."""
    root_table_register(job)
    return (yield from (legacy.find if job.unit.mode == LEGACY_MODE else scalable.find)(job))


def _translated(job: Job) -> Steps[None]:
    """A translated request carries an address the device was given before: remapping trusts it, apart from
    the gate in the context entry, the host address width and the interrupt range.
    """
    if job.unit.mode == LEGACY_MODE:
        yield from legacy.find(job)
        width, interrupt = "LGN.1.2", "LGN.4"
    else:
        entry = yield from scalable.context(job)
        if entry.HPTE:
            raise NotModelled(f"the host permission table that {entry!r} asks for")
        width, interrupt = "SGN.4.1", "SGN.8.3"
    address, end = job.request.address, job.end
    wide, inside = address >= job.rules.host_limit, in_interrupt_range(address, end)
    job.insist(first_met((width, wide), (interrupt, inside)))
    _protected(job, address, end)


def _through(job: Job, space: Space) -> Steps[Leaf]:
    """Pass-through: the page is where its address says."""
    return Leaf(job.request.address & ~0xFFF, 12, 0, 0)
    yield


# The page-table walk that each translation type asks for.
_WALKS: dict[str, Callable[[Job, Space], Steps[Leaf]]] = {
    "SS": lambda job, space: walk(second.asked(job, space), job.request.address),
    "FS": lambda job, space: walk(First(job, space), job.request.address),
    "NEST": nested,
    "PT": _through,
}


def needs_dirty(job: Job, hit: IotlbTag) -> bool:
    """Whether a flag in memory must be set before the cached translation may be used."""
    return (
        job.wants_write
        and not hit.leaf.dirty
        and not hit.refusal
        and granted(job, hit.space, hit.leaf) & WRITE != 0
    )


def _from_iotlb(job: Job, hit: IotlbTag) -> Translation | Fault:
    """The answer from a cached translation. No table is looked at, so it may be out of date."""
    space = hit.space
    job.fpd, job.path, job.pasid = space.fpd, space.path, space.tag
    if job.request.pasid is None:
        job.supervisor = space.rid_priv
    if hit.leaf.level:
        shape = first_stage_entry if space.path == "FS" else second_stage_entry
        job.mark(shape(hit.leaf.level, leaf=True), 0, 0, hit.leaf.entry, hit.leaf.level, "IOTLB")
    try:
        job.insist(hit.refusal or ("SPT.6" if job.supervisor and not space.sre else ""))
        return _finish(job, space, hit.leaf, cached=True)
    except Refused as refusal:
        answer = job.fault(refusal.label, cached=True)
        if isinstance(answer, Fault) and answer.request.writes and job.rules.quirks.hit_keeps_silent:
            return replace(answer, recorded=False)
        return answer


def granted(job: Job, space: Space, leaf: Leaf) -> int:
    """The permissions of the request's privilege, as READ and WRITE bits."""
    return leaf.second & (First(job, space).granted(leaf.first) if space.path in ("FS", "NEST") else ALL)


def insist(job: Job, space: Space, leaf: Leaf) -> int:
    """The permissions granted, once it is sure that they are enough for an untranslated request."""
    rights = granted(job, space, leaf)
    if NEEDS[job.request.kind] & ~rights and not job.translation_request:
        if space.path in ("FS", "NEST"):
            job.insist(First(job, space).permitted(leaf.first))
        job.insist(second.asked(job, space).permitted(leaf.second))
    return rights


def _finish(job: Job, space: Space, leaf: Leaf, *, cached: bool) -> Translation:
    """The checks of the result, and the answer."""
    request = job.request
    rights = insist(job, space, leaf)
    size = 1 << leaf.shift
    address = leaf.base | request.address & size - 1
    end = address + job.end - request.address
    whole_page = job.translation_request or job.rules.quirks.interrupt_page
    if in_interrupt_range(*((leaf.base, leaf.base + size) if whole_page else (address, end))):
        if space.path == "PT" and job.translation_request:
            return ats.interrupt_range(job)
        job.refuse(interrupt_label(job, space))
    _protected(job, address, end)
    answer = Translation(
        request,
        address,
        size,
        bool(rights & READ),
        bool(rights & WRITE),
        PATHS[space.path],
        space.did,
        leaf.level,
        leaf.entry,
        cached,
    )
    return ats.completed(job, space, leaf, answer) if job.translation_request else answer


def interrupt_label(job: Job, space: Space) -> str:
    """The condition of a result that lies in the interrupt range."""
    return "LGN.4" if space.legacy else "SGN.8.2" if job.translation_request else "SGN.8.1"


def _protected(job: Job, low: int, high: int) -> None:
    regions = job.unit.protected_regions()
    if regions and any(low < end and high > start for start, end in regions):
        job.refuse("PMR")
