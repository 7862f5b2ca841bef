"""Lesson 12: a mutex for each domain. Patch 12, "Convert device_domain_lock into per-domain mutex".

`complaints` does one thing and says where the driver
tried to sleep though it must not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, Run, Tried, tried
from vtdkit.lab.operations import with_devices
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

PAGE = 4096
PAGES = 4  # that each CPU unmaps
SLEEP = "sleeping function"


def times_as_fast(before: Run, after: Run) -> str:
    """How much sooner the second run is over, as one of the answers of the question in the notebook."""
    ratio = before.length / after.length
    return (
        "no sooner"
        if ratio < 1.1
        else "in less than half the time"
        if ratio > 2
        else "sooner, but not in half the time"
    )


# -- sleeping where one must not ----------------------------------------------

FIRST, SECOND, PLAIN = "00:03.0", "00:04.0", "00:05.0"
Operation = Callable[[Computer], Coroutine[Any, Any, Any]]


async def _in_interrupt(pc: Computer, work: Operation) -> None:
    """A hard interrupt comes in and does the work."""
    pc.machine.irq.interrupt(pc.machine.cpus[0], "nvme_irq", lambda: work(pc))
    await pc.machine.work(100)


async def _in_timer(pc: Computer, work: Operation) -> None:
    """A timer goes off, in a soft interrupt."""
    pc.machine.irq.raise_softirq(pc.machine.cpus[0], "fq_flush_timeout", lambda: work(pc))
    await pc.machine.work(100)


def _unmap(address: str) -> Operation:
    return lambda pc: pc.core.iommu_unmap(pc.domain_of(address), 0x10000, PAGE)


def _flush(address: str) -> Operation:
    return lambda pc: pc.core.iommu_flush_iotlb_all(pc.domain_of(address))


OPERATIONS: dict[str, Operation] = {
    "attach a device to an empty domain": lambda pc: pc.core.iommu_attach_device(
        pc.new_domain(), pc.devices[PLAIN]
    ),
    "detach the only device of a domain": lambda pc: pc.core.iommu_detach_device(
        pc.new_domain(attach=PLAIN), pc.devices[PLAIN]
    ),
    "map a page": lambda pc: pc.core.iommu_map(pc.domain_of(FIRST), 0x40000, 0xA000000, PAGE, 3),
    "unmap a page of an ATS device, in a system call": _unmap(FIRST),
    "unmap a page of an ATS device, in an interrupt": lambda pc: _in_interrupt(pc, _unmap(FIRST)),
    "unmap a page of a device without ATS, in an interrupt": lambda pc: _in_interrupt(pc, _unmap(PLAIN)),
    "the flush queue's timer, for an ATS device": lambda pc: _in_timer(pc, _flush(FIRST)),
    "the flush queue's timer, for a device without ATS": lambda pc: _in_timer(pc, _flush(PLAIN)),
}


def reported(driver: type[IntelIommu], operation: str) -> tuple[Finding, ...]:
    """Do one of `OPERATIONS`; what the checkers said meanwhile. Raises KeyError for an
    operation there is not.
    """
    work = OPERATIONS[operation]
    pc = Computer(driver=driver, cpus=1, devices={FIRST: {"ats": True}, PLAIN: {}}, checkers=NO_RACES)
    for address in (FIRST, PLAIN):
        pc.map(pc.domain_of(address), 0x10000, 0x5000000)
    coro = work(pc)
    known = len(pc.machine.findings)
    pc.run(coro)
    return tuple(pc.machine.findings)[known:]


def complaints(driver: type[IntelIommu], operation: str) -> tuple[Finding, ...]:
    """Do one of `OPERATIONS`; what was said about sleeping meanwhile."""
    return tuple(finding for finding in reported(driver, operation) if SLEEP in finding.kind)


# -- every order --------------------------------------------------------------

INTERRUPTS = ("unmap-irq", "unmap-timer")


def stuck(driver: type[IntelIommu], scenario: str = "unmap-irq") -> Tried:
    """A scenario of an interrupt in every order: how many end in a deadlock."""
    return tried(scenario, driver, wanted="deadlock")


def self_deadlock(driver: type[IntelIommu]) -> Steps:
    """The interrupt comes in while the thread under it has the lock: one schedule, to be stepped through."""
    schedule = stuck(driver).schedule
    return record_schedule(
        SCENARIOS["unmap-irq"].on(driver), schedule, title="An unmap, and an interrupt that unmaps too"
    )


def lockdep_report(driver: type[IntelIommu]) -> Finding:
    """An interrupt unmaps a page, alone: what lockdep makes of it. Raises StopIteration
    if it says nothing.
    """
    name = "unmap a page of an ATS device, in an interrupt"
    return next(each for each in reported(driver, name) if "inconsistent lock state" in each.kind)


# -- exercises ----------------------------------------------------------------


def _asked(seed: int) -> list[str]:
    return sorted(random.Random(seed).sample(sorted(OPERATIONS), 5))


def _must_not(seed: int) -> set[str]:
    return {name for name in _asked(seed) if complaints(driver_at(12), name)}


def _thinks_every_interrupt(seed: int, given: Any) -> str | None:
    wrong = sorted(name for name in given if "without ATS" in name) if isinstance(given, set) else []
    return (
        f"{wrong[0]!r} needs no list of devices: no device of that domain has a TLB to flush"
        if wrong
        else None
    )


def _forgets_attach(seed: int, given: Any) -> str | None:
    wanted = sorted(name for name in _must_not(seed) if name.startswith(("attach", "detach")))
    if isinstance(given, set) and wanted and wanted[0] not in given:
        return f"{wanted[0]!r} is missing: the mutex is taken inside iommu->lock, and that is a spinlock"
    return None


WHERE_IT_SLEEPS = Exercise(
    "where it sleeps",
    lambda seed: (
        "With patch 12, in which of these does the driver take the mutex where it must not sleep? Answer "
        "with a set.\n" + "\n".join(f"- {name!r}" for name in _asked(seed))
    ),
    _must_not,
    hints=[
        "two questions: is the mutex taken at all? and if so, under a spinlock, or in an interrupt?",
        "run one: lesson.complaints(new, 'map a page')",
    ],
    mistakes=[_thinks_every_interrupt, _forgets_attach],
    words=lambda seed: tuple(OPERATIONS),
    form=lambda names: "\n".join(sorted(names)) if isinstance(names, set) else repr(names),
    why="A device list is walked to flush device TLBs, and to recompute what a domain can do, which happens "
    "inside iommu->lock.",
)


async def iommu_flush_dev_iotlb(self: Any, domain: dmar_domain, addr: int, mask: int) -> None:
    """Every device TLB of the domain; interrupts are off meanwhile, and afterwards as they were."""
    if not domain.has_iotlb_device:
        return
    async with domain.lock.irqsave():
        for info in domain.devices.entries():
            await self._iommu_flush_dev_iotlb(info, addr, mask)


class NearlyRepaired(mainline.RC5):
    """6.0-rc5, but for one of the seven functions that take `domain->lock`."""

    title = "6.0-rc5 but for one function"
    iommu_flush_dev_iotlb = mainline.RC1.iommu_flush_dev_iotlb


def _play(seed: int, function: Any) -> Tried:
    yours = version_with(NearlyRepaired, function, "iommu_flush_dev_iotlb")
    return tried("unmap-irq", yours, wanted="lock")


def _flushed(devices: int, ats: bool = True) -> Callable[[Computer], Work]:
    """The device TLBs of a domain are flushed, once with interrupts on and once with interrupts off."""

    def prepare(pc: Computer) -> Work:
        domain, _ = with_devices(pc, *[0] * devices, ats=ats)
        dmar, lock = pc.dmar(domain), pc.machine.spinlock("a caller's lock")

        async def work() -> tuple[Any, Any]:
            await pc.driver.iommu_flush_dev_iotlb(dmar, 0x10000, 0)
            on = pc.machine.sched.current.irqstate
            async with lock.irqsave():
                await pc.driver.iommu_flush_dev_iotlb(dmar, 0x20000, 2)
                off = pc.machine.sched.current.irqstate
            return on, off

        return work

    return prepare


HOW_TO_TAKE = CodeExercise(
    "how to take it",
    lambda seed: (
        "Six of the seven functions that take domain->lock have been repaired. Write the seventh,\n"
        "iommu_flush_dev_iotlb(self, domain, addr, mask). For the lock there are `async with` domain.lock,\n"
        "domain.lock.bh(), domain.lock.irq() and domain.lock.irqsave()."
    ),
    lambda seed: iommu_flush_dev_iotlb,
    hints=[
        "who can interrupt a thread that has the lock, and want the lock too? A timer (soft interrupt), and "
        "a device (hard one)",
        "some callers have interrupts off already; what does lock.irq() do to them when it lets go?",
        "for the rest see the version before patch 12, at the top of this page",
    ],
    why="The lock is wanted in hard interrupts, so interrupts must be off; and since some callers have them "
    "off already, they must"
    " afterwards be what they were. That is a349ffcb4daf.",
    base=NearlyRepaired,
    scenes=[
        Scene("two ATS devices", _flushed(2)),
        Scene("no ATS device", _flushed(1, ats=False)),
        Scene("scalable mode", _flushed(1), SCALABLE, scalable=True),
    ],
    races=[SCENARIOS[name] for name in (*INTERRUPTS, "attach-same-domain")],
    most_orders=100,
    play=_play,
)


progress, seed = of_lesson(globals())
