"""Scenarios: pages are unmapped in a thread, in a hard interrupt, in the timer of the flush queue."""

from __future__ import annotations

from functools import partial

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer

from .base import Observer, Scenario, computer

FIRST, SECOND = 0x10000, 0x20000


def with_mappings(driver: type[IntelIommu], machine: Machine) -> tuple[Computer, IommuDomain]:
    """A domain with two ATS devices and two mapped pages."""
    pc = computer(driver, machine)
    domain = pc.new_domain(attach="00:03.0")
    pc.run(pc.core.iommu_attach_device(domain, pc.devices["00:04.0"]))
    pc.map(domain, FIRST, 0x5000000)
    pc.map(domain, SECOND, 0x6000000)
    return pc, domain


def unmap_two(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Two CPUs unmap a page each."""
    pc, domain = with_mappings(driver, machine)
    threads = [
        machine.spawn(pc.core.iommu_unmap(domain, iova, 4096), cpu=cpu)
        for cpu, iova in enumerate((FIRST, SECOND))
    ]
    return lambda: tuple(thread.result for thread in threads)


def unmap_in_irq(pc: Computer, domain: IommuDomain, iova: int) -> None:
    """The completion interrupt of a transfer comes in on CPU 0 at any moment, and unmaps its page."""
    machine = pc.machine

    async def completion() -> None:
        await pc.core.iommu_unmap(domain, iova, 4096)

    async def transfer() -> None:
        machine.irq.interrupt(machine.cpus[0], "nvme_irq", completion)

    machine.spawn(transfer(), cpu=1, name="device")


def unmap_irq(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A thread unmaps a page; on its CPU the completion interrupt of the other transfer comes in
    and unmaps its page.
    """
    pc, domain = with_mappings(driver, machine)
    thread = machine.spawn(pc.core.iommu_unmap(domain, FIRST, 4096), cpu=0, name="unmap")
    unmap_in_irq(pc, domain, SECOND)
    return lambda: (thread.result,)


def unmap_timer(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A thread unmaps a page; on its CPU the flush queue's timer goes off and flushes the whole domain."""
    pc, domain = with_mappings(driver, machine)

    async def fq_flush_timeout() -> None:
        await pc.core.iommu_flush_iotlb_all(domain)

    async def tick() -> None:
        machine.irq.raise_softirq(machine.cpus[0], "fq_flush_timeout", fq_flush_timeout)

    thread = machine.spawn(pc.core.iommu_unmap(domain, FIRST, 4096), cpu=0, name="unmap")
    machine.spawn(tick(), cpu=1, name="clock")
    return lambda: (thread.result,)


def enforce_irq(driver: type[IntelIommu], machine: Machine, mode: str = "first level only") -> Observer:
    """Coherency is enforced on a domain; its pages are unmapped in interrupts, one of them elsewhere.

    The unit has first-stage tables only, as for `enforce-attach`.
    """
    pc = computer(driver, machine, mode)
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, FIRST, 0x5000000)
    unmap_in_irq(pc, domain, FIRST)
    enforce = machine.spawn(pc.driver.intel_iommu_enforce_cache_coherency(domain), cpu=2, name="enforce")
    return lambda: (enforce.result,)


SCENARIOS = (
    Scenario("unmap-unmap", "two CPUs unmap pages of one domain", unmap_two),
    Scenario(
        "unmap-irq", "a completion interrupt unmaps a page on a CPU where a thread unmaps another", unmap_irq
    ),
    Scenario(
        "unmap-timer",
        "the flush queue's timer flushes a domain on a CPU where a thread unmaps a page of it",
        unmap_timer,
    ),
    Scenario(
        "enforce-irq",
        "coherency is enforced on a domain whose pages are unmapped in interrupts; the unit "
        "has first-level tables only",
        enforce_irq,
    ),
    Scenario(
        "enforce-irq-both-levels",
        "the same on a unit that has second-level tables too",
        partial(enforce_irq, mode="first level"),
    ),
)
