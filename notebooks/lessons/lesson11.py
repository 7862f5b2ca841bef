"""Lesson 11: the lock is taken where the list is. Patch 11, "Use device_domain_lock accurately".

`orders` does two things one after the other and keeps what lockdep learnt. `pass_through` looks
what becomes of ATS in such a domain.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from vtdkit.iommu.errno import ENODEV
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import FIRST_STAGE, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, Table, Tried, table, tried
from vtdkit.lab.operations import attach, new_domain, plugged, probed, with_devices
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Request

PAGE = 4096
LOCK = "device_domain_lock"

# -- which lock inside which --------------------------------------------------


def orders(driver: type[IntelIommu]) -> Machine:
    """One CPU attaches a device to one domain, then enforces coherency on another: the machine,
    for what lockdep learnt.

    The units have first-stage tables only, so that coherency is a bit of each PASID entry.
    """
    pc = Computer(driver=driver, cpus=1, devices=(), units=FIRST_STAGE, scalable=True, checkers=NO_RACES)
    domain, _ = with_devices(pc, 0, ats=True, first=3)
    other, dev = new_domain(pc), probed(pc, 4, ats=True)
    pc.run(pc.driver.intel_iommu_attach_device(other, dev))
    pc.run(pc.driver.intel_iommu_enforce_cache_coherency(domain))
    return pc.machine


def circle(machine: Machine) -> str:
    """What lockdep said of a circle of locks; empty if it said nothing."""
    return next((found.text for found in machine.findings if "circular" in found.kind), "")


def deadlock(driver: type[IntelIommu], found: Tried) -> Steps:
    """Attach and enforce at the same time, in the order that `found` has met, to be stepped through."""
    scenario = SCENARIOS["enforce-attach"].on(driver)
    return record_schedule(scenario, found.schedule, title="Attach to one domain, enforce on another")


def _same_domain(driver: type[IntelIommu], machine: Machine) -> Observer:
    options: dict[str, Any] = {"machine": machine, "units": FIRST_STAGE, "scalable": True}
    pc = Computer(driver=driver, devices={"00:03.0": {"ats": True}, "00:04.0": {"ats": True}}, **options)
    domain = pc.new_domain(attach="00:03.0")
    attach = machine.spawn(pc.core.iommu_attach_device(domain, pc.devices["00:04.0"]), cpu=0, name="attach")
    enforce = machine.spawn(pc.driver.intel_iommu_enforce_cache_coherency(domain), cpu=1, name="enforce")
    return lambda: (attach.result, enforce.result)


SAME_DOMAIN = Scenario(
    "enforce-same", "coherency is enforced on the domain that a second device is attached to", _same_domain
)


# -- pass-through -------------------------------------------------------------


def pass_through(drivers: Mapping[str, type[IntelIommu]]) -> Table:
    """A device that can do ATS in a pass-through domain, legacy mode: is ATS on, and what does it
    get if it asks?
    """
    rows = []
    for name, driver in drivers.items():
        pc = Computer(
            driver=driver, devices={"00:03.0": {"ats": True}}, default_type="identity", checkers=NO_RACES
        )
        dev = pc.devices["00:03.0"]
        answer = pc.run(
            pc.hardware_of("00:03.0").dma(
                Request(dev.sid, 0x1000, at="translation" if dev.ats_on else "untranslated")
            )
        )
        got = f"refused: {answer.name}" if isinstance(answer, Fault) else "goes through"
        rows.append((name, "on" if dev.ats_on else "off", got))
    return table(["driver", "ATS", "the device's next request"], *rows)


# -- exercises ----------------------------------------------------------------

NAMES = "ABCDE"


def chains_of(seed: int) -> list[list[str]]:
    """Which locks four threads take, one inside the other; in most seeds one of them turns an order round."""
    rng = random.Random(seed)
    order = rng.sample(NAMES, len(NAMES))
    chains = [sorted(rng.sample(NAMES, rng.choice((2, 2, 3))), key=order.index) for _ in range(3)]
    joined = [chains[0][0], chains[0][-1]]
    chains.append(joined[::-1] if seed % 3 != 2 else joined)
    rng.shuffle(chains)
    return chains


def in_a_circle(chains: list[list[str]]) -> set[str]:
    """The locks from which one can go from lock to lock taken inside it and come back."""
    inside: dict[str, set[str]] = {name: set() for name in NAMES}
    for chain in chains:
        for number, name in enumerate(chain):
            inside[name].update(chain[number + 1 :])
    for between in NAMES:  # Warshall: ways that lead over one more lock
        for name in NAMES:
            if between in inside[name]:
                inside[name] |= inside[between]
    return {name for name in NAMES if name in inside[name]}


def _told(seed: int) -> str:
    lines = (f"- thread {number}: {', then '.join(chain)}" for number, chain in enumerate(chains_of(seed), 1))
    return "Four threads take locks, each new one inside those before it:\n" + "\n".join(lines)


FIND_THE_CIRCLE = Exercise(
    "find the circle",
    lambda seed: (
        _told(seed)
        + "\nWhich locks are part of a circle? Answer with a set of names, set() if there is none."
    ),
    lambda seed: in_a_circle(chains_of(seed)),
    form=lambda names: f"{{{str(sorted(names))[1:-1]}}}" if isinstance(names, set) and names else repr(names),
    hints=[
        "draw an arrow from each lock to those taken inside it, not only to the next one",
        "start somewhere, follow arrows; a circle has come back to its start",
    ],
    why="Lockdep keeps just these arrows. It needs no two threads at once: an arrow is learnt when anybody "
    "takes the one inside"
    " the other, ever.",
)


async def domain_add_dev_info(self: Any, domain: dmar_domain, dev: PciDevice) -> int:
    """`info->domain` first, then the list."""
    info, iommu = self.dev_iommu_priv_get(dev), self.device_to_iommu(dev)
    if info is None or iommu is None:
        return -19  # -ENODEV
    error: int = await self.domain_attach_iommu(domain, iommu)
    if error:
        return error
    await info.write(domain=domain)
    async with self.device_domain_lock.irqsave():
        await domain.devices.add(info)
    result: int = await self.set_up_translation(domain, dev, iommu)
    return result


def _play(seed: int, function: Any) -> Tried:
    return tried("publish", version_with(driver_at(11), function, "domain_add_dev_info"), wanted="KCSAN")


def _attach(case: str = "", others: int = 0) -> Callable[[Computer], Work]:
    """A device comes to a domain that has some already."""

    def prepare(pc: Computer) -> Work:
        domain = with_devices(pc, *[0] * others, ats=True, first=9)[0] if others else new_domain(pc)
        dev = plugged(pc, 3, ats=True) if case == "no record" else probed(pc, 3, ats=True)
        if case == "no unit":
            pc.hardware[0].include_all = False
        while case == "no id" and pc.iommu().peek("domain_ids").bit_count() < 16:
            attach(pc, new_domain(pc), probed(pc, 16 + len(pc.devices)))
        return lambda: pc.driver.domain_add_dev_info(pc.dmar(domain), dev)

    return prepare


PUBLISH = CodeExercise(
    "publish",
    lambda seed: (
        "Write domain_add_dev_info(self, domain, dev) so that a device on the list always says which "
        "domain it is in,\nand the lock is held for the list alone. A device has its domain id before "
        f"it is in a domain. Without a record or a unit: {-ENODEV}\n(-ENODEV); what goes wrong further "
        "down is returned as it is."
    ),
    lambda seed: domain_add_dev_info,
    hints=[
        "begin with the version of patch 11; it stands under 'What could now go wrong'",
        "await info.write(domain=domain) sets the field; which of the two steps makes the "
        "device visible to others?",
    ],
    why="Whoever finds the device on the list uses its fields at once. So the fields come first: that is how "
    "it was merged.",
    base=driver_at(11),
    scenes=[
        Scene("the first device", _attach()),
        Scene("the second device", _attach(others=1)),
        Scene("scalable mode", _attach(), SCALABLE, scalable=True),
        Scene("a device that was never probed", _attach("no record")),
        Scene("a device behind no unit", _attach("no unit")),
        Scene("no domain id is left", _attach("no id"), Capabilities(ND=0)),
    ],
    races=[SCENARIOS["publish"]],
    play=_play,
)


progress, seed = of_lesson(globals())
