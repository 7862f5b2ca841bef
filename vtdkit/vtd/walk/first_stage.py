"""The first stage: x86-64 page tables of 4 or 5 levels, alone or nested (VT-d, rev 5.10, 3.6 and 3.8).

      sign       level 5  level 4  level 3  level 2  level 1
    +------------+--------+--------+--------+--------+--------+----------+
    | 63 ..... 57| 56..48 | 47..39 | 38..30 | 29..21 | 20..12 | 11 ... 0 |   an input address. The bits above
    +------------+--------+--------+--------+--------+--------+----------+   the tables repeat the highest bit
                                       1G       2M       4K                  below: 56, with 4 levels 47
                                                                             ("canonical")
Under nesting the address of every table and of the page is guest physical: the second stage is walked for
each, and each must lie within its width. A translation request does not end at a missing write permission:
its answer says so. A missing user permission ends it, since nothing would be left.
"""

from __future__ import annotations

from vtdkit.vtd.requests import READ, USER, WRITE
from vtdkit.vtd.tables.pages import FS_PTE, first_stage_entry

from . import second_stage as second
from .job import Job, Steps
from .rules import ENTRY_ADDRESS, PAGES, Rules, first_met
from .space import ALL, Leaf, Reading, Space
from .stage import Sites, walk

_P, _RW, _US, _A, _D, _EA = (FS_PTE.mask(name) for name in ("P", "RW", "US", "A", "D", "EA"))


class First:
    """The first stage."""

    name, shape = "first", staticmethod(first_stage_entry)
    sites = Sites("SFS.4", "SFS.1", "SFS.2", "SFS.3", "SFS.9", "SFS.10", read="SGN.2", write="SGN.6")

    def __init__(self, job: Job, space: Space) -> None:
        self.job, self.space, self.rules = job, space, job.rules
        self.root, self.levels, self.tag = space.first_root, space.first_levels, space.tag
        self.locate = self._locate if space.path == "NEST" else None
        self.cache = job.caches.first if job.caches else None
        self.accessed = _A | (_EA if space.eafe else 0)
        # Under nesting the address is looked at as well, so that no entry is without question.
        self.enough = ALL if space.path == "FS" else -1
        self.flags_in = (self.accessed, self.accessed | _D)

    @staticmethod
    def decode(rules: Rules, level: int, raw: int) -> Reading:
        """What an entry says: is it a leaf, its rights, its reserved bits, where it leads."""
        rights = READ | raw & (_RW | _US) if raw & _P else 0  # RW and US stand where WRITE and USER do
        if level == 1 or (raw & 0x80 and level <= 3):
            return True, rights, raw & rules.first_leaf[level], raw & PAGES[level]
        return False, rights, raw & rules.first_table[level], raw & ENTRY_ADDRESS

    def refusal(self, raw: int, said: Reading, left: int, *, updatable: bool) -> str:
        """The first condition that the entry meets; `left` are the rights that it and those above grant."""
        leaf, rights, reserved, _ = said
        if not rights:  # P=0
            return self.sites.absent
        # Between permission and reserved bits the specification leaves the order open.
        checks = [self.permitted(left), self.sites.reserved if reserved else ""]
        to_flag = self.flagged(raw, leaf, left) != raw
        # SFS.9: flags are set in a snooped walk only
        silent = not self.space.snooped and not self.rules.quirks.flags_without_snoop
        outside = self.space.path == "NEST" and raw & ENTRY_ADDRESS >= self.space.second_limit
        return first_met(
            *((label, label) for label in checks[:: -1 if self.rules.caps.reserved_first else 1]),
            (self.sites.unsnooped, to_flag and silent),
            ("SFS.8", to_flag and not updatable),
            ("SFS.5", outside),
        )

    def permitted(self, rights: int) -> str:
        """The condition that rights are too few for the request; "" when they are enough."""
        may = self.granted(rights)
        if not may:
            return self.sites.read
        return self.sites.write if self.job.request.writes and not may & WRITE else ""

    def granted(self, rights: int) -> int:
        """READ and WRITE that the stage's rights mean for the request."""
        supervisor = self.job.supervisor
        if not (supervisor or rights & USER):
            return 0
        return rights & (READ | WRITE) | (WRITE if supervisor and not self.space.wpe else 0)

    def flagged(self, raw: int, leaf: bool, rights: int) -> int:
        """The entry with the flags that hardware sets when it uses it: accessed, and dirty in a leaf."""
        dirty = leaf and self.job.wants_write and self.granted(rights) & WRITE
        return raw | self.accessed | (_D if dirty else 0)

    def end(self, target: int, level: int, raw: int, rights: int) -> Leaf:
        """The leaf that the walk ended at."""
        return Leaf(target, 3 + 9 * level, raw, level, first=rights, dirty=bool(raw & _D))

    def indifferent(self, level: int, *, sized: bool) -> int:
        """The bits of an entry that make no difference to its cell, if PS (bit 7) is as `sized` says."""
        # Under nesting an address must lie within the second stage's width.
        address = ENTRY_ADDRESS & (self.space.second_limit - 1 if self.space.path == "NEST" else -1)
        return address & ~(self.rules.first_leaf if sized else self.rules.first_table)[level]

    def _locate(self, at: int, root: bool) -> Steps[tuple[int, bool]]:
        """Under nesting it takes a second-stage walk to find a table of the first stage."""
        job = self.job
        job.inner = True
        leaf = yield from walk(second.asked_for_table(job, self.space, root=root), at)
        job.inner = False
        return leaf.base | at & (1 << leaf.shift) - 1, bool(leaf.second & WRITE)


def nested(job: Job, space: Space) -> Steps[Leaf]:
    """Walk the first stage, then the second for the guest address it gives. The leaf is the smaller of the
    two pages.
    """
    stage, address = First(job, space), job.request.address
    inner = yield from walk(stage, address)
    guest = inner.base | address & (1 << inner.shift) - 1
    dirties = bool(stage.granted(inner.first) & WRITE)
    outer = yield from walk(second.asked(job, space, dirties=dirties), guest)
    shift = min(inner.shift, outer.shift)
    host, dirty = outer.base | guest & (1 << outer.shift) - 1, inner.dirty and outer.dirty
    return outer._replace(base=host & -(1 << shift), shift=shift, first=inner.first, dirty=dirty)
