"""Every class once, and no other: random programs against the oracle in `brute.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vtdkit.kernel.explorer.result import Exploration
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.search import explore_system
from vtdkit.kernel.explorer.system import Outcome

from .brute import Oracle, TooMany, bounded_brute_force, brute_force
from .families import Body, straight
from .programs import LOOSE, MIXES, RandomProgram
from .small import Small

NUMBERS = st.integers(0, 2**32)


def run(system: Any, schedule: Schedule) -> list[tuple[Any, Any]]:
    """Run a schedule; (process, what it touched) for each step."""
    system.start()
    return [(process, tuple(system.step(process))) for process in schedule.steps]


def compare(make: Callable[[], Any], most: int = 1500) -> Exploration:
    """Explore, and hold the classes of what was run against those of the oracle."""
    oracle = Oracle()
    complete, deadlocked = brute_force(make, oracle, most)
    ran: dict[bool, list[Any]] = {False: [], True: []}

    def note(outcome: Outcome, schedule: Schedule) -> None:
        system = make()
        name = oracle.name(run(system, schedule))
        ran[bool(system.blocked())].append(name)

    found = explore_system(make, on_outcome=note, limit=2 * (len(complete) + len(deadlocked)) + 10)
    for told, expected in ((ran[False], complete), (ran[True], deadlocked)):
        assert len(told) == len(set(told)), "a class was run twice"
        assert set(told) == expected
    assert (found.executions, found.deadlocks, found.complete) == (len(complete), len(deadlocked), True)
    return found


@pytest.mark.parametrize("mix", MIXES)
@settings(deadline=None, max_examples=30)
@given(number=NUMBERS)
def test_every_class_is_run_once_and_nothing_is_given_up(mix: str, number: int) -> None:
    try:
        assert compare(RandomProgram(number, **MIXES[mix])).blocked == 0
    except TooMany:
        assume(False)


@pytest.mark.parametrize("mix", LOOSE)
@settings(deadline=None, max_examples=30)
@given(number=NUMBERS)
def test_every_class_is_run_once_where_steps_touch_more_or_wait_for_words(mix: str, number: int) -> None:
    try:
        compare(RandomProgram(number, **LOOSE[mix]))
    except TooMany:
        assume(False)


@settings(deadline=None, max_examples=30)
@given(number=NUMBERS, bound=st.integers(0, 2))
def test_a_bounded_search_runs_every_class_within_its_bound_once(number: int, bound: int) -> None:
    make = RandomProgram(number, **MIXES["locks, trylocks and memory"])
    oracle = Oracle()
    try:
        expected = bounded_brute_force(make, oracle, bound)
    except TooMany:
        assume(False)
    ran: list[Any] = []
    explore_system(
        make,
        on_outcome=lambda _, schedule: ran.append(oracle.name(run(make(), schedule))),
        preemptions=bound,
    )
    assert len(ran) == len(set(ran))
    assert set(ran) == expected


def test_processes_that_are_created_on_the_way() -> None:
    def parent() -> Body:
        yield "W", "x", 1
        yield "SPAWN", "child", straight(("W", "x", 2), ("W", "y", 1))
        yield "W", "x", 3
        yield "JOIN", "child"
        yield "R", "y"

    found = compare(lambda: Small({"parent": parent, "other": straight(("R", "x"), ("R", "y"))}))
    assert found.deadlocks == 0


def test_a_process_that_an_interrupt_stops_and_lets_go() -> None:
    threads = [
        straight(("W", "x", 1), ("W", "x", 2)),
        straight(("R", "x")),
        straight(("R", "x"), ("W", "y", 1)),
    ]
    found = compare(lambda: Small(threads, on={0: 0, 2: 0}, interrupts=[2]))
    assert found.blocked == 0
    # the handler on the same CPU comes before, between or after the two writes; the reader elsewhere likewise
    assert found.executions == 9


def test_an_interrupt_that_wants_the_lock_of_the_task_below_deadlocks() -> None:
    locks = straight(("L", "m"), ("U", "m"))
    handler = straight(("R", "x"), ("L", "m"), ("U", "m"))
    found = compare(lambda: Small([locks, handler], on={0: 0, 1: 0}, interrupts=[1]))
    assert found.deadlocks == 1
    guarded = straight(("CLI", 0), ("L", "m"), ("U", "m"), ("STI", 0))
    safe = compare(lambda: Small([guarded, handler], on={0: 0, 1: 0}, interrupts=[1]))
    assert safe.deadlocks == 0


def test_readers_of_a_lock_do_not_exclude_each_other() -> None:
    shares = straight(("RL", "m"), ("RU", "m"))
    assert compare(lambda: Small([shares, shares, shares])).executions == 1
    assert compare(lambda: Small([shares, shares, straight(("L", "m"), ("U", "m"))])).executions == 4
