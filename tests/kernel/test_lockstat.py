"""Lock statistics: the counters, their identities, and the grouping of waits."""

import random
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.locks.log import LockLog, class_stat
from vtdkit.kernel.record.lockstat import SORT_KEYS, Contention, LockStat, Side, contention_rows
from vtdkit.kernel.record.sites import Spot

CODE = compile("", "test.py", "exec")


def place(log: LockLog, name: str) -> Spot:
    """The place of this name in a log."""
    return log.spots.table.setdefault(hash_free(name), Spot(CODE.replace(co_name=name), 0))


def hash_free(name: str) -> int:
    return int.from_bytes(name.encode(), "big")


def wait(log: LockLog, ns: int, site: str, holder: str, bounced: bool) -> None:
    log.waited(ns, place(log, site), place(log, holder), bounced)


def hold(log: LockLog, ns: int, bounced: bool) -> None:
    log.acq_bounces += bounced
    place(log, "holder").holds.append(ns)


def fifo_lock(arrivals: list[tuple[int, int, int]]) -> tuple[LockStat, int]:
    """One exclusive lock, first come first served; arrivals: (time, hold, cpu). Also: when it ends."""
    log, free_at, last_cpu = LockLog(), 0, 0
    for number, (time, held, cpu) in enumerate(sorted(arrivals)):
        start = max(time, free_at)
        if start > time:
            wait(log, start - time, f"f{cpu}", f"f{last_cpu}", cpu != last_cpu)
        hold(log, held, cpu != last_cpu)
        free_at, last_cpu = start + held, cpu
        if number % 3 == 0:
            log.fold()  # as the engine does now and then
    return class_stat("lock", 0, log, None), free_at


ARRIVALS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 400), st.integers(0, 3)), max_size=40)


@settings(deadline=None, max_examples=100)
@given(ARRIVALS)
def test_the_identities_of_lock_stat_hold(arrivals: list[tuple[int, int, int]]) -> None:
    record, elapsed = fifo_lock(arrivals)
    side = record.write
    assert side.acquisitions == len(arrivals)
    assert side.con_bounces <= side.contentions <= side.acquisitions
    assert side.acq_bounces <= side.acquisitions
    assert side.hold_total == sum(held for _, held, _ in arrivals) <= elapsed
    assert side.wait_min <= side.wait_avg <= side.wait_max
    assert side.hold_min <= side.hold_avg <= side.hold_max
    assert 0 <= side.wait_total - side.wait_avg * side.contentions < max(side.contentions, 1)
    assert sum(times for _, times in record.points) == side.contentions
    assert sum(times for _, times in record.holders) == side.contentions


def test_averages_are_total_by_count_as_in_a_published_table() -> None:
    """One runqueue lock on 36 CPUs (Vernet, August 2023): wait 10.57 us, hold 0.320 us on average."""
    side = Side(
        contentions=118_361_486,
        wait_total=1_250_954_097_000,
        acquisitions=119_780_601,
        hold_total=38_313_420_000,
    )
    assert side.wait_avg == 10_568
    assert side.hold_avg == 319


def test_fresh_counters_show_zero_and_the_first_time_is_the_least() -> None:
    log = LockLog()
    assert log.fold() == Side()
    wait(log, 7, "f", "g", True)
    wait(log, 3, "f", "h", False)
    wait(log, 0, "f", "h", True)  # no wait at all is no contention
    hold(log, 5, True)
    assert log.fold() == Side(1, 2, 3, 7, 10, 1, 1, 5, 5, 5)


def test_an_average_of_nothing_is_zero() -> None:
    assert (Side().wait_avg, Side().hold_avg) == (0, 0)


def test_readers_and_writers_are_counted_apart_and_share_the_places_of_their_class() -> None:
    write, read = LockLog(), LockLog()
    wait(read, 10, "reader", "writer", False)
    wait(write, 20, "writer", "reader", False)
    record = class_stat("lock", 1, write, read)
    assert (record.read.wait_total, record.write.wait_total, record.contentions) == (10, 20, 2)
    assert {site.function: n for site, n in record.points} == {"reader": 1, "writer": 1}
    assert {site.function: n for site, n in record.holders} == {"writer": 1, "reader": 1}
    assert (record.name, record.subclass) == ("lock", 1)


def test_a_record_is_a_picture_that_later_counting_does_not_change() -> None:
    log = LockLog()
    before = log.fold()
    hold(log, 5, False)
    assert (before.acquisitions, log.fold().acquisitions) == (0, 1)
    with pytest.raises(FrozenInstanceError):
        before.acquisitions = 1


WAITS = [
    Contention(0, 500, "iommu->lock", "spinlock", "map", "attach", "task 1", 0, "task 2"),
    Contention(10, 1500, "iommu->lock", "spinlock", "unmap", "map", "task 2", 1, "task 1"),
    Contention(20, 100, "mmap_lock", "rwsem:R", "fault", None, "task 1", 0),
    Contention(30, 900, "mmap_lock", "rwsem:W", "unmap", "fault", "task 3", 2, "task 1"),
    Contention(40, 700, "iommu->lock", "spinlock", "map", "unmap", "task 3", 2, "task 2"),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "caller",
            [
                ("unmap", "spinlock", 1, 1500),
                ("map", "spinlock", 2, 1200),
                ("unmap", "rwsem:W", 1, 900),
                ("fault", "rwsem:R", 1, 100),
            ],
        ),
        (
            "lock",
            [
                ("iommu->lock", "spinlock", 3, 2700),
                ("mmap_lock", "rwsem:W", 1, 900),
                ("mmap_lock", "rwsem:R", 1, 100),
            ],
        ),
        ("thread", [("task 3", "", 2, 1600), ("task 2", "", 1, 1500), ("task 1", "", 2, 600)]),
        ("owner", [("task 1", "", 2, 2400), ("task 2", "", 2, 1200), ("Unknown", "", 1, 100)]),
        (
            "owner_site",
            [
                ("map", "", 1, 1500),
                ("fault", "", 1, 900),
                ("unmap", "", 1, 700),
                ("attach", "", 1, 500),
                ("Unknown", "", 1, 100),
            ],
        ),
    ],
)
def test_waits_are_put_together_by_what_they_share(
    by: str, expected: list[tuple[str, str, int, int]]
) -> None:
    rows = contention_rows(WAITS, by)
    assert [(row.what, row.kind, row.contended, row.wait_total) for row in rows] == expected


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("contended", "map"),
        ("wait_total", "unmap"),
        ("wait_max", "unmap"),
        ("wait_min", "unmap"),
        ("avg_wait", "unmap"),
    ],
)
def test_rows_are_sorted_by_the_key_asked_for(sort: str, first: str) -> None:
    rows = contention_rows(WAITS, "caller", sort)
    assert rows[0].what == first
    values = [getattr(row, sort) for row in rows]
    assert values == sorted(values, reverse=True)


def test_no_wait_is_lost_or_counted_twice_whatever_the_view() -> None:
    source = random.Random(7)
    waits = [
        Contention(
            n,
            source.randrange(1, 1000),
            f"l{n % 3}",
            "mutex",
            f"f{n % 7}",
            f"g{n % 2}",
            f"t{n % 5}",
            0,
            f"o{n % 4}",
        )
        for n in range(200)
    ]
    for by in ("caller", "lock", "thread", "owner", "owner_site"):
        for sort in SORT_KEYS:
            rows = contention_rows(waits, by, sort)
            assert sum(row.contended for row in rows) == 200
            assert sum(row.wait_total for row in rows) == sum(each.wait for each in waits)
            assert all(row.wait_min <= row.avg_wait <= row.wait_max for row in rows)


def test_an_unknown_view_or_key_is_refused_with_the_choices() -> None:
    with pytest.raises(
        ValueError, match="cannot group contention by 'cgroup'; choose from caller, lock, thread"
    ):
        contention_rows(WAITS, "cgroup")
    with pytest.raises(
        ValueError, match="cannot sort contention by 'name'; choose from contended, wait_total"
    ):
        contention_rows(WAITS, "caller", "name")
