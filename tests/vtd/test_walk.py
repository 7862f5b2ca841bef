"""One walk for everything: run to its end, paused before each access, or traced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vtdkit.vtd.requests import Fault, Translation
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.job import Job

from .rig import bring_up, legacy, read


def test_a_memory_that_is_logged_sees_each_table_entry_once() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(cached=False)
    tables.memory.log = []
    unit.translate(read(0x1000))
    assert {a.what for a in tables.memory.log} == {"read"}
    assert [a.address & 0xFFF for a in tables.memory.log] == [0, 8, 0x180, 0x188, 0, 0, 0, 8]


@pytest.mark.parametrize("cached", [False, True])
def test_the_generator_run_to_its_end_is_translate(cached: bool) -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    first, second = tables.unit(cached=cached), tables.unit(cached=cached)
    for address in (0x1000, 0x1008, 0x2000, 1 << 50):
        steps = first.walk_steps(read(address))
        assert Job.finish(steps) == second.translate(read(address))
    assert first.faults.records() == second.faults.records()


def test_a_walk_can_be_disturbed_between_two_accesses() -> None:
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    steps = tables.unit(cached=False).walk_steps(read(0x1000))
    accesses = []
    answer: Translation | Fault
    while True:
        try:
            access = next(steps)
        except StopIteration as end:
            answer = end.value
            break
        accesses.append(access.what)
        if access.address == leaf:
            tables.memory[leaf] = 0
    assert accesses == [
        "root entry",
        "context entry",
        "second-stage level 4",
        "second-stage level 3",
        "second-stage level 2",
        "second-stage level 1",
    ]
    assert isinstance(answer, Fault)
    assert answer.label == "LGN.3"


def test_a_second_unit_over_the_same_memory_is_independent() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    first = tables.unit()
    other = RemappingUnit(tables.memory, replace(first.capabilities, NFR=1))
    bring_up(other, tables.page())
    assert isinstance(first.translate(read(0x1000)), Translation)
    assert isinstance(other.translate(read(0x1000)), Fault)
    assert not first.faults.records()[0].F
