"""What a scenario of the driver is: a few threads doing things to one computer, small enough to
try in every order.

`scenario.on(driver)` is a function of a machine, as `vtdkit.kernel.explore` and
`vtdkit.kernel.explored.scenario` want it. What is wrong at the end of an execution and no checker of the
kernel room can know is reported by `audit`: faults nobody asked for, things that were not given back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import BOTH_STAGES, FIRST_STAGE, LEGACY, SCALABLE, Computer

Observer = Callable[[], Hashable]
Build = Callable[[type[IntelIommu], Machine], Observer]

MODES: dict[str, dict[str, Any]] = {
    "legacy": {"units": LEGACY},
    "second level": {"units": SCALABLE, "scalable": True},
    "first level": {"units": BOTH_STAGES, "scalable": True},
    "first level only": {"units": FIRST_STAGE, "scalable": True},
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: `build(driver, machine)` sets it up and returns the observer.

    `about` says in a sentence what happens at the same time. Where `why` is empty every order is tried;
    else it says why not, and so many random ones are (`runs`). `sections`: those of a lock that guards all
    it touches are single steps (`kernel.explored.sections`). `alone`: it starts no threads.
    """

    name: str
    about: str
    build: Build
    cpus: int = 3
    sections: bool = False
    why: str = ""
    runs: int = 16
    alone: bool = False

    def on(self, driver: type[IntelIommu]) -> partial[Observer]:
        """The scenario with one version of the driver: a function of a machine."""
        return partial(self.build, driver)

    def __repr__(self) -> str:
        return f"<scenario {self.name}: {self.about}>"


def computer(driver: type[IntelIommu], machine: Machine, mode: str = "legacy", **options: Any) -> Computer:
    """A computer for a scenario: devices 00:03.0 and 00:04.0 with ATS unless told otherwise."""
    options = {**MODES[mode], **options}
    devices = options.pop("devices", {"00:03.0": {"ats": True}, "00:04.0": {"ats": True}})
    return Computer(driver=driver, machine=machine, devices=devices, **options)


def together(
    machine: Machine,
    calls: Mapping[str, Coroutine[Any, Any, Any]],
    more: Callable[[], tuple[Hashable, ...]] = tuple,
) -> Observer:
    """Each call at the same time, under its name, on a CPU of its own from 0 on. The outcome is what each
    returned, and `more`, asked when all is over.
    """
    threads = [machine.spawn(call, cpu=cpu, name=name) for cpu, (name, call) in enumerate(calls.items())]
    return lambda: (*(thread.result for thread in threads), *more())


async def plug(pc: Computer, dev: PciDevice) -> int:
    """A device appears on the bus and is looked at: 0 or negative.

    As virtual functions come and go in 2022: outside `pci_rescan_remove_lock`, as in `pull`.
    """
    await pc.bus.add(dev)
    return await pc.core.iommu_probe_device(dev)


async def pull(pc: Computer, dev: PciDevice) -> None:
    """A device is pulled out."""
    await pc.core.iommu_release_device(dev)
    await pc.bus.remove(dev)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was live at a moment: the serial numbers of pages and of objects."""

    pages: frozenset[int]
    objects: frozenset[int]

    @classmethod
    def of(cls, machine: Machine) -> Inventory:
        """What is live now."""
        return cls(frozenset(page.serial for page in machine.pages.live()), frozenset(machine.check.objects))


def audit(pc: Computer, before: Inventory, spare: int = 0) -> None:
    """Report what a scenario made and did not give back, above `spare` pages (context tables
    stay with their unit).
    """
    machine = pc.machine
    pages = [page.name for page in machine.pages.live() if page.serial not in before.pages]
    pages = [name for name in pages if "context table" not in name]
    if len(pages) > spare:
        machine.check.report("unreferenced object", "pages", (), text=", ".join(sorted(pages)))
    left = [thing for serial, thing in machine.check.objects.items() if serial not in before.objects]
    if left:
        kinds = ", ".join(sorted({type(thing).__name__ for thing in left}))
        machine.check.report("unreferenced object", kinds, (), text=", ".join(map(repr, left)))
