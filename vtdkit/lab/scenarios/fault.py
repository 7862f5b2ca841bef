"""Scenarios: a device's DMA is refused, and the fault interrupt prints the tables."""

from __future__ import annotations

from functools import partial

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer
from vtdkit.vtd.requests import Request

from .base import Inventory, Observer, Scenario, audit, computer, plug, pull

UNMAPPED = 0xDEAD000


def bad_dma(pc: Computer, address: str) -> None:
    """A device reads from an address nobody mapped."""
    dev = pc.devices[address]
    pc.machine.spawn_device(pc.hardware_of(address).dma(Request(dev.sid, UNMAPPED)), f"DMA of {address}")


def fault_probe(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A fault while another device is plugged in."""
    pc = computer(driver, machine, devices=["00:03.0"])
    new = pc.new_device("00:05.0")
    bad_dma(pc, "00:03.0")
    thread = machine.spawn(plug(pc, new), cpu=1, name="plug")
    return lambda: (thread.result,)


def fault_remove(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A fault while another device is pulled out."""
    pc = computer(driver, machine, devices=["00:03.0", "00:04.0"])
    bad_dma(pc, "00:03.0")
    machine.spawn(pull(pc, pc.devices["00:04.0"]), cpu=1, name="pull")
    return lambda: "done"


def fault_bus(driver: type[IntelIommu], machine: Machine) -> Observer:
    """The fault interrupt comes in on the very CPU that is adding a device to the PCI bus."""
    pc = computer(driver, machine, devices=["00:03.0"])
    new = pc.new_device("00:05.0")
    bad_dma(pc, "00:03.0")
    machine.spawn(pc.bus.add(new), cpu=0, name="hotplug")
    return lambda: "done"


def fault_reference(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A fault; later the device is pulled out."""
    pc = computer(driver, machine, devices=[])
    before = Inventory.of(machine)
    pc.add_device("00:03.0")
    bad_dma(pc, "00:03.0")

    def end() -> str:
        pc.remove_device("00:03.0")
        audit(pc, before)
        return "removed"

    return end


def fault_unattached(driver: type[IntelIommu], machine: Machine, mode: str = "legacy") -> Observer:
    """A device that was never attached does DMA: its context entry is not present (reason 02h, or 41h)."""
    pc = computer(driver, machine, mode, devices=["00:03.0"])
    pc.add_device("00:04.0", probe=False)
    bad_dma(pc, "00:04.0")
    return lambda: "done"


SCENARIOS = (
    Scenario("fault-probe", "a fault is reported while a device is plugged in", fault_probe),
    Scenario("fault-remove", "a fault is reported while a device is pulled out", fault_remove),
    Scenario(
        "fault-bus", "the fault interrupt comes in on a CPU that is adding a device to the bus", fault_bus
    ),
    Scenario(
        "fault-unattached",
        "a device without a context entry does DMA, and its fault is dumped",
        fault_unattached,
    ),
    Scenario(
        "fault-unattached-scalable",
        "the same in scalable mode",
        partial(fault_unattached, mode="second level"),
    ),
    Scenario("fault-reference", "a fault is reported; then the device is pulled out", fault_reference),
)
