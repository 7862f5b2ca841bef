"""The second-stage walk: 3, 4 or 5 levels, 2M and 1G leaves, accessed and dirty flags.

The same walk serves legacy mode, scalable mode and, under nesting, every address the first stage produces.
What differs is only which condition of the fault tables a failed check is, so the labels come as data
(`Sites`).

For each entry, in this order: read it; R and W both 0 or nothing left of either (not present); permission the
request needs (see `Capabilities.reserved_first`); reserved bits; flags. An untranslated request ends at the
first entry that fails. A translation request goes on as long as one permission is left, since its answer
carries both.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.requests import READ, WRITE
from vtdkit.vtd.tables.pages import SS_PTE, second_stage_entry

from .job import Access, Job, Leaf, Space, Steps
from .rules import ENTRY_ADDRESS

_A, _D, _SNP = (SS_PTE.mask(name) for name in ("A", "D", "SNP"))


@dataclass(frozen=True, slots=True)
class Sites:
    """The labels of the checks of one kind of second-stage walk. An empty `absent` means: by the missing
    permission.
    """

    root: str
    lower: str
    absent: str
    reserved: str
    unsnooped: str
    update: str
    read: str
    write: str


LEGACY = Sites("LCT.4.3", "LSS.1", "", "LSS.2", "", "", read="LGN.3", write="LGN.2")
SCALABLE = Sites("SSS.4", "SSS.1", "SSS.2", "SSS.3", "SSS.5", "SSS.6", read="SGN.7", write="SGN.6")
# Under nesting, for the table the first stage starts from and for the ones below it.
FIRST_ROOT = Sites("SSS.4", "SSS.1", "SSS.2", "SSS.3", "SSS.5", "SSS.6", read="SFS.6", write="SFS.6")
FIRST_TABLE = Sites("SSS.4", "SSS.1", "SSS.2", "SSS.3", "SSS.5", "SSS.6", read="SFS.7", write="SFS.7")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of the second stage: permissions `need` (READ, WRITE), and the labels when it refuses.

    With `need` 0 nothing is insisted on: the effective permissions are the answer. `dirties` sets the dirty
    flag of the leaf, if the permissions allow the write.
    """

    need: int
    sites: Sites
    dirties: bool


def walk(job: Job, space: Space, address: int, ask: Ask) -> Steps[Leaf]:
    """Walk the second stage of `space` for `address`, already known to be within its width."""
    rules = job.rules
    level, table, allowed = space.second_levels, space.second_root, READ | WRITE
    cached = job.caches and job.caches.second.find(space.did, None, address)
    if cached:
        level, table, allowed = cached.level - 1, cached.table, cached.allowed
        job.mark(
            second_stage_entry(cached.level, leaf=False), 0, 0, cached.entry, cached.level, "structure cache"
        )
        _permission(job, allowed, ask)
    while True:
        shift = 3 + 9 * level
        at = table + (address >> shift & 511) * 8
        entry = yield from _read(
            job, at, level, ask.sites.root if level == space.second_levels else ask.sites.lower
        )
        leaf = level == 1 or bool(entry & 0x80 and level <= 3)
        here = entry >> rules.permission_shift & 3
        _check(
            job, entry & (rules.second_leaf if leaf else rules.second_table)[level], here, allowed & here, ask
        )
        if space.ssade:
            flags = _A | (_D if leaf and ask.dirties and allowed & here & WRITE else 0)
            found = yield from _set_flags(job, space, entry, at, flags, ask.sites)
            if found is None:
                continue
            entry = found
        allowed &= here
        if leaf:
            return _leaf(job, space, entry, shift, level, allowed)
        table = entry & ENTRY_ADDRESS
        job.remark(f"next table at {table:#x}")
        if job.caches:
            job.caches.second.keep(space.did, None, address, level, entry, table, allowed)
        level -= 1


def _read(job: Job, at: int, level: int, label: str) -> Steps[int]:
    yield Access(f"second-stage level {level}", at)
    try:
        entry = job.memory.read64(at)
    except AccessError:
        job.mark(second_stage_entry(level, leaf=False), at, at >> 3 & 511, 0, level)
        job.refuse(label)
    if job.trace is not None:
        leaf = level == 1 or bool(entry & 0x80 and level <= 3)
        job.mark(second_stage_entry(level, leaf=leaf), at, at >> 3 & 511, entry, level)
    return entry


def _check(job: Job, reserved: int, here: int, allowed: int, ask: Ask) -> None:
    """The conditions of one entry, in order. `reserved` are its reserved bits that are set."""
    sites = ask.sites
    if not here or not allowed:
        job.refuse(sites.absent or (sites.write if job.request.writes else sites.read))
    if reserved and job.rules.caps.reserved_first:
        job.refuse(sites.reserved)
    _permission(job, allowed, ask)
    if reserved:
        job.refuse(sites.reserved)


def _permission(job: Job, allowed: int, ask: Ask) -> None:
    missing = ask.need & ~allowed
    if not missing or (job.request.kind == "zero-length read" and job.rules.caps.ZLR and allowed & WRITE):
        return
    job.refuse(ask.sites.write if missing & WRITE else ask.sites.read)


def _set_flags(job: Job, space: Space, entry: int, at: int, flags: int, sites: Sites) -> Steps[int | None]:
    """Set accessed and dirty flags where they are missing. None: another agent changed the entry, read it
    again.
    """
    wanted = entry | flags
    if wanted == entry:
        return entry
    if not space.snooped and not job.rules.quirks.flags_without_snoop:
        job.refuse(sites.unsnooped)
    found = yield from job.update("second-stage flags", at, entry, wanted, sites.update)
    return wanted if found == entry else None


def _leaf(job: Job, space: Space, entry: int, shift: int, level: int, allowed: int) -> Leaf:
    base = entry & ENTRY_ADDRESS & -(1 << shift)
    job.remark(f"maps {1 << shift:#x} bytes at {base:#x}")
    return Leaf(
        base,
        shift,
        entry,
        level,
        second_readable=bool(allowed & READ),
        second_writable=bool(allowed & WRITE),
        dirty=not space.ssade or bool(entry & _D),
        snoop=bool(entry & _SNP),
    )
