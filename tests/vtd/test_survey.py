"""What a survey lists is what the walk grants, under every mode."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.image import BadImage
from vtdkit.vtd.image.survey import DECODERS, Survey
from vtdkit.vtd.quirks import QEMU_7_2, QEMU_10, SPECIFICATION
from vtdkit.vtd.requests import Fault, Request, Translation
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.second_stage import Second

from .rig import RW, SID, Tables, bring_up, legacy, scalable
from .test_many import built, check

SSIRW = 3 << 61


# Refusals that no survey looks at: a result in the interrupt range, and flags that cannot be set.
UNSURVEYED = ("LGN.4", "SGN.8.1", "IR.29", "SFS.9", "SSS.5")


def agree(unit: RemappingUnit, more: Iterable[int] = ()) -> int:
    """Ranges of the survey against single requests, at their edges, in the holes and at `more` addresses;
    returns how many were granted.
    """
    survey, granted = Survey(unit), 0
    space, refusal = survey.space(SID)
    ranges = list(survey.ranges(space)) if space else []
    edges = [a for r in ranges for a in (r.iova, r.iova + r.size - 1, r.iova - 1, r.iova + r.size)]
    for address in (a for a in (*edges, *more) if 0 <= a < 1 << 64):
        part = next((r for r in ranges if r.iova <= address < r.iova + r.size), None)
        for kind in ("read", "write"):
            answer = unit.from_memory(Request(SID, address, kind, length=1))  # type: ignore[arg-type]
            allowed = part is not None and kind[0] in part.permissions
            if isinstance(answer, Translation) and answer.path == "interrupt window":
                continue
            if space is None:
                assert isinstance(answer, Fault), answer
                assert answer.label in (refusal, "IR.29")
            elif isinstance(answer, Translation):
                assert allowed or space.path == "PT", (part, answer)
                assert (
                    part is None
                    or space.path == "NEST"
                    or answer.address == part.address + address - part.iova
                )
                granted += 1
            else:  # under nesting a survey shows the first stage, and the second may refuse
                excused = answer.label in UNSURVEYED or (space.path == "NEST" and answer.label[:3] != "LGN")
                assert not allowed or excused, (part, answer)
    return granted


def machine(seed: int, path: str) -> RemappingUnit:
    """A unit of random capabilities, personality and mode over random tables with something wrong."""
    rng = random.Random(f"{path} {seed}")
    bits = {
        name: rng.randrange(2) for name in ("SC", "FS1GP", "FS5LP", "SMPWC", "SSADS", "EAFS", "SSIRWS", "RPS")
    }
    widths = {
        "HAW": rng.choice((39, 46, 52)),
        "MGAW": rng.choice((39, 48, 57)),
        "SSLPS": rng.choice((0, 1, 3)),
    }
    caps = Capabilities.scalable(**bits, **widths, reserved_first=bool(rng.randrange(2))).buildable()
    tables, mode = built(path, rng)
    if ssirwe := rng.randrange(2) & caps.SSIRWS & mode:
        for page in tables.memory.pages.values():  # permissions where SSIRWE looks for them, here and there
            page[:] = [
                word | (rng.choice((0, 1, 2, 3, 3, 3)) << 61) if word & 3 == 3 else word for word in page
            ]
    quirks = rng.choice((SPECIFICATION, SPECIFICATION, QEMU_7_2, QEMU_10))
    unit = RemappingUnit(tables.memory, caps, quirks=quirks, cached=bool(rng.randrange(2)))
    bring_up(unit, tables.root | rng.choice((mode, mode, mode, mode, 2, 3)) << 10 | ssirwe << 7)
    return unit


def some_addresses(seed: int) -> list[int]:
    rng = random.Random(seed)
    starts = (0, 1 << 30, 1 << 39, 3 << 30, 2 << 30, 1 << 47, 1 << 57, 0xFEE0_0000)
    return [rng.choice(starts) + rng.choice((0, 0x3000, 1 << 21, rng.getrandbits(30))) for _ in range(20)]


def test_the_entries_of_a_table_are_those_that_lead_on() -> None:
    tables, root = legacy()
    for address, target in ((0x1000, 0x20_0000), (0x3000, 0x30_0000)):
        leaf = tables.map(root, address, target)
    tables.memory[leaf + 8] = 0x40_0000  # neither read nor write
    survey = Survey(tables.unit())
    space, _ = survey.space(SID)
    assert space is not None
    table = survey.root(space)
    while table.level > 1:
        (lead,) = survey.entries(table)
        assert not lead.leaf
        (table,) = survey.below(space, table)
    assert [(lead.slot, lead.address, lead.leaf) for lead in survey.entries(table)] == [
        (1, 0x20_0000, True),
        (3, 0x30_0000, True),
    ]


PATHS = ("legacy", "SS", "FS", "NEST", "PT")


@given(seed=st.integers(0, 1 << 30), path=st.sampled_from(PATHS))
@settings(max_examples=150, deadline=None)
def test_under_every_mode(seed: int, path: str) -> None:
    """§3.4, as its kind: random tables, capabilities, personalities and modes."""
    unit = machine(seed, path)
    try:
        agree(unit, some_addresses(seed))
    except BadImage as error:
        assume("tables loop" not in str(error))  # which the survey refuses, and hardware does not mind
        raise
    pytest.importorskip("numpy")
    for kind in ("read", "write", "zero-length read"):
        check(unit.translate_many(SID, some_addresses(seed), kind))  # type: ignore[arg-type]


def test_the_machines_are_of_all_kinds_and_grant_something() -> None:
    made = [machine(seed, path) for path in PATHS for seed in range(40)]
    spaces = [Survey(unit).space(SID)[0] for unit in made]
    assert {unit.mode for unit in made} == {0, 1, 2, 3}
    assert {bool(unit.ssirwe) for unit in made} == {False, True}
    assert {space.path for space in spaces if space} == {"SS", "FS", "NEST", "PT"}
    assert sum(agree(unit) > 0 for unit in made) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rules, level, raw: (*(said := Second.decode(rules, level, raw))[:1], raw & 3, *said[2:]),
        lambda rules, level, raw: (*Second.decode(rules, level, raw)[:2], 0, raw & 0xF_FFFF_FFFF_F000),
        lambda rules, level, raw: (level == 1, *Second.decode(rules, level, raw)[1:]),
    ],
    ids=["rights where they once stood", "reserved bits not looked at", "no large pages"],
)
def test_a_rule_of_its_own_in_the_survey_would_be_found(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DECODERS, "second", wrong)
    with pytest.raises(AssertionError):
        [agree(machine(seed, "SS"), some_addresses(seed)) for seed in range(200)]


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
    """§3.4: the survey said nothing was mapped where the walk found the page."""
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
