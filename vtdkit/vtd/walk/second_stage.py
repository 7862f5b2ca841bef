"""The second stage: 3, 4 or 5 levels, 2M and 1G leaves, accessed and dirty flags (VT-d, rev 5.10, 3.7).

     level 5  level 4  level 3  level 2  level 1
    +--------+--------+--------+--------+--------+----------+
    | 56..48 | 47..39 | 38..30 | 29..21 | 20..12 | 11 ... 0 |   an input address: 9 bits pick one of the 512
    +--------+--------+--------+--------+--------+----------+   entries of each table, the rest is the byte in
                          1G       2M       4K                  the page; an entry with PS (bit 7) in level 3
                                                                or 2 maps a larger page and ends the walk

The same stage serves legacy mode, scalable mode and, under nesting, every address the first stage produces.
What differs is only which condition of the fault tables a failed check is, so the labels come as data
(`Sites`).
"""

from __future__ import annotations

from vtdkit.vtd.requests import NEEDS, READ, WRITE
from vtdkit.vtd.tables.pages import SS_PTE, second_stage_entry

from .job import Job
from .rules import ENTRY_ADDRESS, PAGES, Rules
from .space import ALL, Leaf, Reading, Space
from .stage import Sites

_A, _D, _SNP = (SS_PTE.mask(name) for name in ("A", "D", "SNP"))


LEGACY = Sites("LCT.4.3", "LSS.1", "", "LSS.2", "", "", read="LGN.3", write="LGN.2")
SCALABLE = Sites("SSS.4", "SSS.1", "SSS.2", "SSS.3", "SSS.5", "SSS.6", read="SGN.7", write="SGN.6")
# Under nesting, for the table the first stage starts from and for the ones below it.
FIRST_ROOT = SCALABLE._replace(read="SFS.6", write="SFS.6")
FIRST_TABLE = SCALABLE._replace(read="SFS.7", write="SFS.7")


def asked(job: Job, space: Space, *, dirties: bool = True) -> Second:
    """The second stage, walked for the request's own address. A translation request insists on nothing: the
    permissions are its answer.
    """
    need = 0 if job.translation_request else NEEDS[job.request.kind]
    dirties = space.ssade and dirties and job.wants_write
    return Second(job, space, need, LEGACY if space.legacy else SCALABLE, dirties=dirties)


def asked_for_table(job: Job, space: Space, *, root: bool) -> Second:
    """The second stage, walked to read one of the first stage's tables, and with flags to update it."""
    need = READ | WRITE if space.ssade else READ
    return Second(job, space, need, FIRST_ROOT if root else FIRST_TABLE, dirties=space.ssade)


class Second:
    """The second stage. `need` are the permissions insisted on (READ, WRITE), `sites` the labels when it
    refuses; `dirties` sets the dirty flag of the leaf, if the permissions allow the write.
    """

    name, shape, locate, tag = "second", staticmethod(second_stage_entry), None, None

    def __init__(self, job: Job, space: Space, need: int, sites: Sites, *, dirties: bool) -> None:
        self.job, self.space, self.rules = job, space, job.rules
        self.need, self.sites, self.dirties = need, sites, dirties
        self.root, self.levels = space.second_root, space.second_levels
        self.cache = job.caches.second if job.caches else None
        self.enough = need or READ | WRITE
        self.flags_in = (_A, _A | _D) if space.ssade else (0, 0)

    @staticmethod
    def decode(rules: Rules, level: int, raw: int) -> Reading:
        """What an entry says: is it a leaf, its rights, its reserved bits, where it leads."""
        rights = raw >> rules.permission_shift & 3
        if level == 1 or (raw & 0x80 and level <= 3):
            return True, rights, raw & rules.second_leaf[level], raw & PAGES[level]
        return False, rights, raw & rules.second_table[level], raw & ENTRY_ADDRESS

    def refusal(self, raw: int, said: Reading, left: int, *, updatable: bool) -> str:
        """The first condition that the entry meets; `left` are the rights that it and those above grant."""
        sites, (leaf, _, reserved, _) = self.sites, said
        if not left:  # SSS.2, in legacy mode LGN.2 or LGN.3: R and W both 0, or nothing left of either
            return sites.absent or (sites.write if self.job.request.writes else sites.read)
        # Between permission and reserved bits the specification leaves the order open.
        checks = [self.permitted(left), sites.reserved if reserved else ""]
        label = next(filter(None, checks[:: -1 if self.rules.caps.reserved_first else 1]), "")
        if label or self.space.snooped or self.flagged(raw, leaf, left) == raw:
            return label
        return "" if self.rules.quirks.flags_without_snoop else sites.unsnooped  # SSS.5

    def permitted(self, rights: int) -> str:
        """The condition that rights are too few for the request; "" when they are enough."""
        missing, job = self.need & ~rights, self.job
        if not missing or (job.request.kind == "zero-length read" and self.rules.caps.ZLR and rights & WRITE):
            return ""
        return self.sites.write if missing & WRITE else self.sites.read

    def granted(self, rights: int) -> int:
        """READ and WRITE that the stage's rights mean for the request."""
        return rights

    def flagged(self, raw: int, leaf: bool, rights: int) -> int:
        """The entry with the flags that hardware sets when it uses it: accessed, and dirty in a leaf."""
        if not self.space.ssade:
            return raw
        return raw | _A | (_D if leaf and self.dirties and rights & WRITE else 0)

    def indifferent(self, level: int, *, sized: bool) -> int:
        """The bits of an entry that make no difference to its cell, if PS (bit 7) is as `sized` says."""
        return ENTRY_ADDRESS & ~(self.rules.second_leaf if sized else self.rules.second_table)[level]

    def end(self, target: int, level: int, raw: int, rights: int) -> Leaf:
        """The leaf that the walk ended at."""
        dirty = not self.space.ssade or bool(raw & _D)
        return Leaf(target, 3 + 9 * level, raw, level, ALL, rights, dirty, bool(raw & _SNP))
