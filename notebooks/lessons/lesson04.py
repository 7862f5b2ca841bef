"""Lesson 04: the fault interrupt and the lists it reads. Patch 04, "Use
pci_get_domain_bus_and_slot() in pgtable_walk()".

A device reads from an address nobody mapped; the unit interrupts CPU 0, and the handler prints the tables on
the way. It needs the device's domain for that: before the patch from the driver's list of all devices, which
it walks without the lock; after it from the PCI core, whose list has a lock that others hold with interrupts
on. `deadlock` is one order in which it never ends, `references` counts what the lookup leaves behind.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte_addr
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import (
    NO_RACES,
    CodeExercise,
    shown_by,
    version_with,
)
from vtdkit.lab.lesson.shown import report
from vtdkit.lab.operations import without_present_bit
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.lab.scenarios.base import computer as small_computer
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps
from vtdkit.series.catalogue import driver_at
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request

LOCK, K_LOCK = "device_domain_lock", "&k->k_lock"
DISK, NETWORK, NEW, FAR = "00:03.0", "00:04.0", "00:05.0", "07:02.0"
UNMAPPED = 0xDEAD000
RATE = 5_000_000_000  # ns: faults are rate limited, ten in five seconds


def computer(driver: type[IntelIommu], seed: int = 1) -> Computer:
    """Two CPUs, two devices, one page mapped for each."""
    pc = Computer(driver=driver, cpus=2, seed=seed, devices=[DISK, NETWORK], checkers=NO_RACES)
    for address in (DISK, NETWORK):
        pc.map(pc.domain_of(address), 0x10000, 0x5000000)
    return pc


def bad_dma(pc: Computer, address: str) -> None:
    """A device reads from an address nobody mapped; the interrupt and the dump follow."""
    dev = pc.devices[address]
    pc.machine.spawn_device(pc.hardware_of(address).dma(Request(dev.sid, UNMAPPED)), f"DMA of {address}")


def dump(driver: type[IntelIommu], address: str = DISK) -> list[str]:
    """What one bad DMA leaves in the kernel log."""
    pc = computer(driver)
    bad_dma(pc, address)
    pc.machine.simulate()
    return list(pc.driver.log)


def fault_of_a_stranger(driver: type[IntelIommu]) -> str:
    """A device nobody has looked at does a DMA: its context entry is not present. What the handler prints of
    its tables, or what it dies of.
    """
    pc = computer(driver)
    pc.add_device(NEW, probe=False)
    bad_dma(pc, NEW)
    try:
        pc.machine.simulate()
    except KernelBug as error:
        return str(error)
    walked = [line for line in pc.driver.log if "level" in line]
    return "; ".join(walked) or "no table is printed"


#: told when the questions are checked
WHY_IT_DOES_NOT_WAIT = "It takes no lock, so it waits for nobody. Whether it should is another question."
WHY_FOR_EVER = "The holder is the code it interrupted, which goes on when the handler is done."


# -- the deadlock -------------------------------------------------------------


def _pending(driver: type[IntelIommu], machine: Machine) -> Observer:
    """The fault is recorded; the interrupt may come at any moment while its CPU adds a device to the bus."""
    pc = small_computer(driver, machine, devices=[DISK])
    unit = pc.hardware[0]
    unit.fault_irq, line = None, unit.fault_irq
    pc.dma(DISK, UNMAPPED)
    unit.fault_irq = line
    machine.spawn(pc.bus.add(pc.new_device(NEW)), cpu=0, name="plug")
    machine.irq.interrupt(machine.cpus[0], "fault", lambda: pc.driver.dmar_fault(pc.iommu()))
    return lambda: "done"


PENDING = Scenario(
    "fault pending",
    "a fault interrupt is on its way to a CPU that adds a device to the bus",
    _pending,
    cpus=1,
)


def deadlock(driver: type[IntelIommu]) -> Steps:
    """The shortest order in which the fault interrupt comes while its CPU holds the lock of the bus.

    Raises LookupError if there is none.
    """
    return shown_by(PENDING, driver, "deadlock", "A device is plugged in, and a fault comes")


def warning(driver: type[IntelIommu]) -> str:
    """What lockdep says in the orders that do not get stuck; "" if nothing."""
    found = explore(SCENARIOS["fault-bus"].on(driver)).of("inconsistent lock state")
    return report(found[0].text) if found else ""


# -- the reference ------------------------------------------------------------


def references(driver: type[IntelIommu], disk: int, network: int = 0) -> tuple[int, int]:
    """The reference counts of disk and network card after so many faults of each, one after the other."""
    pc = computer(driver)
    for address in [DISK] * disk + [NETWORK] * network:
        bad_dma(pc, address)
        pc.machine.simulate()
        pc.machine.advance(RATE)  # more than ten lines in that time are not printed
    return pc.devices[DISK].kref.value, pc.devices[NETWORK].kref.value


# -- exercises ----------------------------------------------------------------


def faults_of(seed: int) -> tuple[int, int]:
    chance = random.Random(seed)
    return chance.randint(2, 9), chance.randint(10, 19)


def _right(seed: int) -> tuple[int, int]:
    return references(driver_at(4), *faults_of(seed))


def _miscounted(seed: int, given: Any) -> str | None:
    disk, network = faults_of(seed)
    known = {
        (1, 1): "that is what it should be; but look who gives back what get_domain_bus_and_slot() returned",
        (disk, network): "the list of the bus has a reference, too",
        (
            1 + disk + network,
            1 + network,
        ): "the walk passes the disk to get to the network card, and gives that reference back",
    }
    return known.get(given) if isinstance(given, tuple) else None


HOW_MANY_REFERENCES = Exercise(
    "how many references",
    lambda seed: (
        "As posted: the disk 00:03.0 is plugged in first, then the network card 00:04.0. The disk faults"
        f" {faults_of(seed)[0]} times, then the network card {faults_of(seed)[1]} times.\n"
        "What are their reference counts? Answer with a pair."
    ),
    _right,
    hints=[
        "the bus holds one reference to each",
        "klist_next() takes a reference on the entry it returns; who drops which?",
    ],
    mistakes=[_miscounted],
    why="One of the bus's, and one for each fault that was dumped. References of entries that were only "
    "passed are given back.",
)


async def pgtable_walk(self: Any, iommu: Any, pfn: int, bus: int, devfn: int) -> None:
    """The walk, from the table the context entry names, if there is one."""
    context = await self.iommu_context_addr(iommu, bus, devfn, False)
    if context is None:
        return
    low, high = await context.lo(), await context.hi()
    if low & defs.CONTEXT_PRESENT:
        await self.walk_and_print(self.phys_to_virt(dma_pte_addr(low)), defs.agaw_to_level(high & 7), pfn)


class _Lines(tuple[str, ...]):
    """Lines of the log, one below the other."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(self)


def _play(seed: int, function: Any) -> tuple[str, ...]:
    """The kernel log after one fault."""
    return _Lines(dump(version_with(driver_at(4), function)))


def _walked(
    where: str = DISK, iova: int = UNMAPPED, unit: int = 0, *, present: bool = True
) -> Callable[[Computer], Work]:
    """The fault interrupt has the tables on the way to an address printed; the context entry is `present`."""

    def prepare(pc: Computer) -> Work:
        for each in (DISK, NETWORK, FAR):
            pc.add_device(each, unit=unit)
            pc.map(pc.domain_of(each), 0x10000, 0x5000000)
            pc.map(pc.domain_of(each), 0x40000000, 0x40000000, 0x200000)
        pc.add_device(NEW, probe=False, unit=unit)
        pc.add_device("05:00.0", probe=False, unit=unit)
        dev, machine = pc.devices[where], pc.machine
        if not present:
            without_present_bit(pc, dev)

        async def interrupted() -> list[str]:
            begun = len(pc.driver.log)
            machine.irq.interrupt(
                machine.cpus[0],
                "dmar0",
                lambda: pc.driver.pgtable_walk(pc.iommu(unit), iova >> 12, dev.bus, dev.devfn),
            )
            await machine.work(100_000)
            return list(pc.driver.log[begun:])

        return interrupted

    return prepare


ASK_NOBODY = CodeExercise(
    "ask nobody",
    lambda seed: (
        "Write pgtable_walk(self, iommu, pfn, bus, devfn) for legacy mode: it prints the same as before, "
        "walks no list,\n"
        "takes no lock, allocates nothing and keeps no reference. For a device without a context entry that "
        "is present it prints\nnothing (the kernel's own fix did not look)."
    ),
    lambda seed: pgtable_walk,
    hints=[
        "the unit found the page table without any list: the context entry of (bus, devfn) names it",
        "context = await self.iommu_context_addr(iommu, bus, devfn, False); await context.lo() "
        "and .hi() are its two words",
        "low word: address of the table, self.phys_to_virt(low & ~0xfff); high word: bits 2:0 are the width, "
        "levels = width + 2",
        "a device that was never attached has a context entry with the lowest bit clear, or none at all "
        "(None): print nothing for it",
        "await self.walk_and_print(table, levels, pfn) prints the entries on the way",
    ],
    why="This is the fix of 6.0-rc5 (35bf49e05421) for legacy mode, and the tests that it lacked until 6.13: "
    "what the hardware used is named by the entries it read.",
    base=driver_at(4),
    scenes=[
        Scene("nothing mapped on the way", _walked()),
        Scene("the network card", _walked(NETWORK)),
        Scene("a device on another bus", _walked(FAR)),
        Scene("a page that is mapped", _walked(iova=0x10000)),
        Scene("inside a large page", _walked(iova=0x40012000), Capabilities(SSLPS=1)),
        Scene("tables of three levels", _walked(iova=0x10000), Capabilities(SAGAW=0b00010, MGAW=39)),
        Scene("a device that was never attached", _walked(NEW)),
        Scene("the rest of an entry that is not present", _walked(iova=0x10000, present=False)),
        Scene("a device on a bus without a context table", _walked("05:00.0")),
        Scene("behind the second unit", _walked(iova=0x10000, unit=1), [LEGACY, LEGACY]),
    ],
    races=[SCENARIOS["fault-bus"]],
    forbids=("any",),
    play=_play,
)


progress, seed = of_lesson(globals())
