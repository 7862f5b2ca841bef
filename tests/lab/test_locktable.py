"""The lock table: the counts that were worked out by hand from the kernel's source, and
what the series changed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from vtdkit.kernel.machine.costs import NEAR
from vtdkit.lab.computer import LEGACY
from vtdkit.lab.locktable import LockTable, LockUse, OperationCost, lock_table, measure
from vtdkit.lab.operations import OPERATIONS

#: locks of the device lists and `iommu->lock`, before the series and after patch 12: counted in the source of
#: the kernel (the units here have no NUMA node, which costs attach and detach one more look at the list each)
COUNTED = {
    "probe": (1, 0, 0, 0),
    "attach, first on the unit": (2, 3, 3 + 1, 3),
    "attach, first, ATS": (2, 3, 4 + 1, 3),
    "attach, second device": (2, 3, 2, 3),
    "attach, first, scalable": (3, 4, 3 + 1, 4),
    "detach, last": (1, 2, 2 + 1, 2),
    "detach, last, ATS": (1, 2, 2 + 1 + 1, 2),
    "detach, last, scalable": (1, 2, 2 + 1, 3),
    "map": (0, 0, 0, 0),
    "unmap, no ATS": (0, 0, 0, 0),
    "unmap, 1 unit, 1 ATS": (1, 0, 1, 0),
    "unmap, 2 units, 3 ATS": (2, 0, 2, 0),
    "enforce coherency, 2 devices": (1, 2, 1, 2),
    "domain dump, 2 domains": (1, 0, 0, 0),
}


@pytest.fixture(scope="module")
def table() -> LockTable:
    return lock_table([0, 11, 12, "6.0-rc5"])


@pytest.mark.parametrize("operation", COUNTED)
def test_each_lock_is_taken_as_often_as_the_source_says(table: LockTable, operation: str) -> None:
    before, after = table.at(0, operation), table.at(12, operation)
    measured = (before.device_lock[0], before.iommu_lock[0], after.device_lock[0], after.iommu_lock[0])
    assert measured == COUNTED[operation]


def test_a_release_takes_one_more_than_its_detach_before_the_series_and_none_after(table: LockTable) -> None:
    for version, more in ((0, 1), (12, 0), ("6.0-rc5", 0)):
        release, detach = table.at(version, "release, with its detach"), table.at(version, "detach, last")
        assert release.device_lock[0] - detach.device_lock[0] == more
        assert release.iommu_lock[0] == detach.iommu_lock[0]


def test_mainline_takes_the_locks_of_patch_12(table: LockTable) -> None:
    for operation in COUNTED:
        merged, posted = table.at("6.0-rc5", operation), table.at(12, operation)
        assert (merged.device_lock, merged.iommu_lock) == (posted.device_lock, posted.iommu_lock)
        assert all(use.lock != "&domain->mutex" for use in merged.locks)


def test_a_unit_with_a_numa_node_saves_a_look_at_the_list() -> None:
    """§1.17."""
    names = ["attach, first on the unit", "attach, first, ATS", "detach, last"]
    for cost, count in zip(lock_table([12], names, sockets=2), (3, 4, 2), strict=True):
        assert cost.device_lock[0] == count


def test_acquisitions_go_up_and_holds_go_down(table: LockTable) -> None:
    for operation in ("attach, first, ATS", "detach, last", "detach, last, scalable"):
        before, after = table.at(0, operation), table.at("6.0-rc5", operation)
        assert after.device_lock[0] > before.device_lock[0]
        assert (
            after.device_lock[1] == 0 < before.device_lock[1]
        )  # a walk over one device: no time at all here
        assert after.irqs_off < before.irqs_off


def test_a_sync_flushes_every_device_once_for_each_unit(table: LockTable) -> None:
    for version in (0, 11, 12, "6.0-rc5"):
        assert table.at(version, "unmap, no ATS").device_tlb_flushes == 0
        assert table.at(version, "unmap, 1 unit, 1 ATS").device_tlb_flushes == 1
        cost = table.at(version, "unmap, 2 units, 3 ATS")
        assert cost.device_tlb_flushes == 2 * 3
        assert cost.device_lock[1] > 3 * NEAR.device_tlb_wait


def test_interrupts_are_off_where_the_lock_or_the_queue_says(table: LockTable) -> None:
    assert table.at(0, "detach, last").irqs_off_in == "dmar_remove_one_dev_info"
    assert table.at(12, "detach, last").irqs_off_in == "qi_submit_sync"
    assert table.at(0, "unmap, 1 unit, 1 ATS").irqs_off_in == "iommu_flush_dev_iotlb"
    assert table.at(12, "unmap, 1 unit, 1 ATS").irqs_off_in == "qi_submit_sync"
    assert table.at("6.0-rc5", "unmap, 1 unit, 1 ATS").irqs_off_in == "iommu_flush_dev_iotlb"
    for cost in table:
        assert cost.irqs_off <= cost.irqs_off_total <= cost.duration
        assert bool(cost.irqs_off) == bool(cost.irqs_off_in)


def test_each_lock_comes_with_the_functions_that_took_it(table: LockTable) -> None:
    """§2.1, for an attach before the series; and the lock of the queue."""
    attach = {use.lock: use.functions for use in table.at(0, "attach, first on the unit").locks}
    assert attach["device_domain_lock"] == (("domain_add_dev_info", 1), ("domain_context_mapping_one", 1))
    assert attach["&iommu->lock"] == (
        ("device_context_mapped", 1), ("domain_add_dev_info", 1), ("domain_context_mapping_one", 1),
    )  # fmt: skip
    for cost in table:
        queue = [use.functions for use in cost.locks if use.lock == "&qi->q_lock"]
        assert all(function == "qi_submit_sync" for functions in queue for function, _ in functions)
        assert queue or cost.irqs_off_in != "qi_submit_sync"


def test_a_unit_that_buffers_writes_is_told_under_its_register_lock() -> None:
    (known,) = (each for each in OPERATIONS if each.name == "map")
    cost = measure(12, replace(known, unit=replace(LEGACY, RWBF=1)))
    (use,) = cost.locks
    assert (use.lock, use.functions) == ("&iommu->register_lock", (("iommu_flush_write_buffer", 1),))
    assert cost.irqs_off_in == "iommu_flush_write_buffer"


def test_a_neighbour_waits_only_for_a_lock_of_the_whole_machine(table: LockTable) -> None:
    assert table.at(0, "domain dump, 2 domains").neighbour > 20_000
    assert table.at(11, "domain dump, 2 domains").neighbour == 0
    for cost in table:
        if cost.version in (12, "6.0-rc5"):
            assert (cost.neighbour, cost.neighbour_lock) == (0, "")
        elif cost.neighbour:
            assert cost.neighbour_lock == "device_domain_lock"
    assert table.at(11, "unmap, 1 unit, 1 ATS").neighbour > 0
    assert table.at(0, "map").neighbour == 0


def test_the_text_is_a_row_for_each_operation_of_each_version(table: LockTable) -> None:
    lines = repr(table).splitlines()
    assert len(lines) == 1 + 4 * len(OPERATIONS)
    assert " ".join(lines[0].split()) == "operation D longest L longest irqs off device TLBs neighbour waits"
    assert lines[1].split()[:6] == ["before", "the", "series", "probe", "1", "0"]
    cost = repr(table.at(0, "detach, last")).splitlines()
    assert cost[0].startswith(
        "detach, last, before the series: 1905 ns, irqs off 1905 ns from dmar_remove_one_dev_info, a neigh"
    )
    assert (
        cost[1] == "  device_domain_lock: 1 x, 1890 ns in all, 1890 ns at most, in dmar_remove_one_dev_info"
    )
    assert cost[3] == "  &qi->q_lock: 4 x, 400 ns in all, 200 ns at most, in qi_submit_sync 4"


def test_html_is_escaped() -> None:
    cost = OperationCost(0, "<b>", 1, (LockUse("&x", 1, 2, 2, (("f", 1),)),), 0, "", 0, 0, 0, "")
    text = LockTable([cost])._repr_html_()
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "before the series</td>" in text


def test_what_is_not_there_is_refused(table: LockTable) -> None:
    with pytest.raises(ValueError, match="no operation 'fly'; there are probe, attach"):
        lock_table([0], ["fly"])
    with pytest.raises(ValueError, match="no driver after patch 13"):
        lock_table([13], ["map"])
    with pytest.raises(KeyError, match="no 'fly' of version 0"):
        table.at(0, "fly")


def test_the_same_twice_is_the_same(table: LockTable) -> None:
    again = lock_table([12], ["attach, first, ATS", "unmap, 2 units, 3 ATS"])
    assert list(again) == [table.at(12, "attach, first, ATS"), table.at(12, "unmap, 2 units, 3 ATS")]
