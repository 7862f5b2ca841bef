"""What a unit's caches hold for one device, as a record, and whether memory still says the same.

An entry is *stale* when the tables now say something else. The unit goes on using it until software
invalidates it: that is what an invalidation is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtdkit.vtd.caches.caches import Iotlb, IotlbTag, StructureTag
from vtdkit.vtd.requests import READ, USER, WRITE, Kind, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.space import Leaf, Space

from .pages import Reader, Table

MOST_LISTED = 1024
KINDS: tuple[Kind, ...] = ("read", "write")
_FLAGS = 0x360
"""Accessed and dirty flags of both stages: hardware sets them itself, so they make nothing stale."""


def held_record(
    unit: RemappingUnit, sid: int, pasid: int | None, spaces: Sequence[Space], reader: Reader
) -> dict[str, Any]:
    """The IOTLB and structure caches that serve requests of `sid` with `pasid` in one of `spaces`."""
    caches = unit.caches
    if caches is None:
        return {"iotlb": [], "structures": [], "more": 0}
    tags = sorted(
        (tag for tag in caches.iotlb if (tag.sid, tag.pasid) == (sid, pasid)),
        key=lambda tag: (tag.low, tag.shift),
    )
    pairs = [("second", tag, space) for tag in caches.second for space in spaces if tag.did == space.did]
    pairs += [
        ("first", tag, space)
        for tag in caches.first
        for space in spaces
        if (tag.did, tag.pasid) == (space.did, space.tag)
    ]
    return {
        "iotlb": [_iotlb(unit, caches.iotlb, tag) for tag in tags[:MOST_LISTED]],
        "structures": [_structure(reader, stage, tag, space) for stage, tag, space in pairs],
        "more": max(0, len(tags) - MOST_LISTED),
    }


def roots_of(space: Space) -> list[Table]:
    """The tables that walks in `space` start from."""
    found = []
    if space.path in ("FS", "NEST"):
        found.append(Table("first", space.first_root, space.first_levels, 0))
    if space.path in ("SS", "NEST"):
        found.append(Table("second", space.second_root, space.second_levels, 0))
    return found


def _iotlb(unit: RemappingUnit, iotlb: Iotlb, tag: IotlbTag) -> dict[str, Any]:
    space = tag.space
    flags = {name: getattr(space, name) for name in ("path", "legacy", "sre", "wpe", "rid_priv", "fpd")}
    made: dict[str, Any] = {
        "low": f"{tag.low:#x}",
        "shift": tag.shift,
        "refusal": tag.refusal,
        "leaf": leaf_record(tag.leaf),
        "space": flags,
        "stale": any(_disagree(unit, Request(tag.sid, tag.low, kind, pasid=tag.pasid)) for kind in KINDS),
    }
    if tag.refusal:
        made["kind"] = next(
            kind for kind in KINDS if iotlb.get((tag.sid, tag.pasid, 12, tag.page, kind)) is tag
        )
    return made


def leaf_record(leaf: Leaf) -> dict[str, Any]:
    """The end of a walk: where, how large, who may."""
    return {
        "base": f"{leaf.base:#x}",
        "shift": leaf.shift,
        "level": leaf.level,
        "raw": f"{leaf.entry:#x}",
        "user": bool(leaf.first & USER),
        "first_writable": bool(leaf.first & WRITE),
        "readable": bool(leaf.second & READ),
        "writable": bool(leaf.second & WRITE),
        "dirty": leaf.dirty,
    }


def _disagree(unit: RemappingUnit, request: Request) -> bool:
    """Whether the caches and the tables give different answers."""
    now, then = unit.from_memory(request), unit.walk(request, cached=True).answer
    if isinstance(now, Translation) and isinstance(then, Translation):
        return (now.address, now.readable, now.writable) != (then.address, then.readable, then.writable)
    return bool(now) != bool(then)


def _structure(reader: Reader, stage: str, tag: StructureTag, space: Space) -> dict[str, Any]:
    root = next(table for table in roots_of(space) if table.stage == stage)
    now = _entry_now(reader, root, tag.prefix << 3 + 9 * tag.level, tag.level)
    return {
        "stage": stage,
        "did": tag.did,
        "tag": tag.pasid,
        "level": tag.level,
        "prefix": f"{tag.prefix:#x}",
        "raw": f"{tag.entry:#x}",
        "table": f"{tag.table:#x}",
        "allowed": tag.allowed,
        "stale": now is None or (now ^ tag.entry) & ~_FLAGS != 0,
    }


def _entry_now(reader: Reader, table: Table, address: int, level: int) -> int | None:
    """The entry of `level` on the way to `address`, from memory; None if the way does not get there."""
    while True:
        index = address >> 3 + 9 * table.level & 511
        if table.level == level:
            words = reader.words(table.page)
            return None if words is None else words[index]
        below = (
            each for each in reader.below(table) if each.base - table.base >> 3 + 9 * table.level == index
        )
        found = next(below, None)
        if found is None:
            return None
        table = found
