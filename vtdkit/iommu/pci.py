"""PCI devices and the bus they hang on, as far as an IOMMU driver sees them.

A device has an address, capabilities it may switch on (ATS, PRI, PASID), aliases its requests may carry, a
reference count, and the private pointer the IOMMU core keeps in it. The bus keeps its devices on a klist: a
list with a lock of its own that every walk takes, and a reference held on the entry a walk stands on. Linux
takes that lock with interrupts off when it walks and with interrupts on when it adds or removes; so a walk
from a hard interrupt is a bug waiting to happen.

Mirrors lib/klist.c, drivers/base/bus.c, drivers/pci/search.c and ats.c.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

from .errno import EINVAL

if TYPE_CHECKING:
    from .hardware import RemappingHardware

T = TypeVar("T")
Visitor = Callable[["PciDevice"], Awaitable[int]]


class PciDevice(KObject):
    """A PCI function. `iommu_priv` is `dev_iommu_priv`, `group` its IOMMU group.

    `aliases` are further source ids its requests may carry: "02:00.0", or, when a bridge makes them
    so, "02:00.0 via 00:0d.0".

    `can` says whether the device has "ats", "pri" and "pasid", `on` which of them have been switched on in
    its configuration space, `max_pasids` how many PASIDs it may use. Guards: `iommu_priv` and `group` by the
    core's probe path; configuration space by whoever drives the device.
    """

    iommu_priv = shared()
    group = shared()

    def __init__(
        self,
        machine: Machine,
        address: str,
        *,
        ats: bool = False,
        pri: bool = False,
        pasid: bool = False,
        node: int = -1,
        aliases: tuple[str, ...] = (),
        rmrr: bool = False,
        max_pasids: int = 1 << 20,
    ) -> None:
        super().__init__(machine, address)
        self.segment, self.bus, self.devfn = parse_address(address)
        self.name = address
        self.node = node
        self.can = {"ats": ats, "pri": pri, "pasid": pasid}
        self.on: set[str] = set()
        self.max_pasids = max_pasids
        self.rmrr = rmrr
        parsed = [alias.partition(" via ") for alias in aliases]
        self.aliases = ((self.bus, self.devfn), *(parse_address(alias)[1:] for alias, _, _ in parsed))
        self.alias_via = {parse_address(alias)[1:]: via for alias, _, via in parsed if via}
        self.kref = machine.refcount(f"{address} kref")
        self.unit: RemappingHardware | None = None

    @property
    def sid(self) -> int:
        """Source id: bus and function number in 16 bits."""
        return self.bus << 8 | self.devfn

    @property
    def dev_name(self) -> str:
        """`dev_name`: the address with its segment."""
        return f"{self.segment:04x}:{self.bus:02x}:{self.devfn >> 3:02x}.{self.devfn & 7}"

    async def config(self) -> None:
        """One access to configuration space."""
        await self.machine.work(self.machine.costs.pci_config)

    @property
    def ats_on(self) -> bool:
        """Does the device ask for translations, and keep them?"""
        return "ats" in self.on

    async def enable(self, capability: str) -> int:
        """`pci_enable_ats`, `pci_enable_pasid`, or `pci_enable_pri` (after `pci_reset_pri`): 0, or -EINVAL
        where there is no such capability.
        """
        for _ in range(2 if capability == "pri" else 1):
            await self.config()
        if not self.can[capability]:
            return -EINVAL
        self.on.add(capability)
        if capability == "ats" and self.unit is not None:
            self.unit.connect_device_tlb(self)
        return 0

    async def disable(self, capability: str) -> None:
        """`pci_disable_ats` and its sisters."""
        await self.config()
        self.on.discard(capability)

    def __repr__(self) -> str:
        on = [name for name in self.can if name in self.on]
        return f"<PCI {self.name}{' with ' + ', '.join(on) + ' on' if on else ''}>"


class PciBus:
    """`pci_bus_type`: every device of the machine.

    Guards: `klist` by `k_lock`, a spin lock: additions and removals take it with interrupts on,
    walks with interrupts off. `rescan_remove_lock` (a mutex, `pci_rescan_remove_lock`): who plugs devices in
    or pulls them out holds it from the first step to the last, so that no two of them run side by side.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.k_lock = machine.spinlock("&k->k_lock")
        self.rescan_remove_lock = machine.mutex("pci_rescan_remove_lock")
        self.klist = machine.list_head("pci_bus_type klist_devices")

    async def add(self, dev: PciDevice) -> None:
        """`bus_add_device`."""
        async with self.k_lock:
            await self.klist.add_tail(dev)

    async def remove(self, dev: PciDevice) -> None:
        """`device_unregister`: off the list (`bus_remove_device`), and the bus's own reference given back."""
        async with self.k_lock:
            await self.klist.del_(dev)
        await self.put(dev)

    async def rescan_or_remove(self, work: Callable[[], Awaitable[T]]) -> T:
        """Plug in or pull out under `pci_rescan_remove_lock`. (Virtual functions come and go without it.)"""
        async with self.rescan_remove_lock:
            return await work()

    async def klist_next(self, after: PciDevice | None) -> PciDevice | None:
        """`klist_next`: the entry after `after` (None: the first), with a reference."""
        async with self.k_lock.irqsave():
            entries = list(self.klist.entries())
            place = (
                next((i for i, dev in enumerate(entries) if dev is after), -1) + 1 if after is not None else 0
            )
            found = entries[place] if place < len(entries) else None
            if found is not None:
                await found.kref.get()
            return found

    async def for_each_dev(self, visit: Visitor) -> int:
        """`bus_for_each_dev`: call `visit(dev)` until it returns something other than 0; returns that."""
        dev: PciDevice | None = None
        while True:
            # the reference on the entry we stood on is put after the next one is found: it kept our place
            previous, dev = dev, await self.klist_next(dev)
            if previous is not None:
                await self.put(previous)
            if dev is None:
                return 0
            if error := await visit(dev):
                await self.put(dev)
                return error

    async def get_domain_bus_and_slot(self, segment: int, bus: int, devfn: int) -> PciDevice | None:
        """`pci_get_domain_bus_and_slot`: the device at this address, with a reference the caller
        must put; or None.
        """
        dev: PciDevice | None = None
        while True:
            previous, dev = dev, await self.klist_next(dev)
            if previous is not None:
                await self.put(previous)
            # the one that is asked for keeps its reference: the caller must put it
            if dev is None or (dev.segment, dev.bus, dev.devfn) == (segment, bus, devfn):
                return dev

    async def put(self, dev: PciDevice) -> None:
        """`pci_dev_put`: the last reference frees the device."""
        if await dev.kref.put():
            await self.machine.kfree(dev)

    async def for_each_dma_alias(
        self, dev: PciDevice, visit: Callable[[PciDevice, int, int], Awaitable[int | None]]
    ) -> int:
        """`pci_for_each_dma_alias`: every (bus, devfn) the device's requests may carry, with the function
        that makes them so.

        Stops at a result other than 0 (or None) and returns it.
        """
        for bus, devfn in dev.aliases:
            via = dev.alias_via.get((bus, devfn))
            owner = next((d for d in self.devices() if d.name == via), dev) if via else dev
            if result := await visit(owner, bus, devfn):
                return result
        return 0

    def devices(self) -> tuple[PciDevice, ...]:
        """The devices, for observers and tests."""
        return tuple(self.klist.peek_entries())

    def __repr__(self) -> str:
        return f"<PCI bus: {', '.join(dev.name for dev in self.devices())}>"


ADDRESS = re.compile(r"(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7])", re.IGNORECASE)


def parse_address(text: str) -> tuple[int, int, int]:
    """(segment, bus, devfn) of "0000:00:03.0" or "00:03.0". Raises ValueError."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no PCI address; write bus:device.function, as in 00:03.0")
    segment, bus, device, function = (int(part, 16) for part in found.groups(default="0"))
    return segment, bus, device << 3 | function
