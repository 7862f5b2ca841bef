"""Scenarios: somebody reads the debugfs file domain_translation_struct."""

from __future__ import annotations

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine

from .base import Observer, Scenario, computer

BLOCK = 512 * 4096  # what one last-level table maps


def dump_unmap(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A dump while another CPU unmaps a whole last-level table, which is freed."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0, 0x5001000, 4 * 4096)  # a few pages; an unmap of the whole block frees the table
    machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0, name="cat")
    unmap = machine.spawn(pc.core.iommu_unmap(domain, 0, BLOCK), cpu=1, name="unmap")
    return lambda: unmap.result


def dump_free(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A dump while another CPU takes the device out of its domain and frees the domain."""
    pc = computer(driver, machine, devices=["00:03.0"])
    dev, domain = pc.devices["00:03.0"], pc.new_domain(attach="00:03.0")
    pc.map(domain, 0, 0x5001000)

    async def close() -> None:
        await pc.core.iommu_detach_device(domain, dev)
        await pc.core.iommu_domain_free(domain)

    machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0, name="cat")
    machine.spawn(close(), cpu=1, name="close")
    return lambda: "done"


def dump_unprobed(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A dump while a device is on the bus that the driver has no record of."""
    pc = computer(driver, machine, devices=["00:03.0"])
    pc.add_device("00:04.0", probe=False)
    machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0, name="cat")
    return lambda: "done"


SCENARIOS = (
    Scenario("dump-unprobed", "debugfs is read while a device is there that was not probed", dump_unprobed),
    Scenario("dump-unmap", "debugfs is read while a table is unmapped and freed", dump_unmap),
    Scenario(
        "dump-free", "debugfs is read while a device leaves its domain and the domain is freed", dump_free
    ),
)
