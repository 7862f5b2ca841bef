"""Scenarios: what devices and the remapping unit see."""

from __future__ import annotations

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.requests import Fault, Request

from .base import Observer, Scenario, computer, together

BLOCK = 512 * 4096


def superpage(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A 2 MiB page is mapped over an empty table while the device does DMA in the neighbourhood."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain, dev = pc.domain_of("00:03.0"), pc.devices["00:03.0"]
    pc.map(domain, 0, 0x5000000)
    pc.dma("00:03.0", 0)  # the unit has the upper entries in its caches now
    pc.unmap(domain, 0)
    pc.map(domain, 4096, 0x5000000)
    pc.dma("00:03.0", 4096)
    pc.unmap(domain, 4096)
    end = together(machine, {"map": pc.core.iommu_map(domain, 0, 0x40000000, BLOCK, 3)})
    machine.spawn_device(pc.hardware_of("00:03.0").dma(Request(dev.sid, 0x3000)), "DMA")
    return end


def unmap_dma(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A table is unmapped and freed while the device does DMA through it."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain, dev = pc.domain_of("00:03.0"), pc.devices["00:03.0"]
    pc.map(domain, 0, 0x5001000, BLOCK)
    pc.dma("00:03.0", 0)  # the unit has the upper entries in its caches now
    end = together(machine, {"unmap": pc.core.iommu_unmap(domain, 0, BLOCK)})
    machine.spawn_device(pc.hardware_of("00:03.0").dma(Request(dev.sid, 0x3000)), "DMA")
    return end


def passthrough(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A device with ATS in a pass-through domain, legacy mode: if it may, it asks for translations."""
    pc = computer(driver, machine, devices={"00:03.0": {"ats": True}}, default_type="identity")
    dev = pc.devices["00:03.0"]

    def end() -> str:
        if not dev.ats_on:
            return "ATS is off"
        answer = pc.run(pc.hardware_of("00:03.0").dma(Request(dev.sid, 0x1000, at="translation")))
        if isinstance(answer, Fault):
            machine.check.report(
                "DMAR: [DMA Read] fault", "translation request in pass-through", (), text=str(answer)
            )
            return "translation requests are blocked"
        return "translated"

    return end


SCENARIOS = (
    Scenario(
        "superpage-dma", "a large page is mapped over an old table while the device does DMA", superpage
    ),
    Scenario("unmap-dma", "a table is unmapped and freed while the device does DMA through it", unmap_dma),
    Scenario("passthrough-ats", "a device that may use ATS in a legacy pass-through domain", passthrough),
)
