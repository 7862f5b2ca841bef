"""Scenarios: devices come and go, are attached and detached."""

from __future__ import annotations

from functools import partial

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.requests import Request

from .base import Observer, Scenario, computer, plug, pull, together


def attach_detach(
    driver: type[IntelIommu], machine: Machine, mode: str = "legacy", shared: bool = False
) -> Observer:
    """Two CPUs each attach a device to a domain and detach it again; to one domain if `shared`, else each to
    one of its own. There a thread ends where the driver asserts what is not so, as in Linux.
    """
    pc = computer(driver, machine, mode)

    async def move(domain: IommuDomain, dev: PciDevice) -> int:
        error = await pc.core.iommu_attach_device(domain, dev)
        await pc.core.iommu_detach_device(domain, dev)
        return error

    first = pc.new_domain()
    domains = [first, first if shared else pc.new_domain()]
    pairs = zip(domains, pc.devices.values(), strict=True)
    machine.check.bugs_end = not shared
    return together(machine, {f"attach {dev.name}": move(domain, dev) for domain, dev in pairs})


def attach_same(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A second device is attached to a domain while another CPU unmaps a page of it."""
    pc = computer(driver, machine)
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 0x10000, 0x5000000)
    attach = pc.core.iommu_attach_device(domain, pc.devices["00:04.0"])
    return together(machine, {"attach": attach, "unmap": pc.core.iommu_unmap(domain, 0x10000, 4096)})


def enforce_attach(driver: type[IntelIommu], machine: Machine, mode: str = "first level only") -> Observer:
    """Coherency is enforced on one domain while a device is attached to another one behind the same unit.

    The unit has first-stage tables only, so every domain is a first-level one, and enforcing goes through
    each device's PASID entry, under `iommu->lock`. Where it has both, VFIO's domains get second-level tables.
    """
    pc = computer(driver, machine, mode)
    domain, other = pc.new_domain(attach="00:03.0"), pc.new_domain()
    attach = pc.core.iommu_attach_device(other, pc.devices["00:04.0"])
    enforce = pc.driver.intel_iommu_enforce_cache_coherency(domain)
    return together(machine, {"attach": attach, "enforce": enforce})


def publish(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A device is attached while somebody takes the lock of the device list and looks at what is on it."""
    pc = computer(driver, machine)
    domain = pc.new_domain()
    dmar = pc.dmar(domain)

    async def look() -> bool:
        own = vars(dmar)  # some versions have a lock for each domain
        lock = own.get("mutex") or own.get("lock") or pc.driver.device_domain_lock
        async with lock:
            return all(info.domain is dmar for info in dmar.devices.entries())

    attach = pc.core.iommu_attach_device(domain, pc.devices["00:03.0"])
    return together(machine, {"attach": attach, "reader": look()})


def probe_remove(driver: type[IntelIommu], machine: Machine) -> Observer:
    """One device is plugged in while another one is pulled out."""
    pc = computer(driver, machine)
    new = pc.new_device("00:05.0", ats=True)
    return together(machine, {"plug": plug(pc, new), "pull": pull(pc, pc.devices["00:04.0"])})


def probe_probe(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Two devices appear at once on a bus where there was none, so that its context table is missing."""
    pc = computer(driver, machine, devices=[])
    late = [pc.add_device(address, probe=False) for address in ("01:00.0", "01:01.0")]

    def answers() -> tuple[str, ...]:
        walks = (pc.hardware_of(dev.name).unit.from_memory(Request(dev.sid, 0x1000)) for dev in late)
        return tuple(str(getattr(walk, "label", "allowed")) for walk in walks)

    probes = {f"probe {dev.name}": pc.core.iommu_probe_device(dev) for dev in late}
    return together(machine, probes, answers)


def release_unattached(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A crash kernel finds a device, and pulls it out before a driver has used it (attach deferred)."""
    pc = computer(driver, machine, devices=["00:03.0"])
    pc.map(pc.domain_of("00:03.0"), 0, 0x5000000)
    pc.crash_kernel()
    pc.add_device("00:03.0")
    return together(machine, {"pull": pc.core.iommu_release_device(pc.devices["00:03.0"])})


SCENARIOS = (
    Scenario(
        "attach-detach",
        "two CPUs each attach and detach a device",
        attach_detach,
        sections=True,
    ),
    Scenario(
        "attach-detach-first-level",
        "the same in scalable mode, first level",
        partial(attach_detach, mode="first level"),
        sections=True,
    ),
    Scenario(
        "attach-same-domain", "a device is attached to a domain while a page of it is unmapped", attach_same
    ),
    Scenario(
        "attach-both",
        "two CPUs attach a device each to one domain",
        partial(attach_detach, shared=True),
        why="a domain's id and width are read without the lock that guards them, so sections are no steps",
    ),
    Scenario("probe-probe", "two devices appear at once on a new bus", probe_probe, sections=True),
    Scenario(
        "enforce-attach",
        "coherency is enforced on one domain while a device is attached to another; the unit "
        "has first-level tables only",
        enforce_attach,
        sections=True,
    ),
    Scenario(
        "enforce-attach-both-levels",
        "the same on a unit that has second-level tables too",
        partial(enforce_attach, mode="first level"),
        sections=True,
    ),
    Scenario(
        "publish",
        "a device is attached while somebody reads the device list under its lock",
        publish,
        sections=True,
    ),
    Scenario(
        "release-unattached",
        "a crash kernel releases a device whose attach was still put off",
        release_unattached,
    ),
    Scenario(
        "probe-remove",
        "one virtual function is plugged in while another is pulled out",
        probe_remove,
        sections=True,
    ),
)
