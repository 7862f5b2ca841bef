"""What a unit's caches hold for one device, as a record, and whether memory still says the same.

An entry is *stale* when the tables now say something else. The unit goes on using it until software
invalidates it: that is what an invalidation is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtdkit.vtd.caches.caches import Iotlb, IotlbTag, StructureTag
from vtdkit.vtd.image.survey import Survey, Table
from vtdkit.vtd.memory import read_page
from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk.space import Space

from .cells import KINDS, Shapes

MOST_LISTED = 1024
_FLAGS = 0x360
"""Accessed and dirty flags of both stages: hardware sets them itself, so they make nothing stale."""


def held_record(
    unit: RemappingUnit, sid: int, pasid: int | None, spaces: Sequence[Space], survey: Survey, shapes: Shapes
) -> dict[str, Any]:
    """The IOTLB and structure caches that serve requests of `sid` with `pasid` in one of `spaces`."""
    caches = unit.caches
    if caches is None:
        return {"iotlb": [], "structures": [], "more": 0}
    tags = sorted(
        (tag for tag in caches.iotlb.values() if (tag.sid, tag.pasid) == (sid, pasid)),
        key=lambda tag: (tag.low, tag.shift),
    )
    pairs = [
        ("second", tag, space) for tag in caches.second.values() for space in spaces if tag.did == space.did
    ]
    pairs += [
        ("first", tag, space)
        for tag in caches.first.values()
        for space in spaces
        if (tag.did, tag.pasid) == (space.did, space.tag)
    ]
    return {
        "iotlb": [_iotlb(unit, caches.iotlb, tag, shapes) for tag in tags[:MOST_LISTED]],
        "structures": [
            _structure(survey, stage, tag, space) | shapes.structure(stage, tag, space)
            for stage, tag, space in pairs
        ],
        "more": max(0, len(tags) - MOST_LISTED),
    }


def roots_of(survey: Survey, space: Space) -> list[Table]:
    """The tables that walks in `space` start from."""
    outer = Table("second", space.second_root, space.second_levels)
    return [survey.root(space), *([outer] if space.path == "NEST" else [])]


def _iotlb(unit: RemappingUnit, iotlb: Iotlb, tag: IotlbTag, shapes: Shapes) -> dict[str, Any]:
    space = tag.space
    made: dict[str, Any] = {
        "low": f"{tag.low:#x}",
        "shift": tag.shift,
        "refusal": tag.refusal,
        "base": f"{tag.leaf.base:#x}",
        "space": {
            "path": space.path,
            "fpd": space.fpd,
            "interrupt": engine.interrupt_label(shapes.job(space, "read"), space),
        },
        **shapes.remembered(tag),
        "stale": any(
            disagree(unit.from_memory(asked), unit.walk(asked, cached=True).answer)
            for asked in (Request(tag.sid, tag.low, kind, pasid=tag.pasid) for kind in KINDS)
        ),
    }
    if tag.refusal:
        made["kind"] = next(
            kind for kind in KINDS if iotlb.get((tag.sid, tag.pasid, 12, tag.page, kind)) is tag
        )
    return made


def disagree(now: Translation | Fault, then: Translation | Fault) -> bool:
    """Whether a device would notice that one answer is not the other."""
    if isinstance(now, Translation) and isinstance(then, Translation):
        return (now.address, now.readable, now.writable) != (then.address, then.readable, then.writable)
    return bool(now) != bool(then)


def _structure(survey: Survey, stage: str, tag: StructureTag, space: Space) -> dict[str, Any]:
    root = next(table for table in roots_of(survey, space) if table.stage == stage)
    now = _entry_now(survey, space, root, tag.prefix << 3 + 9 * tag.level, tag.level)
    return {
        "stage": stage,
        "did": tag.did,
        "tag": tag.pasid,
        "level": tag.level,
        "prefix": f"{tag.prefix:#x}",
        "raw": f"{tag.entry:#x}",
        "table": f"{tag.table:#x}",
        "stale": now is None or (now ^ tag.entry) & ~_FLAGS != 0,
    }


def _entry_now(survey: Survey, space: Space, table: Table, address: int, level: int) -> int | None:
    """The entry of `level` on the way to `address`, from memory; None if the way does not get there."""
    while table.level > level:
        base = address & -(1 << table.step)
        below = [each for each in survey.below(space, table) if (each.base ^ base) >> table.step & 511 == 0]
        if not below:
            return None
        table = below[0]
    words = read_page(survey.unit.memory, table.page >> 12)
    return None if words is None else words[address >> table.step & 511]
