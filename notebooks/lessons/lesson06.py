"""Lesson 06: domain ids, and who takes the lock. Patch 06, "Acquiring lock in domain ID allocation helpers".

`alone` calls the helper that hands out ids with no lock held, `twice` with the lock held. `Careless` is a
driver that hands out ids without a lock, `isolation` what its devices then read. `filled` plugs devices in
until the ids are gone. `SWITCH` is a domain that gives its id up for another while a third wants one and none
is left; it is for versions from patch 11 on, whose callers no longer hold `device_domain_lock` around both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dmar_domain, intel_iommu
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, Table, table, together, version_with
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Translation

LOCK = "&iommu->lock"
FIRST, SECOND, ATS = "00:03.0", "00:04.0", "00:05.0"
PAGE, IOVA = 4096, 0x10000
FEW = Capabilities(ND=0)  # 16 domain ids, the smallest number a unit may have
LOCKS_ITSELF = (driver_at(6), mainline.driver_at(6))
NO_DEVICE_LOCK = (driver_at(11), mainline.driver_at(10))


# -- a scene ------------------------------------------------------------------


def computer(driver: type[IntelIommu], seed: int = 1) -> Computer:
    """Three CPUs, three devices, each in a domain of its own; one page mapped for each."""
    pc = Computer(
        driver=driver,
        cpus=3,
        seed=seed,
        devices={FIRST: {}, SECOND: {}, ATS: {"ats": True}},
        checkers=NO_RACES,
    )
    for number, address in enumerate(pc.devices):
        pc.map(pc.domain_of(address), IOVA, 0x5000000 + 0x1000000 * number)
    return pc


#: told when the question is checked
WHY_AS_MANY = "The same regions under the same lock; only the line that takes it stands elsewhere."


# -- the helper by itself -----------------------------------------------------


def alone(driver: type[IntelIommu]) -> list[Finding]:
    """Call `domain_attach_iommu` with no lock held; what the checkers say."""
    pc = computer(driver)
    pc.run(pc.driver.domain_attach_iommu(pc.dmar(pc.new_domain()), pc.iommu()))
    return list(pc.machine.findings)


def twice(driver: type[IntelIommu]) -> list[Finding]:
    """Call it as the callers before the patch did, both locks held; what the checkers say."""
    pc = computer(driver)
    domain = pc.dmar(pc.new_domain())

    async def as_before() -> int:
        async with pc.driver.device_domain_lock.irqsave(), pc.iommu().lock:
            return await pc.driver.domain_attach_iommu(domain, pc.iommu())

    together(pc, attach=as_before())
    return list(pc.machine.findings)


# -- ids without a lock -------------------------------------------------------


class Careless(driver_at(6)):  # type: ignore[misc]
    """A driver that hands out domain ids without a lock. Not a version that ever was."""

    title = "ids without a lock"

    async def domain_attach_iommu(self, domain: dmar_domain, iommu: intel_iommu) -> int:
        """Look for a free id; then mark it as taken."""
        if iommu.seq_id not in domain.iommu_did:
            ids = await iommu.read("domain_ids")
            number = (~ids & ids + 1).bit_length() - 1
            await self.machine.work(self.machine.costs.line_near)
            await iommu.write(domain_ids=ids | 1 << number)
            domain.iommu_did = {iommu.seq_id: number}
        domain.iommu_refcnt = {iommu.seq_id: domain.iommu_refcnt.get(iommu.seq_id, 0) + 1}
        return 0


def wants_id(pc: Computer, domain: IommuDomain) -> Coroutine[Any, Any, int]:
    """Get a domain its id, holding what callers of this version hold (and nothing in the careless one)."""

    def helper() -> Coroutine[Any, Any, int]:
        return pc.driver.domain_attach_iommu(pc.dmar(domain), pc.iommu())

    async def locked() -> int:
        async with pc.driver.device_domain_lock.irqsave():
            if isinstance(pc.driver, LOCKS_ITSELF):
                return await helper()
            async with pc.iommu().lock:
                return await helper()

    return helper() if isinstance(pc.driver, (Careless, *NO_DEVICE_LOCK)) else locked()


def ids_in_use(pc: Computer) -> list[int]:
    """The domain ids that are taken, bit by bit from the unit's bitmap."""
    bits: int = pc.iommu().peek("domain_ids")
    return [number for number in range(bits.bit_length()) if bits >> number & 1]


def id_of(pc: Computer, domain: IommuDomain) -> int:
    """A domain's id in the first unit, 0 if it has none."""
    found: int = pc.dmar(domain).peek("iommu_did").get(0, 0)
    return found


def isolation(driver: type[IntelIommu]) -> Table:
    """Two new domains get their ids at the same moment; then each has a device, and both
    devices read one address.
    """
    pc = computer(driver)
    domains = {address: pc.new_domain() for address in (FIRST, SECOND)}
    together(pc, first=wants_id(pc, domains[FIRST]), second=wants_id(pc, domains[SECOND]))
    for number, (address, domain) in enumerate(domains.items()):
        pc.run(pc.core.iommu_attach_device(domain, pc.devices[address]))
        pc.map(domain, IOVA, 0x7000000 + 0x1000000 * number)
    rows = []
    for number, (address, domain) in enumerate(domains.items()):
        answer = pc.dma(address, IOVA)
        got = hex(answer.address) if isinstance(answer, Translation) else "a fault"
        rows.append([address, id_of(pc, domain), hex(0x7000000 + 0x1000000 * number), got])
    return table(["device", "domain id", f"{IOVA:#x} is mapped to", "the device reads"], *rows)


def _two_ids(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = Computer(driver=driver, machine=machine, devices=[FIRST])
    domains = [pc.new_domain(), pc.new_domain()]
    for cpu, (name, domain) in enumerate(zip(("first", "second"), domains, strict=True)):
        machine.spawn(wants_id(pc, domain), cpu=cpu, name=name)
    return lambda: "the same id" if id_of(pc, domains[0]) == id_of(pc, domains[1]) else "two ids"


TWO_IDS = Scenario("two ids", "two domains get their ids at the same time", _two_ids, cpus=2)


def outcomes(scenario: Scenario, driver: type[IntelIommu]) -> ScenarioExploration:
    """Every order of a scenario: how often each outcome comes about, and an order that leads to it."""
    return explore(scenario.on(driver), cpus=scenario.cpus)


# -- no id left ---------------------------------------------------------------


def _full(driver: type[IntelIommu], **options: Any) -> Computer:
    """A computer whose unit has no id left: a device for each, in a domain of its own."""
    pc = Computer(driver=driver, devices=[], units=FEW, **options)
    while len(ids_in_use(pc)) < 16:
        pc.add_device(f"00:{len(pc.devices) + 8:02x}.0")
    return pc


def filled(driver: type[IntelIommu]) -> tuple[int, int, list[Finding]]:
    """Plug devices in until one does not get a domain id: how many did, the error of the one that did not,
    and what was found.
    """
    pc = _full(driver, checkers=NO_RACES)
    late = pc.add_device("00:05.0", probe=False)
    error = pc.run(pc.core.iommu_probe_device(late))
    return len(pc.devices) - 1, error, list(pc.machine.findings)


def _switch(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = _full(driver, machine=machine)
    old, new, other = pc.domain_of("00:08.0"), pc.new_domain(), pc.new_domain()

    async def switch() -> int:
        own = getattr(pc.driver, "switch_domain_id", None)
        if own is not None:
            error: int = await own(pc.dmar(old), pc.dmar(new), pc.iommu())
            return error
        await pc.driver.domain_detach_iommu(pc.dmar(old), pc.iommu())
        return await pc.driver.domain_attach_iommu(pc.dmar(new), pc.iommu())

    thread = machine.spawn(switch(), cpu=0, name="switch")
    machine.spawn(wants_id(pc, other), cpu=1, name="other")

    def end() -> str:
        kept = (id_of(pc, old), id_of(pc, new), len(ids_in_use(pc)))
        if thread.result:
            return f"switch fails: {thread.result}"
        return "switch works" if kept == (0, 1, 16) else f"ids of old and new domain, and ids in use: {kept}"

    return end


SWITCH = Scenario(
    "switch",
    "a domain gives up its id for another one, a third domain wants one, and none is left",
    _switch,
    cpus=2,
)


# -- exercises ----------------------------------------------------------------


def _story(seed: int) -> tuple[str, ...]:
    """Domains come and go: capital letters get an id, small ones give it back."""
    draw = random.Random(seed)
    names = iter("ABCDEFGHJ")
    inside: list[str] = []
    told: list[str] = []
    while len(told) < 8:
        if len(inside) > 1 and draw.random() < 0.45:
            told.append(inside.pop(draw.randrange(len(inside))).lower())
        else:
            inside.append(next(names))
            told.append(inside[-1])
    if told[-1].islower():
        told.append(next(names))
    return tuple(told)


def _ids_of(story: tuple[str, ...]) -> dict[str, int]:
    """Let the driver do it: the ids of the domains that have one in the end."""
    pc = Computer(driver=driver_at(6), devices=[], checkers=())
    domains: dict[str, IommuDomain] = {}
    for name in story:
        if name.isupper():
            domains[name] = pc.new_domain()
            pc.run(wants_id(pc, domains[name]))
        else:
            pc.run(pc.driver.domain_detach_iommu(pc.dmar(domains.pop(name.upper())), pc.iommu()))
    return {name: id_of(pc, domain) for name, domain in domains.items()}


def _last(seed: int) -> str:
    return [name for name in _story(seed) if name.isupper()][-1]


def _thinks_ids_grow(seed: int, given: Any) -> str | None:
    arrivals = sum(name.isupper() for name in _story(seed))
    if given == arrivals:
        return "ids that were given back are handed out again: the lowest free one first"
    return (
        "id 0 is reserved, it stands for no domain"
        if given == _ids_of(_story(seed))[_last(seed)] - 1
        else None
    )


WHICH_ID = Exercise(
    "which id",
    lambda seed: (
        "On a unit with no domain yet these domains get an id (capital letter) and give it back (small "
        "letter):\n" + " ".join(_story(seed)) + f"\nWhich id does {_last(seed)} get?"
    ),
    lambda seed: _ids_of(_story(seed))[_last(seed)],
    hints=["the first domain of all gets id 1", "find_first_zero_bit: the lowest id that nobody has"],
    mistakes=[_thinks_ids_grow],
    why="The bitmap is searched from the lowest bit. Bit 0 is set from the beginning.",
)


async def switch_domain_id(self: Any, old: dmar_domain, new: dmar_domain, iommu: intel_iommu) -> int:
    """Give up one id and take one, with nobody in between."""
    async with iommu.lock:
        await self.drop_domain_id(old, iommu)
        error: int = await self.take_domain_id(new, iommu)
        return error


def _play(seed: int, function: Any) -> ScenarioExploration:
    return outcomes(SWITCH, version_with(driver_at(11), function))


def _switched(full: bool = True, devices: int = 1, known: bool = False) -> Callable[[Computer], Work]:
    """A domain with some devices gives its id up for another one; ids are scarce or not; the other domain has
    one already or not.
    """

    def prepare(pc: Computer) -> Work:
        for number in range(devices):
            pc.add_device(f"00:{number + 3:02x}.0")
        old, new = pc.domain_of("00:03.0"), pc.new_domain()
        for number in range(1, devices):
            pc.run(pc.core.iommu_attach_device(old, pc.devices[f"00:{number + 3:02x}.0"]))
        if known:
            pc.run(pc.driver.domain_attach_iommu(pc.dmar(new), pc.iommu()))
        while full and len(ids_in_use(pc)) < 16:
            pc.run(pc.driver.domain_attach_iommu(pc.dmar(pc.new_domain()), pc.iommu()))
        return lambda: pc.driver.switch_domain_id(pc.dmar(old), pc.dmar(new), pc.iommu())

    return prepare


SWITCH_IDS = CodeExercise(
    "switch ids",
    lambda seed: (
        "Write switch_domain_id(self, old, new, iommu): old gives up its id, new gets one, and nobody can "
        "come between.\nIt returns what taking an id returns. Nobody holds a lock when it is called (it is "
        "judged in the version after patch 11)."
    ),
    lambda seed: switch_domain_id,
    hints=[
        "domain_attach_iommu and domain_detach_iommu lock for themselves: between two calls "
        "of them the lock is free",
        "their bodies, take_domain_id and drop_domain_id, want the lock held: async with iommu.lock",
    ],
    why="What must be one step needs one hold of the lock, and so functions that do not lock for themselves.",
    base=driver_at(11),
    scenes=[
        Scene("the last id goes from one to the other", _switched(), FEW),
        Scene("two devices, and no id is left", _switched(devices=2), FEW),
        Scene("ids enough", _switched(full=False)),
        Scene("the other domain has an id", _switched(known=True), FEW),
        Scene("scalable mode", _switched(full=False), SCALABLE, scalable=True),
    ],
    races=[SWITCH],
    play=_play,
)


progress, seed = of_lesson(globals())
