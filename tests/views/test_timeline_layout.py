"""What a lock timeline shows, as plain data: one instant, totals, bars, words; and the
browser says the same.
"""

from __future__ import annotations

import random
import shutil
import zlib
from base64 import b64decode
from bisect import bisect_right
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.views.timeline_runs import contended, driver_run, node, trace_of
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.lockstat import Side
from vtdkit.views.shared.record import checked
from vtdkit.views.timeline.fold import SPINNING, STATES, Timeline, timeline_of
from vtdkit.views.timeline.layout import (
    LETTERS,
    bars,
    duration,
    label,
    letters,
    locks_at,
    looks_at,
    sentence,
    ticks,
    totals,
)
from vtdkit.views.timeline.record import deltas, pack, timeline_record


@cache
def real(version: int = 0) -> Timeline:
    """The driver with four CPUs, its start cut off."""
    _, trace, start = driver_run(version)
    return timeline_of(trace, start)


# -- one instant --------------------------------------------------------------


def test_at_500_cpu_1_spins_on_device_domain_lock() -> None:
    timeline = timeline_of(contended())
    look = looks_at(timeline, 500)[1]
    assert (STATES[look.state], label(timeline, look.object)) == ("spinning", "device_domain_lock")
    assert relative(timeline, 1, 500) == [200, 1000]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (0, "CPU0 (reader) holding LOCK. CPU1 (writer) running. CPU2 idle."),
        (199, "CPU0 (reader) holding LOCK. CPU1 (writer) running. CPU2 idle."),
        (200, "CPU0 (reader) holding LOCK. CPU1 (writer) spinning for LOCK, interrupts off. CPU2 idle."),
        (1000, "CPU1 (writer) holding LOCK, interrupts off. CPU0 (reader) running. CPU2 idle."),
        (1300, "CPU0 (reader) running. CPU1 and CPU2 idle."),
        (1500, "CPU0, CPU1 and CPU2 idle."),
    ],
)
def test_a_sentence_says_what_every_cpu_does(time: int, said: str) -> None:
    assert sentence(timeline_of(contended()), time) == said.replace("LOCK", "device_domain_lock")


def test_who_sleeps_for_a_lock_is_said_although_no_cpu_shows_it() -> None:
    rows = [
        (0, 0, 1, "acquire", 1),
        (5, 1, 2, "spin", 1),
        (6, 1, 2, "sleep", 0),
        (90, 0, 1, "release", 1),
        (91, 1, 2, "run", 0),
    ]
    timeline = timeline_of(trace_of(rows, end=100))
    assert sentence(timeline, 50) == "CPU0 (t1) holding lock 1. CPU1 idle. t2 sleeps until it gets lock 1."


def test_many_cpus_are_counted_rather_than_named() -> None:
    rows = [(0, 0, 0, "acquire", 2), *((i, i, i, "spin", 2) for i in range(1, 12))]
    said = sentence(timeline_of(trace_of(rows, cpus=12, end=20)), 12)
    assert said.startswith("CPU0 (t0) holding lock 2. CPU1 (t1), CPU2 (t2)")
    assert said.endswith("CPU8 (t8) and 3 more spinning for lock 2.")


def test_who_has_and_who_waits_for_each_lock_at_an_instant() -> None:
    timeline = timeline_of(contended())
    assert [
        (len(holders), len(waiters))
        for t in (0, 200, 999, 1000, 1299, 1300)
        for holders, waiters in locks_at(timeline, t)
    ] == [
        (1, 0),
        (1, 1),
        (1, 1),
        (1, 0),
        (1, 0),
        (0, 0),
    ]


# -- totals and stops ---------------------------------------------------------


def test_totals_count_as_lock_stat_does() -> None:
    assert totals(timeline_of(contended())) == (
        Side(contentions=1, wait_max=800, wait_total=800, acquisitions=2, hold_max=1000, hold_total=1300),
    )


def test_a_wait_that_never_ends_counts_up_to_the_end() -> None:
    machine = Machine(cpus=2, checkers=())
    one, other = machine.spinlock("one"), machine.spinlock("other")

    async def take(first: Any, second: Any) -> None:
        async with first:
            await machine.work(1_000)
            async with second:
                pass

    for cpu, (first, second) in enumerate(((one, other), (other, one))):
        machine.spawn(take(first, second), cpu=cpu)
    timeline = timeline_of(machine.simulate(until=5_000))
    found = [
        (each.acquisitions, each.contentions, each.wait_total > 3_000, each.hold_total)
        for each in totals(timeline)
    ]
    assert found == [(1, 1, True, 0), (1, 1, True, 0)]


def test_a_lock_got_at_once_was_not_waited_for() -> None:
    rows = [(0, 0, 1, "spin", 1), (0, 0, 1, "acquire", 1), (9, 0, 1, "release", 1)]
    assert totals(timeline_of(trace_of(rows))) == (Side(acquisitions=1, hold_max=9, hold_total=9),)


def contentions(timeline: Timeline, lock: str = "") -> list[int]:
    """When somebody began to wait for a lock (of one name, if given): the stops of the key n."""
    stops = {
        episode.asked
        for episode in timeline.episodes
        if episode.got - episode.asked and episode.asked >= timeline.start
        if lock in ("", timeline.objects[episode.object].name)
    }
    return sorted(stops)


def test_the_stops_are_where_somebody_begins_to_wait() -> None:
    assert contentions(timeline_of(contended())) == [200]
    timeline = real()
    everything, one = contentions(timeline), contentions(timeline, "device_domain_lock")
    assert set(one) < set(everything)
    assert len(everything) == sum(total.contentions for total in totals(timeline))


def test_letters_go_by_how_long_a_lock_was_waited_for_in_all_runs_together() -> None:
    before, after = real(0), real(1)
    assert letters([before, after])["device_domain_lock"] == "A"
    assert sorted(letters([before]).values()) == ["A", "B", "C"]


def test_after_z_comes_aa() -> None:
    assert [LETTERS[i] for i in (0, 25, 26, 51, 52, 701)] == ["A", "Z", "AA", "AZ", "BA", "ZZ"]


# -- words and pictures -------------------------------------------------------


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (9_999, "9,999 ns"),
        (10_000, "10.0 µs"),
        (10_049, "10.0 µs"),
        (10_050, "10.1 µs"),
        (9_999_949, "9,999.9 µs"),
        (10_000_000, "10.0 ms"),
        (12_345_678_901, "12,345.7 ms"),
    ],
)
def test_a_duration_has_its_unit(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_the_axis_has_round_numbers_in_one_unit() -> None:
    assert ticks(0, 121_795, 8)[-1] == (120_000, "120 µs")
    assert ticks(121_000, 122_000, 4) == [(121_000, "121.0 µs"), (121_500, "121.5 µs"), (122_000, "122.0 µs")]


def test_long_spans_are_bars_of_their_own() -> None:
    timeline = timeline_of(contended())
    found = bars(timeline, timeline.lanes[1], 0, 1500, 150)
    states = [(bar.left, bar.right, timeline.looks[bar.look].state) for bar in found]
    assert states == [(0, 20, 1), (20, 100, 3), (100, 130, 2), (130, 150, 0)]


def test_spans_too_short_to_draw_are_drawn_together_with_their_shares() -> None:
    timeline = timeline_of(contended())
    (bar,) = bars(timeline, timeline.lanes[1], 0, 1500, 1.5)
    assert (bar.left, bar.right, bar.look) == (0, 1.5, -1)
    assert bar.shares[SPINNING] == pytest.approx(800 / 1500)
    assert bar.irqs_off == pytest.approx(1100 / 1500)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 150_000), st.integers(1, 150_000), st.floats(1, 3000), st.floats(0.5, 20))
def test_bars_cover_their_window_once_and_in_order(
    start: int, length: int, width: float, thinnest: float
) -> None:
    timeline = real()
    begin = timeline.start + start % (timeline.end - timeline.start)
    end = min(begin + length, timeline.end)
    if end == begin:
        return
    for lane in timeline.lanes:
        found = bars(timeline, lane, begin, end, width, thinnest)
        assert found[0].left == 0
        assert found[-1].right == pytest.approx(width)
        assert all(one.right == pytest.approx(other.left) for one, other in pairwise(found))
        for bar in found:
            assert sum(bar.shares) == pytest.approx(1)
        assert len(found) <= 2 * width / thinnest + 2


# -- the record ---------------------------------------------------------------


def test_a_column_is_packed_seven_bits_at_a_time() -> None:
    assert zlib.decompress(b64decode(pack([[0, 127, 128, 300], [1]]))).hex() == "04007f8001ac020101"
    assert list(deltas([5, 7, 7], 2)) == [3, 2, 0]
    with pytest.raises(ValueError, match="no negative number such as -1"):
        pack([[-1]])


def test_a_record_is_plain_and_small() -> None:
    timeline = real()
    record = timeline_record([timeline], ["before"])
    assert checked(record) == record
    assert timeline.events > 150
    assert len(str(record)) < 60 * timeline.events


without_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="there is no node here; the browser tests cover it too"
)
SAY = """
import { duration } from '../shared/time.js';
import { after, bars, before, contentions, decode, locksAt, nextChange, sentence, spanAt, ticks }
  from "./timeline_model.js";
const [run] = await decode(given.record);
const lanes = run.lanes.map((lane, cpu) => cpu);
console.log(JSON.stringify({
  said: given.times.map((time) => sentence(run, time)),
  spans: given.times.map((time) => lanes.map((cpu) => { const { since, until } = spanAt(run, cpu, time); return [since, until]; })),
  locks: given.times.map((time) => locksAt(run, time).map(({ holders, waiters }) => [holders.length, waiters.length])),
  bars: given.windows.map(([a, b, width]) => lanes.map((cpu) => bars(run, cpu, a, b, width, 2))),
  stops: contentions(run), one: contentions(run, "device_domain_lock"),
  durations: given.numbers.map(duration), ticks: given.windows.map(([a, b]) => ticks(a, b, 8)),
  next: given.times.map((time) => [nextChange([run], time, 1, 5), nextChange([run], time, -1, 5)]),
  jumps: given.times.map((time) => [after(contentions(run), time) ?? null, before(contentions(run), time) ?? null]),
}));
"""


@without_node
@pytest.mark.parametrize("version", [0, 1])
def test_the_browser_says_the_same_from_the_record(version: int) -> None:
    timeline, pick = real(version), random.Random(version)
    length = timeline.end - timeline.start
    times = [0, length, *(pick.randrange(length) for _ in range(150))]
    starts = range(0, length - 1, length // 7)
    windows = [
        (0, length, 700.0),
        *((a, min(a + pick.choice([30, 900, 20_000]), length), 333.0) for a in starts),
    ]
    numbers = [pick.randrange(10 ** pick.randrange(1, 12)) for _ in range(200)]
    theirs = node(
        SAY,
        {
            "record": timeline_record([timeline], ["x"]),
            "times": times,
            "windows": windows,
            "numbers": numbers,
        },
    )
    at = [timeline.start + time for time in times]
    assert theirs["said"] == [sentence(timeline, time) for time in at]
    assert theirs["spans"] == [[relative(timeline, cpu, time) for cpu in range(4)] for time in at]
    assert theirs["locks"] == [[list(map(len, now)) for now in locks_at(timeline, time)] for time in at]
    assert theirs["stops"] == [stop - timeline.start for stop in contentions(timeline)]
    assert theirs["durations"] == [duration(number) for number in numbers]
    assert theirs["ticks"] == [[list(tick) for tick in ticks(a, b, 8)] for a, b, _ in windows]
    assert theirs["jumps"] == [jumps(theirs["stops"], time) for time in times]
    for (a, b, width), lanes in zip(windows, theirs["bars"], strict=True):
        for lane, found in zip(timeline.lanes, lanes, strict=True):
            assert found == [
                drawn(bar) for bar in bars(timeline, lane, timeline.start + a, timeline.start + b, width)
            ]
    changes = sorted(
        {start - timeline.start for lane in timeline.lanes for start in lane.starts} | {0, length}
    )
    for time, (later, earlier) in zip(times, theirs["next"], strict=True):
        assert later == next((c for c in changes if c >= time + 5), length)
        assert earlier == next((c for c in reversed(changes) if c <= time - 5), 0)


def relative(timeline: Timeline, cpu: int, time: int) -> list[int]:
    """When the span of a CPU at an instant begins and ends, after the start."""
    stops = [*timeline.lanes[cpu].starts, timeline.end]
    index = max(bisect_right(stops[:-1], time) - 1, 0)
    return [stops[index] - timeline.start, stops[index + 1] - timeline.start]


def jumps(stops: list[int], time: int) -> list[int | None]:
    """The next stop after and the last one before an instant."""
    return [
        next((stop for stop in stops if stop > time), None),
        next((stop for stop in reversed(stops) if stop < time), None),
    ]


def drawn(bar: Any) -> dict[str, Any]:
    """A bar as JavaScript writes it."""
    fields = asdict(bar)
    fields["shares"] = pytest.approx(list(bar.shares))
    fields["off"] = pytest.approx(fields.pop("irqs_off"))
    if bar.look >= 0:
        del fields["shares"], fields["off"]
    return {**fields, "left": pytest.approx(bar.left), "right": pytest.approx(bar.right)}
