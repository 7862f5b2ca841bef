"""Lesson 09: a domain is freed while devices are attached. Patch 09, "Check device list of domain
in domain free path".

`freed` frees a domain, by mistake with two devices still attached or as it should be, and says what became
of everything. `FREE_DMA` frees it while one of
the devices does DMA.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.hardware import HARDWARE_UAF
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, tried
from vtdkit.lab.operations import new_domain, with_devices
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.requests import Fault, Request

PAGE = 4096
CACHED, FRESH = 0x10000, 0x11000  # two mapped pages: the unit has a translation of the first in its IOTLB

# -- freed, what then ---------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Freed:
    """What became of a domain that was freed.

    `pages`, `objects`: how many table pages and structures of it are still there. `cached`, `fresh`: what a
    DMA of the first device gets, with and without its translation in the IOTLB. `said`: what the kernel said,
    in order. `pointer`: the record of the first device says it is in ...
    """

    pages: int
    objects: int
    cached: str
    fresh: str
    said: tuple[str, ...]
    pointer: str

    def __repr__(self) -> str:
        lines = [
            f"left:     {self.pages} table pages, {self.objects} structure{'s' * (self.objects != 1)}",
            f"cached:   DMA {self.cached if self.cached != 'refused' else 'is refused'}",
            f"fresh:    DMA {self.fresh if self.fresh != 'refused' else 'is refused'}",
            f"pointer:  the device's record says {self.pointer}",
            *(f"said:     {text}" for text in self.said),
        ]
        return "\n".join(lines)


def domain_with(pc: Computer, devices: int, unit: int = 0) -> IommuDomain:
    """A domain with so many ATS devices behind a unit and two mapped pages; without devices it is empty."""
    if not devices:
        return new_domain(pc)
    domain, dev = with_devices(pc, *[unit] * devices, ats=True, first=3 + 6 * unit)
    pc.map(domain, CACHED, 0x5000000)
    pc.map(domain, FRESH, 0x5001000)
    pc.dma(dev.name, CACHED)
    return domain


def _computer(driver: type[IntelIommu], devices: int = 2) -> tuple[Computer, IommuDomain]:
    """One unit, and a domain with some devices. Reports of faults print no tables: what that finds has a
    scene of its own, `FREE_DMA`.
    """
    options = {"dmar_debug": False}  # CONFIG_DMAR_DEBUG is off
    pc = Computer(driver=driver, cpus=2, devices=(), checkers=NO_RACES, driver_options=options)
    return pc, domain_with(pc, devices)


def freed(driver: type[IntelIommu], detached: bool = False) -> Freed:
    """Free a domain with two devices, detached before as they should be or not."""
    pc, domain = _computer(driver)
    name, dmar, pages = next(iter(pc.devices)), pc.dmar(domain), _pages(pc, domain)
    if detached:
        for device in list(pc.devices.values()):
            pc.run(pc.driver.intel_iommu_detach_device(domain, device))
    pc.run(pc.core.iommu_domain_free(domain))
    cached, fresh = (_answer(pc, name, iova) for iova in (CACHED, FRESH))
    said = tuple(f"{finding.kind}: {finding.where}" for finding in pc.machine.findings)
    there = sum(page in pages for page in pc.machine.pages.live())
    pointer = repr(pc.info(name).peek("domain")).strip("<>") if not detached else "not asked"
    return Freed(there, int(dmar.freed is None), cached, fresh, said, pointer)


def _pages(pc: Computer, domain: IommuDomain) -> list[Any]:
    return [page for page in pc.machine.pages.live() if page.name.startswith(f"{pc.dmar(domain).label} ")]


def _answer(pc: Computer, name: str, iova: int) -> str:
    """What a DMA gets."""
    answer = pc.dma(name, iova)
    return "refused" if isinstance(answer, Fault) else "goes through"


def pulled_out(driver: type[IntelIommu]) -> str:
    """Free a domain under a device, then take the device out of the machine: what the kernel says to
    that, "nothing" if nothing.
    """
    pc, domain = _computer(driver, devices=1)
    pc.run(pc.core.iommu_domain_free(domain))
    known = len(pc.machine.findings)
    try:
        pc.run(pc.driver.intel_iommu_release_device(*pc.devices.values()))
    except KernelBug as error:
        return str(error)
    return (
        "; ".join(
            dict.fromkeys(f"{found.kind}: {found.where}" for found in tuple(pc.machine.findings)[known:])
        )
        or "nothing"
    )


# -- every order --------------------------------------------------------------


def _free_dma(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = Computer(driver=driver, machine=machine, devices=())
    domain, dev = with_devices(pc, 0)
    pc.map(domain, FRESH, 0x5001000)
    machine.spawn_device(pc.hardware[0].dma(Request(dev.sid, FRESH, "read")), f"DMA of {dev.name}")
    machine.spawn(pc.core.iommu_domain_free(domain), cpu=0, name="free")
    return lambda: "done"


FREE_DMA = Scenario("free-dma", "a domain is freed while an attached device does DMA", _free_dma, cpus=1)


def read_after_free(driver: type[IntelIommu]) -> Steps:
    """The unit walks tables that are freed under it: one schedule, to be stepped through."""
    schedule = tried(FREE_DMA, driver, wanted=HARDWARE_UAF).schedule
    return record_schedule(
        FREE_DMA.on(driver), schedule, title="A domain is freed, its device does DMA", budget=0, cpus=1
    )


def first_read(steps: Steps) -> int:
    """After how many steps freed memory has been read. Raises StopIteration if that never happens."""
    return next(found.step for found in steps.findings if HARDWARE_UAF in found.title)


# -- exercises ----------------------------------------------------------------

VERSIONS: dict[str, type[IntelIommu]] = {
    "before the patch": driver_at(8),
    "with patch 09 as posted": driver_at(9),
    "as merged for 6.0": mainline.driver_at(8),
}


def _chosen(seed: int) -> str:
    return random.Random(seed + 2).choice(sorted(VERSIONS))


def _fates(seed: int) -> tuple[str, str]:
    found = freed(VERSIONS[_chosen(seed)])
    return found.cached, found.fresh


def _forgets_the_cache(seed: int, given: Any) -> str | None:
    if given == ("refused", "refused") and _fates(seed)[0] == "goes through":
        return "what is in the IOTLB needs no tables, until somebody invalidates it"
    return None


WHAT_GETS_THROUGH = Exercise(
    "what gets through",
    lambda seed: (
        f"A domain is freed with a device attached, {_chosen(seed)}. Then the device does DMA to two "
        "addresses that were"
        " mapped;\nthe unit has the first one's translation in its IOTLB. What becomes of the two? Answer "
        "with a pair of\n"
        "'goes through' and 'refused'."
    ),
    _fates,
    hints=["is the device detached, and its caches flushed?", "are the tables still there?"],
    mistakes=[_forgets_the_cache],
    words=lambda seed: ("goes through", "refused"),
    why="Detaching clears the context entry and flushes. Freeing the tables does neither.",
)


async def domain_exit(self: Any, domain: dmar_domain) -> None:
    """Say that it is wrong, then do what is safe."""
    self.machine.warn_on(not domain.devices.empty(), "domain_exit: devices are still attached")
    for info in list(domain.devices.entries()):
        await self.dmar_remove_one_dev_info(info.dev)
        await info.write(domain=None)
    await self.free_domain_table(domain)
    await self.machine.kfree(domain)


def _play(seed: int, function: Any) -> Freed:
    return freed(version_with(driver_at(9), function, "domain_exit"))


def _exit(*units: int, ats: bool = True, mapped: bool = True) -> Callable[[Computer], Work]:
    """The end of a domain with a device behind each of these units, with or without pages."""

    def prepare(pc: Computer) -> Work:
        domain = with_devices(pc, *units, ats=ats)[0] if units else new_domain(pc)
        if mapped:
            pc.map(domain, CACHED, 0x5000000)
            pc.map(domain, 1 << 30, 0x5000000)
        return lambda: pc.driver.domain_exit(pc.dmar(domain))

    return prepare


WARN_AND_BE_SAFE = CodeExercise(
    "warn and be safe",
    lambda seed: (
        "Write domain_exit(self, domain): if devices are attached, warn, and make sure that none of "
        "their DMA gets through,\n"
        "that the hardware never reads what was freed, and that no device's record still names the domain. "
        "Then, and without\n"
        "devices at once and in silence, free everything: tables and structure."
    ),
    lambda seed: domain_exit,
    hints=[
        "self.machine.warn_on(condition, text) warns; domain.devices.empty() and .entries() ask the list",
        "await self.dmar_remove_one_dev_info(info.dev) detaches a device, flushes included",
        "walk over a copy: list(domain.devices.entries()), since detaching changes the list",
        "await info.write(domain=None) for the record; free_domain_table(domain) and "
        "machine.kfree(domain) free",
    ],
    why="A warning and safety do not exclude each other. Whether it is the driver's task is what the "
    "reviewers disagreed about.",
    base=driver_at(9),
    scenes=[
        Scene("no device", _exit()),
        Scene("no device, nothing mapped", _exit(mapped=False)),
        Scene("one device", _exit(0)),
        Scene("one device without ATS", _exit(0, ats=False)),
        Scene("two devices", _exit(0, 0)),
        Scene("devices behind two units", _exit(0, 1), [LEGACY, LEGACY]),
        Scene("scalable mode", _exit(0), SCALABLE, scalable=True),
        Scene("scalable mode, no device", _exit(), SCALABLE, scalable=True),
    ],
    races=[FREE_DMA],
    most_orders=40,
    allows=("device_domain_lock",),  # who takes it to look at the list does no harm
    play=_play,
)


progress, seed = of_lesson(globals())
