"""Spread over workers: the same counts, whatever comes back when; limits, errors and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.explorer import parallel
from vtdkit.kernel.explorer.result import Exploration
from vtdkit.kernel.explorer.search import explore_system

from .families import Family
from .programs import LOOSE, MIXES, RandomProgram


class Shuffled(Executor):
    """Runs what it is given in this process, one at a time when waited for, in a random order."""

    _max_workers = 3

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue: list[tuple[Future[Any], Callable[..., Any], Any]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.queue.append((future, function, arguments))
        return future

    def wait(self, futures: Any, return_when: str = "") -> tuple[set[Future[Any]], set[Future[Any]]]:
        future, function, arguments = self.queue.pop(self.random.randrange(len(self.queue)))
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return {future}, set(futures) - {future}


def explore_shuffled(factory: Any, seed: int, share: int, **options: Any) -> Exploration:
    """Explore in parts of `share` executions that come back in any order."""
    executor = Shuffled(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "wait", executor.wait)
        patch.setattr(parallel, "SHARE", share)
        patch.setattr(parallel, "FIRST_SECONDS", 60)
        patch.setattr(parallel, "SECONDS", 60)
        return explore_system(factory, executor=executor, **options)


def counts(found: Exploration) -> tuple[Any, ...]:
    return found.executions, found.deadlocks, found.cut, found.complete, found.outcomes, found.coverage


@pytest.mark.parametrize("mix", [*MIXES, *LOOSE])
@settings(deadline=None, max_examples=15)
@given(number=st.integers(0, 2**32), share=st.sampled_from([1, 2, 5]))
def test_random_programs_have_the_same_counts_in_parts(mix: str, number: int, share: int) -> None:
    factory = RandomProgram(number, **(MIXES | LOOSE)[mix])
    whole = explore_system(factory, limit=300)
    if whole.complete:
        assert counts(explore_shuffled(factory, number, share)) == counts(whole)


@pytest.mark.parametrize("share", [1, 5, 20])
@pytest.mark.parametrize("seed", [5, 8, 22])
@pytest.mark.parametrize(
    "family", [Family("lastzero(N)", 6), Family("readers(N)", 6), Family("casrot(N)", 6)], ids=str
)
def test_families_have_the_same_counts_in_parts(family: Family, seed: int, share: int) -> None:
    whole = explore_system(family)
    assert counts(explore_shuffled(family, seed, share)) == counts(whole)


def test_a_depth_bound_holds_in_parts_too() -> None:
    family = Family("lockinc(N)", 4)
    assert counts(explore_shuffled(family, 1, 2, depth=3)) == counts(explore_system(family, depth=3))


@pytest.mark.parametrize("limits", [(3, 5), (40, 100)])
def test_parts_stop_at_the_limit_and_are_taken_up(tmp_path: Path, limits: tuple[int, int]) -> None:
    family = Family("casw(N)", 3)
    file = tmp_path / "kept.json"
    done = 0
    for turn in range(100):
        limit = limits[turn % 2]
        if turn % 3 == 2:  # now and then in one piece
            found = explore_system(family, resume=file, limit=limit)
        else:
            found = explore_shuffled(family, turn, 5, resume=file, limit=limit)
        assert found.executions <= done + limit
        done = found.executions
        if found.complete:
            break
    assert counts(found) == counts(explore_system(family))


def fails() -> Any:
    raise LookupError("the factory's own")


def test_processes_give_the_same_counts_and_pass_on_errors() -> None:
    with ProcessPoolExecutor(2) as pool:
        for family in (Family("casw(N)", 4), Family("lastzero(N)", 8), Family("philosophers(N) complete", 5)):
            assert counts(explore_system(family, executor=pool)) == counts(explore_system(family))
        with pytest.raises(LookupError, match="the factory's own"):
            explore_system(fails, executor=pool)
        with pytest.raises(ValueError, match="on_outcome= is called in this process"):
            explore_system(Family("ainc(N)", 2), executor=pool, on_outcome=print)
        with pytest.raises(ValueError, match="cannot be spread over an executor="):
            explore_system(Family("ainc(N)", 2), executor=pool, preemptions=1)
