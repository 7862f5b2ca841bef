"""One stage of page tables as one request asks it: the loop that both stages share, and what an entry says.

At each entry `walk` asks three questions, which `First` and `Second` answer, each for its own format and its
own conditions of the fault tables: `decode` (what the entry says, whoever asks), `refusal` (what is wrong
with it for this request) and `flagged` (the flags hardware sets when it uses it). An untranslated request
ends at the first entry that fails. A translation request goes on as long as one permission is left, since its
answer carries both.

`objection` and `cell` ask the same without walking. `many` (arrays) and the page-table explorer (a browser)
make a cell of each entry with them, and follow cells: they know no rule, so they follow the walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vtdkit.vtd.memory import WORD, AccessError

from .job import Access, Steps
from .space import ALL, Leaf, Reading

if TYPE_CHECKING:
    from .first_stage import First
    from .second_stage import Second

    Stage: TypeAlias = First | Second


class Sites(NamedTuple):
    """The labels of the checks of one kind of walk. The first two are of a table that cannot be read: the
    topmost, and any other. An empty `absent` means: by the missing permission.
    """

    root: str
    lower: str
    absent: str
    reserved: str
    unsnooped: str
    update: str
    read: str
    write: str


class Cell(NamedTuple):
    """One entry for one kind of request: `label` refuses ("" goes on), `rights` are READ and WRITE granted.

    `nothing` is the label where the entries above leave none of these rights.
    """

    label: str
    nothing: str
    leaf: bool
    rights: int


def objection(stage: Stage, level: int, raw: int, said: Reading, before: int, updatable: bool = True) -> str:
    """The first condition that an entry meets, "" for none. `before` are the rights of the entries above,
    `updatable` whether the entry may be written.
    """
    leaf, rights, reserved, _ = said
    if raw == WORD and stage.rules.quirks.all_ones_unreadable:
        return stage.sites[level < stage.levels]
    left, flags = rights & before, stage.flags_in[leaf]
    # Most entries grant all that is asked, have their flags, and no reserved bit: there is nothing to ask.
    if not reserved and not stage.enough & ~left and raw & flags == flags:
        return ""
    return stage.refusal(raw, said, left, updatable=updatable)


def cell(stage: Stage, level: int, raw: int, *, updatable: bool = True) -> Cell:
    """What the walk would make of an entry, without walking."""
    said = leaf, rights, _, _ = stage.decode(stage.rules, level, raw)
    label, nothing = (
        objection(stage, level, raw, said, before, updatable=updatable) for before in (ALL, ALL & ~rights)
    )
    return Cell(label, nothing, leaf, stage.granted(rights))


def walk(stage: Stage, address: int) -> Steps[Leaf]:
    """Walk to the leaf of `address`, which is already known to be within the stage's width."""
    job, rules, cache, decode, locate = stage.job, stage.rules, stage.cache, stage.decode, stage.locate
    read64, shape, flags = job.unit.memory.read64, stage.shape, stage.flags_in[True]
    stepped, traced = job.stepped, job.trace is not None
    level, table, allowed = stage.levels, stage.root, ALL
    cached = cache.find(stage.space.did, stage.tag, address) if cache is not None else None
    if cached:
        # The structure cache holds an upper entry (chapter 6): the walk starts below it.
        level, table, allowed = cached.level - 1, cached.table, cached.allowed
        job.mark(shape(cached.level, leaf=False), 0, 0, cached.entry, cached.level, "structure cache")
        job.insist(stage.permitted(allowed))
    while True:
        # 9 bits of the address pick the entry: bit 12 and up at level 1, bit 21 and up at level 2, …
        at, updatable = table + (address >> 3 + 9 * level & 511) * 8, True
        index = at >> 3 & 511
        if locate is not None:  # nested: that was a guest's address
            at, updatable = yield from locate(at, level == stage.levels)
        if stepped:
            yield Access(f"{stage.name}-stage level {level}", at)
        try:
            raw = read64(at)
        except AccessError:
            job.mark(shape(level, leaf=False), at, index, 0, level)
            job.refuse(stage.sites[level < stage.levels])
        said = leaf, rights, _, target = decode(rules, level, raw)
        if traced:
            job.mark(shape(level, leaf=leaf), at, index, raw, level)
        label = objection(stage, level, raw, said, allowed, updatable)
        if label:
            job.refuse(label)
        allowed &= rights
        wanted = stage.flagged(raw, leaf, allowed) if flags else raw
        if wanted != raw:
            # One atomic step: whoever changed the entry in between is seen, and the entry looked at anew.
            found = yield from job.update(f"{stage.name}-stage flags", at, raw, wanted, stage.sites.update)
            if found != raw:
                continue
        if leaf:
            job.remark("maps {:#x} bytes at {:#x}", 8 << 9 * level, target)
            return stage.end(target, level, wanted, allowed)
        if traced:
            job.remark("next table at {:#x}", target)
        if cache is not None:
            cache.keep(stage.space.did, stage.tag, address, level, wanted, target, allowed)
        table, level = target, level - 1
