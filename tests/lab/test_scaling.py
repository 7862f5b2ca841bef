"""Scaling curves: their shapes, and that the explanations agree with the numbers."""

from __future__ import annotations

import pytest

from vtdkit.kernel.machine.costs import NEAR
from vtdkit.lab.scaling import VERSIONS, Scaling, driver_of, measure, name_of, scaling
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

D, Q = "device_domain_lock", "&qi->q_lock"
#: what one unit can do: an unmap costs it an IOTLB and a device-TLB invalidation, and a wait
#: descriptor after each
UNIT = 1e9 / (NEAR.iotlb_wait + NEAR.device_tlb_wait + 2 * NEAR.line_near)


@pytest.fixture(scope="module")
def curves() -> Scaling:
    return scaling([0, 10, 11, 12, "6.0-rc1", "6.0-rc5"], [1, 4, 16, 64], lasting=100_000)


@pytest.mark.parametrize("version", [0, 10, 11])
def test_until_patch_12_one_lock_for_the_machine_keeps_the_curve_flat(curves: Scaling, version: int) -> None:
    one, four, some, many = curves.curve(version)
    assert four.ops_per_second < 2 * one.ops_per_second
    assert (
        many.ops_per_second < some.ops_per_second < four.ops_per_second
    )  # more CPUs make it worse: lines are passed around
    for point in (some, many):
        assert (point.bottleneck, point.locks[0].function) == (D, "iommu_flush_dev_iotlb")
        assert point.locks[0].share > 0.95
        assert point.wait_share > 0.5
        assert point.queue_share < 0.5  # the units could do more


def test_the_flat_rate_is_one_over_the_time_the_lock_is_held(curves: Scaling) -> None:
    point = curves.at(0, 64)
    held = 1e9 / point.ops_per_second
    # a device-TLB flush through the queue, from the lock to its release: the invalidation, its wait, the
    # doorbell, and a few lines
    assert (
        NEAR.device_tlb_wait + NEAR.line_near + NEAR.mmio
        < held
        < NEAR.device_tlb_wait + NEAR.line_near + 10 * NEAR.mmio
    )


@pytest.mark.parametrize("version", [12, "6.0-rc1", "6.0-rc5"])
def test_with_a_lock_for_each_domain_the_units_are_the_limit_and_their_queues_are_waited_for(
    curves: Scaling, version: int
) -> None:
    one, four, some, many = curves.curve(version)
    assert four.ops_per_second == pytest.approx(4 * one.ops_per_second, rel=0.02)  # nobody shares anything
    for point in (some, many):
        assert point.ops_per_second == pytest.approx(4 * UNIT, rel=0.05)
        assert point.queue_share > 0.98
        assert (point.bottleneck, point.locks[0].function) == (Q, "qi_submit_sync")
        assert [wait.lock for wait in point.locks if "domain" in wait.lock] == []
    assert many.ops_per_second > 3 * curves.at(0, 64).ops_per_second


def test_the_versions_before_patch_12_cost_the_same_on_the_hot_path(curves: Scaling) -> None:
    assert (
        curves.at(0, 64).ops_per_second
        == curves.at(10, 64).ops_per_second
        == curves.at(11, 64).ops_per_second
    )


def test_with_one_unit_no_version_gets_past_what_its_queue_can_do() -> None:
    before, after = scaling([0, "6.0-rc5"], [16], units=1, lasting=100_000)
    assert before.ops_per_second < after.ops_per_second < UNIT
    assert after.ops_per_second == pytest.approx(UNIT, rel=0.02)
    assert before.ops_per_second > 0.9 * UNIT


def test_with_fewer_domains_than_cpus_the_lock_of_the_domain_is_waited_for_but_costs_little() -> None:
    shared, own = (measure("6.0-rc5", 32, domains=domains, lasting=100_000) for domains in (4, 32))
    assert shared.bottleneck == "&domain->lock"
    assert shared.wait_share > 0.5 > own.wait_share
    assert shared.ops_per_second == pytest.approx(
        own.ops_per_second, rel=0.05
    )  # the queue is busy all the time in any case


def test_without_ats_every_version_is_the_same() -> None:
    before, after = scaling([0, 12], [8], ats=False, lasting=100_000)
    assert before.ops_per_second == after.ops_per_second
    assert D not in [wait.lock for wait in before.locks]


def test_a_cpu_alone_waits_for_no_lock(curves: Scaling) -> None:
    point = curves.at(0, 1)
    assert (point.locks, point.bottleneck, point.wait_share) == ((), "", 0.0)
    assert (
        point.explanation
        == f"no waiting for locks; the busiest unit is at work {point.queue_share:.0%} of the time"
    )


def test_the_shares_of_the_locks_add_up(curves: Scaling) -> None:
    for point in curves:
        assert sum(wait.share for wait in point.locks) == pytest.approx(1.0 if point.locks else 0.0)
        assert list(point.locks) == sorted(point.locks, key=lambda wait: -wait.share)
        assert 0 <= point.wait_share <= 1


def test_the_same_twice_is_the_same_with_checkers_too() -> None:
    plain, again = measure(12, 4, lasting=30_000), measure(12, 4, lasting=30_000)
    checked = measure(12, 4, lasting=30_000, checkers=("lockdep", "races", "kasan", "sleep"), record=True)
    assert plain == again == checked


def test_the_table_reads_well(curves: Scaling) -> None:
    lines = repr(curves).splitlines()
    assert lines[0].split() == [
        "thousand",
        "unmaps/s",
        "on",
        "1",
        "4",
        "16",
        "64",
        "CPUs,",
        "which",
        "wait",
        "most",
        "for",
    ]
    assert lines[1].startswith("before the series")
    assert "device_domain_lock (" in lines[1]
    assert lines[4].startswith("after patch 12")
    assert len(lines) == 7
    assert repr(curves.at(12, 64)).startswith("after patch 12 on 64 CPUs: 1")
    with pytest.raises(KeyError, match="there are"):
        curves.at(3, 1)


def test_versions_and_loads_that_are_not_there_are_refused() -> None:
    assert (driver_of(12), driver_of("6.0-rc1")) == (driver_at(12), mainline.RC1)
    assert len(VERSIONS) == len({name_of(version) for version in VERSIONS}) == 16
    with pytest.raises(ValueError, match=r"no release '7.0' here; there are v5\.19, 6\.0-rc1"):
        measure("7.0", 1)
    with pytest.raises(ValueError, match="no driver after patch 13"):
        measure(13, 1)
    with pytest.raises(ValueError, match="1 to 256 CPUs"):
        measure(0, 0)
