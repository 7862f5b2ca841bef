"""What the judges compare of tables: what the hardware makes of them, not the words in memory."""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.hardware_reads import tables
from vtdkit.lab.operations import IOVA, PAGE, new_domain, probed, with_devices
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.survey import Survey

READ, EXECUTE_ONLY = 1, 0x8  # bits of a leaf; the second has neither R nor W


def _mapped(entry: int = 0, *, unit: Capabilities = LEGACY, first: int = 0x1000) -> Any:
    """What a unit's tables say: one page is mapped, in the slot after it stands `entry`. `first` is the
    number of the first page there is.
    """
    machine = Machine(2)
    machine.pages.FIRST_PFN = first
    pc = Computer(machine=machine, devices=(), units=unit, scalable=unit is SCALABLE)
    domain, dev = with_devices(pc, 0)
    pc.map(domain, IOVA, IOVA)
    hardware = pc.hardware[0]
    survey = Survey(hardware.unit)
    space, _ = survey.space(dev.sid)
    assert space is not None
    table = survey.root(space)
    while table.level > 1:
        (table,) = survey.below(space, table)
    leaves = hardware.memory.frames[table.page >> 12].words
    assert leaves[IOVA >> 12 & 511] & 3 == 3
    leaves[(IOVA + PAGE) >> 12 & 511] = entry
    return tables(hardware)


@pytest.mark.parametrize("unit", [LEGACY, SCALABLE])
def test_a_leaf_with_neither_read_nor_write_is_no_leaf(unit: Capabilities) -> None:
    assert _mapped(EXECUTE_ONLY, unit=unit) == _mapped(unit=unit)


@pytest.mark.parametrize("unit", [LEGACY, SCALABLE])
def test_a_leaf_that_may_be_read_is_one(unit: Capabilities) -> None:
    assert _mapped(0x7000 | READ, unit=unit) != _mapped(unit=unit)
    assert _mapped(0x7000 | READ, unit=unit) != _mapped(0x8000 | READ, unit=unit)


@pytest.mark.parametrize("unit", [LEGACY, SCALABLE])
def test_where_the_tables_lie_does_not_count(unit: Capabilities) -> None:
    assert _mapped(unit=unit, first=0x5000) == _mapped(unit=unit)


def test_a_device_more_is_told_and_an_empty_context_table_is_not() -> None:
    pc = Computer(devices=())
    before = tables(pc.hardware[0])
    domain = new_domain(pc)
    dev = probed(pc, 3)
    pc.run(pc.driver.intel_iommu_attach_device(domain, dev))
    assert tables(pc.hardware[0]) != before
    pc.run(pc.driver.intel_iommu_detach_device(domain, dev))
    assert tables(pc.hardware[0]) == before
