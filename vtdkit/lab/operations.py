"""What the lock table measures: the operations of a driver, each set up so that it can be run once, alone
or beside a neighbour.

An operation is a name and a function that prepares a computer and returns a coroutine function to be
measured. Devices are probed and attached by calling the driver as the core does; the core itself stays out of
it, so that a first attach is a first attach.

Guards: none here; each computer is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.pci import PciDevice
from vtdkit.vtd.capabilities import Capabilities

from .computer import BOTH_STAGES, LEGACY, SCALABLE, Computer

Work = Callable[[], Coroutine[Any, Any, Any]]
IOVA, PAGE = 0x40_0000, 4096


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table: its name, how the computer is prepared; the kind and number of its
    units, its other options.
    """

    name: str
    prepare: Callable[[Computer], Work]
    unit: Capabilities = LEGACY
    units: int = 1
    options: dict[str, Any] = field(default_factory=dict)


# -- ways to get there --------------------------------------------------------


def plugged(pc: Computer, number: int, *, unit: int = 0, ats: bool = False) -> PciDevice:
    """A device on the bus that no driver has looked at."""
    return pc.add_device(f"00:{number:02x}.0", unit=unit, ats=ats, probe=False)


def probed(pc: Computer, number: int, *, unit: int = 0, ats: bool = False) -> PciDevice:
    """A device that the driver has looked at."""
    dev = plugged(pc, number, unit=unit, ats=ats)
    pc.run(pc.driver.intel_iommu_probe_device(dev))
    return dev


def new_domain(pc: Computer, type: str = "unmanaged") -> IommuDomain:
    """A domain without devices."""
    domain = pc.run(pc.driver.intel_iommu_domain_alloc(type))
    assert domain is not None
    return domain


def attach(pc: Computer, domain: IommuDomain, dev: PciDevice) -> None:
    """Attach it, which must go well."""
    error = pc.run(pc.driver.intel_iommu_attach_device(domain, dev))
    assert not error, f"an operation of the lock table failed with {error}"


def with_devices(
    pc: Computer,
    *units: int,
    ats: bool = False,
    type: str = "unmanaged",
    first: int = 3,
) -> tuple[IommuDomain, PciDevice]:
    """A domain with a device behind each of the units named; and the first device."""
    domain = new_domain(pc, type)
    devices = [probed(pc, first + number, unit=unit, ats=ats) for number, unit in enumerate(units)]
    for dev in devices:
        attach(pc, domain, dev)
    return domain, devices[0]


def without_present_bit(pc: Computer, dev: PciDevice, unit: int = 0) -> None:
    """The device's context entry (legacy mode) loses its lowest bit; the rest of it stays, and bit 1, which
    has nothing to do with it (no faults, please), is set.
    """
    hardware = pc.hardware[unit]
    frames = hardware.memory.frames
    entry = frames[frames[hardware.unit.root_table >> 12].words[2 * dev.bus] >> 12].words
    entry[2 * dev.devfn] = entry[2 * dev.devfn] & ~1 | 2


# -- the operations -----------------------------------------------------------


def probe(pc: Computer) -> Work:
    return partial(pc.driver.intel_iommu_probe_device, plugged(pc, 3))


def attach_first(pc: Computer, ats: bool = False) -> Work:
    return partial(pc.driver.intel_iommu_attach_device, new_domain(pc), probed(pc, 3, ats=ats))


def attach_second(pc: Computer) -> Work:
    return partial(pc.driver.intel_iommu_attach_device, with_devices(pc, 0)[0], probed(pc, 9))


def detach_last(pc: Computer, ats: bool = False) -> Work:
    return partial(pc.driver.intel_iommu_detach_device, *with_devices(pc, 0, ats=ats))


def release(pc: Computer) -> Work:
    return partial(pc.driver.intel_iommu_release_device, with_devices(pc, 0)[1])


def map_page(pc: Computer) -> Work:
    domain, _ = with_devices(pc, 0, ats=True)
    pc.map(domain, IOVA + PAGE, IOVA)
    return lambda: pc.core.iommu_map(domain, IOVA, IOVA, PAGE, 3)


def unmap_page(pc: Computer, *units: int, ats: bool = True) -> Work:
    domain, _ = with_devices(pc, *(units or (0,)), ats=ats)
    pc.map(domain, IOVA, IOVA)
    return lambda: pc.core.iommu_unmap(domain, IOVA, PAGE)


def flush_all(pc: Computer) -> Work:
    return partial(pc.core.iommu_flush_iotlb_all, with_devices(pc, 0, ats=True)[0])


def enforce(pc: Computer) -> Work:
    return partial(pc.driver.intel_iommu_enforce_cache_coherency, with_devices(pc, 0, 0, type="dma")[0])


def dump(pc: Computer) -> Work:
    """The core has to know the devices here: later versions ask it for the domain."""
    for number in (3, 4):
        pc.add_device(f"00:{number:02x}.0")
        domain = pc.domain_of(f"00:{number:02x}.0")
        for page in range(16):
            pc.map(domain, IOVA + page * PAGE, IOVA + page * PAGE)
    return pc.driver.domain_translation_struct_show


OPERATIONS: tuple[Operation, ...] = (
    Operation("probe", probe),
    Operation("attach, first on the unit", attach_first),
    Operation("attach, first, ATS", lambda pc: attach_first(pc, ats=True)),
    Operation("attach, second device", attach_second),
    Operation("attach, first, scalable", attach_first, SCALABLE, options={"scalable": True}),
    Operation("detach, last", detach_last),
    Operation("detach, last, ATS", lambda pc: detach_last(pc, ats=True)),
    Operation("detach, last, scalable", detach_last, SCALABLE, options={"scalable": True}),
    Operation("release, with its detach", release),
    Operation("map", map_page),
    Operation("unmap, no ATS", lambda pc: unmap_page(pc, ats=False)),
    Operation("unmap, 1 unit, 1 ATS", unmap_page),
    Operation("unmap, 2 units, 3 ATS", lambda pc: unmap_page(pc, 0, 0, 1), units=2),
    Operation("flush all, 1 ATS", flush_all),
    Operation("enforce coherency, 2 devices", enforce, BOTH_STAGES, options={"scalable": True}),
    Operation("domain dump, 2 domains", dump),
)
