"""The record of the page-table explorer: one device's way through the tables, complete, so that any address
can be looked up in it.

`page_table_record(unit, sid)` reads everything a request of that device can meet: the entries before the
page tables, every page of the page tables, what the caches still hold, the rules of this unit (which bits
are reserved, which condition each failed check is), and words for all of it. `pagewalk.js` then does the
walk of `vtdkit.vtd` for any address, from the record alone; a test holds the two together. Reading
changes nothing (see `snapshot`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from vtdkit.views.bits.records import glossary_of, layout_record
from vtdkit.views.shared.record import Record
from vtdkit.vtd.faults.reasons import REASONS
from vtdkit.vtd.image.image import BadImage
from vtdkit.vtd.image.survey import MappedRange, Survey, Table
from vtdkit.vtd.requests import Request, bdf
from vtdkit.vtd.tables.pages import first_stage_entry, second_stage_entry
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk.job import Job, Refused
from vtdkit.vtd.walk.rules import INTERRUPT_HIGH, INTERRUPT_LOW
from vtdkit.vtd.walk.space import Space
from vtdkit.vtd.walk.trace import Step

from .cells import KINDS, Shapes
from .held import held_record, roots_of
from .pages import MOST, collect
from .words import PURPOSE, sentence

MOST_RANGES = 1000


@dataclass(frozen=True, slots=True)
class Front:
    """The way to the page tables: its steps, and the space it leads to or the label of the
    condition that ends it.

    `fpd` says whether a fault-processing-disable bit was seen on the way.
    """

    steps: tuple[Step, ...]
    space: Space | None
    refused: str
    fpd: bool


def page_table_record(
    unit: RemappingUnit,
    sid: int,
    pasid: int | None = None,
    *,
    near: int = 0,
    most: int = MOST,
    driver: str = "",
) -> Record:
    """Everything requests of `sid` can meet in `unit`, a `snapshot.twin`. `near`: the tables round it come
    first if not all fit.
    """
    fresh = _front(unit, sid, pasid, cached=False)
    then = _front(unit, sid, pasid, cached=True) if unit.caches is not None else fresh
    spaces = [front.space for front in (fresh, then) if front.space and front.space.path != "PT"]
    survey = Survey(unit)
    roots = [table for space in spaces for table in roots_of(survey, space)]
    layouts = _layouts(unit, fresh, then)
    ways = {"now": fresh.space} | ({"then": then.space} if then.space != fresh.space else {})
    request = Request(sid, 0, pasid=pasid)
    shapes = Shapes(unit, request, {name: space for name, space in ways.items() if space})
    held = held_record(unit, sid, pasid, spaces[: len(ways)], survey, shapes)
    roots += [
        Table(each["stage"], int(each["table"], 16), each["level"] - 1, 0) for each in held["structures"]
    ]
    return {
        "device": bdf(sid),
        "sid": sid,
        "pasid": pasid,
        "driver": driver,
        "mode": ("legacy", "scalable", "reserved", "abort DMA")[unit.mode] if unit.translating else "off",
        "now": _way(unit, fresh, "now"),
        "then": _way(unit, then, "then" if "then" in ways else "now"),
        "held": held,
        # where a result may not lie; `whole_page`: the whole page counts, not only the bytes asked for
        "ranges_out": {
            "interrupt": [f"{INTERRUPT_LOW:#x}", f"{INTERRUPT_HIGH:#x}"],
            "whole_page": unit.quirks.interrupt_page,
            "protected": [[f"{start:#x}", f"{end:#x}"] for start, end in unit.protected_regions()],
        },
        "window": _window(unit, pasid),
        "faults": _faults(unit, request, fresh, then),
        "layouts": layouts,
        "glossary": glossary_of(layouts.values()),
        **collect(survey, spaces[0] if spaces else None, roots, near, most, shapes),
        "shapes": shapes.made,
        "unreadable": shapes.unreadable(),
        **_ranges(survey, fresh.space),
    }


def _front(unit: RemappingUnit, sid: int, pasid: int | None, *, cached: bool) -> Front:
    """The way from a source id to a space, from memory or as the caches have it."""
    steps, space, refused = list[Step](), None, ""
    caches = unit.caches.copy() if cached and unit.caches else None
    job = Job(unit, Request(sid, 0, pasid=pasid), caches, commit=False, trace=steps)
    try:
        if unit.translating:
            space = Job.finish(engine.find_space(job))
    except Refused as refusal:
        refused = refusal.label
    return Front(tuple(steps), space, refused, job.fpd)


def _way(unit: RemappingUnit, front: Front, name: str) -> dict[str, Any]:
    """Steps and space for the browser; `off` when remapping is off."""
    space = front.space
    return {
        "steps": [_step(unit, step) for step in front.steps],
        "refused": front.refused,
        "off": not unit.translating,
        "fpd": front.fpd,
        "name": name,
        "space": _space(unit, space) if space else None,
    }


def _step(unit: RemappingUnit, step: Step) -> dict[str, Any]:
    name, purpose = PURPOSE[step.structure.name]
    return {
        "name": name,
        "purpose": purpose,
        "kind": step.structure.name,
        "address": f"{step.address:#x}",
        "index": step.index,
        "raw": f"{step.raw:#x}",
        "source": step.source,
        "label": step.label,
        "why": step.why,
        **(_table_of(unit, step) if step.source == "memory" else {}),
    }


def _table_of(unit: RemappingUnit, step: Step) -> dict[str, Any]:
    """How many entries the table around a step has, and which are present: bit 0 of a word says so."""
    size = step.structure.width // 8
    count, telling = 4096 // size, 2 if step.structure.name == "scalable-mode root entry" else 1
    base = step.address - (step.index % count) * size
    words = (None if base % 4096 else unit.memory.page(base >> 12)) or ()  # type: ignore[attr-defined]
    present = [
        at * 8 // size
        for at in range(0, len(words), size // 8)
        if any((word or 0) & 1 for word in words[at : at + telling])
    ]
    return {"entries": count, "first": step.index - step.index % count, "present": present}


def _space(unit: RemappingUnit, space: Space) -> dict[str, Any]:
    low, high, label = space.outside
    job = Job(unit, Request(0, 0), None, commit=False, trace=None)
    return {
        "path": space.path,
        "legacy": space.legacy,
        "did": space.did,
        "tag": space.tag,
        "second_levels": space.second_levels,
        "first_levels": space.first_levels,
        "second_root": f"{space.second_root:#x}",
        "first_root": f"{space.first_root:#x}",
        "outside": [f"{low:#x}", f"{high:#x}", label],
        "interrupt": engine.interrupt_label(job, space),
    }


def _window(unit: RemappingUnit, pasid: int | None) -> dict[str, Any] | None:
    """What becomes of requests for FEE00000 to FEEFFFFF; None: they are looked up as any other.

    `refused` is about those that are no interrupts: the condition, empty if they pass, None if
    they are looked up.
    """
    told = "IR.29" if unit.translating or unit.interrupts_remapped else None
    return {"refused": "" if unit.quirks.interrupt_window_silent else told} if pasid is None else None


def _faults(unit: RemappingUnit, request: Request, *fronts: Front) -> dict[str, Any]:
    """For each condition: its code for each kind of access, its name and a sentence, and whether an FPD bit
    keeps it out of the fault records (`silenced`).
    """
    jobs = {kind: Job(unit, replace(request, kind=kind), None, commit=False, trace=None) for kind in KINDS}
    for job in jobs.values():
        job.path = _path(fronts)

    def code(job: Job, label: str) -> str:
        fault: Any = job.fault(label)
        return "" if fault.code is None else f"{fault.code:X}h"

    return {
        label: {
            "says": sentence(label),
            "name": reason.name,
            **{kind: code(job, label) for kind, job in jobs.items()},
            "silenced": job.silenced(label),
        }
        for label, reason in REASONS.items()
    }


def _path(fronts: Iterable[Front]) -> str:
    return next((front.space.path for front in fronts if front.space), "")


def _layouts(unit: RemappingUnit, *fronts: Front) -> dict[str, Any]:
    """The layouts of all entries a walk can show, by the name `pagewalk.js` asks for."""
    environment = unit.rules.environment
    paths = {front.space.path for front in fronts if front.space}
    stages: Iterable[tuple[str, set[str], Any]] = (
        ("second", {"SS", "NEST"}, second_stage_entry),
        ("first", {"FS", "NEST"}, first_stage_entry),
    )
    return {
        step.structure.name: layout_record(step.structure, environment, _path(fronts))
        for front in fronts
        for step in front.steps
    } | {
        f"{stage} {level} {'leaf' if leaf else 'table'}": layout_record(shape(level, leaf=leaf), environment)
        for stage, walked, shape in stages
        if walked & paths
        for level in range(1, 6)
        for leaf in (False, True)
    }


def _ranges(survey: Survey, space: Space | None) -> dict[str, Any]:
    """Where the mapped ranges begin and how long they are, to jump from one to the next."""
    if space is None or space.path == "PT":
        return {"ranges": [], "ranges_more": False}
    found: list[MappedRange] = []
    with suppress(BadImage):  # tables that loop: the walk still tells the truth for each address
        found = list(islice(survey.ranges(space), MOST_RANGES + 1))
    return {
        "ranges": [
            [f"{part.iova:#x}", f"{part.size:#x}", f"{part.address:#x}", part.permissions]
            for part in found[:MOST_RANGES]
        ],
        "ranges_more": len(found) > MOST_RANGES,
    }
