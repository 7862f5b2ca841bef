"""Lesson 10: detaching without the global lock. Patch 10, "Fold
__dmar_remove_one_dev_info() into its caller".

`survives` says which versions get through a detach at all; `bisect` looks for
a patch by halving.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from vtdkit.iommu.intel.defs import PASID_RID2PASID
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, Run, Tried, together, tried, version_with
from vtdkit.lab.operations import with_devices
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.vtd.requests import Fault

PAGE = 4096
LOCK = "device_domain_lock"
BUG = "kernel BUG"

# -- which versions survive ---------------------------------------------------


def bugs(driver: type[IntelIommu]) -> tuple[Finding, ...]:
    """Attach a device, detach it, alone: the assertions that fail."""
    pc = Computer(driver=driver, cpus=1, devices=(), checkers=NO_RACES)
    domain, dev = with_devices(pc, 0, ats=True)
    pc.run(pc.driver.intel_iommu_detach_device(domain, dev))
    return tuple(finding for finding in pc.machine.findings if BUG in finding.kind)


def survives(driver: type[IntelIommu]) -> bool:
    """Whether a device can be attached and detached without an assertion failing."""
    return not bugs(driver)


def _beside(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = Computer(driver=driver, machine=machine, devices=(), units=LEGACY)
    domain, dev = with_devices(pc, 0, 0, ats=True)
    pc.map(domain, 0x10000, 0x5000000)
    machine.spawn(pc.driver.intel_iommu_detach_device(domain, dev), cpu=0, name="detach")
    unmap = machine.spawn(pc.core.iommu_unmap(domain, 0x10000, PAGE), cpu=1, name="unmap")
    return lambda: unmap.result


BESIDE = Scenario(
    "detach-unmap", "one of two devices is detached while a page of their domain is unmapped", _beside, cpus=2
)

# -- exercises ----------------------------------------------------------------


def bisect(bad: Callable[[int], bool], good: int = 0, known_bad: int = 12, skip: Iterable[int] = ()) -> int:
    """The first bad version, found by halving: `good` works, `known_bad` does not. Versions in
    `skip` are not tried.
    """
    skipped = set(skip)
    while left := [version for version in range(good + 1, known_bad) if version not in skipped]:
        middle = left[(len(left) - 1) // 2]
        if bad(middle):
            known_bad = middle
        else:
            good = middle
    return known_bad


def _guilty(seed: int) -> int:
    return (12, 11, 7, 9)[seed] if seed < 4 else random.Random(seed).randint(5, 12)


def _blamed(seed: int) -> int:
    guilty = _guilty(seed)
    return bisect(lambda version: version >= guilty or not survives(driver_at(version)))


def _thinks_right(seed: int, given: Any) -> str | None:
    if given == _guilty(seed) != _blamed(seed):
        return (
            "that is where your bug is, but not where the search ends: which versions did it try, and "
            "did "
            "they all survive?"
        )
    return None


WHOM_DO_YOU_BLAME = Exercise(
    "whom do you blame",
    lambda seed: (
        f"A bug came in with patch {_guilty(seed)}. Not knowing that, you look for it by bisecting: version "
        "0 is good, 12"
        " is bad;\nof the versions between, try the middle one (the lower of two), and so on. A kernel that "
        "stops at a detach you take"
        "\nfor bad as well. Which patch do you blame? Answer with its number."
    ),
    _blamed,
    hints=[
        "the first version tried is 6",
        "write down the last good and the first bad version after each step",
        "version 10 is bad whatever bug you look for",
    ],
    mistakes=[_thinks_right],
    why="A version that is broken in another way sends the search to the wrong side. git bisect skip is for "
    "such versions.",
)


async def dmar_remove_one_dev_info(self: Any, dev: PciDevice) -> None:
    """What asserts the lock gets it; what asks the hardware is done without."""
    info = self.dev_iommu_priv_get(dev)
    domain, iommu = info.domain, info.iommu
    if self.sm_supported(iommu):
        await self.intel_pasid_tear_down_entry(iommu, dev, PASID_RID2PASID, False)
    async with self.device_domain_lock.irqsave():
        await self.iommu_disable_dev_iotlb(info)
    await self.domain_context_clear(info)
    await self.intel_pasid_free_table(dev)
    async with self.device_domain_lock.irqsave():
        await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)


def _version(function: Any) -> type[IntelIommu]:
    if not callable(function):
        raise TypeError("the answer is the function dmar_remove_one_dev_info")
    return version_with(driver_at(10), function, "dmar_remove_one_dev_info")


def _play(seed: int, function: Any) -> Tried:
    return tried(BESIDE, _version(function), wanted="kernel BUG")


def _alone(driver: type[IntelIommu], scalable: bool) -> Run:
    """A device with ATS is detached, and nothing else happens."""
    unit = SCALABLE if scalable else LEGACY
    pc = Computer(driver=driver, devices=(), units=unit, scalable=scalable, checkers=NO_RACES)
    domain, dev = with_devices(pc, 0, ats=True)
    return together(pc, detach=pc.driver.intel_iommu_detach_device(domain, dev))


def _judge(seed: int, function: Any) -> str | None:
    yours = _version(function)
    if found := bugs(yours):
        return f"{found[0].kind}: {found[0].where}, at {found[0].functions[0]}"
    for scalable in (False, True):
        run, old = _alone(yours, scalable), _alone(driver_at(9), scalable)
        if run.held(LOCK, "detach") > old.held(LOCK, "detach") // 2:
            return (
                f"the lock is held for {run.held(LOCK, 'detach'):,} ns: the hardware is still asked under it"
            )
        pc = Computer(
            driver=yours,
            devices=(),
            units=SCALABLE if scalable else LEGACY,
            scalable=scalable,
            checkers=NO_RACES,
        )
        domain, dev = with_devices(pc, 0, ats=True)
        pc.map(domain, 0x10000, 0x5000000)
        pc.run(pc.driver.intel_iommu_detach_device(domain, dev))
        if not isinstance(pc.dma(dev.name, 0x10000), Fault):
            return "the device is detached, and its DMA still goes through"
        if list(pc.dmar(domain).devices.entries()) or pc.dmar(domain).iommu_did.get(0):
            return "the device is detached, and the domain still has it on its list, or still has its id"
        if dev.ats_on:
            return "the device is detached, and its ATS is still on"
    return None


EVERY_STEP_WORKS = CodeExercise(
    "every step works",
    lambda seed: (
        "Write dmar_remove_one_dev_info(self, dev) so that patch 10 works without patch 11, and the hardware "
        "is asked without\n"
        "device_domain_lock. The helpers that assert the lock stay as they are."
    ),
    lambda seed: dmar_remove_one_dev_info,
    hints=[
        "what detach_translation does, you do here one by one: source(old, 'detach_translation')",
        "two things assert the lock: iommu_disable_dev_iotlb, and domain_detach_iommu when the last device "
        "goes",
        "the list must be changed under the lock too: two regions in all",
    ],
    why="A little more under the lock than in the end, and each version in between works. Patch 11 could "
    "then make it smaller.",
    judge=_judge,
    play=_play,
)

#: how a version is called in the bisection table
NAMES = {info.number: info.title.removeprefix("iommu/vt-d: ") for info in SERIES}
