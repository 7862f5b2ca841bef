"""Lesson 08: interrupts and locks. Patch 08, "Replace spin_lock_irqsave() with spin_lock()".

`disk` and `interrupt` are what a device does in the scenes of the notebook. `busy` lets a computer do some of
everything, with an unmap in an interrupt, and `usage` says what lockdep has then seen its locks do.
`INVERSION` is the order in which two locks and an interrupt wait for each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import intel_iommu
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import BOTH_STAGES, FIRST_STAGE, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, Run, Table, table, together
from vtdkit.lab.operations import with_devices, without_present_bit
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import driver_at

LOCK, DEVICES = "&iommu->lock", "device_domain_lock"
ATS, PLAIN = "00:03.0", "00:04.0"
IOVA, PAGE = 0x10000, 4096


# -- a dump and an interrupt --------------------------------------------------


async def disk(pc: Computer) -> int:
    """A disk interrupts CPU 0; its handler does next to nothing. Returns how long it waited for it, ns."""
    machine, served = pc.machine, []

    async def handler() -> None:
        served.append(machine.now)

    machine.irq.interrupt(machine.cpus[0], "disk", handler)
    raised = machine.now
    while not served:
        await machine.work(50)
    return served[0] - raised


async def interrupt(pc: Computer, work: Coroutine[Any, Any, Any]) -> None:
    """A disk interrupts CPU 0, and its handler does the work."""
    pc.machine.irq.interrupt(pc.machine.cpus[0], "nvme_irq", lambda: work)


def how_long(run: Run) -> str:
    """How long the interrupt of the scene waited, as one of the answers of the question in the notebook."""
    share = run.results["disk"] / run.took("cat")
    return "until the file is printed" if share > 0.3 else "no longer than any interrupt"


# -- what lockdep has seen ----------------------------------------------------


#: kinds of machine: what their units can do
MODES: dict[str, dict[str, Any]] = {
    "legacy mode": {},
    "scalable mode, both levels": {"units": BOTH_STAGES, "scalable": True},
    "scalable mode, first level only": {"units": FIRST_STAGE, "scalable": True},
}
FIRST_ONLY = "scalable mode, first level only"


def busy(driver: type[IntelIommu], mode: str = "legacy mode") -> Computer:
    """A computer, of one of `MODES`, that has attached, mapped, detached, enforced coherency on a domain like
    that of a virtual machine (where the mode has such a thing), and unmapped a page of another domain in an
    interrupt."""
    devices = {ATS: {"ats": True}, PLAIN: {}}
    pc = Computer(driver=driver, cpus=2, devices=devices, checkers=NO_RACES, **MODES[mode])
    domain = pc.domain_of(ATS)
    pc.map(domain, IOVA, 0x5000000)
    guest = pc.new_domain(attach=PLAIN)
    if MODES[mode]:
        pc.run(pc.driver.intel_iommu_enforce_cache_coherency(guest))

    async def disk() -> None:
        await interrupt(pc, pc.core.iommu_unmap(domain, IOVA, PAGE))

    together(pc, disk=disk())
    return pc


def usage(driver: type[IntelIommu], mode: str = "legacy mode") -> Table:
    """What lockdep has seen each lock of the series do by the end of `busy`: where it was first taken
    in a hard interrupt, where first held with interrupts on, and which of the others it was taken
    under. "-" for never."""
    lockdep = busy(driver, mode).machine.check.lockdep
    assert lockdep is not None
    known = {lock.name: lock.uses() for lock in lockdep.classes()}
    names = [name for name in (DEVICES, "&domain->lock", LOCK) if known.get(name)]
    rows = []
    for name in names:
        under = {edge.prev for edge in lockdep.edges() if edge.next == name and edge.prev in names}
        places = (_function(known[name].get(use)) for use in ("IN-HARDIRQ-W", "HARDIRQ-ON-W"))
        rows.append([name, *places, ", ".join(sorted(under)) or "-"])
    return table(["lock", "taken in an interrupt", "held with interrupts on", "taken under"], *rows)


def _function(site: Any) -> str:
    return "-" if site is None else site.function


def reports(driver: type[IntelIommu], mode: str = "legacy mode") -> tuple[str, ...]:
    """What lockdep reports by the end of `busy`: kind and locks."""
    found = busy(driver, mode).machine.findings
    return tuple(f"{each.kind.removeprefix('WARNING: ')}: {each.where}" for each in found)


def inverted(driver: type[IntelIommu], mode: str = "legacy mode") -> str:
    """The locks of the irq lock inversion among those reports, "-" without one."""
    found = [each for each in reports(driver, mode) if "irq lock inversion" in each]
    return found[0].partition(": ")[2] if found else "-"


def picture(driver: type[IntelIommu], mode: str = "legacy mode") -> str:
    """How two CPUs and an interrupt come to wait for each other, as the last report of lockdep draws it."""
    text = busy(driver, mode).machine.findings[-1].text
    return text.partition("in between:\n")[2].partition("\n\n")[0]


# -- two locks and an interrupt -----------------------------------------------


def _inversion(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = Computer(driver=driver, machine=machine, devices={ATS: {"ats": True}, PLAIN: {}})
    domain = pc.dmar(pc.domain_of(ATS))
    dev = pc.devices[ATS]

    async def completion() -> None:
        await pc.driver.iommu_flush_dev_iotlb(domain, IOVA, 0)

    async def disk() -> None:
        machine.irq.interrupt(machine.cpus[0], "nvme_irq", completion)

    attach = machine.spawn(
        pc.driver.device_context_mapped(pc.iommu(), dev.bus, dev.devfn), cpu=0, name="attach"
    )
    machine.spawn(pc.driver.dmar_remove_one_dev_info(pc.devices[PLAIN]), cpu=1, name="detach")
    machine.spawn(disk(), cpu=2, name="disk")
    return lambda: f"the entry is {'present' if attach.result else 'absent'}"


INVERSION = Scenario(
    "inversion", "the first step of an attach, a detach, and an interrupt that flushes", _inversion
)


def outcomes(scenario: Scenario, driver: type[IntelIommu]) -> ScenarioExploration:
    """Every order of a scenario: how often each outcome comes about, and an order that leads to it."""
    return explore(scenario.on(driver), cpus=scenario.cpus)


def hangs(found: ScenarioExploration) -> str:
    """For a table: in how many of how many orders nothing goes on any more."""
    return f"in {found.deadlocks} of {found.executions + found.deadlocks}"


def deadlock(found: ScenarioExploration) -> Any:
    """An order that ends in a deadlock, for `record_schedule`. Raises StopIteration where there is none."""
    return next(found.examples[value] for value in found.outcomes if str(value).startswith("deadlock"))


# -- exercises ----------------------------------------------------------------

VARIANTS = ("plain", "bh", "irqsave")
STORIES: dict[str, tuple[bool, bool, str]] = {
    "threads only": (False, False, ""),
    "threads and a timer (a soft interrupt)": (False, True, ""),
    "threads and a hard interrupt": (True, False, ""),
    "threads only, sometimes under a lock that a hard interrupt takes": (False, False, "hard"),
    "threads only, sometimes under a lock that a timer takes": (False, False, "soft"),
}


def _quiet(story: tuple[bool, bool, str], variant: str) -> bool:
    """Whether lockdep says nothing when threads take the lock of a story in this variant."""
    hard, soft, under = story
    machine = Machine(cpus=1, checkers=("lockdep",))
    lock, outer = machine.spinlock("it"), machine.spinlock("outer")

    def taken(which: Any, how: str) -> Any:
        return {"plain": which, "bh": which.bh(), "irqsave": which.irqsave()}[how]

    async def take(*locks: Any) -> None:
        if len(locks) == 2:
            async with locks[0], locks[1]:
                return
        async with locks[0]:
            pass

    def in_interrupt(which: Any, is_hard: bool) -> None:
        async def thread() -> None:
            begin = machine.irq.interrupt if is_hard else machine.irq.raise_softirq
            begin(machine.cpus[0], "handler", lambda: take(taken(which, "irqsave")))
            await machine.work(10_000)

        machine.run(thread())

    machine.run(take(taken(lock, variant)))
    if hard or soft:
        in_interrupt(lock, hard)
    if under:
        machine.run(take(taken(outer, "irqsave"), taken(lock, "plain")))
        in_interrupt(outer, under == "hard")
    return not machine.findings


def _asked(seed: int) -> list[str]:
    """Three of the stories, in some order."""
    return random.Random(seed).sample(sorted(STORIES), 3)


def _least(name: str) -> str:
    return next(variant for variant in VARIANTS if _quiet(STORIES[name], variant))


def _forgets_the_outer_lock(seed: int, given: Any) -> str | None:
    if not isinstance(given, list) or len(given) != 3:
        return "the answer is a list of three words"
    for name, word in zip(_asked(seed), given, strict=True):
        if "under" in name and word == "plain":
            return (
                f"{name}: while a thread holds it, the interrupt may come, and wait for a lock whose "
                "holder waits for this one"
            )
        if word not in VARIANTS:
            return f"{word!r} is none of {', '.join(VARIANTS)}"
    return None


WHICH_VARIANT = Exercise(
    "which variant",
    lambda seed: (
        "Which is the least that threads must do when they take a lock that is taken by\n"
        + "\n".join(f"- {name}" for name in _asked(seed))
        + "\nAnswer with a list of three: 'plain', 'bh' (soft interrupts off) or 'irqsave' (all interrupts "
        "off)."
    ),
    lambda seed: [_least(name) for name in _asked(seed)],
    hints=[
        "who could interrupt the holder and want the same lock?",
        "... or want a lock whose holder wants this one?",
    ],
    mistakes=[_forgets_the_outer_lock],
    words=lambda seed: VARIANTS,
    why="A lock needs what interrupts need that take it, and what interrupts need that take any lock above "
    "it.",
)


async def device_context_mapped(self: Any, iommu: intel_iommu, bus: int, devfn: int) -> bool:
    """Is the context entry of this source id present?"""
    async with iommu.lock.irqsave():
        context = await self.iommu_context_addr(iommu, bus, devfn, False)
        return context is not None and bool(await context.lo() & 1)


def _play(seed: int, function: Any) -> ScenarioExploration:
    """Every order of the scenario with the two locks and the interrupt."""
    return outcomes(INVERSION, version_with(driver_at(8), function, "device_context_mapped"))


def _look(
    bus: int, devfn: int, attached: bool = True, slot: int = 3, *, present: bool = True
) -> Callable[[Computer], Work]:
    """Look for the entry of a source id, in a computer where one device (00:03.0, if nothing else is said) is
    attached or has just left.
    """

    def prepare(pc: Computer) -> Work:
        domain, dev = with_devices(pc, 0, first=slot)
        if not attached:
            pc.run(pc.driver.intel_iommu_detach_device(domain, dev))
        if not present:
            without_present_bit(pc, dev)
        return lambda: pc.driver.device_context_mapped(pc.iommu(), bus, devfn)

    return prepare


NO_MORE_HANGING = CodeExercise(
    "no more hanging",
    lambda seed: (
        "Write device_context_mapped(self, iommu, bus, devfn) so that in no order anything hangs and the "
        "lock checker is\n"
        "silent. It returns whether the context entry of bus and devfn is present. It takes iommu->lock to "
        "look, once, and allocates nothing."
    ),
    lambda seed: device_context_mapped,
    hints=[
        "self.iommu_context_addr(iommu, bus, devfn, False) gives the entry, or None; it wants the lock held",
        "bit 0 of await context.lo() says whether the entry is present",
        "what was it before the patch?",
    ],
    why="While iommu->lock is taken under a lock that interrupts take, it must be held with interrupts off, "
    "whoever holds it.",
    base=driver_at(8),
    scenes=[
        Scene("the device is attached", _look(0, 0x18)),
        Scene("a device of the upper half", _look(0, 0xF8, slot=31)),
        Scene("it has been detached", _look(0, 0x18, attached=False)),
        Scene("the rest of an entry that is not present", _look(0, 0x18, present=False)),
        Scene("a device without an entry", _look(0, 0x20)),
        Scene("a bus without a table", _look(0x7F, 0)),
        Scene("scalable mode", _look(0, 0x18), SCALABLE, scalable=True),
        Scene("scalable mode, the upper half", _look(0, 0xF8, slot=31), SCALABLE, scalable=True),
        Scene("scalable mode, a bus without a table", _look(0x7F, 0x88), SCALABLE, scalable=True),
    ],
    races=[INVERSION],
    once=(LOCK,),
    play=_play,
)


progress, seed = of_lesson(globals())
