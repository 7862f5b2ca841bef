"""VT-d as a back-end: the driver and the unit that the rest of the kit has, behind the interface of all.

Nothing of a table is done here. The core calls the driver (`vtdkit.iommu.intel`), as everywhere; the walk
is the unit's (`vtdkit.vtd`), dirty bits are read by `vtdkit.iommu.dirty`. Second stage in legacy mode, or
first or second stage in scalable mode.
"""

from __future__ import annotations

from typing import Literal, cast

from vtdkit.iommu.core import IommuCore, IommuDomain, IotlbGather
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty
from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciBus, PciDevice
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request, Translation

from .backend import Access, Answer, Backend, Looked

Stage = Literal["legacy", "second", "first"]
UNITS: dict[Stage, Capabilities] = {
    "legacy": Capabilities(),
    "second": Capabilities(SMTS=1, SSTS=1, PASID=1, PSS=20, SMPWC=1, PT=1, SC=1, SSADS=1),
    "first": Capabilities(SMTS=1, SSTS=1, FSTS=1, PASID=1, PSS=20, SMPWC=1, PT=1, SC=1, SRS=1),
}
SID = 0x18  # of the device, 00:03.0


class VtdTable:
    """The driver's page tables of one domain, and the remapping unit in front of them. Guards: see
    `vtdkit.iommu.intel.pgtable`.
    """

    def __init__(
        self, core: IommuCore, domain: IommuDomain, hardware: RemappingHardware, stage: Stage
    ) -> None:
        self.core, self.domain, self.hardware = core, domain, hardware
        self.title = f"Intel ({stage} stage)" if stage != "legacy" else "Intel (VT-d)"

    async def translate(self, iova: int, kind: Access = "read") -> Answer:
        """A DMA of 4 bytes, at most as many as are left of the page."""
        request = Request(SID, iova, kind, length=min(4, 4096 - (iova & 0xFFF)))
        walk = await self.hardware.dma(request)
        if not isinstance(walk, Translation):
            return Answer(None, why=walk.name)
        steps = () if self.hardware.machine.steps.exploring else self.hardware.unit.walk(request).steps
        looked = tuple(Looked(step.level, step.address, step.raw) for step in steps if step.level)
        return Answer(walk.address, walk.size, walk.readable, walk.writable, looked=looked)

    async def read_and_clear_dirty(self, iova: int, size: int, gather: IotlbGather) -> list[int] | None:
        """`intel_iommu_read_and_clear_dirty`; None unless these are second-stage tables of scalable mode."""
        if not cast(IntelIommu, self.core.driver).intel_iommu_sm or self.domain.driver.use_first_level:
            return None
        dirty = await intel_iommu_read_and_clear_dirty(self.core, self.domain, iova, size)
        for page in dirty:
            gather.add(page, 4096)
        return dirty

    def __repr__(self) -> str:
        return f"<table of {self.domain!r}>"


def intel(machine: Machine, stage: Stage = "legacy", driver: type[IntelIommu] = IntelIommu) -> Backend:
    """A unit, a device behind it, and a domain of it. Raises KernelBug when the driver does not come up."""
    hardware = RemappingHardware(machine, UNITS[stage])
    bus = PciBus(machine)
    driving = driver(machine, bus, [hardware], scalable=stage != "legacy")
    core = IommuCore(machine, driving)

    async def start() -> IommuDomain | None:
        dev = PciDevice(machine, "00:03.0")
        await bus.add(dev)
        if await driving.intel_iommu_init() or await core.iommu_probe_device(dev):
            return None
        # with both stages to be had, the DMA API's domains get the first
        domain = await core.iommu_domain_alloc("dma" if stage == "first" else "unmanaged")
        return None if domain is None or await core.iommu_attach_device(domain, dev) else domain

    domain = machine.run(start())
    if domain is None:
        raise KernelBug("the Intel driver did not come up")
    return Backend(VtdTable(core, domain, hardware, stage), core, domain)
