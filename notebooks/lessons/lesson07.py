"""Lesson 07: PASID entries, and waiting with the lock held. Patch 07, "Acquiring lock
in pasid manipulation helpers".

All computers here run in scalable mode, most of them in caching mode too, as a virtual machine's unit
does: then every new entry costs invalidations. `BIND_UNBIND` is an entry that is taken out on one CPU while
another fills it in again. `codes` and `leftovers` say what a set-up that fails returns and leaves behind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.pasid_table import pasid_entry
from vtdkit.iommu.intel.structs import dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.record import ACQUIRE, RELEASE
from vtdkit.lab.computer import BOTH_STAGES, FIRST_STAGE, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, Run, Table, duration, table, version_with
from vtdkit.lab.operations import attach, new_domain, probed
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request, Translation

LOCK = "&iommu->lock"
CACHING = replace(SCALABLE, CM=1)
LOCKS_ITSELF = (driver_at(7), mainline.driver_at(7))
PASID, IOVA, PAGE = 5, 0x10000, 4096
BUSY, NO_DEVICE = -16, -19


# -- a scene ------------------------------------------------------------------


def computer(driver: type[IntelIommu], unit: Capabilities = CACHING, **options: Any) -> Computer:
    """Two CPUs, one unit in scalable mode, no device yet."""
    return Computer(
        driver=driver, devices=[], units=unit, scalable=True, **{"cpus": 2, "checkers": NO_RACES, **options}
    )


#: told when the question is checked
WHY_AS_LONG = "The PASID entry no longer waits under the lock. The context entry still does."


def commands(run: Run) -> int:
    """How often a thread of the scene sent commands to the unit and waited for them."""
    return len(run.spans("waiting for hardware"))


def held(run: Run, lock: str = LOCK) -> dict[str, list[int]]:
    """By which functions a lock was taken, and how long each time, ns; in the order of the first time."""
    trace = run.trace
    taken: dict[int, tuple[int, str]] = {}
    found: dict[str, list[int]] = {}
    for time, _, _, kind, obj, place, _ in trace.rows():
        if time < run.start or trace.objects[obj] != lock:
            continue
        if kind == ACQUIRE:
            taken[obj] = time, trace.sites[place].function
            found.setdefault(trace.sites[place].function, [])
        elif kind == RELEASE and obj in taken:
            began, function = taken.pop(obj)
            found[function].append(time - began)
    return found


def holds(run: Run, lock: str = LOCK) -> Table:
    """The same as a table: how often, and the longest hold."""
    rows = ([name, len(times), duration(max(times))] for name, times in held(run, lock).items())
    return table([f"{lock} taken in", "times", "longest hold"], *rows)


# -- one entry, two CPUs ------------------------------------------------------


def second_level(
    pc: Computer, domain: IommuDomain, dev: PciDevice, pasid: int = PASID
) -> Coroutine[Any, Any, int]:
    """Fill in the entry of a PASID for a domain's second-level tables, as the callers of this version do."""

    async def helper() -> int:
        found: int = await pc.driver.intel_pasid_setup_second_level(pc.iommu(), pc.dmar(domain), dev, pasid)
        return found

    async def locked() -> int:
        async with pc.iommu().lock.irqsave():
            return await helper()

    return helper() if isinstance(pc.driver, LOCKS_ITSELF) else locked()


def _two_domains(
    driver: type[IntelIommu], **options: Any
) -> tuple[Computer, PciDevice, IommuDomain, IommuDomain]:
    """A device whose PASID 5 leads to the first of two domains; a page is mapped in each, at one address."""
    pc = computer(driver, **options)
    dev, other = (pc.add_device(address, probe=False, pasid=True) for address in ("00:03.0", "00:04.0"))
    first, second = new_domain(pc), new_domain(pc)
    for each, domain in ((dev, first), (other, second)):
        pc.run(pc.driver.intel_iommu_probe_device(each))
        attach(pc, domain, each)
    assert pc.run(pc.driver.intel_iommu_enable_pasid(pc.iommu(), dev)) == 0
    pc.map(first, IOVA, 0x5000000)
    pc.map(second, IOVA, 0x6000000)
    assert pc.run(second_level(pc, first, dev)) == 0
    return pc, dev, first, second


def entry_of(pc: Computer, dev: PciDevice, pasid: int = PASID) -> pasid_entry:
    """The entry of a PASID."""
    found = pc.run(pc.driver.intel_pasid_get_entry(dev, pasid))
    assert found is not None
    return found


def words_of(entry: pasid_entry) -> list[int]:
    """The eight words of an entry, looked at from outside."""
    return [entry.page.words[entry.index + number] for number in range(8)]


def _state(words: list[int], domain: dmar_domain) -> str:
    """What an entry says: nothing, this domain as a whole, or half of something."""
    if not words[0] & 1:
        return "absent"
    whole = (
        words[0] >> 12 == domain.peek("pgd").address >> 12
        and words[1] & 0xFFFF == domain.peek("iommu_did")[0]
    )
    return "whole" if whole else f"torn: the table is there, the domain id is {words[1] & 0xFFFF}"


def _bind_unbind(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc, dev, _, domain = _two_domains(driver, machine=machine)
    entry = entry_of(pc, dev)
    machine.spawn(pc.driver.intel_pasid_tear_down_entry(pc.iommu(), dev, PASID, False), cpu=0, name="unbind")
    bind = machine.spawn(second_level(pc, domain, dev), cpu=1, name="bind")
    return lambda: f"{_state(words_of(entry), pc.dmar(domain))}; set-up returns {bind.result}"


BIND_UNBIND = Scenario(
    "bind and unbind", "a PASID's entry is taken out on one CPU, filled in on another", _bind_unbind, cpus=2
)


def outcomes(scenario: Scenario, driver: type[IntelIommu]) -> ScenarioExploration:
    """Every order of a scenario: how often each outcome comes about, and an order that leads to it."""
    return explore(scenario.on(driver), cpus=scenario.cpus)


def torn(found: ScenarioExploration) -> str:
    """The outcome with a torn entry. Raises StopIteration where there is none."""
    return next(str(value) for value in found.outcomes if "torn" in str(value))


def through_torn(domain_id: int | None = None) -> Table:
    """DMA with PASID 5 while a page is mapped, and after it was unmapped; `domain_id` is written into the
    entry by hand first.
    """
    pc, dev, _, domain = _two_domains(driver_at(7), unit=SCALABLE)
    pc.run(pc.driver.intel_pasid_tear_down_entry(pc.iommu(), dev, PASID, False))
    assert pc.run(second_level(pc, domain, dev)) == 0
    entry = entry_of(pc, dev)
    if domain_id is not None:
        entry.page.words[entry.index + 1] = domain_id
    rows = []
    for when in ("the page is mapped", "the page was unmapped"):
        answer = pc.run(pc.hardware[0].dma(Request(dev.sid, IOVA, pasid=PASID)))
        got = hex(answer.address) if isinstance(answer, Translation) else f"a fault: {answer.name}"
        rows.append([when, words_of(entry)[1] & 0xFFFF, got])
        pc.unmap(domain, IOVA)
    return table(["", "domain id in the entry", "the device reads"], *rows)


# -- what goes wrong on purpose -----------------------------------------------


def _with_both(
    driver: type[IntelIommu], unit: Capabilities = BOTH_STAGES
) -> tuple[Computer, PciDevice, IommuDomain]:
    pc = computer(driver, unit)
    dev, domain = probed(pc, 3), new_domain(pc)
    attach(pc, domain, dev)
    return pc, dev, domain


def _first_level(
    pc: Computer, domain: IommuDomain, dev: PciDevice, flags: int = 0
) -> Coroutine[Any, Any, int]:
    async def helper() -> int:
        pgd = pc.dmar(domain).pgd
        found: int = await pc.driver.intel_pasid_setup_first_level(pc.iommu(), dev, pgd, PASID, 1, flags)
        return found

    async def locked() -> int:
        async with pc.iommu().lock.irqsave():
            return await helper()

    return helper() if isinstance(pc.driver, LOCKS_ITSELF) else locked()


KINDS: dict[str, Callable[[Computer, IommuDomain, PciDevice], Coroutine[Any, Any, int]]] = {
    "first level": _first_level,
    "second level": second_level,
}


def codes(driver: type[IntelIommu]) -> dict[str, int]:
    """What a set-up returns when the entry is in use, and when there is no memory for the table
    it would stand in.
    """
    found = {}
    for kind, set_up in KINDS.items():
        pc, dev, domain = _with_both(driver)
        assert pc.run(set_up(pc, domain, dev)) == 0
        found[f"{kind}, the entry is in use"] = pc.run(set_up(pc, domain, dev))
        pc, dev, domain = _with_both(driver)
        found[f"{kind}, no memory for it"] = _without_memory(pc, set_up, domain, dev)
    return found


def _without_memory(pc: Computer, set_up: Any, domain: IommuDomain, dev: PciDevice) -> int:
    """The table of the first 64 PASIDs is taken away and every allocation fails."""
    info = pc.driver.dev_iommu_priv_get(dev)
    assert info is not None
    assert info.pasid_table is not None
    slot = info.pasid_table.dir_entry(0)
    pc.run(slot.store(0))
    pc.machine.pages.faults.nth = pc.machine.pages.faults.count + 1
    result: int = pc.run(set_up(pc, domain, dev))
    return result


def leftovers(driver: type[IntelIommu]) -> tuple[int, list[int]]:
    """Ask a unit for supervisor requests, which it cannot do: what set-up returns, and
    the entry's words afterwards.
    """
    pc, dev, domain = _with_both(driver, replace(BOTH_STAGES, SRS=0))
    result = pc.run(_first_level(pc, domain, dev, defs.PASID_FLAG_SUPERVISOR_MODE))
    return result, words_of(entry_of(pc, dev))


def _scalable_unmap_irq(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A completion interrupt unmaps a page of an ATS device while a thread unmaps another; scalable mode."""
    pc = Computer(
        driver=driver, machine=machine, devices={"00:03.0": {"ats": True}}, units=SCALABLE, scalable=True
    )
    domain = pc.domain_of("00:03.0")
    for number in range(2):
        pc.map(domain, IOVA + number * PAGE, 0x5000000)

    async def completion() -> None:
        await pc.core.iommu_unmap(domain, IOVA + PAGE, PAGE)

    async def transfer() -> None:
        machine.irq.interrupt(machine.cpus[0], "nvme_irq", completion)

    thread = machine.spawn(pc.core.iommu_unmap(domain, IOVA, PAGE), cpu=0, name="unmap")
    machine.spawn(transfer(), cpu=1, name="device")
    return lambda: f"unmapped {thread.result}"


UNMAP_IRQ = Scenario(
    "scalable unmap-irq", "an interrupt unmaps a page on a CPU that unmaps another", _scalable_unmap_irq
)


# -- exercises ----------------------------------------------------------------

TYPES = {1: "first level", 2: "second level", 3: "nested", 4: "pass-through"}


def _entry(seed: int) -> tuple[int, int]:
    """The two low words of some entry."""
    draw = random.Random(seed)
    kind, table_page = draw.choice((1, 2, 4)), draw.randrange(0x1000, 0xFFFFF) << 12
    low = 1 | 2 << 2 | kind << 6 | (table_page if kind == 2 else 0)
    return low, draw.randrange(2, 1 << 16) | 1 << 23


def _says(seed: int) -> tuple[str, int]:
    low, high = _entry(seed)
    return TYPES[low >> 6 & 7], high & 0xFFFF


def _misread(seed: int, given: Any) -> str | None:
    _, high = _entry(seed)
    if not isinstance(given, tuple) or len(given) != 2:
        return "the answer is a pair: a name and a number"
    if given[1] == high:
        return "bit 23 of the second word is not part of the domain id, which has 16 bits"
    return "the type is in bits 6 to 8 of the first word" if given[0] != _says(seed)[0] else None


WHAT_IT_SAYS = Exercise(
    "what the entry says",
    lambda seed: (
        "The two low words of a PASID entry are\n"
        + "\n".join(f"{word:#018x}" for word in _entry(seed))
        + "\nBits 6 to 8 of the first word are the type: 1 first level, 2 second level, 3 nested, 4 "
        "pass-through.\nThe low 16 bits of the second are the domain id. Answer with a "
        "pair such as ('nested', 17)."
    ),
    _says,
    hints=["shift right by 6, then keep three bits with & 7", "& 0xffff keeps the low 16 bits"],
    mistakes=[_misread],
    why="The type says which of the pointers in the entry the hardware follows; the domain id tags what it "
    "caches.",
)


async def intel_pasid_setup_second_level(
    self: Any,
    iommu: intel_iommu,
    domain: dmar_domain,
    dev: PciDevice,
    pasid: int,
) -> int:
    """Check, lock, look, fill, unlock, flush."""
    if not self.ecap(iommu, defs.ECAP_SLTS):
        return -22
    pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
    if pgd is None:
        return -22
    did = domain.iommu_did[iommu.seq_id]
    async with iommu.lock:
        pte = await self.intel_pasid_get_entry(dev, pasid)
        if pte is None:
            return NO_DEVICE
        if await pte.present():
            return BUSY
        await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))
    await self.pasid_flush_caches(iommu, pasid, did)
    return 0


def _play(seed: int, function: Any) -> ScenarioExploration:
    """Every order of an entry that is taken out on one CPU and filled in on another."""
    return outcomes(BIND_UNBIND, version_with(driver_at(7), function))


def _set_up(
    entry: str, mapped: bool = True, levels_less: int = 0, unit: int = 0
) -> Callable[[Computer], Work]:
    """Fill in the entry of PASID 5, which is free, in use, or in a table that is not there yet; on a unit
    whose tables have some levels less than the domain's; on the first unit or another one.
    """

    def prepare(pc: Computer) -> Work:
        dev = pc.add_device("00:03.0", probe=False, pasid=True, unit=unit)
        domain = new_domain(pc)
        pc.run(pc.driver.intel_iommu_probe_device(dev))
        attach(pc, domain, dev)
        pc.run(pc.driver.intel_iommu_enable_pasid(pc.iommu(unit), dev))
        if mapped:
            pc.map(domain, IOVA, 0x5000000)
        if entry == "in use":
            pc.run(second_level(pc, domain, dev))
        if entry == "missing":
            pc.run(pc.info("00:03.0").pasid_table.dir_entry(0).store(0))
        pc.iommu().agaw -= levels_less
        dmar, iommu = pc.dmar(domain), pc.iommu(unit)
        return lambda: pc.driver.intel_pasid_setup_second_level(iommu, dmar, dev, PASID)

    return prepare


def _two_set_ups(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Two domains want the entry of one PASID at the same time."""
    pc, dev, first, second = _two_domains(driver, machine=machine)
    pc.run(pc.driver.intel_pasid_tear_down_entry(pc.iommu(), dev, PASID, False))
    entry = entry_of(pc, dev)
    threads = [
        machine.spawn(second_level(pc, domain, dev), cpu=cpu, name=f"set-up {cpu}")
        for cpu, domain in enumerate((first, second))
    ]

    def end() -> str:
        states = [_state(words_of(entry), pc.dmar(domain)) for domain in (first, second)]
        return f"{[thread.result for thread in threads]}, {states}"

    return end


TWO_SET_UPS = Scenario("two set-ups", "two CPUs fill in the entry of one PASID", _two_set_ups, cpus=2)


def _dma_meanwhile(driver: type[IntelIommu], machine: Machine) -> Observer:
    """The unit reads the entry of a PASID while it is filled in: it is not there yet, or whole."""
    pc, dev, first, _ = _two_domains(driver, machine=machine, unit=SCALABLE)
    pc.run(pc.driver.intel_pasid_tear_down_entry(pc.iommu(), dev, PASID, False))
    request = Request(dev.sid, IOVA, "read", pasid=PASID)
    dma = machine.spawn_device(pc.hardware[0].dma(request), f"DMA of {dev.name}")
    machine.spawn(second_level(pc, first, dev), cpu=0, name="bind")

    def end() -> tuple[str, int | None]:
        answer = dma.result
        return (
            (f"{answer.address:#x}", answer.did) if isinstance(answer, Translation) else (answer.name, None)
        )

    return end


DMA_MEANWHILE = Scenario(
    "DMA meanwhile", "a device uses a PASID while its entry is filled in", _dma_meanwhile, cpus=1
)


BUSY_AGAIN = CodeExercise(
    "busy again",
    lambda seed: (
        "Write intel_pasid_setup_second_level(self, iommu, domain, dev, pasid) as it was merged: it takes "
        f"the lock\nitself, does not wait for the hardware under it, and returns\n{BUSY} (-EBUSY) for an "
        f"entry in use, {NO_DEVICE} (-ENODEV) if there is none."
    ),
    lambda seed: intel_pasid_setup_second_level,
    hints=[
        "self.intel_pasid_get_entry(dev, pasid) gives the entry or None; await pte.present() "
        "says whether it is in use",
        "begin with the body of the version before; async with iommu.lock: goes round "
        "what looks and what fills in",
        "await self.pasid_flush_caches(iommu, pasid, did) comes after the lock",
    ],
    why="Between the look and the last word filled in nobody else may come; the flush needs only numbers "
    "that are known by then.",
    base=driver_at(7),
    scenes=[
        Scene("a free entry", _set_up("free"), CACHING, scalable=True),
        Scene("an entry in use", _set_up("in use"), CACHING, scalable=True),
        Scene("no table for the entry yet", _set_up("missing"), CACHING, scalable=True),
        Scene("a unit with fewer levels", _set_up("free", levels_less=1), CACHING, scalable=True),
        Scene("fewer levels, nothing mapped", _set_up("free", False, 1), CACHING, scalable=True),
        Scene("the second unit", _set_up("free", unit=1), [CACHING, CACHING], scalable=True),
        Scene("a unit without caching mode", _set_up("free"), SCALABLE, scalable=True),
        Scene("a unit that sees no caches", _set_up("free"), replace(SCALABLE, SMPWC=0, C=0), scalable=True),
        Scene("a unit with first level only", _set_up("free"), FIRST_STAGE, scalable=True),
    ],
    races=[BIND_UNBIND, TWO_SET_UPS, DMA_MEANWHILE],
    play=_play,
)


progress, seed = of_lesson(globals())
