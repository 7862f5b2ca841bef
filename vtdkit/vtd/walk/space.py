"""What a page walk deals in: the space it starts from, the entries it reads, the leaf it ends at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from vtdkit.vtd.plain import shown
from vtdkit.vtd.requests import READ, USER, WRITE

TOP = 1 << 64
ALL = READ | WRITE | USER


@dataclass(frozen=True, slots=True)
class Space:
    """What the context or PASID entry says about the requests that use it. Roots and limits are addresses.

    `path` is FS, SS, NEST or PT. `tag` is the PASID under which page-table entries are cached (None in legacy
    mode). `outside` are the input addresses that no table is asked about: from, up to but not including, and
    the condition that refuses them.
    """

    path: str
    legacy: bool
    did: int
    tag: int | None
    fpd: bool
    second_root: int = 0
    second_levels: int = 0
    second_limit: int = 0
    first_root: int = 0
    first_levels: int = 0
    outside: tuple[int, int, str] = (TOP, TOP, "")
    sre: bool = False
    wpe: bool = False
    eafe: bool = False
    ssade: bool = False
    snooped: bool = False
    pgsnp: bool = False
    rid_priv: bool = False
    translations_allowed: bool = False

    __repr__ = shown


Reading: TypeAlias = tuple[bool, int, int, int]
"""What a page-table entry of either stage says, whoever asks: whether it maps a page (a leaf); its rights
READ, WRITE and, in the first stage, USER (0: not present); which of its reserved bits are set; and where the
page or the next table is.
"""


class Leaf(NamedTuple):
    """The end of a page walk: where the page is and the AND of the permissions on the way.

    `base` is the host address of the page (or of the piece of it that both stages agree on), `shift` its size
    as a power of two. `first` are READ, WRITE and USER of the first stage, `second` READ and WRITE of the
    second; a stage that was not walked grants everything. `dirty` says that a write needs no flag update.
    """

    base: int
    shift: int
    entry: int
    level: int
    first: int = ALL
    second: int = READ | WRITE
    dirty: bool = True
    snoop: bool = False
