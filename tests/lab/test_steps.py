"""A schedule written down step by step: where each thread stands, what it holds, what memory holds,
what cannot be avoided.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, parse, record_schedule
from vtdkit.series.catalogue import driver_at

FREED = "unmap*2 cat unmap cat unmap*3 cat"


@cache
def dump_unmap(version: int = 1, schedule: str = FREED) -> Steps:
    """The dump reads a table that an unmap frees."""
    return record_schedule(SCENARIOS["dump-unmap"].on(driver_at(version)), schedule, title="dump and unmap")


def crossing(machine: Machine) -> Any:
    """Two threads that take two locks in opposite orders."""
    a, b = machine.spinlock("a"), machine.spinlock("b")

    async def one() -> None:
        async with a, b:
            pass

    async def two() -> None:
        async with b, a:
            pass

    machine.spawn(one(), cpu=0, name="one")
    machine.spawn(two(), cpu=1, name="two")
    return lambda: "both done"


# -- schedules as text --------------------------------------------------------


def test_a_schedule_is_threads_with_counts() -> None:
    assert parse("cat*2 device.nvme_irq#2") == ["cat", "cat", "device.nvme_irq#2"]
    assert parse("v1: cat unmap") == ["cat", "unmap"]
    assert parse("") == []
    assert parse(["one", "cat"]) == ["one", "cat"]
    assert parse(Schedule(("cat", "unmap"))) == ["cat", "unmap"]


@pytest.mark.parametrize("text", ["0*", "cat*", "0*y", "-1", "0.*2", "0 *2", "1x"])
def test_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no part of a schedule"):
        parse(text)


@given(st.lists(st.sampled_from(["cat", "unmap", "cat.irq", "cat.irq#2"]), max_size=30))
def test_schedules_survive_being_written(names: list[str]) -> None:
    assert parse(Schedule(tuple(names)).text) == names


# -- a use after free ---------------------------------------------------------


def test_every_step_says_who_moved_and_what_it_did() -> None:
    steps = dump_unmap()
    assert (
        repr(steps) == "<steps of dump and unmap: 10 steps of 2 threads, 1 findings, the first after step 9>"
    )
    assert steps.threads == ("CPU0: cat", "CPU1: unmap")
    assert [(step.thread, step.did) for step in steps.steps[5:]] == [
        (0, "read domain 2 level 2 table[0]"),
        (1, "read domain 2 level 2 table[0]"),
        (1, "write domain 2 level 2 table[0]"),
        (1, "free domain 2 level 1 table"),
        (0, "read domain 2 level 1 table[0]"),
        (0, "read domain 2 level 2 table[0]"),
    ]


def test_a_step_is_found_by_what_was_done_in_it() -> None:
    steps = dump_unmap()
    assert steps.when("unmap", "free domain 2 level 1 table") == 8
    assert steps.when("cat", "read domain 2 level 2 table[0]") == 5
    with pytest.raises(ValueError, match=r"^cat never did 'free domain 2 level 1 table'; it did 'begin', "):
        steps.when("cat", "free domain 2 level 1 table")
    with pytest.raises(ValueError, match=r"no thread 'dog' here; there are cat, unmap$"):
        steps.when("dog", "begin")


def test_the_current_line_is_a_line_of_the_driver() -> None:
    steps = dump_unmap()
    stand = steps.stand(8, 0)
    source = steps.sources[stand.function]
    assert source.file.startswith("vtdkit/")
    assert "load" in source.lines[stand.line - source.first]
    assert stand.next == "read domain 2 level 1 table[0]"
    assert stand.path[-1].endswith("pgtable_walk_level")


def test_memory_is_read_after_every_step_and_what_is_freed_is_named() -> None:
    steps = dump_unmap()
    at = steps.words.index("domain 2 level 2 table[0]")
    assert [step.values[at] for step in steps.steps][5:] == ["0x1008003"] * 2 + ["0x0"] * 4
    at = steps.words.index("domain 2 level 1 table[0]")
    assert [step.values[at] for step in steps.steps][7:] == ["0x5001003", "freed", "freed", "freed"]
    assert [step.freed for step in steps.steps if step.freed] == [
        ("page domain 2 level 1 table at 0x1008000",)
    ]


def test_the_finding_appears_at_the_read_and_is_inevitable_since_the_free() -> None:
    steps = dump_unmap()
    (found,) = steps.findings
    assert (found.step, found.title) == (9, "BUG: KASAN: use-after-free: domain 2 level 1 table")
    assert steps.steps[8].did.startswith("free ")
    assert steps.inevitable == 8
    assert "every way to go on" in steps.how


def test_without_a_budget_nobody_searches_and_the_record_says_so() -> None:
    steps = record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), FREED, budget=0)
    assert (steps.inevitable, steps.how) == (
        None,
        "the mark is where the finding appears; nobody searched for the point of no return",
    )


def test_before_the_series_the_dump_holds_the_lock() -> None:
    steps = dump_unmap(0, "")
    assert steps.findings == ()
    assert (steps.inevitable, steps.how) == (None, "nothing was found")
    assert steps.stand(2, 0).held == ("device_domain_lock",)


def test_the_same_schedule_gives_the_same_record() -> None:
    again = record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), FREED, title="dump and unmap")
    assert again == dump_unmap()
    assert (
        record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), again.schedule, title="dump and unmap")
        == again
    )


def test_names_and_numbers_say_the_same() -> None:
    named = record_schedule(
        SCENARIOS["dump-unmap"].on(driver_at(1)), "unmap*2 cat unmap cat unmap*3 cat", title="dump and unmap"
    )
    assert named == dump_unmap()
    assert named.schedule == "v1: unmap*2 cat unmap cat unmap*3 cat*2"


def test_the_schedule_of_an_explored_finding_shows_that_finding() -> None:
    scenario = SCENARIOS["dump-unmap"].on(driver_at(1))
    found = explore(scenario)
    (freed,) = found.of("use-after-free")
    steps = record_schedule(scenario, found.schedule_of(freed), shared=found.shared)
    assert [shown.title for shown in steps.findings] == [f"{freed.kind}: {freed.where}"]


# -- a deadlock ---------------------------------------------------------------


def test_a_deadlock_is_a_finding_and_inevitable_once_each_has_one_lock() -> None:
    steps = record_schedule(crossing, "one*2 two*2")
    locked = [found for found in steps.findings if found.title.startswith("deadlock")]
    assert [found.step for found in locked] == [len(steps)]
    assert steps.outcome.startswith("deadlock")
    held = [steps.stand(len(steps), thread).held for thread in (0, 1)]
    assert held == [("a",), ("b",)]
    waits = [steps.stand(len(steps), thread) for thread in (0, 1)]
    assert [stand.state for stand in waits] == ["waiting", "waiting"]
    assert [stand.next for stand in waits] == ["waits for b, which two has", "waits for a, which one has"]


def test_one_after_the_other_there_is_no_deadlock() -> None:
    steps = record_schedule(crossing)
    assert steps.outcome == "both done"
    assert [steps.stand(len(steps), thread).state for thread in (0, 1)] == ["done", "done"]


# -- what is refused ----------------------------------------------------------


def test_a_thread_that_cannot_move_is_named_with_those_that_can() -> None:
    with pytest.raises(
        ValueError, match=r"step 1 .* is process 'seven', which cannot move there \(one, two can\)"
    ):
        record_schedule(crossing, "seven")


def test_a_schedule_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule"):
        record_schedule(crossing, "one*100")
