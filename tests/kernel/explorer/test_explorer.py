"""The ways to run: what they return, when they stop, and that they are repeatable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vtdkit.kernel.explorer.engine import NotRepeatable
from vtdkit.kernel.explorer.replaying import replay
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.search import explore_system, pct, random_walk
from vtdkit.kernel.explorer.system import WRITE, Access, Outcome

from .families import Body, straight
from .small import Small


def counter() -> Small:
    """Two threads that each add 1 to x, reading and writing; a third that reads it."""

    def adds() -> Body:
        seen = yield "R", "x"
        yield "W", "x", seen + 1

    def observe(memory: dict[Any, Any]) -> Outcome:
        seen = memory.get("x")
        return Outcome(("x", seen), ("an update was lost",) if seen == 1 else ())

    return Small([adds, adds, straight(("R", "x"))], observe=observe)


def test_the_record_tells_outcomes_findings_and_coverage() -> None:
    found = explore_system(counter)
    # the two adders' reads and writes have 4 classes, and the reader comes before, between or after
    # the two writes
    assert found.executions == sum(found.outcomes.values()) == 4 * 3
    assert list(found.outcomes) == [("x", 1), ("x", 2)]
    assert [shown.finding for shown in found.findings] == ["an update was lost"]
    assert found.findings[0].times == found.outcomes["x", 1]
    assert set(found.examples) == set(found.outcomes)
    assert found.coverage.one_order == ()
    assert repr(found).splitlines()[0] == "12 executions: complete"


def test_an_operation_seen_in_one_order_only_is_told() -> None:
    found = explore_system(lambda: Small([straight(("W", "x", 1)), straight(("AWAIT", "x", 1))]))
    assert repr(found.coverage.one_order) == "((0: write 'x', 1: wait 'x'),)"
    assert found.coverage.both_orders == ()


def test_options_that_make_no_sense_are_refused() -> None:
    for options in (
        {"limit": 0},
        {"depth": 0},
        {"preemptions": -1},
    ):
        with pytest.raises(ValueError, match="="):
            explore_system(counter, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runs=0"):
        random_walk(counter, runs=0)
    with pytest.raises(ValueError, match="bug depth of 0"):
        pct(counter, depth=0)


def test_bounds_and_limits_are_told() -> None:
    assert explore_system(counter, preemptions=0).extent == "complete up to 0 preemptions"
    assert explore_system(counter, preemptions=9).extent == "complete"
    assert explore_system(counter, limit=5).extent == "stopped at the limit of 5, after 5 executions"
    assert explore_system(counter, limit=12).complete
    cut = explore_system(counter, depth=1)
    assert (cut.cut, cut.executions, cut.extent) == (1, 0, "complete up to 1 step of each process")
    assert cut.outcomes == {"cut short": 1}


def test_endless_loops_are_explored_up_to_a_depth() -> None:
    def spins() -> Body:
        while (yield "R", "x") == 0:
            pass

    found = explore_system(lambda: Small([spins, straight(("W", "x", 1))]), depth=5)
    assert (found.executions, found.cut, found.blocked) == (5, 1, 0)
    assert not found.complete


def test_the_caller_can_stop_the_search() -> None:
    found = explore_system(counter, on_outcome=lambda outcome, schedule: bool(outcome.findings))
    assert found.extent.startswith("stopped by on_outcome after ")
    assert len(found.findings) == 1


def test_ctrl_c_keeps_what_was_found() -> None:
    ends: list[Schedule] = []

    def interrupt(outcome: Outcome, schedule: Schedule) -> None:
        ends.append(schedule)
        if len(ends) == 3:
            signal.raise_signal(signal.SIGINT)

    for search in (explore_system, random_walk, pct):
        ends.clear()
        found = search(counter, on_outcome=interrupt)
        assert "stopped by the user after 3 executions" in found.extent
        assert found.executions == 3


class Broken:
    """A system that raises, or does something else at its second start."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        self.done: list[int] = []

    def born(self, process: int) -> int:
        return 0

    def enabled(self) -> Sequence[int]:
        return [process for process in (0, 1, 2) if process not in self.done]

    def step(self, process: int) -> Sequence[Access]:
        self.done.append(process)
        if self.how == "raises" and self.starts == 2:
            raise LookupError("the system's own")
        if self.how == "kind":
            return (("x", 9),)
        if self.how == "address":
            return ((object(), WRITE),)
        return (("x" if self.starts < 2 else "y", WRITE),)

    def blocked(self) -> dict[int, Sequence[Access]]:
        return {}

    def finish(self) -> Outcome:
        return Outcome()


def test_what_the_system_raises_comes_through() -> None:
    with pytest.raises(LookupError, match="the system's own"):
        explore_system(lambda: Broken("raises"))


@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        ("changes", NotRepeatable, "must do the same at every start"),
        ("kind", ValueError, "an access is (location, kind), kind 0 to 6"),
        ("address", ValueError, "by its address in memory"),
    ],
)
def test_a_system_that_breaks_the_rules_is_told_so(how: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as caught:
        explore_system(lambda: Broken(how))
    assert told in str(caught.value)


def test_random_schedulers_find_the_bug_and_repeat_with_the_seed() -> None:
    for search in (random_walk, pct):
        one, same, other = (search(counter, runs=60, seed=seed) for seed in (1, 1, 2))
        assert one == same != other
        assert one.executions == 60
        assert not one.complete
        assert [found.finding for found in one.findings] == ["an update was lost"]
        assert "with seed 1" in one.extent
        shown = one.findings[0]
        assert shown.finding in replay(counter(), shown.schedule).outcome.findings


def test_pct_keeps_the_probability_that_its_theorem_promises() -> None:
    # the lost update takes two ordered pairs of steps; 3 threads, 5 steps: at least 1 / (3 * 5) of the
    # runs of depth 2
    found = pct(counter, runs=600, depth=2, seed=5)
    assert found.findings[0].times >= 600 / 15


def test_pct_goes_on_beside_an_endless_loop_within_a_bound() -> None:
    def spins() -> Body:
        while (yield "R", "x") == 0:
            pass

    found = pct(lambda: Small([spins, straight(("W", "x", 1))]), runs=20, depth=1, longest=5)
    assert found.cut + found.executions == 20
    assert found.cut > 0
    assert found.executions > 0


PROGRAM = """
import sys
from explorer.families import Family
from vtdkit.kernel.explorer import explore_system, random_walk
for search in (explore_system, random_walk):
    order = []
    note = lambda outcome, schedule: order.append(schedule.text)
    found = search(Family("filesystem(N)", 15), on_outcome=note)
    found = search(Family("philosophers(N) complete", 4), on_outcome=note)
    print(order, found)
"""


def test_the_order_of_executions_does_not_depend_on_the_hash_seed() -> None:
    root = Path(__file__).parents[3]
    told = []
    for seed in ("1", "2"):
        path = os.pathsep.join((str(root), str(root / "tests" / "kernel")))
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        told.append(
            subprocess.run(
                [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
            ).stdout
        )
    assert told[0] == told[1]
    assert len(told[0]) > 1000


def test_importing_the_explorer_brings_in_little() -> None:
    heavy = ("multiprocessing", "numpy", "vtdkit.kernel.explorer.engine")
    program = f"import sys, vtdkit.kernel; print([name for name in sys.modules if name in {heavy}])"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
