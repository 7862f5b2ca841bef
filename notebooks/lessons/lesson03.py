"""Lesson 03: a remapping unit goes away. Patch 03, "Remove clearing translation
data in disable_dmar_iommu()".

Two units: 00:03.0, with a TLB of its own (ATS), is behind the first, the devices of bus 01 behind the second.
The notebook takes the second unit out as the rule wants it, devices first. `left_behind` breaks the rule:
devices are still attached when their unit goes; it says what each version makes of that, and what a DMA of
such a device gets afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, together, version_with
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import driver_at, name_of
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Translation

LOCK = "device_domain_lock"
NEIGHBOUR = "00:03.0"
PAGE = 4096
DEVICES = 4  # behind the unit that goes
STALE = 0x5000000  # what the devices' page is mapped to


def address(number: int) -> str:
    """The devices behind the second unit."""
    return f"01:{number:02x}.0"


def computer(
    driver: type[IntelIommu], devices: int = DEVICES, *, scalable: bool = False, **options: Any
) -> Computer:
    """Two CPUs, two units; `devices` devices behind the second one, each in a domain of its own
    with one page mapped.
    """
    kind = SCALABLE if scalable else LEGACY
    options = options or {"cpus": 2, "seed": 1, "checkers": NO_RACES}
    pc = Computer(driver=driver, devices={}, units=[kind, kind], scalable=scalable, **options)
    pc.add_device(NEIGHBOUR, ats=True)
    for number in range(devices):
        pc.add_device(address(number), unit=1)
        pc.map(pc.domain_of(address(number)), 0x10000, STALE)
    return pc


# -- the rule is kept ---------------------------------------------------------


def attached(pc: Computer, devices: int) -> int:
    """How many of the devices of bus 01 are on the list of a domain."""
    infos = [
        pc.info(address(number))
        for number in range(devices)
        if pc.devices[address(number)].peek("iommu_priv")
    ]
    return sum(info in info.domain.devices.peek_entries() for info in infos)


async def pull_out(pc: Computer, where: str) -> None:
    """A device is unplugged: the driver forgets it, then the bus does."""
    await pc.core.iommu_release_device(pc.devices[where])
    await pc.bus.remove(pc.devices[where])


#: told when the question is checked
WHY_NO_TIME = "All four were pulled out before; nobody is left to detach."


# -- the rule is broken -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What became of a unit that was taken out while devices were attached to it.

    `detached` devices were taken off their domains' lists, of `devices`; `held` is how long the global lock
    was held without a break, ns; `reads_freed` whether the unit read a table that had been freed when one of
    the devices did a DMA to `answer`.
    """

    title: str
    devices: int
    detached: int
    held: int
    warnings: tuple[str, ...]
    translating: bool
    answer: str
    reads_freed: bool


def left_behind(driver: type[IntelIommu], devices: int = DEVICES, *, scalable: bool = False) -> LeftBehind:
    """Take the second unit out under its devices; then one of them does a DMA."""
    pc = computer(driver, devices, scalable=scalable)
    before, iommu = attached(pc, devices), pc.iommu(1)
    run = together(pc, remove=pc.driver.dmar_iommu_hotplug(iommu, False))
    warnings = tuple(finding.where for finding in pc.machine.findings if finding.kind == "WARNING")
    detached = before - attached(pc, devices)
    answer = _answer(pc.dma(address(0), 0x10000)) if devices else "no device"
    return LeftBehind(
        name_of(driver),
        devices,
        detached,
        run.held(LOCK),
        warnings,
        bool(iommu.gcmd & defs.DMA_GCMD_TE),
        answer,
        any("use-after-free" in finding.kind for finding in pc.machine.findings),
    )


def _answer(answer: Translation | Fault) -> str:
    if isinstance(answer, Fault):
        return answer.name
    return (
        "untranslated"
        if answer.address == 0x10000
        else "translated"
        if answer.address == STALE
        else f"{answer.address:#x}"
    )


def pulled_out_afterwards(driver: type[IntelIommu]) -> str:
    """A device that lost its unit is unplugged: what happens."""
    pc = computer(driver, 1)
    pc.run(pc.driver.dmar_iommu_hotplug(pc.iommu(1), False))
    try:
        pc.run(pull_out(pc, address(0)))
    except AttributeError:  # Python's word for it; the unit's record has no root table any more
        return "follows a NULL pointer (root table)"
    return "works"


# -- every order --------------------------------------------------------------


def _in_order(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = computer(driver, 1, machine=machine)
    new = pc.new_device("00:05.0")

    async def remove() -> None:
        await pull_out(pc, address(0))
        await pc.driver.dmar_iommu_hotplug(pc.iommu(1), False)

    async def plug() -> int:
        await pc.bus.add(new)
        return await pc.core.iommu_probe_device(new)

    machine.spawn(remove(), cpu=0, name="remove")
    other = machine.spawn(plug(), cpu=1, name="plug")
    return lambda: other.result


IN_ORDER = Scenario(
    "unit removed",
    "a device, then its unit are taken out, while a device is plugged in behind another unit",
    _in_order,
    cpus=2,
)


# -- exercises ----------------------------------------------------------------


def plan(seed: int) -> tuple[bool, int, int]:
    """Scalable mode or not, how many devices are left behind, in how many domains."""
    chance = random.Random(seed)
    devices = chance.randint(2, 4)
    return bool(chance.getrandbits(1)), devices, chance.randint(1, devices - 1)


def _left_with(seed: int) -> tuple[int, bool]:
    """Build it and look: the bits in the bitmap, and whether the merged version warns."""
    scalable, devices, domains = plan(seed)
    pc = computer(mainline.driver_at(2), devices, scalable=scalable)
    for number in range(domains, devices):  # the last ones move in with the first
        pc.run(pc.core.iommu_attach_device(pc.domain_of(address(0)), pc.devices[address(number)]))
    bits = pc.iommu(1).domain_ids.bit_count()
    pc.run(pc.driver.disable_dmar_iommu(pc.iommu(1)))
    return bits, bool(pc.machine.findings)


def _miscounted(seed: int, given: Any) -> str | None:
    scalable, devices, domains = plan(seed)
    reserved = 2 if scalable else 1
    known = {
        devices + reserved: "devices in one domain share its id",
        domains: "some ids are reserved, and their bits are set from the start",
        domains + 3 - reserved: f"how many ids are reserved {'in' if scalable else 'outside'} scalable mode?",
    }
    return (
        known.get(given[0]) if isinstance(given, tuple) and given and given[0] != domains + reserved else None
    )


def _question(seed: int) -> str:
    scalable, devices, domains = plan(seed)
    where = "one domain" if domains == 1 else f"{domains} domains"
    return (
        f"A unit in {'scalable' if scalable else 'legacy'} mode is taken out while {devices} devices in "
        f"{where} are attached behind it. How many bits of domain_ids are set, and does the merged "
        "disable_dmar_iommu() warn? Answer with a pair, (9, False) for instance."
    )


DOES_IT_WARN = Exercise(
    "does it warn",
    _question,
    _left_with,
    hints=[
        "a bit for each domain that has devices behind the unit, and one for each reserved id",
        "it warns above 2",
    ],
    mistakes=[_miscounted],
    why="Domains count, not devices. Id 0 is always reserved, id 1 in scalable mode only; the test is `more "
    "than 2` in both.",
)


async def disable_dmar_iommu(self: Any, iommu: Any) -> None:
    """Warn of every domain that is left, and switch translation off whatever happens."""
    if not iommu.domain_ids:
        return
    reserved = 2 if self.sm_supported(iommu) else 1
    self.machine.warn_on(
        iommu.domain_ids.bit_count() > reserved, "disable_dmar_iommu: devices are still attached"
    )
    if iommu.gcmd & defs.DMA_GCMD_TE:
        await self.iommu_disable_translation(iommu)


def _play(seed: int, function: Any) -> LeftBehind:
    """One device left behind, in legacy mode."""
    return left_behind(version_with(driver_at(3), function), 1)


def _gone(
    left: int, started: bool = True, on: bool = True, share: bool = False
) -> Callable[[Computer], Work]:
    """The second unit is disabled with so many devices left behind, or before it was ever started, or with
    translation off already.
    """

    def prepare(pc: Computer) -> Work:
        pc.add_device(NEIGHBOUR, ats=True)
        for number in range(left):
            pc.add_device(address(number), unit=1)
            pc.map(pc.domain_of(address(number)), 0x10000, STALE)
            if share and number:
                pc.run(pc.core.iommu_attach_device(pc.domain_of(address(0)), pc.devices[address(number)]))
        iommu = pc.iommu(1)
        if not started:
            iommu.preset(domain_ids=None)
        if not on:
            pc.run(pc.driver.iommu_disable_translation(iommu))
        return lambda: pc.driver.disable_dmar_iommu(iommu)

    return prepare


def _scenes(mode: str, unit: Capabilities, scalable: bool) -> list[Scene]:
    kinds = {
        "no device left": _gone(0),
        "one device left": _gone(1),
        "two devices left": _gone(2),
        "two devices of one domain left": _gone(2, share=True),
        "a unit that was never started": _gone(0, started=False),
        "translation is off already": _gone(1, on=False),
    }
    return [Scene(f"{mode}, {what}", each, [unit, unit], scalable) for what, each in kinds.items()]


WARN_AND_STOP = CodeExercise(
    "warn and stop",
    lambda seed: (
        "Write disable_dmar_iommu(self, iommu): it warns if any domain is left, in legacy mode too, "
        "switches translation\noff in any case, and takes no lock of the driver's."
    ),
    lambda seed: disable_dmar_iommu,
    hints=[
        "iommu.domain_ids is a Python int; its .bit_count() says how many ids are in use, "
        "the reserved ones included",
        "self.machine.warn_on(condition, 'text') warns; self.sm_supported(iommu) says whether this unit is "
        "in scalable mode",
        "iommu.gcmd & 1 << 31 (TE) says whether translation is on; await "
        "self.iommu_disable_translation(iommu) switches it off",
    ],
    why="One id is reserved in legacy mode and two in scalable mode. A unit that is still on must not "
    "outlive its root table.",
    base=driver_at(3),
    scenes=[
        *_scenes("legacy mode", LEGACY, False),
        *_scenes("scalable mode", SCALABLE, True),
        Scene("scalable mode, a unit without it", _gone(1), [SCALABLE, LEGACY], scalable=True),
    ],
    forbids=("any",),
    play=_play,
)


progress, seed = of_lesson(globals())
