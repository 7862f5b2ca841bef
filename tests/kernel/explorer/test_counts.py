"""Exactly one execution of every class, and no other: counts that other tools and papers
agree on (`trace_counts.json`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtdkit.kernel.explorer.result import Exploration
from vtdkit.kernel.explorer.search import explore_system

from .families import FAMILIES, Body, Family, straight
from .small import Small

COUNTS = json.loads((Path(__file__).parent.parent / "trace_counts.json").read_text(encoding="utf-8"))
SLOW = {("lastzero(N)", "15")}
MEMBERS = [
    (name, int(n), count)
    for name, counts in COUNTS["families"].items()
    for n, count in counts.items()
    if (name, n) not in SLOW  # it is in tests/benchmarks/explorer.py
]


def explore(*threads: Any) -> Exploration:
    return explore_system(lambda: Small(threads))


@pytest.mark.parametrize("program", COUNTS["programs"], ids=lambda program: program["name"])
def test_litmus_programs_have_the_published_number_of_classes(program: dict[str, Any]) -> None:
    found = explore(*(straight(*(tuple(operation) for operation in thread)) for thread in program["threads"]))
    classes = program["classes"]
    if isinstance(classes, int):
        classes = {"complete": classes, "deadlock": 0}
    assert {"complete": found.executions, "deadlock": found.deadlocks} == classes
    assert (found.blocked, found.complete) == (0, True)


@pytest.mark.parametrize(("name", "n", "count"), MEMBERS, ids=lambda value: str(value))
def test_families_have_the_published_number_of_classes(name: str, n: int, count: int) -> None:
    found = explore_system(Family(name, n))
    assert (found.deadlocks if name.endswith("deadlock") else found.executions) == count
    assert (found.blocked, found.complete, found.extent) == (0, True, "complete")
    if not name.startswith("philosophers"):
        assert found.deadlocks == 0


def test_every_family_of_the_file_is_defined() -> None:
    assert set(FAMILIES) == set(COUNTS["families"])


def test_the_litmus_programs_known_by_name_have_their_three_or_seven_classes() -> None:
    w, r = "W", "R"
    assert explore(straight((w, "x", 1), (r, "x")), straight((w, "x", 2))).executions == 3  # CoRW
    assert explore(straight((w, "x", 2), (w, "y", 1)), straight((r, "y"), (w, "x", 1))).executions == 3  # S
    three = (
        [[(w, "x", 1), (w, "y", 1)], [(r, "y"), (w, "z", 1)], [(r, "z"), (r, "x")]],  # ISA2
        [[(w, "x", 1)], [(r, "x"), (w, "y", 1)], [(r, "y"), (r, "x")]],  # WRC
        [[(w, "x", 1), (w, "y", 1)], [(w, "y", 2), (w, "z", 1)], [(r, "z"), (r, "x")]],  # Z6.0
    )
    for threads in three:
        assert explore(*(straight(*thread) for thread in threads)).executions == 7


def test_the_example_of_the_optimal_algorithms_paper_has_five_classes() -> None:
    def looks() -> Body:
        y = yield "R", "y"
        if y == 0:
            yield "W", "z", 1

    def reacts() -> Body:
        z = yield "R", "z"
        if z == 1 and (yield "R", "y") == 0:
            yield "W", "x", 2

    found = explore(straight(("W", "x", 1)), straight(("W", "y", 1)), looks, reacts)
    assert (found.executions, found.blocked) == (5, 0)


def test_threads_that_share_nothing_run_once() -> None:
    found = explore(
        *(
            straight(("W", name, 1), ("R", name), ("L", name + "lock"), ("U", name + "lock"))
            for name in "abcdef"
        )
    )
    assert (found.executions, found.blocked) == (1, 0)
