"""Lesson 02: the search for an alias's PASID table. Patch 02, "Remove for_each_device_domain()".

All computers here run in scalable mode, where a device's context entry leads to a PASID table. `plugged`
plugs devices in one after the other, some of them with aliases, and says which PASID table each of them got;
`plug_and_pull` does so while another device is pulled out, in every order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from lessons.scenes import QUESTIONS
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.pasid_table import pasid_table_opaque
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.lesson.base import (
    NO_RACES,
    CodeExercise,
    Run,
    Table,
    Tried,
    table,
    together,
    tried,
    version_with,
)
from vtdkit.lab.scenarios.base import Observer, Scenario
from vtdkit.series.catalogue import driver_at
from vtdkit.vtd.requests import Fault, Request

LOCK = "device_domain_lock"
FIRST, SECOND, ATS = "00:03.0", "00:04.0", "00:05.0"
PAGE = 4096
OTHERS = 128  # devices that were there before


# -- many devices -------------------------------------------------------------


def crowd(others: int) -> dict[str, dict[str, Any]]:
    """So many devices on buses of their own."""
    return {f"{10 + number // 32:02x}:{number % 32:02x}.0": {} for number in range(others)}


def computer(driver: type[IntelIommu], others: int = OTHERS, seed: int = 1) -> Computer:
    """Three CPUs; three devices that matter, and `others` on buses of their own, each in its own domain."""
    devices: dict[str, dict[str, Any]] = {**crowd(others), FIRST: {}, SECOND: {}, ATS: {"ats": True}}
    pc = Computer(
        driver=driver, cpus=3, seed=seed, devices=devices, units=SCALABLE, scalable=True, checkers=NO_RACES
    )
    pc.map(pc.domain_of(ATS), 0x10000, 0x8000000)
    return pc


def attach_alone(driver: type[IntelIommu], others: int) -> Run:
    """One device is attached to a new domain, and nothing else happens."""
    pc = computer(driver, others)
    return together(pc, attach=pc.core.iommu_attach_device(pc.new_domain(), pc.devices[FIRST]))


# -- aliases ------------------------------------------------------------------

Devices = Mapping[str, Mapping[str, Any]]

#: a device with two functions; the second one's requests carry the first one's address
ODD_FUNCTION: Devices = {"03:00.0": {}, "03:00.1": {"aliases": ("03:00.0",)}}
#: a bridge, and a device behind it whose requests come out of the bridge as bus 02, device 00
BEHIND_A_BRIDGE: Devices = {"00:0d.0": {}, "02:03.0": {"aliases": ("02:00.0 via 00:0d.0",)}}


def plugged(driver: type[IntelIommu], devices: Devices) -> Table:
    """Plug devices in one after the other: whether it works, whose PASID table each has, what a DMA of it
    gets in the end.

    A device with an alias uses it: its DMA carries the alias's source id.
    """
    pc = Computer(driver=driver, devices={}, units=SCALABLE, scalable=True, checkers=NO_RACES)
    results = {}
    for address, options in devices.items():
        try:
            dev = pc.add_device(address, **options)
        except KernelBug as error:
            results[address] = f"fails: {str(error).rpartition(' ')[2]}"
            continue
        pc.map(dev.group.domain, 0x10000, 0x5000000, PAGE)
        results[address] = "works"
    rows = [(address, result, *_state(pc, address)) for address, result in results.items()]
    return table(["device", "plugging it in", "PASID table", "its DMA afterwards"], *rows)


def _state(pc: Computer, address: str) -> tuple[str, str]:
    info = pc.info(address)
    found = info.pasid_table if info is not None else None
    bus, devfn = pc.devices[address].aliases[-1]  # the source id its requests carry
    answer = pc.run(pc.hardware_of(address).dma(Request(bus << 8 | devfn, 0x10000)))
    owner = repr(found).removeprefix("<PASID table ").removesuffix(">") if found is not None else "none"
    return owner, answer.name if isinstance(answer, Fault) else "goes through"


# -- every order --------------------------------------------------------------


def plug_and_pull(pair: str, driver: type[IntelIommu], limit: int = 2000) -> Tried:
    """One device of a pair ("alias", "bridge") is plugged in while the other is pulled out: in how many
    orders, `limit` at most, something is found. With "-excluded" behind the pair's name, under
    `pci_rescan_remove_lock`.
    """
    return tried(QUESTIONS[f"plug-{pair}"], driver, limit=limit)


def why_so_long(ratio: float) -> str:
    """Told when the question is checked."""
    return f"{ratio:.1f} times as long: the search looks at each device, and each is a cache line to fetch."


# -- exercises ----------------------------------------------------------------


def pasid_of(seed: int) -> int:
    """The PASID of the first exercise."""
    return random.Random(seed).randrange(0x1000, 1 << 20)


def _wrong_place(seed: int, given: Any) -> str | None:
    pasid = pasid_of(seed)
    known = {
        (
            pasid & 63,
            pasid >> 6,
        ): "the right numbers, in the other order: first the directory, then the table",
        (pasid >> 9, pasid & 511): "a PASID table has 64 entries of 64 bytes, not 512 of 8",
    }
    return known.get(given) if isinstance(given, tuple) else None


WHERE_IS_THE_PASID = Exercise(
    "where is the PASID",
    lambda seed: (
        f"A request carries PASID {pasid_of(seed):#x}. Which directory entry does the hardware read, and "
        "then which entry of the table it leads to? Answer with a pair of numbers."
    ),
    lambda seed: (pasid_of(seed) >> 6, pasid_of(seed) & 63),
    hints=[
        "an entry has 64 bytes, so 64 of them fill a page",
        "the low six bits choose in the table, the rest which table",
    ],
    mistakes=[_wrong_place],
    why="64 bytes an entry, 4096 in a page: six bits. The directory has the other fourteen.",
)


async def get_alias_pasid_table(
    self: Any, pdev: PciDevice, bus: int, devfn: int, data: pasid_table_opaque
) -> int:
    """The table of the device that has this address, found by the PCI bus."""
    found = await self.bus.get_domain_bus_and_slot(pdev.segment, bus, devfn)
    if found is None:
        return 0
    info = self.dev_iommu_priv_get(found)
    if info is not None and info.pasid_table is not None:
        data.pasid_table = info.pasid_table
    await self.bus.put(found)
    return int(data.pasid_table is not None)


def _play(seed: int, function: Any) -> Table:
    """What becomes of the device with the odd function."""
    return plugged(version_with(driver_at(2), function), ODD_FUNCTION)


def _asked(
    there: bool = True, probed: bool = True, bus: int = 3, segment: str = ""
) -> Callable[[Computer], Work]:
    """Ask for the table of 03:02.0, which is there or not, known to the driver or not; or of another bus."""

    def prepare(pc: Computer) -> Work:
        other = pc.add_device("03:02.0", probe=probed) if there else None
        pc.add_device("03:00.0")
        pc.add_device(SECOND)
        asks = pc.add_device(f"{segment}03:02.1", probe=False, aliases=("03:02.0",))
        data = pasid_table_opaque()

        async def look() -> tuple[int, bool]:
            found: int = await pc.driver.get_alias_pasid_table(asks, bus, 0x10, data)
            record = other.peek("iommu_priv") if other is not None else None
            return found, data.pasid_table is (
                record.pasid_table if record is not None and bus == 3 and not segment else None
            )

        return look

    return prepare


def _leaves(driver: type[IntelIommu], machine: Machine) -> Observer:
    pc = Computer(driver=driver, machine=machine, devices={}, units=SCALABLE, scalable=True)
    other = pc.add_device("03:00.0", probe=False)
    asks = pc.add_device("03:00.1", probe=False, aliases=("03:00.0",))
    machine.spawn(pc.bus.remove(other), cpu=0, name="remove")
    look = pc.driver.get_alias_pasid_table(asks, 3, 0, pasid_table_opaque())
    found = machine.spawn(look, cpu=1, name="look")
    return lambda: found.result


LEAVES = Scenario("alias leaves", "a device is looked for, and leaves the bus meanwhile", _leaves, cpus=2)

BY_ADDRESS = CodeExercise(
    "by address",
    lambda seed: (
        "Write get_alias_pasid_table(self, pdev, bus, devfn, data): it puts the PASID table of the device "
        "at\n(bus, devfn), if there is one, into data.pasid_table and returns 1, else 0; as before the "
        "patch, but without the lock."
    ),
    lambda seed: get_alias_pasid_table,
    hints=[
        "await self.bus.get_domain_bus_and_slot(segment, bus, devfn) finds a device by its address, or None",
        "self.dev_iommu_priv_get(dev) is the driver's record of a device; .pasid_table may be None",
        "the bus gives you a reference, so that the device cannot go away: await "
        "self.bus.put(dev) when you are done",
    ],
    why="The list of the PCI bus has the same devices as the driver's own list. (Lesson 04 does this, and "
    "forgets the last step.)",
    base=driver_at(2),
    scenes=[
        Scene("a device with a table", _asked(), SCALABLE, scalable=True),
        Scene("a device without a table", _asked(), LEGACY),
        Scene("a device that the driver does not know", _asked(probed=False), SCALABLE, scalable=True),
        Scene("no device at that address", _asked(there=False), SCALABLE, scalable=True),
        Scene("a bus without devices", _asked(bus=7), SCALABLE, scalable=True),
        Scene("another PCI segment", _asked(segment="0001:"), SCALABLE, scalable=True),
        Scene("two units", _asked(), [SCALABLE, SCALABLE], scalable=True),
    ],
    races=[LEAVES],
    forbids=(LOCK,),
    play=_play,
)


progress, seed = of_lesson(globals())
