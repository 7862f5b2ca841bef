"""The driver's structures: `intel_iommu`, `dmar_domain`, `device_domain_info`, `q_inval`,
`pasid_table`; pointers to entries.

Mirrors drivers/iommu/intel/iommu.h and pasid.h before the series (series.md 1). Field names are the
kernel's. Fields that several CPUs touch are `shared()`, so that the checkers follow them; each class says
which lock guards which field.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.kernel.memory.pages import Page

from .defs import DMA_PTE_LARGE_PAGE, DMA_PTE_READ, DMA_PTE_WRITE, PTE_ADDRESS

if TYPE_CHECKING:
    from vtdkit.iommu.core import IommuDomain
    from vtdkit.iommu.hardware import RemappingHardware
    from vtdkit.iommu.pci import PciDevice
    from vtdkit.kernel.locks.mutex import Mutex
    from vtdkit.kernel.locks.spinlock import SpinLock


@dataclass(slots=True, eq=False, repr=False)
class entry_pointer:
    """A pointer to an entry of a table: a page, and the index of the entry's first word in it."""

    page: Page
    index: int

    def load(self, word: int = 0) -> Awaitable[int]:
        """Read the entry, or one word of a longer one."""
        return self.page.load(self.index + word)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index} of {self.page.name} {self.page.pfn:#x}>"


class dma_pte(entry_pointer):
    """`struct dma_pte *`: a pointer to one entry of a page table."""

    __slots__ = ()

    def store(self, value: int) -> Awaitable[None]:
        """Write the entry."""
        return self.page.store(self.index, value)

    def cmpxchg(self, old: int, new: int) -> Awaitable[int]:
        """`cmpxchg64`."""
        return self.page.cmpxchg(self.index, old, new)


def dma_pte_present(value: int) -> bool:
    """Readable or writable."""
    return bool(value & (DMA_PTE_READ | DMA_PTE_WRITE))


def dma_pte_superpage(value: int) -> bool:
    """Is this a large-page leaf?"""
    return bool(value & DMA_PTE_LARGE_PAGE)


def dma_pte_addr(value: int) -> int:
    """The address in an entry."""
    return value & PTE_ADDRESS


class q_inval(KObject):
    """`struct q_inval`: software's side of the invalidation queue.

    Guards: everything by `q_lock` (a raw spin lock, interrupts off).
    """

    free_head = shared(0)
    free_tail = shared(0)
    free_cnt = shared(0)

    def __init__(self, machine: Machine, name: str, length: int) -> None:
        super().__init__(machine, f"{name} qi")
        self.q_lock = machine.raw_spinlock("&qi->q_lock")
        self.length = length
        self.words = 2  # of a descriptor; 4 where the unit has scalable mode
        self.desc: list[Page] = []  # the ring, one or two pages
        # set with `desc`: 32 bits a slot; hardware writes DONE there
        self.desc_status: Page = None  # type: ignore[assignment]
        self.preset(free_cnt=length)


class intel_iommu(KObject):
    """`struct intel_iommu`: one remapping unit.

    Guards: `lock` (spin): context entries and domain ids; in practice also the root pointer and the PASID
    tables. `register_lock` (raw, interrupts off): sequences of register accesses, `gcmd`. Written once at
    start-up, no lock: `cap`, `ecap`, `agaw`, `msagaw`, `node`, `seq_id`, `qi`, `flush`.
    """

    root_entry = shared()  # Page: 256 entries of two words
    domain_ids = shared()  # bitmap: a Python integer
    gcmd = shared(0)

    def __init__(self, machine: Machine, hardware: RemappingHardware, seq_id: int) -> None:
        super().__init__(machine, f"dmar{seq_id}")
        self.hardware = hardware
        self.seq_id = seq_id
        self.name = f"dmar{seq_id}"
        self.cap = self.ecap = self.agaw = self.msagaw = 0  # until `init_unit` has asked
        self.segment = hardware.segment
        self.node = hardware.node
        self.lock = machine.spinlock("&iommu->lock")
        self.register_lock = machine.raw_spinlock("&iommu->register_lock")
        self.qi: q_inval | None = None
        self.translation_pre_enabled = False


class dmar_domain(KObject):
    """`struct dmar_domain`: one translation domain.

    Guards: `device_domain_lock` (global, spin, interrupts off): `devices`, `has_iotlb_device`.
    `device_domain_lock` and then `intel_iommu::lock`: `iommu_refcnt`, `iommu_did`, `nid`, the capability
    fields. Nothing: `max_addr`, `force_snooping` for readers, and the page tables themselves.
    """

    nid = shared(-1)
    has_iotlb_device = shared(False)
    iommu_coherency = shared(False)
    force_snooping = shared(False)
    set_pte_snp = shared(False)
    iommu_superpage = shared(0)
    max_addr = shared(0)
    pgd = shared()  # Page
    gaw = shared(0)
    agaw = shared(0)
    iommu_refcnt = shared()  # {seq_id: devices}; replaced, never changed in place
    iommu_did = shared()  # {seq_id: domain id}

    # locks of its own that later versions of the driver give it
    mutex: Mutex
    lock: SpinLock

    def __init__(self, machine: Machine, label: str) -> None:
        super().__init__(machine, label)
        self.use_first_level = False  # `domain_use_first_level`: a flag; written once
        self.devices = machine.list_head("domain->devices")
        # set by the core as soon as it exists
        self.domain: IommuDomain = None  # type: ignore[assignment]
        self.preset(iommu_refcnt={}, iommu_did={})


class device_domain_info(KObject):
    """`struct device_domain_info`: what the driver knows of a device; made in
    probe, kept in `dev_iommu_priv`.

    Guards: `device_domain_lock`: `domain`, membership of `dmar_domain::devices` and of the global list,
    `ats_enabled` and its companions, `pasid_table`. Written once in probe: the rest.
    """

    domain = shared()
    ats_enabled = shared(False)
    pri_enabled = shared(False)
    pasid_enabled = shared(False)
    pasid_table = shared()

    def __init__(self, machine: Machine, dev: PciDevice, iommu: intel_iommu) -> None:
        super().__init__(machine, f"info {dev.name}")
        self.dev = dev
        self.iommu = iommu
        self.segment = dev.segment
        self.bus = dev.bus
        self.devfn = dev.devfn
        self.ats_supported = self.pri_supported = self.pasid_supported = False
        self.pfsid = self.ats_qdep = 0


class pasid_table(KObject):
    """`struct pasid_table`: a PASID directory and the devices that share it.

    Guards: `dev` by `device_domain_lock` (in the driver before 5.19). Directory entries by
    compare-and-exchange, PASID entries by `intel_iommu::lock`.
    """

    def __init__(self, machine: Machine, label: str, max_pasid: int) -> None:
        super().__init__(machine, label)
        self.table: list[Page] = []  # the directory's pages
        self.max_pasid = max_pasid
        self.dev = machine.list_head("pasid_table->dev")

    def dir_entry(self, index: int) -> dma_pte:
        """A pointer to directory entry `index`."""
        return dma_pte(self.table[index // 512], index % 512)
