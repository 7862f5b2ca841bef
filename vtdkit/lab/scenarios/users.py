"""Scenarios: those who call the driver all day: the DMA API with its flush queues, many attaches, units
that come and go.
"""

from __future__ import annotations

from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer
from vtdkit.vtd.capabilities import Capabilities

from .base import Inventory, Observer, Scenario, audit, computer, together

PAGE = 4096


def flush_queue(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Lazy mode: a driver unmaps two buffers; the flush queue's timer, set by the first, may go off under
    it at any moment.
    """
    pc = computer(driver, machine, devices=[], default_type="dma-fq")
    api = DmaApi(pc.core)
    dev = pc.add_device("00:03.0", ats=True)
    handles = [pc.run(api.iommu_dma_map_page(dev, target, PAGE)) for target in (0x5000000, 0x6000000)]

    async def complete() -> None:
        for handle in handles:
            await api.iommu_dma_unmap_page(dev, handle, PAGE)

    machine.spawn(complete(), cpu=0, name="driver")
    return lambda: (
        f"{len(pc.domain_of('00:03.0').cookie.fq.rings.of_cpu[0].queued())} addresses wait for a flush"
    )


def storm(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Three devices are moved between domains of their own again and again, each by another CPU,
    with maps in between.
    """
    pc = computer(driver, machine, devices={f"00:{i:02x}.0": {"ats": True} for i in (3, 4, 5)})
    domains = {address: (pc.new_domain(), pc.new_domain()) for address in pc.devices}
    before = Inventory.of(machine)

    async def move(address: str) -> int:
        dev, error = pc.devices[address], 0
        for domain in domains[address]:
            error |= await pc.core.iommu_attach_device(domain, dev)
            error |= await pc.core.iommu_map(domain, 0, 0x5000000, PAGE, 3)
            await pc.core.iommu_unmap(domain, 0, PAGE)
            await pc.core.iommu_detach_device(domain, dev)
        return error

    def audited() -> tuple[()]:
        audit(pc, before, spare=3 * 2 * 3)  # three tables under each domain's root stay for the next map
        return ()  # the outcome is what each mover returned

    return together(machine, {f"mover {address}": move(address) for address in pc.devices}, audited)


def hot_remove(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A remapping unit with no device left is taken out while another CPU attaches a device
    behind the other unit.
    """
    pc = computer(
        driver,
        machine,
        units=[Capabilities(), Capabilities()],
        devices={"00:03.0": {"ats": True, "unit": 0}, "00:04.0": {"unit": 1}},
    )
    domain = pc.new_domain()
    pc.remove_device("00:04.0")
    machine.spawn(pc.driver.dmar_iommu_hotplug(pc.iommu(1), False), cpu=0, name="unplug")
    attach = machine.spawn(pc.core.iommu_attach_device(domain, pc.devices["00:03.0"]), cpu=1, name="attach")
    return lambda: (attach.result, f"{len(pc.driver.g_iommus)} units")


def exhaustion(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Two devices are probed at once, each wants a domain of its own, and the unit has one domain id left."""
    pc = computer(driver, machine, units=Capabilities(ND=0))
    while pc.iommu().peek("domain_ids").bit_count() < 15:
        pc.add_device(f"00:{len(pc.devices) + 8:02x}.0")
    late = [pc.add_device(address, probe=False) for address in ("00:05.0", "00:06.0")]
    threads = [
        machine.spawn(pc.core.iommu_probe_device(dev), cpu=cpu, name=f"probe {dev.name}")
        for cpu, dev in enumerate(late)
    ]

    def end() -> tuple[str, ...]:
        return *sorted(
            str(thread.result) for thread in threads
        ), f"{pc.iommu().peek('domain_ids').bit_count()} ids of 16 in use"

    return end


async def lifetime(pc: Computer, address: str) -> bool:
    """One device from plugging in to pulling out, given a domain of its own in between; did everything work?

    If no default domain could be made the device stays: Linux would follow a null pointer
    when it is released.
    """
    core, dev = pc.core, pc.devices[address]
    if await core.iommu_probe_device(dev) or dev.peek("group").peek("default_domain") is None:
        return False
    domain, whole = await core.iommu_domain_alloc("unmanaged"), False
    if domain is not None:
        attached = not await core.iommu_attach_device(domain, dev)
        if attached:
            whole = not await core.iommu_map(domain, 0x10000, 0x5000000, 3 * PAGE, 3)
            await core.iommu_unmap(domain, 0x10000, 3 * PAGE)
        pc.machine.pages.faults.nth = None
        if attached:
            await core.iommu_detach_device(domain, dev)
        await core.iommu_domain_free(domain)
    await core.iommu_release_device(dev)
    return whole


def no_memory(driver: type[IntelIommu], machine: Machine, mode: str = "legacy") -> Observer:
    """A device is plugged in, given a domain, mapped for and pulled out; in the n-th round
    the n-th allocation fails.
    """
    pc = computer(driver, machine, mode, devices=[])
    faults, failures = machine.pages.faults, 0
    for nth in range(1, 60):
        address = f"00:{nth // 8 + 3:02x}.{nth % 8}"
        pc.add_device(address, probe=False)
        before = Inventory.of(machine)
        faults.count, faults.nth = 0, nth
        try:
            failures += not pc.run(lifetime(pc, address))
        except Oops as oops:  # it ends the task that plugs in; the next round is another one
            failures += 1
            kind, _, what = str(oops).partition(": ")
            machine.check.report(f"BUG: {kind}", "task", (), text=what)
        faults.nth = None
        if pc.devices[address].peek("group") is None:
            audit(pc, before)
        if not faults.failed:
            break
    return lambda: f"{failures} rounds failed"


SCENARIOS = (
    Scenario(
        "flush-queue", "buffers are unmapped lazily while the flush queue's timer may go off", flush_queue
    ),
    Scenario(
        "storm",
        "three CPUs attach, map, unmap and detach all the time",
        storm,
        why="9.5 billion orders of what three CPUs do to one bitmap",
        runs=8,
    ),
    Scenario(
        "hot-remove", "a remapping unit is taken out while a device is attached behind another", hot_remove
    ),
    Scenario("id-exhaustion", "two devices are probed and one domain id is left", exhaustion, sections=True),
    Scenario(
        "no-memory", "a device comes and goes, and every allocation fails in turn", no_memory, alone=True
    ),
)
