"""The first-stage walk: x86-64 page tables of 4 or 5 levels, alone or nested in a second stage.

      sign       level 5  level 4  level 3  level 2  level 1
    +------------+--------+--------+--------+--------+--------+----------+
    | 63 ..... 57| 56..48 | 47..39 | 38..30 | 29..21 | 20..12 | 11 ... 0 |   an input address. The bits above
    +------------+--------+--------+--------+--------+--------+----------+   the tables repeat the highest bit
                                       1G       2M       4K                  below: 56, with 4 levels 47
                                                                             ("canonical")
Under nesting the address of every table and of the page is guest physical: the second stage is walked for
each, and each must lie within its width.

`decode` is what one entry says, whoever asks, and `objection` what is wrong with it for one request. A
translation request does not end at a missing write permission: its answer says so. A missing user permission
ends it, since nothing would be left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vtdkit.vtd.memory import WORD, AccessError
from vtdkit.vtd.requests import READ, USER, WRITE
from vtdkit.vtd.tables.pages import FS_PTE, first_stage_entry

from . import second_stage as second
from .job import Access, Job, Steps
from .rules import ENTRY_ADDRESS, PAGES, Rules
from .space import ALL, TOP, Leaf, Reading, Space

_P, _RW, _US, _A, _D, _EA = (FS_PTE.mask(name) for name in ("P", "RW", "US", "A", "D", "EA"))
ROOT, LOWER = "SFS.4", "SFS.1"
"""The conditions of a table that cannot be read: the topmost, and any other."""


@dataclass(frozen=True, slots=True)
class Where:
    """A first-stage entry: its address as the table says (`at`) and in host memory, and whether it may be
    updated.
    """

    at: int
    host: int
    updatable: bool


def hole(width: int) -> tuple[int, int, str]:
    """The addresses that are not canonical (SGN.1) with tables `width` bits wide: first, and first after."""
    return 1 << width - 1, TOP - (1 << width - 1), "SGN.1"


def decode(rules: Rules, level: int, raw: int) -> Reading:
    """What an entry of the first stage says: is it a leaf, its rights, its reserved bits, where it leads."""
    rights = READ | raw & (_RW | _US) if raw & _P else 0  # RW and US stand where WRITE and USER do
    if level == 1 or (raw & 0x80 and level <= 3):
        return True, rights, raw & rules.first_leaf[level], raw & PAGES[level]
    return False, rights, raw & rules.first_table[level], raw & ENTRY_ADDRESS


def granted(space: Space, rights: int, *, supervisor: bool) -> int:
    """READ and WRITE that the first stage's `rights` mean for a user's or a supervisor's request."""
    if not (supervisor or rights & USER):
        return 0
    return rights & (READ | WRITE) | (WRITE if supervisor and not space.wpe else 0)


def objection(
    job: Job, space: Space, level: int, raw: int, said: Reading, before: int, *, updatable: bool
) -> str:
    """The first condition that an entry meets, "" for none. `before` are the rights of the entries above,
    `updatable` whether the second stage lets the entry be written.
    """
    rules = job.rules
    leaf, rights, reserved, _ = said
    if raw == WORD and rules.quirks.all_ones_unreadable:
        return ROOT if level == space.first_levels else LOWER
    if not rights:  # P=0
        return "SFS.2"
    if reserved and rules.caps.reserved_first:
        return "SFS.3"
    rights &= before
    label = permitted(job, space, rights)
    if label:
        return label
    if reserved:
        return "SFS.3"
    if _flagged(job, space, raw, leaf, rights) != raw:
        if not space.snooped and not rules.quirks.flags_without_snoop:  # flags need a snooped walk
            return "SFS.9"
        if not updatable:
            return "SFS.8"
    if space.path == "NEST" and raw & ENTRY_ADDRESS >= space.second_limit:
        return "SFS.5"
    return ""


def permitted(job: Job, space: Space, rights: int) -> str:
    """The condition that rights are too few for the request; "" when they are enough."""
    may = granted(space, rights, supervisor=job.supervisor)
    if not may:
        return "SGN.2"
    return "SGN.6" if job.request.writes and not may & WRITE else ""


def _flagged(job: Job, space: Space, raw: int, leaf: bool, rights: int) -> int:
    """The entry with the flags that hardware sets when it uses it: A, EA, and D in a leaf."""
    dirty = leaf and job.wants_write and granted(space, rights, supervisor=job.supervisor) & WRITE
    return raw | _A | (_EA if space.eafe else 0) | (_D if dirty else 0)


def walk(job: Job, space: Space) -> Steps[Leaf]:
    """Walk the first stage of `space` for the request; under nesting the leaf's base is guest physical."""
    address = job.request.address
    level, table, allowed = space.first_levels, space.first_root, ALL
    cached = job.caches and job.caches.first.find(space.did, space.tag, address)
    if cached:
        level, table, allowed = cached.level - 1, cached.table, cached.allowed
        shape = first_stage_entry(cached.level, leaf=False)
        job.mark(shape, 0, 0, cached.entry, cached.level, "structure cache")
        job.insist(permitted(job, space, allowed))
    while True:
        root = level == space.first_levels
        where = yield from _locate(job, space, table + (address >> 3 + 9 * level & 511) * 8, root=root)
        raw = yield from _read(job, where, level, ROOT if root else LOWER)
        said = leaf, rights, _, target = decode(job.rules, level, raw)
        job.mark(first_stage_entry(level, leaf=leaf), where.host, where.at >> 3 & 511, raw, level)
        job.insist(objection(job, space, level, raw, said, allowed, updatable=where.updatable))
        allowed &= rights
        wanted = _flagged(job, space, raw, leaf, allowed)
        if wanted != raw:
            found = yield from job.update("first-stage flags", where.host, raw, wanted, "SFS.10")
            if found != raw:
                continue  # another agent changed it in between: look again
        if leaf:
            job.remark("maps {:#x} bytes at {:#x}", 8 << 9 * level, target)
            return Leaf(target, 3 + 9 * level, wanted, level, first=allowed, dirty=bool(wanted & _D))
        job.remark("next table at {:#x}", target)
        if job.caches:
            job.caches.first.keep(space.did, space.tag, address, level, wanted, target, allowed)
        table, level = target, level - 1


def _locate(job: Job, space: Space, at: int, *, root: bool) -> Steps[Where]:
    """Where a first-stage entry is in host memory. Under nesting that takes a second-stage walk."""
    if space.path != "NEST":
        return Where(at, at, True)
    job.inner = True
    leaf = yield from second.walk(job, space, at, second.asked_for_table(space, root=root))
    job.inner = False
    return Where(at, leaf.base | at & (1 << leaf.shift) - 1, bool(leaf.second & WRITE))


def _read(job: Job, where: Where, level: int, label: str) -> Steps[int]:
    if job.stepped:
        yield Access(f"first-stage level {level}", where.host)
    try:
        return job.memory.read64(where.host)
    except AccessError:
        job.mark(first_stage_entry(level, leaf=False), where.host, where.at >> 3 & 511, 0, level)
        job.refuse(label)


def nested(job: Job, space: Space) -> Steps[Leaf]:
    """Walk the first stage, then the second for the guest address it gives. The leaf is the smaller of the
    two pages.
    """
    inner = yield from walk(job, space)
    guest = inner.base | job.request.address & (1 << inner.shift) - 1
    ask = second.asked(job, space)
    if not granted(space, inner.first, supervisor=job.supervisor) & WRITE:
        ask = replace(ask, dirties=False)
    outer = yield from second.walk(job, space, guest, ask)
    shift = min(inner.shift, outer.shift)
    host = outer.base | guest & (1 << outer.shift) - 1
    dirty = inner.dirty and outer.dirty
    return outer._replace(base=host & -(1 << shift), shift=shift, first=inner.first, dirty=dirty)
