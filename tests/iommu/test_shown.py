"""What the parts of a machine look like when shown: what they are, not where Python keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from users import PAGE

from vtdkit.iommu.backends.kinds import BACKENDS
from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.pinning import mm_struct
from vtdkit.iommu.vfio import VfioType1
from vtdkit.iommu.vfio_padata import VfioPadata
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer


def test_every_part_of_a_computer_says_what_it_is() -> None:
    pc = Computer(devices={"00:03.0": {"ats": True}, "00:04.0": {}})
    core = "<iommu core: 2 groups, driver before the series>"
    shown: list[tuple[Any, str]] = [
        (pc.hardware[0], f"<unit 0: {pc.hardware[0].unit!r}>"),
        (pc.core, core),
        (pc.bus, "<PCI bus: 00:03.0, 00:04.0>"),
        (pc.devices["00:03.0"], "<PCI 00:03.0 with ats on>"),
        (pc.devices["00:04.0"], "<PCI 00:04.0>"),
        (DmaApi(pc.core), f"<DMA API of {core}>"),
        (VfioPadata(pc.core), f"<VFIO type 1 on {core}>"),
        (VfioType1(pc.core), f"<VFIO type 1 on {core}>"),
    ]
    assert [repr(part) for part, _ in shown] == [text for _, text in shown]
    assert repr(pc.hardware[0]).startswith("<unit 0: <RemappingUnit on, legacy mode, root table 0x")


def test_the_dma_apis_parts_say_what_is_in_them() -> None:
    pc = Computer(devices=["00:03.0"], default_type="dma-fq")
    dma, dev = DmaApi(pc.core), pc.devices["00:03.0"]
    pc.run(dma.iommu_setup_dma_ops(dev))
    pc.run(dma.iommu_dma_unmap_page(dev, pc.run(dma.iommu_dma_map_page(dev, 0x5000000, PAGE)), PAGE))
    cookie = pc.domain_of("00:03.0").cookie
    assert repr(cookie.fq) == f"<flush queue: 1 entries on {len(pc.machine.cpus)} CPUs>"
    assert [repr(cookie), repr(cookie.iovad)] == ["<iommu_dma_cookie>", "<iova_domain>"]
    assert " at 0x" not in repr(mm_struct(pc.machine, [(0, 0x80000, 16)]))


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_back_end_its_core_and_its_hardware_say_what_they_are(kind: str) -> None:
    back = BACKENDS[kind](Machine())
    assert repr(back) == f"<back-end {back.table.title}>"
    for part in (back.core, back.domain, back.table, getattr(back.table, "walker", back)):
        assert " at 0x" not in repr(part)


def test_a_walker_says_how_much_it_holds() -> None:
    back = BACKENDS["arm"](Machine())
    back.run(back.map(0x10000, 0x5000000, PAGE))
    back.run(back.walk(0x10000))
    walker: Any = back.table
    assert repr(walker.walker) == f"<{walker.walker.name}: 1 translations, 3 upper entries held>"
