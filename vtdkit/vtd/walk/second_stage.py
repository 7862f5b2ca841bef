"""The second-stage walk: 3, 4 or 5 levels, 2M and 1G leaves, accessed and dirty flags.

     level 5  level 4  level 3  level 2  level 1
    +--------+--------+--------+--------+--------+----------+
    | 56..48 | 47..39 | 38..30 | 29..21 | 20..12 | 11 ... 0 |   an input address: 9 bits pick one of the 512
    +--------+--------+--------+--------+--------+----------+   entries of each table, the rest is the byte in
                          1G       2M       4K                  the page; an entry with PS (bit 7) in level 3
                                                                or 2 maps a larger page and ends the walk

The same walk serves legacy mode, scalable mode and, under nesting, every address the first stage produces.
What differs is only which condition of the fault tables a failed check is, so the labels come as data
(`Sites`).

`decode` is what one entry says, whoever asks, and `objection` what is wrong with it for one request; the walk
asks these two and keeps no rule of its own. An untranslated request ends at the first entry that fails. A
translation request goes on as long as one permission is left, since its answer carries both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vtdkit.vtd.memory import WORD, AccessError
from vtdkit.vtd.requests import READ, WRITE
from vtdkit.vtd.tables.pages import SS_PTE, second_stage_entry

from .job import Access, Job, Steps
from .rules import ENTRY_ADDRESS, PAGES, Rules
from .space import ALL, Leaf, Reading, Space

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


@lru_cache
def _ask(need: int, legacy: bool, dirties: bool) -> Ask:
    return Ask(need, LEGACY if legacy else SCALABLE, dirties)


def asked(job: Job, space: Space) -> Ask:
    """What a request asks of a second stage that is walked for its own address."""
    return _ask(0 if job.translation_request else job.need, space.legacy, job.wants_write)


def asked_for_table(space: Space, *, root: bool) -> Ask:
    """What the first stage asks of the second to read one of its tables, and with flags to update it."""
    need = READ | WRITE if space.ssade else READ
    return Ask(need, FIRST_ROOT if root else FIRST_TABLE, dirties=space.ssade)


def decode(rules: Rules, level: int, raw: int) -> Reading:
    """What an entry of the second stage says: is it a leaf, its rights, its reserved bits, where it leads."""
    rights = raw >> rules.permission_shift & 3
    if level == 1 or (raw & 0x80 and level <= 3):
        return True, rights, raw & rules.second_leaf[level], raw & PAGES[level]
    return False, rights, raw & rules.second_table[level], raw & ENTRY_ADDRESS


def objection(job: Job, space: Space, ask: Ask, level: int, raw: int, said: Reading, before: int) -> str:
    """The first condition that an entry meets, "" for none. `before` are the rights of the entries above.

    Presence comes first. Between permission and reserved bits the specification leaves the order open
    (`Capabilities.reserved_first`).
    """
    rules, sites = job.rules, ask.sites
    leaf, rights, reserved, _ = said
    rights &= before
    if raw == WORD and rules.quirks.all_ones_unreadable:
        return sites.root if level == space.second_levels else sites.lower
    if not rights:  # SSS.2, in legacy mode LGN.2 or LGN.3: R and W both 0, or nothing left of either
        return sites.absent or (sites.write if job.request.writes else sites.read)
    if reserved and rules.caps.reserved_first:
        return sites.reserved
    if ask.need & ~rights:  # LGN.2, LGN.3; SGN.6, SGN.7; SFS.6, SFS.7
        label = permitted(job, ask, rights)
        if label:
            return label
    if reserved:  # LSS.2; SSS.3
        return sites.reserved
    if space.ssade and not space.snooped and _flagged(ask, raw, leaf, rights) != raw:
        return "" if rules.quirks.flags_without_snoop else sites.unsnooped  # SSS.5
    return ""


def permitted(job: Job, ask: Ask, rights: int) -> str:
    """The condition that rights are too few for what is asked; "" when they are enough."""
    missing = ask.need & ~rights
    if not missing or (job.request.kind == "zero-length read" and job.rules.caps.ZLR and rights & WRITE):
        return ""
    return ask.sites.write if missing & WRITE else ask.sites.read


def _flagged(ask: Ask, raw: int, leaf: bool, rights: int) -> int:
    """The entry with the flags that hardware sets when it uses it: accessed, and dirty in a leaf."""
    return raw | _A | (_D if leaf and ask.dirties and rights & WRITE else 0)


def walk(job: Job, space: Space, address: int, ask: Ask) -> Steps[Leaf]:
    """Walk the second stage of `space` for `address`, already known to be within its width."""
    rules, read64 = job.rules, job.memory.read64
    level, table, allowed = space.second_levels, space.second_root, READ | WRITE
    cached = job.caches and job.caches.second.find(space.did, None, address)
    if cached:
        level, table, allowed = cached.level - 1, cached.table, cached.allowed
        shape = second_stage_entry(cached.level, leaf=False)
        job.mark(shape, 0, 0, cached.entry, cached.level, "structure cache")
        job.insist(permitted(job, ask, allowed))
    while True:
        at = table + (address >> 3 + 9 * level & 511) * 8
        if job.stepped:
            yield Access(f"second-stage level {level}", at)
        try:
            raw = read64(at)
        except AccessError:  # LCT.4.3, LSS.1; SSS.4, SSS.1
            job.mark(second_stage_entry(level, leaf=False), at, at >> 3 & 511, 0, level)
            job.refuse(ask.sites.root if level == space.second_levels else ask.sites.lower)
        said = leaf, rights, _, target = decode(rules, level, raw)
        if job.trace is not None:
            job.mark(second_stage_entry(level, leaf=leaf), at, at >> 3 & 511, raw, level)
        label = objection(job, space, ask, level, raw, said, allowed)
        if label:
            job.refuse(label)
        allowed &= rights
        if space.ssade:
            wanted = _flagged(ask, raw, leaf, allowed)
            if wanted != raw:
                found = yield from job.update("second-stage flags", at, raw, wanted, ask.sites.update)
                if found != raw:
                    continue  # another agent changed it in between: look again
                raw = wanted
        if leaf:
            job.remark("maps {:#x} bytes at {:#x}", 8 << 9 * level, target)
            dirty = not space.ssade or bool(raw & _D)
            return Leaf(target, 3 + 9 * level, raw, level, ALL, allowed, dirty, bool(raw & _SNP))
        if job.trace is not None:
            job.remark("next table at {:#x}", target)
        if job.caches:
            job.caches.second.keep(space.did, None, address, level, raw, target, allowed)
        table, level = target, level - 1
