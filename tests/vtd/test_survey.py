"""What a survey lists is what the walk grants, under every mode."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import Fault, Request
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import RW, SCALABLE, SID, Tables, bring_up, scalable
from .test_many import built

SSIRW = 3 << 61


def agree(unit: RemappingUnit, nested: bool = False) -> int:
    """Ranges of the survey against single requests at their edges; returns how many were granted."""
    survey, granted = Survey(unit), 0
    space, refusal = survey.space(SID)
    assert space is not None, refusal
    ranges = list(survey.ranges(space))
    for part in ranges:
        for address in (part.iova, part.iova + part.size - 1):
            for kind, allowed in (("read", part.readable), ("write", part.writable)):
                request = Request(SID, address, kind, length=1)  # type: ignore[arg-type]
                answer = unit.from_memory(request)
                if nested and isinstance(answer, Fault) and answer.label.startswith(("SSS", "SGN", "SFS")):
                    continue  # the survey shows the first stage; the second refused
                if isinstance(answer, Fault) and answer.label in ("LGN.4", "SGN.8.1"):
                    continue  # what lies at the end is the interrupt range
                assert bool(answer) is allowed, (part, answer)
                if answer and not nested:
                    assert answer.address == part.address + address - part.iova
                granted += bool(answer)
    for before, after in pairwise(ranges):
        hole = before.iova + before.size
        if hole < after.iova:
            assert not unit.from_memory(Request(SID, hole, length=1)), hex(hole)
    return granted


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("path", ["legacy", "SS", "FS", "NEST"])
def test_on_tables_of_every_kind_with_something_wrong(path: str, seed: int) -> None:
    tables, mode = built(path, random.Random(f"{path} {seed}"))
    unit = tables.unit(SCALABLE, mode=mode, cached=False)
    space, _ = Survey(unit).space(SID)
    if space is not None and space.snooped:  # else missing flags refuse, which no survey looks at
        agree(unit, path == "NEST")


def with_ssirwe(bits: int) -> RemappingUnit:
    """Scalable mode, permissions in bits 61 and 62 (RTADDR.SSIRWE)."""
    caps = Capabilities.scalable(HAW=46, SSIRWS=1)
    tables: Tables
    tables, *_, root = scalable("SS", caps)
    tables.map(root, 0x1000, 0x20_0000, bits=bits, middle=RW | SSIRW)
    unit = RemappingUnit(tables.memory, caps, cached=False)
    bring_up(unit, tables.root | 1 << 10 | 1 << 7)
    return unit


@pytest.mark.parametrize(("bits", "granted"), [(SSIRW, 4), (1 << 61, 2), (RW, 0)])
def test_with_ssirwe_too(bits: int, granted: int) -> None:
    """Corrections, section 3, point 4: the survey said nothing was mapped where the walk found the page."""
    unit = with_ssirwe(bits)
    assert unit.ssirwe
    assert agree(unit) == granted


def test_a_survey_stops_where_addresses_are_too_wide() -> None:
    caps = Capabilities(HAW=46, MGAW=39)
    tables, mode = built("legacy", random.Random(2))
    unit = tables.unit(caps, mode=mode, cached=False)
    space, _ = Survey(unit).space(SID)
    assert space is not None
    assert all(part.iova < 1 << 39 for part in Survey(unit).ranges(space))
    agree(unit)
