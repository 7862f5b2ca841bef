"""The first-stage walk: x86-64 page tables of 4 or 5 levels, alone or nested in a second stage.

For each entry, in this order: find it (under nesting its address is guest physical and the second stage is
walked for it), read it, P, user permission, write permission (both see `Capabilities.reserved_first`),
reserved bits, A/EA/D flags. Under nesting the address in every entry must be within the second stage's width.

A translation request does not end at a missing write permission: its answer says so. A missing user
permission ends it, since nothing would be left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.requests import READ, WRITE
from vtdkit.vtd.tables.pages import FS_PTE, first_stage_entry

from . import second_stage as second
from .job import Access, Job, Leaf, Space, Steps
from .rules import ENTRY_ADDRESS

_P, _RW, _US, _A, _D, _EA = (FS_PTE.mask(name) for name in ("P", "RW", "US", "A", "D", "EA"))


@dataclass(frozen=True, slots=True)
class Where:
    """A first-stage entry: its address as the table says (`at`) and in host memory, and whether it may be
    updated.
    """

    at: int
    host: int
    updatable: bool


def canonical(address: int, levels: int) -> bool:
    """Whether the bits above the width of a first stage of `levels` levels all equal its top bit."""
    top = 11 + 9 * levels
    return address >> top in (0, (1 << 64 - top) - 1)


def walk(job: Job, space: Space, address: int) -> Steps[Leaf]:
    """Walk the first stage of `space` for `address`; under nesting the leaf's base is guest physical."""
    if not canonical(address, space.first_levels):
        job.refuse("SGN.1")
    level, table = space.first_levels, space.first_root
    user, writable = True, True
    cached = job.caches and job.caches.first.find(space.did, space.tag, address)
    if cached:
        level, table = cached.level - 1, cached.table
        user, writable = bool(cached.allowed & _US), bool(cached.allowed & _RW)
        job.mark(
            first_stage_entry(cached.level, leaf=False), 0, 0, cached.entry, cached.level, "structure cache"
        )
        _permission(job, space, user, writable)
    while True:
        shift = 3 + 9 * level
        root = level == space.first_levels
        where = yield from _locate(job, space, table + (address >> shift & 511) * 8, root=root)
        entry = yield from _read(job, where, level, "SFS.4" if root else "SFS.1")
        leaf = level == 1 or bool(entry & 0x80 and level <= 3)
        here_user, here_writable = user and bool(entry & _US), writable and bool(entry & _RW)
        _check(job, space, entry, level, here_user, here_writable)
        found = yield from _set_flags(job, space, entry, where, leaf, _may_write(job, space, here_writable))
        if found is None:
            continue
        entry, user, writable = found, here_user, here_writable
        table = entry & ENTRY_ADDRESS
        if space.path == "NEST" and table >= space.second_limit:
            job.refuse("SFS.5")
        if leaf:
            base = table & -(1 << shift)
            job.remark(f"maps {1 << shift:#x} bytes at {base:#x}")
            return Leaf(base, shift, entry, level, user, writable, dirty=bool(entry & _D))
        job.remark(f"next table at {table:#x}")
        if job.caches:
            allowed = _US * user | _RW * writable
            job.caches.first.keep(space.did, space.tag, address, level, entry, table, allowed)
        level -= 1


def _locate(job: Job, space: Space, at: int, *, root: bool) -> Steps[Where]:
    """Where a first-stage entry is in host memory. Under nesting that takes a second-stage walk."""
    if space.path != "NEST":
        return Where(at, at, True)
    need = READ | WRITE if space.ssade else READ
    sites = second.FIRST_ROOT if root else second.FIRST_TABLE
    job.inner = True
    leaf = yield from second.walk(job, space, at, second.Ask(need, sites, dirties=space.ssade))
    job.inner = False
    return Where(at, leaf.base | at & (1 << leaf.shift) - 1, leaf.second_writable)


def _read(job: Job, where: Where, level: int, label: str) -> Steps[int]:
    yield Access(f"first-stage level {level}", where.host)
    try:
        entry = job.memory.read64(where.host)
    except AccessError:
        job.mark(first_stage_entry(level, leaf=False), where.host, where.at >> 3 & 511, 0, level)
        job.refuse(label)
    if job.trace is not None:
        leaf = level == 1 or bool(entry & 0x80 and level <= 3)
        job.mark(first_stage_entry(level, leaf=leaf), where.host, where.at >> 3 & 511, entry, level)
    return entry


def _check(job: Job, space: Space, entry: int, level: int, user: bool, writable: bool) -> None:
    """The conditions of one entry, in order."""
    if not entry & _P:
        job.refuse("SFS.2")
    rules = job.rules
    leaf = level == 1 or bool(entry & 0x80 and level <= 3)
    reserved = entry & (rules.first_leaf if leaf else rules.first_table)[level]
    if reserved and rules.caps.reserved_first:
        job.refuse("SFS.3")
    _permission(job, space, user, writable)
    if reserved:
        job.refuse("SFS.3")


def _permission(job: Job, space: Space, user: bool, writable: bool) -> None:
    if not user and not job.supervisor:
        job.refuse("SGN.2")
    if job.request.writes and not _may_write(job, space, writable):
        job.refuse("SGN.6")


def _may_write(job: Job, space: Space, writable: bool) -> bool:
    return writable or (job.supervisor and not space.wpe)


def _set_flags(
    job: Job, space: Space, entry: int, where: Where, leaf: bool, writable: bool
) -> Steps[int | None]:
    """Set A, EA and D where they are missing. None: another agent changed the entry, read it again."""
    wanted = entry | _A | (_EA if space.eafe else 0) | (_D if leaf and job.wants_write and writable else 0)
    if wanted == entry:
        return entry
    if not space.snooped and not job.rules.quirks.flags_without_snoop:
        job.refuse("SFS.9")
    if not where.updatable:
        job.refuse("SFS.8")
    found = yield from job.update("first-stage flags", where.host, entry, wanted, "SFS.10")
    return wanted if found == entry else None


def nested(job: Job, space: Space, address: int) -> Steps[Leaf]:
    """Walk the first stage, then the second for the guest address it gives. The leaf is the smaller of the
    two pages.
    """
    inner = yield from walk(job, space, address)
    guest = inner.base | address & (1 << inner.shift) - 1
    need = 0 if job.translation_request else job.need
    dirties = job.wants_write and _may_write(job, space, inner.first_writable)
    outer = yield from second.walk(job, space, guest, second.Ask(need, second.SCALABLE, dirties=dirties))
    shift = min(inner.shift, outer.shift)
    host = outer.base | guest & (1 << outer.shift) - 1
    return replace(
        outer,
        base=host & -(1 << shift),
        shift=shift,
        user=inner.user,
        first_writable=inner.first_writable,
        dirty=inner.dirty and outer.dirty,
    )
