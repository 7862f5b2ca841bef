"""What the tests of the driver's users share: a computer with the DMA API on it, and a look at
what is left behind.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from lessons.lesson17.traces import MapTrace
from vtdkit.iommu.dma import DmaApi, iommu_dma_cookie
from vtdkit.iommu.intel.base import ADDRESS_0
from vtdkit.iommu.iova import iova_domain
from vtdkit.iommu.iova_tree import IovaTree
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.lockstat import Side
from vtdkit.lab.computer import BOTH_STAGES, LEGACY, SCALABLE, Computer
from vtdkit.vtd.capabilities import Capabilities

PAGE = 4096
REALITY = Path(__file__).parent.parent / "reality"
STRICT, LAZY = "dma", "dma-fq"
HARDWARE: dict[str, dict[str, Any]] = {
    "legacy": {"units": LEGACY},
    "legacy, three levels": {"units": Capabilities(SAGAW=0b10, MGAW=39)},
    "caching mode": {"units": Capabilities(CM=1)},
    "scalable, second level": {"units": SCALABLE, "scalable": True},
    "scalable, first level": {"units": BOTH_STAGES, "scalable": True},
}


def dma_computer(
    default_type: str = STRICT, hardware: str = "legacy", **options: Any
) -> tuple[Computer, DmaApi]:
    """A computer whose devices are probed with the DMA API in place."""
    wanted = options.pop("devices", {"00:03.0": {}})
    pc = Computer(devices=(), default_type=default_type, **{**HARDWARE[hardware], **options})
    api = DmaApi(pc.core)
    for address in wanted:
        pc.add_device(address, **(wanted[address] if isinstance(wanted, dict) else {}))
    return pc, api


def device(pc: Computer) -> PciDevice:
    return pc.devices["00:03.0"]


def cookie(pc: Computer, address: str = "00:03.0") -> iommu_dma_cookie:
    found: iommu_dma_cookie = pc.domain_of(address).cookie
    return found


def inventory(machine: Machine) -> Counter[str]:
    """Every page and object alive, by kind. Context tables stay with their unit in Linux, devices with
    the bus: not counted.
    """
    pages = (page.name for page in machine.pages.live() if "context table" not in page.name)
    return Counter(pages) + Counter(
        type(obj).__name__ for obj in machine.check.objects.values() if not isinstance(obj, PciDevice)
    )


def ranges(space: iova_domain) -> list[tuple[int, int]]:
    """Every range taken, cached ones included, as (lowest, highest) page frame."""
    tree: IovaTree = space.peek("rbroot")
    return [(node.pfn_lo, node.pfn_hi) for node in reversed(tree.nodes[1:])]


def descriptors(pc: Computer) -> int:
    """How many were queued so far for the first unit, whose queue has not gone round yet."""
    return pc.hardware[0].unit.registers["IQT"] // 16


def lock_stat(machine: Machine, name: str) -> Side:
    """The counts of the locks of one name."""
    return next((row.write for row in machine.lock_stat() if row.name == name), Side())


#: Linux has these: `max_addr` is raised and lowered by whoever maps and unmaps, and `has_iotlb_device` is
#: looked at before its lock is taken. Both are plain accesses with nothing that orders them.
KNOWN_RACES = ("dmar_domain.max_addr", "dmar_domain.has_iotlb_device")


def unexpected(machine: Machine) -> list[str]:
    """The findings that Linux does not have there too."""
    return [
        str(f)
        for f in machine.findings
        if not (f.kind == "BUG: KCSAN: data-race" and f.where in KNOWN_RACES) and f.kind != ADDRESS_0
    ]


@cache
def recorded(mode: str) -> MapTrace:
    """What a real guest of 4 CPUs mapped; `mode` is "strict" or "lazy". Read once."""
    return MapTrace.load(REALITY / f"maps_smp4_{mode}-s0")
