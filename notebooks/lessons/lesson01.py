"""Lesson 01: the debugfs dump and the lock it held. Patch 01, "Use
iommu_get_domain_for_dev() in debugfs".

Three devices, each in a domain of its own: 00:03.0 with many pages mapped and 00:04.0, both with a TLB of
their own (ATS), and 00:05.0 without. The notebook has the scene; here is what it measures and asks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.seq_file import SeqFile
from vtdkit.lab.computer import FIRST_STAGE, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import NO_RACES, CodeExercise, Run, later, together, version_with
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at

PAGES = 512
PAGE = 4096
LOCK = "device_domain_lock"
BIG, ATS, PLAIN = "00:03.0", "00:04.0", "00:05.0"


def computer(driver: type[IntelIommu], pages: int = PAGES, seed: int = 1) -> Computer:
    """Four CPUs, three devices; `pages` scattered pages mapped for the first device, one page
    for the other two.
    """
    devices = {BIG: {"ats": True}, ATS: {"ats": True}, PLAIN: {}}
    pc = Computer(driver=driver, cpus=4, seed=seed, devices=devices, checkers=NO_RACES)
    map_pages(pc, pages)
    return pc


def map_pages(pc: Computer, pages: int) -> None:
    """So many scattered pages for the first device, one page for the others."""
    for number in range(pages):
        pc.map(pc.domain_of(BIG), 0x100000 + number * PAGE, 0x5000000 + 2 * number * PAGE)
    pc.map(pc.domain_of(ATS), 0x10000, 0x8000000)
    pc.map(pc.domain_of(PLAIN), 0x10000, 0x9000000)


#: told when the question is checked
WHY_IT_WAITS = "One lock serves all domains: the reader has it, with 512 lines to print."


def how_long(run: Run) -> str:
    """How long the unmap of the scene waited, as one of the answers of the question in the notebook."""
    share = run.waited("unmap") / max(run.held(LOCK, "cat"), 1)
    return "not at all" if share == 0 else "about a line" if share < 0.1 else "most of the dump"


# -- what the lock kept out ---------------------------------------------------

#: the reader looks the domain up and prints the heading; then the other CPU takes the device out of the
#: domain and frees it
FREED_UNDER_THE_READER = "cat*4 close"


def freed_domain(driver: type[IntelIommu]) -> Steps:
    """The dump finds a domain; before it goes on, the domain is freed. One schedule,
    to be stepped through.
    """
    return record_schedule(
        SCENARIOS["dump-free"].on(driver),
        FREED_UNDER_THE_READER,
        title="A dump, and a domain freed meanwhile",
    )


# -- exercises ----------------------------------------------------------------

Operation = Callable[[Computer], Coroutine[Any, Any, Any]]


async def _detach(pc: Computer) -> None:
    await pc.core.iommu_detach_device(pc.domain_of(PLAIN), pc.devices[PLAIN])


OPERATIONS: dict[str, Operation] = {
    "map a page": lambda pc: pc.core.iommu_map(pc.domain_of(PLAIN), 0x40000, 0xA000000, PAGE, 3),
    "map a page for the ATS device": lambda pc: pc.core.iommu_map(
        pc.domain_of(ATS), 0x40000, 0xA000000, PAGE, 3
    ),
    "unmap a page": lambda pc: pc.core.iommu_unmap(pc.domain_of(PLAIN), 0x10000, PAGE),
    "unmap a page of the ATS device": lambda pc: pc.core.iommu_unmap(pc.domain_of(ATS), 0x10000, PAGE),
    "attach a device": lambda pc: pc.core.iommu_attach_device(pc.new_domain(), pc.devices[PLAIN]),
    "probe a device that was plugged in": lambda pc: pc.driver.intel_iommu_probe_device(
        pc.new_device("00:06.0")
    ),
    "look an address up (iova_to_phys)": lambda pc: pc.core.iommu_iova_to_phys(pc.domain_of(ATS), 0x10000),
}


def waits_for_the_dump(operation: str, driver: type[IntelIommu] | None = None) -> bool:
    """Whether an operation, begun while the dump is on, waits for the global lock (before the
    series, unless told otherwise).
    """
    pc = computer(driver or driver_at(0), pages=16)
    run = together(
        pc, cat=pc.driver.domain_translation_struct_show(), other=later(pc, 2_000, OPERATIONS[operation](pc))
    )
    return run.waited("other", LOCK) > 0


def _asked(seed: int) -> list[str]:
    """Five of the operations, of which some wait and some do not."""
    return sorted(random.Random(seed).sample(sorted(OPERATIONS), 5))


def _who_waits(seed: int) -> set[str]:
    return {name for name in _asked(seed) if waits_for_the_dump(name)}


def _thinks_map_waits(seed: int, given: Any) -> str | None:
    wrong = sorted(name for name in given if name.startswith("map")) if isinstance(given, set) else []
    return (
        f"{wrong[0]!r} takes no lock at all: entries are put in with compare-and-exchange" if wrong else None
    )


def _thinks_every_unmap_waits(seed: int, given: Any) -> str | None:
    if isinstance(given, set) and "unmap a page" in given:
        return (
            "'unmap a page' needs the device list only where a device has a TLB of its "
            "own that must be flushed"
        )
    return None


WHO_WAITS = Exercise(
    "who waits",
    lambda seed: (
        "While the dump is on (before the series), which of these wait for device_domain_lock? Answer with a "
        "set.\n" + "\n".join(f"- {name!r}" for name in _asked(seed))
    ),
    _who_waits,
    hints=["look for who walks or changes a list of devices", "run one: waits_for_the_dump('unmap a page')"],
    mistakes=[_thinks_map_waits, _thinks_every_unmap_waits],
    why="The lock guards lists of devices. Probing and attaching change one; an unmap walks one, to flush "
    "the devices' own TLBs."
    " Page tables have no lock.",
)


async def show_device_domain_translation(self: Any, m: SeqFile, dev: PciDevice) -> int:
    """Dump the domain of a device while the group's mutex keeps it attached."""
    async with dev.group.mutex:
        domain = await self.core.iommu_get_domain_for_dev(dev)
        if domain is not None:
            await self.dump_domain(m, dev, domain.driver)
    return 0


def _play(seed: int, function: Any) -> SeqFile:
    """The file as a driver with this function prints it."""
    pc = computer(version_with(driver_at(1), function, "show_device_domain_translation"), pages=2)
    text: SeqFile = pc.run(pc.driver.domain_translation_struct_show())
    return text


def _printed(mapped: bool = True, attached: bool = True) -> Callable[[Computer], Work]:
    """Print the domain of a device: one with pages, one without, or none at all."""

    def prepare(pc: Computer) -> Work:
        dev = pc.add_device(PLAIN)
        if mapped:
            pc.map(pc.domain_of(PLAIN), 0x10000, 0x9000000)
            pc.map(pc.domain_of(PLAIN), 0x40000000, 0x9000000, 0x200000)
        if not attached:
            dev.group.preset(domain=None)
        return work(pc, dev)

    def work(pc: Computer, dev: PciDevice) -> Work:
        async def show() -> tuple[int, list[str]]:
            m = SeqFile(pc.machine)
            result: int = await pc.driver.show_device_domain_translation(m, dev)
            return result, m.lines

        return show

    return prepare


KEEP_IT_ALIVE = CodeExercise(
    "keep it alive",
    lambda seed: (
        "Write show_device_domain_translation(self, m, dev) so that the domain cannot be freed while it is "
        "printed, and no other domain waits. dev.group.mutex is the lock that attaching and detaching hold."
    ),
    lambda seed: show_device_domain_translation,
    hints=[
        "async with dev.group.mutex: takes it and gives it back",
        "look the domain up after you have the mutex: what was looked up before may be gone",
    ],
    why="Detaching needs the same mutex, so it waits until the last entry is printed; only then can the "
    "domain be freed.",
    base=driver_at(1),
    scenes=[
        Scene("a device with pages mapped", _printed()),
        Scene("a device with nothing mapped", _printed(mapped=False)),
        Scene("a device without a domain", _printed(attached=False)),
        Scene("second-level tables", _printed(), SCALABLE, scalable=True),
        Scene("first-level tables", _printed(), FIRST_STAGE, scalable=True),
    ],
    races=[SCENARIOS["dump-free"]],
    play=_play,
)


progress, seed = of_lesson(globals())
