"""From a trace to lanes and episodes: what each CPU did, who had and who wanted each lock."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.views.timeline_runs import contended, driver_run, trace_of
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.record import KINDS
from vtdkit.kernel.record.trace import Trace
from vtdkit.views.timeline.fold import STATES, Lane, Timeline, timeline_of
from vtdkit.views.timeline.layout import totals


def spans(timeline: Timeline, cpu: int) -> list[tuple[int, str]]:
    """The lane of a CPU as (start, state)."""
    lane = timeline.lanes[cpu]
    return [
        (start, STATES[timeline.looks[look].state])
        for start, look in zip(lane.starts, lane.looks, strict=True)
    ]


def test_a_lane_is_gapless_and_says_what_the_cpu_does() -> None:
    timeline = timeline_of(contended())
    assert spans(timeline, 0) == [(0, "holding"), (1000, "running"), (1500, "idle")]
    assert spans(timeline, 1) == [(0, "running"), (200, "spinning"), (1000, "holding"), (1300, "idle")]
    assert spans(timeline, 2) == [(0, "idle")]


def test_interrupts_off_and_the_lock_are_part_of_the_look() -> None:
    timeline = timeline_of(contended())
    looks = [timeline.looks[number] for number in timeline.lanes[1].looks]
    assert [look.irqs_off for look in looks] == [False, True, True, False]
    assert [timeline.objects[look.object].name for look in looks[1:3]] == ["device_domain_lock"] * 2
    assert [timeline.contexts[look.context] for look in looks[:3]] == ["writer"] * 3
    assert "writer (tests/views/timeline_runs.py:" in timeline.places[looks[1].place]


def test_an_episode_says_when_a_lock_was_asked_for_got_and_given_up() -> None:
    timeline = timeline_of(contended())
    found = [(e.cpu, e.asked, e.got, e.freed, e.got - e.asked) for e in timeline.episodes]
    assert found == [(0, 0, 0, 1000, 0), (1, 200, 1000, 1300, 800)]
    assert timeline.locks == ("device_domain_lock",)


def test_a_mutex_that_is_waited_for_asleep_leaves_the_cpu_idle() -> None:
    machine = Machine(cpus=2, costs=IDEAL.but(spin_limit=0))
    mutex = machine.mutex("m")

    async def owner() -> None:
        async with mutex:
            await machine.work(1000)

    async def late() -> None:
        await machine.work(100)
        async with mutex:
            await machine.work(50)

    machine.spawn(owner(), cpu=0, name="owner")
    machine.spawn(late(), cpu=1, name="late")
    timeline = timeline_of(machine.simulate())
    assert spans(timeline, 1) == [(0, "running"), (100, "idle"), (1000, "holding"), (1050, "idle")]
    assert [(e.asked, e.got, e.freed) for e in timeline.episodes] == [(0, 0, 1000), (100, 1000, 1050)]


def test_an_interrupt_lies_on_top_of_what_it_interrupted() -> None:
    machine = Machine(cpus=1, costs=IDEAL)
    lock, other = machine.spinlock("held"), machine.spinlock("taken in the handler")

    async def handler() -> None:
        await machine.work(30)
        async with other:
            await machine.work(20)

    async def thread() -> None:
        async with lock:
            await machine.work(500)

    line = machine.irq.line("nic", handler)
    machine.spawn(thread(), cpu=0, name="thread")
    machine.sched.call_in(100, line.fire)
    timeline = timeline_of(machine.simulate())
    assert spans(timeline, 0) == [
        (0, "holding"),
        (101, "interrupt"),
        (131, "holding"),
        (151, "holding"),
        (550, "idle"),
    ]
    handling = timeline.looks[timeline.lanes[0].looks[2]]
    assert handling.in_interrupt
    assert [timeline.objects[obj].name for obj in handling.held] == ["taken in the handler"]
    assert [timeline.objects[obj].name for obj in handling.below] == ["held"]


def test_a_busy_wait_for_hardware_is_a_state_of_its_own() -> None:
    steps = [(0, "run", 0), (10, "acquire", 1), (40, "wait", 4), (90, "wait_end", 4), (95, "release", 1)]
    timeline = timeline_of(trace_of([(time, 0, 1, kind, obj) for time, kind, obj in steps], end=100))
    assert spans(timeline, 0) == [
        (0, "running"),
        (10, "holding"),
        (40, "hardware"),
        (90, "holding"),
        (95, "running"),
    ]
    waiting = timeline.looks[timeline.lanes[0].looks[2]]
    assert timeline.objects[waiting.object].name == "status[4]"
    assert timeline.objects[waiting.object].lock == -1
    assert waiting.held == (1,)
    assert timeline.locks == ("lock 1",)


def test_locks_of_one_name_are_one_class_with_numbers() -> None:
    rows = [
        (0, 0, 1, "acquire", 1),
        (5, 1, 2, "acquire", 5),
        (9, 0, 1, "acquire", 2),
        (20, 0, 1, "release", 1),
    ]
    timeline = timeline_of(trace_of(rows))
    assert timeline.locks == ("lock 1", "lock 2")
    assert [(o.lock, o.number) for o in timeline.objects] == [
        (-1, 0),
        (0, 1),
        (1, 0),
        (-1, 0),
        (-1, 0),
        (0, 2),
    ]


def test_what_is_held_or_wanted_at_the_end_never_ends() -> None:
    timeline = timeline_of(
        trace_of([(0, 0, 1, "acquire", 1), (5, 1, 2, "spin", 1), (80, 0, 1, "alloc", 0)], end=100)
    )
    assert [(e.asked, e.got, e.freed) for e in timeline.episodes] == [(0, 0, 101), (5, 101, 101)]
    assert totals(timeline)[0].acquisitions == 1
    assert totals(timeline)[0].hold_total == 0


def test_a_window_keeps_what_began_before_it() -> None:
    timeline = timeline_of(contended(), start=500, end=1200)
    assert spans(timeline, 0) == [(500, "holding"), (1000, "running")]
    assert spans(timeline, 1) == [(500, "spinning"), (1000, "holding")]
    assert [(e.asked, e.got, e.freed) for e in timeline.episodes] == [(0, 0, 1000), (200, 1000, 1201)]


def test_a_trace_that_was_cut_out_begins_in_the_middle() -> None:
    whole = contended()
    begin, end = (bisect_left(whole.column("time"), ns) for ns in (150, 1100))
    timeline = timeline_of(whole[begin:end])
    assert spans(timeline, 1)[:3] == [(200, "spinning"), (1000, "holding")]


def test_marks_and_findings_are_notes() -> None:
    machine = Machine(cpus=1)

    async def thread() -> None:
        machine.stat.mark("here it begins")
        machine.irq.preempt_disable()
        await machine.mutex("m").acquire()

    machine.spawn(thread(), cpu=0)
    notes = timeline_of(machine.simulate()).notes
    assert [(note.finding, note.text) for note in notes][:2] == [
        (False, "here it begins"),
        (True, "BUG: sleeping function called from invalid context: task context"),
    ]


@pytest.mark.parametrize(
    ("window", "complaint"),
    [((0, 0), "the window from 0 to 0 ns holds no time"), ((9000, None), "the window from 9000 to 1500 ns")],
)
def test_a_window_without_time_is_refused(window: tuple[int, int | None], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        timeline_of(contended(), *window)


def test_a_trace_without_events_is_refused_with_the_likely_reason() -> None:
    with pytest.raises(ValueError, match="record=False"):
        timeline_of(Machine(cpus=1, record=False).simulate())


@pytest.mark.parametrize("version", [0, 1, 12])
def test_the_totals_are_those_of_the_machine_s_own_statistics(version: int) -> None:
    machine, trace, _ = driver_run(version)
    timeline = timeline_of(trace)
    counted: dict[str, list[int]] = {}
    for stat in machine.lock_stat():
        row = counted.setdefault(stat.name, [0] * 5)
        for side in (stat.write, stat.read):
            sums = zip(
                row,
                (side.acquisitions, side.wait_total, side.wait_max, side.hold_total, side.hold_max),
                strict=True,
            )
            row[:] = [max(pair) if i in (2, 4) else sum(pair) for i, pair in enumerate(sums)]
    shown = zip(timeline.locks, totals(timeline), strict=True)
    ours = {name: [t.acquisitions, t.wait_total, t.wait_max, t.hold_total, t.hold_max] for name, t in shown}
    assert ours == {name: row for name, row in counted.items() if row[0]}


EVENTS = st.tuples(
    st.integers(0, 40), st.integers(-1, 2), st.integers(0, 4), st.sampled_from(KINDS), st.integers(0, 5)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=60), st.integers(0, 300), st.integers(1, 600))
def test_any_events_give_gapless_lanes_and_ordered_episodes(
    steps: list[Any], start: int, length: int
) -> None:
    time, rows = 0, []
    for wait, *rest in steps:
        time += wait
        rows.append((time, *rest))
    trace: Trace = trace_of(rows, cpus=3, end=time + 1)
    timeline = timeline_of(trace, start, start + length)
    for lane in timeline.lanes:
        check_lane(timeline, lane)
    for episode in timeline.episodes:
        assert episode.asked <= episode.got <= episode.freed <= timeline.end + 1
        assert timeline.objects[episode.object].name in timeline.locks
    assert [e.asked for e in timeline.episodes] == sorted(e.asked for e in timeline.episodes)


def check_lane(timeline: Timeline, lane: Lane) -> None:
    """It begins where the timeline begins, time goes forward, neighbours look different."""
    assert lane.starts[0] == timeline.start
    assert all(one < other for one, other in pairwise(lane.starts))
    assert all(one != other for one, other in pairwise(lane.looks))
    assert lane.starts[-1] <= timeline.end
