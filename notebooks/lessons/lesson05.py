"""Lesson 05: the root table and the lock around its end. Patch 05, "Unnecessary spinlock for root
table alloc and free".

A unit that once had devices on many buses is taken out: its context tables are freed, one for each bus, and
then the root table. Before the patch that happens under the unit's `iommu->lock`, with interrupts off.
The notebook measures who waits for it: CPU 0 takes the unit out and is wanted by a timer interrupt meanwhile,
CPU 1 attaches a device behind another unit.

The cost table has no figure for giving a page back, so the versions are run with one:
`FREE` ns, our assumption.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import intel_iommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import (
    NO_RACES,
    CodeExercise,
    Tried,
    shown_by,
    together,
    tried,
    version_with,
)
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.lab.steps.schedule import Steps
from vtdkit.series.catalogue import driver_at

LOCK = "&iommu->lock"
DEVICE = "00:03.0"
BUSES = 64
FREE = 100  # ns
TIMER = 2_000  # ns after the scene began


def priced(driver: type[IntelIommu]) -> type[IntelIommu]:
    """The same version, where giving a page back takes `FREE` ns."""

    async def free_pgtable_page(self: Any, page: Page) -> None:
        await self.machine.work(FREE)
        await driver.free_pgtable_page(self, page)

    return type(driver.__name__, (driver,), {"free_pgtable_page": free_pgtable_page})


async def use_buses(pc: Computer, iommu: intel_iommu, buses: int, devfn: int = 0) -> None:
    """As if devices on so many buses had been attached and had gone: their context tables stay."""
    for bus in range(buses):
        async with iommu.lock.irqsave():
            await pc.driver.iommu_context_addr(iommu, bus, devfn, True)


def computer(
    driver: type[IntelIommu], buses: int = BUSES, *, scalable: bool = False, **options: Any
) -> Computer:
    """Two CPUs, two units; the second one has context tables for `buses` buses."""
    kind = SCALABLE if scalable else LEGACY
    options = options or {"cpus": 2, "seed": 1, "checkers": NO_RACES}
    pc = Computer(driver=driver, devices={}, units=[kind, kind], scalable=scalable, **options)
    pc.add_device(DEVICE)
    pc.run(use_buses(pc, pc.iommu(1), buses))
    return pc


#: told when the question is checked
WHY_NOBODY_ELSE = "Each unit has a lock of its own, and nobody else uses this unit."


# -- every order --------------------------------------------------------------


def _apart(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = computer(driver, 1, machine=machine)
    domain = pc.new_domain()
    machine.spawn(pc.driver.dmar_iommu_hotplug(pc.iommu(1), False), cpu=0, name="remove")
    attach = machine.spawn(pc.core.iommu_attach_device(domain, pc.devices[DEVICE]), cpu=1, name="attach")
    return lambda: attach.result


def _read(driver: type[IntelIommu], machine: Machine, *, asks: bool = False) -> Observer:
    pc = computer(driver, 1, machine=machine)
    iommu = pc.iommu(1)

    async def root_tbl_walk() -> str:
        """One entry of it. Before, it was asked whether translation is on, and it was."""
        async with iommu.lock.irqsave():
            if iommu.root_entry is None:
                if not asks:  # as in Linux, which then prints an oops
                    machine.check.report(
                        "BUG: NULL pointer dereference",
                        "root table",
                        (),
                        text="the unit has no root table any more",
                    )
                return "no root table"
            context = await pc.driver.iommu_context_addr(iommu, 0, 0, False)
            return f"{await context.lo():#x}" if context is not None else "no context table"

    machine.spawn(pc.driver.dmar_iommu_hotplug(iommu, False), cpu=0, name="remove")
    reader = machine.spawn(root_tbl_walk(), cpu=1, name="cat")
    return lambda: str(reader.result)


def _read_and_ask(driver: type[IntelIommu], machine: Machine) -> Observer:
    return _read(driver, machine, asks=True)


APART = Scenario(
    "units apart", "a unit is taken out while a device is attached behind another unit", _apart, cpus=2
)
READ = Scenario(
    "unit read",
    "a unit is taken out while its tables are read through debugfs (one entry of them)",
    _read,
    cpus=2,
)
ASKS = Scenario(
    "careful reader", "the same, with a reader that asks whether there is a root table", _read_and_ask, cpus=2
)


def freed_under_the_reader(driver: type[IntelIommu]) -> Steps:
    """The shortest order in which the reader of the debugfs file sees freed memory. Raises LookupError
    if there is none.
    """
    return shown_by(READ, driver, "use-after-free", "A unit goes while its tables are read")


# -- exercises ----------------------------------------------------------------


def unit_of(seed: int) -> tuple[bool, int, bool]:
    """Scalable mode or not, how many buses, and whether devices were in both halves of each."""
    chance = random.Random(seed)
    return bool(chance.getrandbits(1)), chance.randint(3, 40), bool(chance.getrandbits(1))


def _held(seed: int) -> int:
    """Take such a unit out with the version before the patch, and look how long it held the lock."""
    scalable, buses, both = unit_of(seed)
    pc = computer(priced(driver_at(4)), buses, scalable=scalable)
    if both:
        pc.run(use_buses(pc, pc.iommu(1), buses, 0x80))
    return together(pc, remove=pc.driver.dmar_iommu_hotplug(pc.iommu(1), False)).held(LOCK)


def _which_tables(seed: int, given: Any) -> str | None:
    scalable, buses, both = unit_of(seed)
    tables = buses * (2 if scalable and both else 1)
    known = {
        tables * FREE: "and the root table itself?",
        (3 * buses - tables + 1)
        * FREE: f"how many context tables has a bus in {'scalable' if scalable else 'legacy'} mode?",
        257 * FREE: "only buses that had devices have a context table",
    }
    return known.get(given) if given != (tables + 1) * FREE else None


def _question(seed: int) -> str:
    scalable, buses, both = unit_of(seed)
    return (
        f"A unit in {'scalable' if scalable else 'legacy'} mode had devices on {buses} buses, with device "
        f"numbers {'below 16 and from 16 on' if both else 'below 16 only'}.\nHow many ns is the lock held "
        f"for freeing, before the patch, if giving back a page takes {FREE} ns?"
    )


HOW_LONG_OFF = Exercise(
    "how long off",
    _question,
    _held,
    hints=[
        "one page for each context table",
        "in scalable mode the two halves of a bus have a context table each (see lesson 02)",
    ],
    mistakes=[_which_tables],
    why="A context table for each bus (in scalable mode for each half of a bus that was used), and the root "
    "table.",
)


async def free_context_table(self: Any, iommu: Any) -> None:
    """Take the root table away from readers under the lock, then free what nobody can find any more."""
    async with iommu.lock.irqsave():
        root, iommu.root_entry = iommu.root_entry, None
    if root is None:
        return
    for word in range(512):
        entry = await root.load(word)
        if entry & 1:
            await self.free_pgtable_page(self.phys_to_virt(entry & ~0xFFF))
    await self.free_pgtable_page(root)


def _play(seed: int, function: Any) -> Tried:
    """Every order of the scenario, with this function."""
    return tried(ASKS, version_with(driver_at(5), function))


def _freed(buses: int, both: bool = False, again: bool = False) -> Callable[[Computer], Work]:
    """Free the tables of a unit that had devices on some buses, in one half of each or both; or once more."""

    def prepare(pc: Computer) -> Work:
        iommu = pc.iommu(len(pc.hardware) - 1)
        pc.run(use_buses(pc, iommu, buses))
        if both:
            pc.run(use_buses(pc, iommu, 256, 0x80))
        if again:
            pc.run(pc.driver.free_context_table(iommu))
        return lambda: pc.driver.free_context_table(iommu)

    return prepare


TAKE_IT_AWAY_FIRST = CodeExercise(
    "take it away first",
    lambda seed: (
        "Write free_context_table(self, iommu) so that a reader who holds iommu->lock, and asks whether "
        "there is a root\n"
        "table, never sees freed memory, and interrupts are off for a moment only."
    ),
    lambda seed: free_context_table,
    hints=[
        "under the lock: remember iommu.root_entry and set it to None. From then on "
        "nobody can find the tables",
        "then, without the lock: entry = await root.load(word) for word in range(512); "
        "the lowest bit says present",
        "await self.free_pgtable_page(self.phys_to_virt(entry & ~0xfff)) frees a context table; "
        "free the root table last",
    ],
    why="Who had the lock before us is done when we have it; who gets it after us finds nothing. The freeing "
    "needs no lock.",
    base=driver_at(5),
    scenes=[
        Scene("legacy mode, three buses", _freed(3)),
        Scene("legacy mode, no device ever", _freed(0)),
        Scene("scalable mode, lower halves", _freed(2), SCALABLE, scalable=True),
        Scene("scalable mode, both halves", _freed(2, both=True), SCALABLE, scalable=True),
        Scene("there is no root table any more", _freed(1, again=True)),
        Scene("the second unit", _freed(1), [LEGACY, LEGACY]),
    ],
    races=[ASKS],
    play=_play,
)


progress, seed = of_lesson(globals())
