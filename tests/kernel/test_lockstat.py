"""Lock statistics: the counters, their identities, and the grouping of waits."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.kernel.locks.log import LockLog, class_stat
from vtdkit.kernel.record.lockstat import LockStat, Side, contention_rows
from vtdkit.kernel.record.lockstat_report import LockStatTable
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
    return class_stat("lock", 0, "spinlock", log, None), free_at


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
    assert side.wait_min * side.contentions <= side.wait_total <= side.wait_max * side.contentions
    assert side.hold_min * side.acquisitions <= side.hold_total <= side.hold_max * side.acquisitions
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
    assert (side.wait_avg, side.hold_avg) == (10_568, 319)
    (line,) = (
        line for line in repr(LockStatTable([LockStat("rq", 0, side, Side())])).splitlines() if ":" in line
    )
    assert (line.split()[6], line.split()[12]) == ("10.57", "0.32")


def test_an_average_of_nothing_is_zero() -> None:
    assert (Side().wait_avg, Side().hold_avg) == (0, 0)


def test_fresh_counters_show_zero_and_the_first_time_is_the_least() -> None:
    log = LockLog()
    assert log.fold() == Side()
    wait(log, 7, "f", "g", True)
    wait(log, 3, "f", "h", False)
    wait(log, 0, "f", "h", True)  # no wait at all is no contention
    hold(log, 5, True)
    assert log.fold() == Side(1, 2, 3, 7, 10, 1, 1, 5, 5, 5)


def test_readers_and_writers_are_counted_apart_and_share_the_places_of_their_class() -> None:
    write, read = LockLog(), LockLog()
    wait(read, 10, "reader", "writer", False)
    wait(write, 20, "writer", "reader", False)
    record = class_stat("lock", 1, "rwsem", write, read)
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


WAITED = [
    LockStat("mmap_lock", 0, Side(5, 9, 1, 900, 2000), Side(0, 2, 40, 60, 100), kind="rwsem"),
    LockStat("iommu->lock", 0, Side(1, 3, 500, 1500, 2700), Side(), kind="spinlock"),
    LockStat("free", 0, Side(acquisitions=7), Side(), kind="mutex"),
]


def test_each_side_that_was_waited_for_is_a_row_the_longest_wait_in_all_first() -> None:
    rows = contention_rows(WAITED)
    assert [(row.what, row.kind, row.contended, row.wait_total) for row in rows] == [
        ("iommu->lock", "spinlock", 3, 2700),
        ("mmap_lock", "rwsem:W", 9, 2000),
        ("mmap_lock", "rwsem:R", 2, 100),
    ]
    assert [(row.wait_min, row.avg_wait, row.wait_max) for row in rows] == [
        (500, 900, 1500),
        (1, 222, 900),
        (40, 50, 60),
    ]
