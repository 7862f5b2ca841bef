"""A whole computer in one line: CPUs, a remapping unit or more, a PCI bus with devices, the driver, the core.

Everything the lessons and experiments need, started up and ready::

    >>> pc = Computer(devices={"00:03.0": {}})
    >>> domain = pc.domain_of("00:03.0")
    >>> pc.map(domain, 0x10000, 0x5000000, 0x1000)
    0
    >>> pc.dma("00:03.0", 0x10123)
    <Translation 00:03.0 0x10123 -> 0x5000123 rw 4K second stage DID 1>

`pc.driver` is the version of the driver under test; its methods are coroutines, run alone with `pc.run(...)`
or side by side with `pc.machine.spawn(...)` and `pc.machine.simulate()`. Guards: none here; a computer is
used from one Python thread.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from vtdkit.iommu.arguments import own, unsigned
from vtdkit.iommu.core import IOMMU_READ, IOMMU_WRITE, IommuCore, IommuDomain
from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciBus, PciDevice
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Request, Translation

T = TypeVar("T")
LEGACY = Capabilities()
#: scalable mode with second stage, as QEMU's unit has it
SCALABLE = Capabilities(SMTS=1, SSTS=1, PASID=1, PSS=20, SMPWC=1, PT=1, SC=1)
#: scalable mode with both stages
BOTH_STAGES = Capabilities(SMTS=1, SSTS=1, FSTS=1, PASID=1, PSS=20, SMPWC=1, PT=1, SC=1, PRS=1, PDS=1, SRS=1)

#: scalable mode with first stage alone. By the letter AW of a PASID entry is reserved then, and Linux writes
#: it: DMA behind such a unit faults with SPT.3. QEMU's (x-flts=on) does not look.
FIRST_STAGE = Capabilities(SMTS=1, FSTS=1, PASID=1, PSS=20, SMPWC=1, PT=1, SC=1)


def _well(error: int, what: str, *why: str) -> None:
    """Raise KernelBug if something failed."""
    if error:
        raise KernelBug(": ".join((f"{what} failed with {error}", *why)))


class Computer:
    """A machine with its IOMMUs switched on.

    - `devices`: PCI address → options of `PciDevice` (ats=True, node=1, unit=1 for the number
      of its unit, ...)
    - `units`: capabilities, one for each remapping unit; device option `unit` says which one it is
      behind (0 by default)
    - `driver`: the class of the driver, `default_type`: the default domain's
      type ("dma", "dma-fq", "identity")
    - `scalable`: run the units in scalable mode; the rest goes to `Machine`

    Raises `KernelBug` when the driver does not come up.
    """

    def __init__(
        self,
        *,
        driver: type[IntelIommu] = IntelIommu,
        devices: Mapping[str, Mapping[str, Any]] | Sequence[str] = ("00:03.0",),
        units: Sequence[Capabilities] | Capabilities = LEGACY,
        scalable: bool = False,
        default_type: str = "dma",
        machine: Machine | None = None,
        driver_options: Mapping[str, Any] | None = None,
        **machine_options: Any,
    ) -> None:
        self.machine = machine or Machine(**machine_options)
        kinds = [units] if isinstance(units, Capabilities) else list(units)
        nodes = len({cpu.socket for cpu in self.machine.cpus})
        self.hardware = [
            RemappingHardware(self.machine, kind, name=f"unit {i}", node=i % nodes if nodes > 1 else -1)
            for i, kind in enumerate(kinds)
        ]
        self.bus = PciBus(self.machine)
        self.driver = driver(
            self.machine, self.bus, self.hardware, scalable=scalable, **(driver_options or {})
        )
        self.core = IommuCore(self.machine, self.driver, default_type)
        self.devices: dict[str, PciDevice] = {}
        self._start()
        for address in devices:
            self.add_device(address, **(devices[address] if isinstance(devices, Mapping) else {}))

    # -- doing things alone --------------------------------------------------

    def run(self, coro: Coroutine[Any, Any, T], cpu: int = 0) -> T:
        """Run one coroutine to its end."""
        return self.machine.run(coro, cpu)

    def add_device(self, address: str, *, unit: int = 0, probe: bool = True, **options: Any) -> PciDevice:
        """Plug a device in behind a unit; with `probe`, the core looks at it and attaches it
        to its default domain.
        """
        dev = self.new_device(address, **options)
        if len(self.hardware) > 1:
            for number, hardware in enumerate(self.hardware):
                hardware.include_all = False
                if number == unit:
                    hardware.scope.add((dev.bus, dev.devfn))
        self.devices[address] = dev
        self.run(self.bus.add(dev))
        if probe:
            _well(self.run(self.core.iommu_probe_device(dev)), f"probing {address}")
        return dev

    def new_device(self, address: str, **options: Any) -> PciDevice:
        """A device that is not on the bus yet."""
        dev = self.run(self.machine.kmalloc(PciDevice, address, **options))
        if dev is None:
            raise KernelBug(f"no memory for the device {address}")
        return dev

    async def plug(self, dev: PciDevice) -> int:
        """Hot-plug a new device: on the bus, then probed, under `pci_rescan_remove_lock`. 0 or negative."""
        async with self.bus.rescan_remove_lock:
            await self.bus.add(dev)
            return await self.core.iommu_probe_device(dev)

    def remove_device(self, address: str) -> None:
        """Unplug a device."""
        dev = self.devices.pop(address)
        self.run(self.core.iommu_release_device(dev))
        self.run(self.bus.remove(dev))

    def crash_kernel(self) -> None:
        """The kernel dies, and another one is started over it. The hardware goes on, with translation on;
        driver, core and bus are new, and no device has been found yet.
        """
        kind, scalable = type(self.driver), self.driver.intel_iommu_sm
        self.bus, self.devices = PciBus(self.machine), {}
        self.driver = kind(self.machine, self.bus, self.hardware, scalable=scalable)
        self.core = IommuCore(self.machine, self.driver, self.core.default_type)
        self._start()

    def _start(self) -> None:
        """The driver comes up."""
        _well(self.run(self.driver.intel_iommu_init()), "intel_iommu_init", *self.driver.log[-1:])

    def new_domain(self, type: str = "unmanaged", attach: str | None = None) -> IommuDomain:
        """A new domain, attached to a device if one is named."""
        domain = self.run(self.core.iommu_domain_alloc(type))
        if domain is None:
            raise KernelBug(f"no domain of type {type} could be allocated")
        if attach is not None:
            _well(self.run(self.core.iommu_attach_device(domain, self.device(attach))), f"attaching {attach}")
        return domain

    def device(self, address: str) -> PciDevice:
        """The device at an address. Raises ValueError with those there are."""
        if address not in self.devices:
            raise ValueError(f"no device {address!r:.80}; there are {', '.join(self.devices)}")
        return self.devices[address]

    def domain_of(self, address: str) -> IommuDomain:
        """The domain a device is attached to now."""
        return self.device(address).peek("group").peek("domain")  # type: ignore[no-any-return]

    def map(
        self,
        domain: IommuDomain,
        iova: int,
        paddr: int,
        size: int = 4096,
        prot: int = IOMMU_READ | IOMMU_WRITE,
    ) -> int:
        """`iommu_map`: 0 or a negative error. Raises ValueError for what makes no sense."""
        unsigned(iova=iova, paddr=paddr, size=size)
        own(self.machine, domain)
        return self.run(self.core.iommu_map(domain, iova, paddr, size, prot))

    def unmap(self, domain: IommuDomain, iova: int, size: int = 4096) -> int:
        """`iommu_unmap`: the bytes unmapped. Raises ValueError for what makes no sense."""
        unsigned(iova=iova, size=size)
        own(self.machine, domain)
        return self.run(self.core.iommu_unmap(domain, iova, size))

    def dma(self, address: str, iova: int, kind: Any = "read") -> Translation | Fault:
        """What the hardware answers to one DMA of a device. A fault's interrupt has been handled by then."""
        request, hardware = Request(self.device(address).sid, iova, kind), self.hardware_of(address)

        async def transaction() -> Translation | Fault:
            answer = await hardware.dma(request)
            if hardware.fault_irq is not None:
                await hardware.fault_irq.quiet()
            return answer

        return self.machine.run(transaction(), None, f"DMA of {address}")

    # -- looking -------------------------------------------------------------

    def hardware_of(self, address: str) -> RemappingHardware:
        """The unit a device is behind."""
        return next(hardware for hardware in self.hardware if hardware.in_scope(self.device(address)))

    def iommu(self, number: int = 0) -> intel_iommu:
        """The driver's record of a unit."""
        return self.driver.g_iommus[number]

    def info(self, address: str) -> device_domain_info:
        """The driver's record of a device."""
        return self.device(address).peek("iommu_priv")  # type: ignore[no-any-return]

    @staticmethod
    def dmar(domain: IommuDomain) -> dmar_domain:
        """The driver's structure of a domain."""
        return domain.driver  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        cpus, units = len(self.machine.cpus), len(self.hardware)
        size = f"{cpus} CPU{'s' * (cpus > 1)}, {units} remapping unit{'s' * (units > 1)}"
        return f"<computer: {size}, devices {', '.join(self.devices)}; driver {self.driver.title}>"
