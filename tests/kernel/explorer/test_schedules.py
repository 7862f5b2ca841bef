"""Schedules as text, replay, shorter schedules, and the ones kept as regression tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtdkit.kernel.explorer.minimising import minimise
from vtdkit.kernel.explorer.replaying import replay
from vtdkit.kernel.explorer.schedule import Schedule, ScheduleError
from vtdkit.kernel.explorer.search import explore_system
from vtdkit.kernel.explorer.system import Outcome

from .families import Family, straight
from .saved import Saved, load_saved
from .small import Small

NAMES = (
    st.integers(0, 999)
    | st.sampled_from(["dump", "unmap_2", "device.nvme_irq#2"])
    | st.lists(st.integers(0, 20), min_size=1, max_size=3).map(tuple)
)


@given(st.lists(st.tuples(NAMES, st.integers(1, 3)), max_size=6))
def test_what_is_written_is_read_back(runs: list[tuple[object, int]]) -> None:
    schedule = Schedule(tuple(name for name, count in runs for _ in range(count)))
    assert Schedule.parse(schedule.text) == schedule


def test_a_schedule_is_a_short_text() -> None:
    schedule = Schedule((0, 0, 0, 0, 1, 1, (2, 0), "dump"))
    assert schedule.text == "v1: 0*4 1*2 (2,0) dump"
    assert schedule.switches == 3
    assert repr(schedule) == "Schedule('v1: 0*4 1*2 (2,0) dump')"
    assert Schedule.parse("0*4 1*2 (2,0) dump") == schedule


@pytest.mark.parametrize("part", ["v2:", "0*0", "1*x", "*3", "(0", "()", "(0,1)x", "007", "it's"])
def test_bad_text_gets_one_clear_error(part: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(f"v1: 0 {part}")
    assert str(caught.value).startswith(f"{part!r} is no part of a schedule; write cat*4 unmap: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the schedule is empty; it begins with 'v1:'"),
        (" \n", "the schedule is empty"),
        ("one*99999999", "more than 1000000 steps at 'one*99999999'"),
        ("v1: 0*600000 1 0*400000", "more than 1000000 steps at '0*400000'"),
    ],
)
def test_a_text_without_steps_or_with_too_many_is_refused(text: str, told: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        replay(abba(), text)
    assert told in str(caught.value)


def abba() -> Small:
    return Small(
        [
            straight(("W", "a", 1), ("L", "A"), ("L", "B"), ("U", "B"), ("U", "A"), ("W", "b", 1)),
            straight(("W", "c", 1), ("L", "B"), ("L", "A"), ("U", "A"), ("U", "B"), ("W", "d", 1)),
            straight(("W", "e", 1), ("R", "b"), ("R", "d"), ("W", "f", 1)),
        ]
    )


def test_replay_runs_the_schedule_and_then_on_to_the_end() -> None:
    result = replay(abba(), "v1: 0*2 1*2")
    assert result.schedule.text == "v1: 0*2 1*2 2*4"
    assert (
        repr(result.outcome.findings[0]) == "deadlock: 0 waits for 'B' held by 1; 1 waits for 'A' held by 0"
    )
    assert replay(abba(), "v1:").outcome.findings == ()


def test_replay_says_which_step_does_not_fit() -> None:
    with pytest.raises(
        ScheduleError, match=r"step 5 of the schedule is process 1, which cannot move there \(0, 2 can\)"
    ):
        replay(abba(), "v1: 0*3 1*2")


def test_every_first_schedule_shows_its_finding_again() -> None:
    found = explore_system(abba)
    for shown in found.findings:
        assert shown.finding in replay(abba(), shown.schedule).outcome.findings


def test_a_minimised_schedule_shows_the_same_with_the_fewest_switches() -> None:
    found = explore_system(abba).findings[0]
    messy = Schedule((2, 0, 1, 2, 0, 2, 1, 2))
    assert found.finding in replay(abba(), messy).outcome.findings
    short = minimise(abba(), messy, found.finding)
    assert found.finding in replay(abba(), short).outcome.findings
    assert short.switches == 2  # each of the three must move


def test_minimising_finds_another_class_with_fewer_switches() -> None:
    def system() -> Small:
        def observe(memory: dict[object, object]) -> Outcome:
            return Outcome(memory["x"], ("lost update",) if memory["x"] == 1 else ())

        def adds():  # type: ignore[no-untyped-def]
            seen = yield "R", "x"
            yield "W", "y", seen
            yield "W", "x", seen + 1

        return Small([adds, adds], observe=observe)

    short = minimise(system(), "v1: 0 1 0 1 0 1", "lost update")
    assert short.switches == 2
    assert minimise(system(), "v1: 0 1 0 1 0 1", lambda outcome: outcome.value == 1).switches == 2
    with pytest.raises(ValueError, match="does not show 'lost update'; it shows nothing"):
        minimise(system(), "v1: 0*3 1*3", "lost update")


def test_kept_schedules_are_read_and_checked(tmp_path: Path) -> None:
    kept = Saved("two locks in two orders", "deadlock: 0 waits for 'B'", Schedule.parse("v1: 0*2 1*2"))
    file = tmp_path / "past.txt"
    file.write_text(
        "# bugs of the past\n\n" + kept.text + "\nname: fixed\nfinding: none\nschedule: v1: 0*9\n",
        encoding="utf-8",
    )
    first, second = load_saved(file)
    assert first == kept
    assert len(first.check(abba()).outcome.findings) == 1
    with pytest.raises(ScheduleError):
        second.check(abba())
    Saved("fine", "none", Schedule.parse("v1:")).check(abba())
    with pytest.raises(AssertionError, match="nothing should be found any more"):
        Saved("fixed", "none", kept.schedule).check(abba())
    with pytest.raises(AssertionError, match="expected a finding with 'leak', found deadlock"):
        Saved("leak", "leak", kept.schedule).check(abba())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nfinding: b\n", "entry at line 1: no schedule"),
        ("nonsense\n", "line 1: expected one of name, finding, schedule"),
        ("name: a\nname: b\n", "line 2"),
        ("name: a\nfinding: b\nschedule: v1: *\n", "entry at line 1: '*' is no part of a schedule"),
    ],
)
def test_a_bad_file_of_kept_schedules_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "past.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ScheduleError) as caught:
        load_saved(file)
    assert "past.txt" in str(caught.value)
    assert told in str(caught.value)


def test_the_philosophers_deadlock_has_its_ring() -> None:
    found = explore_system(Family("philosophers(N) deadlock", 4))
    told = repr(found.findings[0].finding)
    assert [f"{one} waits for" in told and f"held by {one}" in told for one in range(4)] == [True] * 4
