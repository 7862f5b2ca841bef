"""Lesson 10: detaching without the global lock. Patch 10, "Fold
__dmar_remove_one_dev_info() into its caller".

`survives` says which versions get through a detach at all; `bisect` looks for
a patch by halving.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, Tried, tried
from vtdkit.lab.operations import with_devices
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.vtd.requests import Fault, Request

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
            "that is where your bug is, but not where the search ends: which versions did it try, "
            "and did they all survive?"
        )
    return None


WHOM_DO_YOU_BLAME = Exercise(
    "whom do you blame",
    lambda seed: (
        f"A bug came in with patch {_guilty(seed)}. Not knowing that, you look for it by bisecting: "
        "version 0 is good, 12 is bad;\nof the versions between, try the middle one (the lower of two), "
        "and so on. A kernel that stops at a detach you take\nfor bad as well. Which patch do you "
        "blame? Answer with its number."
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
        await self.intel_pasid_tear_down_entry(iommu, dev, 0, False)  # 0: requests without PASID
    async with self.device_domain_lock.irqsave():
        await self.iommu_disable_dev_iotlb(info)
    await self.domain_context_clear(info)
    await self.intel_pasid_free_table(dev)
    async with self.device_domain_lock.irqsave():
        await domain.devices.del_(info)
        await self.domain_detach_iommu(domain, iommu)


def _play(seed: int, function: Any) -> Tried:
    return tried(BESIDE, version_with(driver_at(10), function, "dmar_remove_one_dev_info"), wanted=BUG)


def _leave(*others: int, ats: bool = True) -> Callable[[Computer], Work]:
    """One device is detached; others, behind these units, stay in the domain."""

    def prepare(pc: Computer) -> Work:
        domain, dev = with_devices(pc, 0, *others, ats=ats)
        pc.map(domain, 0x10000, 0x5000000)
        return lambda: pc.driver.dmar_remove_one_dev_info(dev)

    return prepare


def _too_early(seed: int, function: Any) -> str | None:
    """The PASID table is freed when no request of the device can reach it any more, and not before."""
    answers = []

    class Watching(version_with(driver_at(10), function, "dmar_remove_one_dev_info")):  # type: ignore[misc]
        async def intel_pasid_free_table(self, dev: PciDevice) -> None:
            answers.append(pc.hardware[0].unit.from_memory(Request(dev.sid, 0x10000)))
            await super().intel_pasid_free_table(dev)

    pc = Computer(driver=Watching, devices=(), units=SCALABLE, scalable=True, checkers=NO_RACES)
    _, dev = with_devices(pc, 0)
    pc.run(pc.driver.dmar_remove_one_dev_info(dev))
    led = [answer.name for answer in answers if isinstance(answer, Fault) and "context" not in answer.name]
    return (
        f"the PASID table is freed while the device's context entry leads to it ({led[0]})" if led else None
    )


EVERY_STEP_WORKS = CodeExercise(
    "every step works",
    lambda seed: (
        "Write dmar_remove_one_dev_info(self, dev) so that patch 10 works without patch 11, and the hardware "
        "is asked without\n"
        "device_domain_lock. The helpers that assert the lock stay as they are, and the steps come in the "
        "order that they have now."
    ),
    lambda seed: dmar_remove_one_dev_info,
    hints=[
        "what detach_translation does, you do here one by one: source(old, 'detach_translation')",
        "two things assert the lock: iommu_disable_dev_iotlb, and domain_detach_iommu "
        "when the last device goes",
        "the list must be changed under the lock too: two regions in all",
    ],
    why="A little more under the lock than in the end, and each version in between works. Patch 11 could "
    "then make it smaller.",
    base=driver_at(10),
    scenes=[
        Scene("the last device", _leave()),
        Scene("a device without ATS", _leave(ats=False)),
        Scene("one of two devices", _leave(0)),
        Scene("one of two devices, behind two units", _leave(1), [LEGACY, LEGACY]),
        Scene("scalable mode", _leave(), SCALABLE, scalable=True),
        Scene("scalable mode, a unit without it", _leave(), LEGACY, scalable=True),
        Scene("scalable mode, one of two devices", _leave(0), SCALABLE, scalable=True),
    ],
    races=[BESIDE],
    judge=_too_early,
    play=_play,
)

#: how a version is called in the bisection table
NAMES = {info.number: info.title.removeprefix("iommu/vt-d: ") for info in SERIES}


progress, seed = of_lesson(globals())
