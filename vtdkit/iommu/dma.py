"""The DMA API over the IOMMU API: drivers/iommu/dma-iommu.c around v5.19. What every device driver calls.

Mapping takes an address range from the domain's allocator and writes the table; unmapping clears the table,
then either flushes and gives the address back at once ("dma", strict), or leaves both to the flush queue
("dma-fq", lazy). No lock of its own: two mappings of one domain never have an address in common, because the
allocator does not give one out twice. That is all the serialisation the page tables get.

Rules: any context may map and unmap, hard interrupts included (memory comes from GFP_ATOMIC); a mapping
is unmapped with the address and size it was made with. Sizes are in bytes. `iommu_setup_dma_ops` comes
first and may sleep.

Left out: bounce buffers, non-coherent devices, coherent allocations (`dma_alloc_*`), devices that drive fewer
address lines than the domain has (`dma_set_mask`), the attach that a crash kernel puts off until the first
mapping (`iommu_deferred_attach`).
"""

from __future__ import annotations

from collections.abc import Sequence

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject

from .core import IOMMU_READ, IOMMU_WRITE, IommuCore, IommuDomain, IotlbGather
from .dma_fq import FlushQueue, percpu_fq
from .errno import EINVAL, ENOMEM
from .iova import iova_domain
from .pci import PciDevice
from .pinning import PAGE_SHIFT, PAGE_SIZE

DMA_MAPPING_ERROR = (1 << 64) - 1
DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE = 0, 1, 2
_PROT = {DMA_BIDIRECTIONAL: IOMMU_READ | IOMMU_WRITE, DMA_TO_DEVICE: IOMMU_READ, DMA_FROM_DEVICE: IOMMU_WRITE}
SAC_LIMIT = (1 << 32) - 1  # PCI devices get addresses below 4 GiB while there are any
#: `IOAPIC_RANGE_START` to `IOAPIC_RANGE_END`: writes there are interrupts, never DMA
#: (`intel_iommu_get_resv_regions`)
MSI_RANGE = (0xFEE0_0000, 0xFEEF_FFFF)
#: the host bridge's memory window of the machines in tests/reality: device registers, so no address for DMA
PCI_WINDOW = (0xC000_0000, 0xFEBF_FFFF)

Segment = tuple[int, int]  # address, length in bytes


class iommu_dma_cookie(KObject):
    """`struct iommu_dma_cookie`: what the DMA API keeps with a domain.

    Guards: written once by `iommu_dma_init_domain`, before the domain is used; after that `iovad` and `fq`
    have locks of their own.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "iommu_dma_cookie")
        self.iovad = iova_domain(machine)
        self.fq: FlushQueue = None  # type: ignore[assignment]  # strict domains have none

    async def put(self) -> None:
        """`iommu_put_dma_cookie`: the domain goes."""
        if self.fq is not None:
            await self.fq.iommu_dma_free_fq()
        await self.iovad.put_iova_domain()
        await self.machine.kfree(self)


class DmaApi:
    """The DMA API of one machine; once made, the core sets it up for every device it probes.

    `caches`: no per-CPU caches where False, as before they came (9257b4a206fc, Linux 4.7).

    Guards: nothing of its own is written after it was made.
    """

    def __init__(self, core: IommuCore, *, caches: bool = True) -> None:
        self.core = core
        self.machine = core.machine
        self.caches = caches
        core.dma = self

    # -- domains -------------------------------------------------------------

    async def iommu_setup_dma_ops(self, dev: PciDevice) -> int:
        """From now on the device's driver can map. 0, -EINVAL without a DMA domain, -ENOMEM (Linux warns,
        and goes on without).
        """
        domain: IommuDomain | None = dev.group.default_domain if dev.group is not None else None
        if domain is None:
            return -EINVAL
        if not domain.is_dma or domain.cookie is not None:
            return 0
        return await self.iommu_dma_init_domain(domain)

    async def iommu_dma_init_domain(self, domain: IommuDomain) -> int:
        """The domain's cookie with an allocator for its addresses, what must never be given out reserved.
        0 or -ENOMEM. May sleep. (The core of Linux makes the cookie when it allocates the domain.)
        """
        cookie: iommu_dma_cookie | None = await self.machine.kmalloc(iommu_dma_cookie)
        if cookie is None:
            return -ENOMEM
        domain.cookie, iovad = cookie, cookie.iovad
        if self.caches and (error := await iovad.iova_domain_init_rcaches()):
            return error
        if domain.type == "dma-fq":
            if (rings := await self.machine.kmalloc(percpu_fq)) is not None:
                cookie.fq = FlushQueue(self.core, domain, iovad, rings)
            else:
                domain.type = "dma"  # strict will do
        # what devices must not use as addresses. (Linux also keeps a small record for each page of MSI_RANGE)
        for first, last in (PCI_WINDOW, MSI_RANGE):
            await iovad.reserve_iova(first >> PAGE_SHIFT, last >> PAGE_SHIFT)
        return 0

    def iommu_get_dma_domain(self, dev: PciDevice) -> IommuDomain:
        """The domain the DMA API works on: the group's default domain, read without a lock as in Linux."""
        return dev.group.default_domain  # type: ignore[no-any-return]

    def cookie_of(self, dev: PciDevice, domain: IommuDomain) -> iommu_dma_cookie:
        """The cookie of a domain that has been set up. Raises ValueError for one that has not."""
        cookie: iommu_dma_cookie | None = domain.cookie
        if cookie is None:
            raise ValueError(
                f"{dev.name} is not set up for the DMA API; await iommu_setup_dma_ops(dev) first"
            )
        return cookie

    # -- addresses -----------------------------------------------------------

    async def iommu_dma_alloc_iova(self, domain: IommuDomain, iovad: iova_domain, size: int) -> int:
        """An address range of `size` bytes, below 4 GiB if there is one; 0 when there is none."""
        pages, limit, pfn = size >> PAGE_SHIFT, domain.aperture_end, 0
        if limit > SAC_LIMIT:
            pfn = await iovad.alloc_iova_fast(pages, SAC_LIMIT >> PAGE_SHIFT, flush_rcache=False)
        if not pfn:
            pfn = await iovad.alloc_iova_fast(pages, limit >> PAGE_SHIFT)
        return pfn << PAGE_SHIFT

    async def iommu_dma_free_iova(
        self, cookie: iommu_dma_cookie, iova: int, size: int, gather: IotlbGather | None
    ) -> None:
        """Give a range back: to the queue if its flush is put off, to the allocator if not."""
        pfn, pages = iova >> PAGE_SHIFT, size >> PAGE_SHIFT
        if gather is not None and gather.queued:
            await cookie.fq.queue_iova(pfn, pages, gather.freelist)
        else:
            await cookie.iovad.free_iova_fast(pfn, pages)

    # -- one buffer ----------------------------------------------------------

    async def iommu_dma_map_page(
        self, dev: PciDevice, phys: int, size: int, dir: int = DMA_BIDIRECTIONAL
    ) -> int:
        """Map a buffer that is contiguous in memory; its bus address, or DMA_MAPPING_ERROR."""
        domain = self.iommu_get_dma_domain(dev)
        cookie = self.cookie_of(dev, domain)
        offset = phys & PAGE_SIZE - 1
        size = iova_align(size + offset)
        if not (iova := await self.iommu_dma_alloc_iova(domain, cookie.iovad, size)):
            return DMA_MAPPING_ERROR
        if await self.core.iommu_map(domain, iova, phys - offset, size, _PROT[dir]):
            await self.iommu_dma_free_iova(cookie, iova, size, None)
            return DMA_MAPPING_ERROR
        return iova + offset

    async def iommu_dma_unmap_page(self, dev: PciDevice, dma_handle: int, size: int) -> None:
        """Unmap it. (Linux looks up the physical address first, for the sake of bounce buffers; so the
        table is walked twice.)
        """
        phys = await self.core.iommu_iova_to_phys(self.iommu_get_dma_domain(dev), dma_handle)
        if self.machine.warn_on(not phys, "iommu_dma_unmap_page of an address that is not mapped"):
            return
        await self._iommu_dma_unmap(dev, dma_handle, size)

    async def _iommu_dma_unmap(self, dev: PciDevice, dma_addr: int, size: int) -> None:
        """`__iommu_dma_unmap`: clear, then flush and free the address, or queue both."""
        domain = self.iommu_get_dma_domain(dev)
        cookie = self.cookie_of(dev, domain)
        offset = dma_addr & PAGE_SIZE - 1
        dma_addr -= offset
        size = iova_align(size + offset)
        gather = IotlbGather(queued=cookie.fq is not None)
        unmapped = await self.core.iommu_unmap_fast(domain, dma_addr, size, gather)
        self.machine.warn_on(unmapped != size, "__iommu_dma_unmap: not all of it was mapped")
        if not gather.queued:
            await self.core.iommu_iotlb_sync(domain, gather)
        await self.iommu_dma_free_iova(cookie, dma_addr, size, gather)

    # -- a list of buffers ---------------------------------------------------

    async def iommu_dma_map_sg(
        self, dev: PciDevice, sg: Sequence[Segment], dir: int = DMA_BIDIRECTIONAL
    ) -> list[Segment]:
        """Map buffers side by side into one address range; where each of them is for the device.
        Empty when it failed.

        (Linux may then join neighbours into one entry; here they stay apart. No list reaches the
        4 GiB segment boundary.)
        """
        domain = self.iommu_get_dma_domain(dev)
        cookie, mask = self.cookie_of(dev, domain), PAGE_SIZE - 1
        padded = [(phys & ~mask, iova_align((phys & mask) + length)) for phys, length in sg]
        if not (total := sum(length for _, length in padded)):
            return []
        if not (iova := await self.iommu_dma_alloc_iova(domain, cookie.iovad, total)):
            return []
        if await self.core.iommu_map_sg(domain, iova, padded, _PROT[dir]) < total:
            await self.iommu_dma_free_iova(cookie, iova, total, None)
            return []
        at, mapped = iova, []
        for (phys, length), (_, room) in zip(sg, padded, strict=True):
            mapped.append((at + (phys & mask), length))
            at += room
        return mapped

    async def iommu_dma_unmap_sg(self, dev: PciDevice, mapped: Sequence[Segment]) -> None:
        """Unmap what `iommu_dma_map_sg` returned, in one piece."""
        start = mapped[0][0]
        await self._iommu_dma_unmap(dev, start, mapped[-1][0] + mapped[-1][1] - start)

    def __repr__(self) -> str:
        return f"<DMA API of {self.core!r}>"


def iova_align(size: int) -> int:
    """Rounded up to whole pages."""
    return size + PAGE_SIZE - 1 & -PAGE_SIZE
