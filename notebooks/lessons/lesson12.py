"""Lesson 12: a mutex for each domain. Patch 12, "Convert device_domain_lock into per-domain mutex".

`complaints` does one thing and says where the driver
tried to sleep though it must not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, Run, Tried, tried
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
        pc.domain_of(PLAIN), pc.devices[PLAIN]
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
    why="A device list is walked to flush device TLBs, and to recompute what a domain can do, which happens "
    "inside iommu->lock.",
)


class _Chosen:
    """A domain's lock, taken in the way a student chose. Guards: what the lock guards."""

    def __init__(self, lock: Any, choose: Callable[[Any], Any]) -> None:
        self.lock = lock
        self.choose = choose
        self.taken: list[tuple[Any, int]] = []

    async def __aenter__(self) -> None:
        way, flags = self.choose(self.lock), self.lock.machine.sched.current.irqstate
        await way.__aenter__()
        self.taken.append((way, flags))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        machine = self.lock.machine
        way, flags = self.taken.pop()
        await way.__aexit__(kind, error, tb)
        if machine.sched.current.irqstate != flags:
            machine.check.report("after the unlock interrupts are not what they were", self.lock.name, ())

    def assert_held(self) -> None:
        """As the lock itself has it."""
        self.lock.assert_held()


def with_lock(choose: Callable[[Any], Any]) -> type[IntelIommu]:
    """The driver of 6.0-rc1, every user of `domain->lock` taking it as `choose(lock)` says.

    Raises TypeError if that is no function.
    """
    if not callable(choose):
        raise TypeError(f"the answer is a function of a lock; this is {choose!r}")

    class Yours(mainline.RC1):
        """6.0-rc1 with a student's choice."""

        title = "your version"

        async def alloc_domain(self, type: str) -> dmar_domain | None:
            domain = await super().alloc_domain(type)
            if domain is not None:
                # a lock in another's clothes
                domain.lock = _Chosen(domain.lock, choose)  # type: ignore[assignment]
            return domain

    return Yours


def how_to_take(lock: Any) -> Any:
    """With interrupts off, and afterwards as they were."""
    return lock.irqsave()


def _play(seed: int, choose: Any) -> Tried:
    return tried("unmap-irq", with_lock(choose), wanted="lock")


def _judge(seed: int, choose: Any) -> str | None:
    for scenario in (*INTERRUPTS, "attach-same-domain"):
        found = tried(scenario, with_lock(choose), wanted="lock").findings
        if found:
            kind, where, _ = found[0]
            return f"scenario {scenario}: {kind}: {where}"
    return None


HOW_TO_TAKE = CodeExercise(
    "how to take it",
    lambda seed: (
        "6.0-rc1 takes domain->lock in seven functions with a plain spin_lock. Write how_to_take(lock): it "
        "returns what\n"
        "stands behind `async with` in all seven: lock, lock.bh(), lock.irq() or lock.irqsave()."
    ),
    lambda seed: how_to_take,
    hints=[
        "who can interrupt a thread that has the lock, and want the lock too? A timer (soft interrupt), and "
        "a device (hard one)",
        "some of the seven run with interrupts off already; what does lock.irq() do to them when it lets go?",
    ],
    why="The lock is wanted in hard interrupts, so interrupts must be off; and since some callers have them "
    "off already, they must"
    " afterwards be what they were. That is a349ffcb4daf.",
    judge=_judge,
    play=_play,
)
