"""What every part of the driver is built on: the machine, the bus, the units, and the helpers the
kernel gives any driver.

The driver is one class put together from one class per part (`iommu.py`, `pasid.py`, `debugfs.py` ...), so
that a patch, which is one commit over several files, is one class too. It has no globals: what the kernel's
driver keeps in static variables are fields of `DriverBase`, and two machines can live side by side.

`iommu.c` is 5,000 lines; its parts here are `pgtable`, `flush`, `context`, `domain`, `device`, `fault`,
`hotplug` and `iommu`.

Names are the kernel's. Where the kernel has two functions `name` and `__name`, the second is `_name` here:
Python has a use of its own for two underscores. Methods that no kernel function corresponds to say so, or
belong to a step that one does inline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.iommu.pci import PciBus, PciDevice
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.sites import here

if TYPE_CHECKING:
    from vtdkit.iommu.core import IommuCore

from . import defs
from .structs import device_domain_info, dmar_domain, intel_iommu

ADDRESS_0 = "physical address 0 taken for a table"  #: kind of finding


class DriverBase:
    """State and helpers.

    Guards, as in the driver before the series (series.md 2): `device_domain_lock`: `device_domain_list`
    and every domain's `devices`. `dmar_global_lock` (rwsem): `g_iommus` and the list of units. Written
    once at start-up: the switches.
    """

    #: how far the name says what it is; a patch overrides it
    title = "before the series"

    def __init__(
        self,
        machine: Machine,
        bus: PciBus,
        units: Iterable[RemappingHardware],
        *,
        scalable: bool = False,
        dmar_debug: bool = True,
    ) -> None:
        """`dmar_debug`: CONFIG_DMAR_DEBUG, with which a fault's report has the tables on the way as well."""
        self.machine = machine
        self.frames = machine.pages.frames
        self.bus = bus
        self.units = list(units)
        self.intel_iommu_sm = scalable
        self.dmar_debug = dmar_debug
        self.intel_pasid_max_id = defs.PASID_MAX
        self.dmar_global_lock = machine.rwsem("dmar_global_lock")
        self.g_iommus: dict[int, intel_iommu] = {}
        self.si_domain: dmar_domain | None = None
        self.core: IommuCore = None  # type: ignore[assignment]  # set by the core, for who asks it back
        self.log: list[str] = []  # what the kernel would print
        self.limits: dict[str, tuple[int, int]] = {}  # rate limits: begin (ns) and messages since
        self.domains_made = 0
        self.init_locks()

    def init_locks(self) -> None:
        """The static locks and lists of the driver's files."""
        self.device_domain_lock = self.machine.spinlock("device_domain_lock")
        self.device_domain_list = self.machine.list_head("device_domain_list")

    # -- helpers -------------------------------------------------------------

    def pr(self, text: str) -> None:
        """`pr_info` and its sisters: a line in the kernel log, with the prefix of these files."""
        self.log.append(f"DMAR: {text}")

    def ratelimit(self, name: str) -> bool:
        """`__ratelimit` with the kernel's defaults: may one more message be printed? Ten in five seconds."""
        begin, printed = self.limits.get(name, (self.machine.now, 0))
        if self.machine.now > begin + 5_000_000_000:
            begin, printed = self.machine.now, 0
        self.limits[name] = begin, min(printed + 1, 11)
        return printed < 10

    def phys_to_virt(self, address: int) -> Page:
        """The page at a physical address. Following an address where no page ever was is an
        oops, as in Linux.

        There is memory at address 0, so following that one is none: it reads what the firmware left (here,
        nothing), and no checker of a kernel's says a word. Ours does.
        """
        if address < defs.VTD_PAGE_SIZE:
            self.machine.check.report(ADDRESS_0, "physical page 0", (here(),))
            return Page(self.machine, 0, -1, "physical page 0", None)
        try:
            return self.frames[address >> 12]
        except KeyError:
            raise Oops(
                f"unable to handle page fault: {address:#x} is not memory the driver ever had"
            ) from None

    async def alloc_pgtable_page(self, node: int, name: str) -> Page | None:
        """One cleared page for a table; GFP_ATOMIC, so it may be called under a spin lock."""
        return await self.machine.alloc_page(GFP_ATOMIC, node=node, name=name)

    async def free_pgtable_page(self, page: Page) -> None:
        """Give a table's page back, at once."""
        await self.machine.free_page(page)

    async def put_pages_list(self, freelist: list[Page]) -> None:
        """Free the pages that were collected: mostly there are none."""
        for page in freelist:
            await self.free_pgtable_page(page)
        freelist.clear()

    def clflush(self, entries: int = 1) -> Awaitable[None]:
        """Write cache lines back, for units that do not snoop table reads (the model always sees
        memory as it is).
        """
        return self.machine.work(-(-entries // 8) * self.machine.costs.line_near)  # type: ignore[no-any-return]

    def sm_supported(self, iommu: intel_iommu) -> bool:
        """Scalable mode: asked for, and there."""
        return self.intel_iommu_sm and self.ecap(iommu, defs.ECAP_SMTS)

    def ecap(self, iommu: intel_iommu, bit: int) -> bool:
        """One bit of the extended capabilities."""
        return bool(iommu.ecap >> bit & 1)

    def cap(self, iommu: intel_iommu, bit: int) -> bool:
        """One bit of the capabilities."""
        return bool(iommu.cap >> bit & 1)

    def for_each_iommu(self) -> Iterator[intel_iommu]:
        """`for_each_active_iommu`: the units in order (in Linux under RCU or `dmar_global_lock`)."""
        return iter([self.g_iommus[key] for key in sorted(self.g_iommus)])

    def for_each_domain_iommu(self, domain: dmar_domain) -> Iterator[intel_iommu]:
        """The units a domain is attached to. The counts are read without a lock, as in Linux."""
        counts = sorted(domain.iommu_refcnt.items())
        return iter([self.g_iommus[key] for key, count in counts if count and key in self.g_iommus])

    def device_to_iommu(self, dev: PciDevice) -> intel_iommu | None:
        """The unit that translates for a device; a scope that names it goes before
        one that includes everything.
        """
        responsible = (iommu for iommu in self.for_each_iommu() if iommu.hardware.in_scope(dev))
        return min(responsible, key=lambda iommu: iommu.hardware.include_all, default=None)

    def dev_iommu_priv_get(self, dev: PciDevice) -> device_domain_info | None:
        """The driver's record of a device, or None."""
        return dev.iommu_priv  # type: ignore[no-any-return]

    def info_and_unit(self, dev: PciDevice) -> tuple[device_domain_info, intel_iommu]:
        """The record of a device, and its unit. C follows the pointer and asks nobody; so does this."""
        info = self.dev_iommu_priv_get(dev)
        if info is None:
            raise Oops(f"NULL pointer dereference: the driver has no record of {dev.name}")
        return info, info.iommu

    def first_level_by_default(self, type: str) -> bool:
        """Which kind of table a new domain gets: the only one there is; else first level, but
        for domains users manage.
        """
        units = list(self.for_each_iommu())
        if not units or not all(self.sm_supported(iommu) for iommu in units):
            return False
        first = all(self.ecap(iommu, defs.ECAP_FLTS) for iommu in units)
        second = all(self.ecap(iommu, defs.ECAP_SLTS) for iommu in units)
        return first if first != second else type != "unmanaged"

    def domain_type_is_si(self, domain: dmar_domain) -> bool:
        """Is this the shared identity domain?"""
        return domain is self.si_domain

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A part may call what a later part has."""
