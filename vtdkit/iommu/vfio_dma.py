"""VFIO's mappings: the half of drivers/vfio/vfio_iommu_type1.c (around v5.19) that maps
and unmaps user memory.

Mapping goes piece by piece: pin what is contiguous, charge it, map it. Unmapping asks the
IOMMU where the pages are, since nobody else kept track, and puts off flushes so that one serves up to 512
pieces; a page is unpinned after its flush. (Linux allocates a note for each piece, and flushes at once where
there is no memory for one.)

Rules: threads only (everything sleeps); the container's mutex is held throughout. Addresses and sizes are
in bytes and whole pages.

Left out: the limit on how many mappings there may be.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject

from .core import IOMMU_READ, IOMMU_WRITE, IommuCore, IommuDomain, IotlbGather
from .errno import EEXIST, EINVAL, ENOMEM
from .pinning import PAGE_SHIFT, PAGE_SIZE, mm_struct

VFIO_IOMMU_TLB_SYNC_MAX = 512
VFIO_BATCH_MAX_CAPACITY = 512  # pages pinned at once


class vfio_dma(KObject):
    """`struct vfio_dma`: one mapping that the user asked for. Guards: `iommu->lock` of its container."""

    def __init__(self, machine: Machine, iova: int, vaddr: int, prot: int, mm: mm_struct) -> None:
        super().__init__(machine, f"vfio_dma {iova:#x}")
        self.iova = iova
        self.vaddr = vaddr
        self.prot = prot
        self.mm = mm
        self.size = 0  # grows piece by piece


class vfio_domain(KObject):
    """`struct vfio_domain`: the domain of a container. Guards: `iommu->lock` of the container."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "vfio_domain")
        self.domain: IommuDomain = None  # type: ignore[assignment]  # set as soon as it is allocated
        self.fgsp = False  # fine-grained super pages


class vfio_iommu(KObject):
    """`struct vfio_iommu`: a container.

    Guards: `lock` (mutex): `domain`, `dma_list`, and everything in them. (The kernel's validator calls this
    lock `&iommu->lock`, as it does the one of the VT-d driver; the name here tells them apart.)
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "vfio_iommu")
        self.lock = machine.mutex("&vfio_iommu->lock")
        self.domain: vfio_domain | None = None  # a list in Linux
        self.dma_list: list[vfio_dma] = []  # by address; a tree in Linux


@dataclass(slots=True)
class vfio_batch:
    """`struct vfio_batch`: frames that are pinned and come next; `lock_cache`: pages that are charged already
    (RFC of January 2022; 0 in every release).
    """

    frames: list[int] = field(default_factory=list)
    lock_cache: int = 0


class VfioMappings:
    """Mapping and unmapping for the type 1 driver. Guards: nothing of its own; each
    container has a mutex.
    """

    def __init__(self, core: IommuCore) -> None:
        self.core = core
        self.machine = core.machine

    # -- map -----------------------------------------------------------------

    async def vfio_dma_do_map(
        self,
        iommu: vfio_iommu,
        iova: int,
        vaddr: int,
        size: int,
        mm: mm_struct,
        prot: int = IOMMU_READ | IOMMU_WRITE,
    ) -> int:
        """Map user memory. 0, -EINVAL, -EEXIST where something is mapped, -ENOMEM, -EFAULT."""
        if not prot or size <= 0 or (size | iova | vaddr) & PAGE_SIZE - 1 or iova + size > 1 << 64:
            return -EINVAL
        async with iommu.lock:
            if iommu.domain is None:
                return -EINVAL  # the container's type is set once it has a group
            if self.vfio_find_dma(iommu, iova, size) is not None:
                return -EEXIST
            if (dma := await self.machine.kmalloc(vfio_dma, iova, vaddr, prot, mm)) is None:
                return -ENOMEM
            insort(iommu.dma_list, dma, key=lambda other: other.iova)
            error = await self.vfio_pin_map_dma(iommu, dma, size)
            if error:
                await self.vfio_remove_dma(iommu, dma)
            return error

    def vfio_find_dma(self, iommu: vfio_iommu, start: int, size: int) -> vfio_dma | None:
        """The first mapping that overlaps a range."""
        return next(
            (dma for dma in iommu.dma_list if start < dma.iova + dma.size and dma.iova < start + size), None
        )

    async def vfio_pin_map_dma(self, iommu: vfio_iommu, dma: vfio_dma, size: int) -> int:
        """Pin and map `size` bytes piece by piece; `dma.size` says how far it came. 0 or an error."""
        error, dma.size = await self.pin_map_pieces(iommu, dma, 0, size, vfio_batch())
        return error

    async def pin_map_pieces(
        self, iommu: vfio_iommu, dma: vfio_dma, start: int, end: int, batch: vfio_batch
    ) -> tuple[int, int]:
        """The loop of `vfio_pin_map_dma`, from one offset in a mapping to another: 0 or an error, and how far
        it came.
        """
        error = 0
        while start < end and not error:
            await self.refill(dma, batch, end - start >> PAGE_SHIFT)
            pfn, npage = await self.vfio_pin_pages_remote(
                dma, dma.vaddr + start, end - start >> PAGE_SHIFT, batch
            )
            error = min(npage, 0) or await self.vfio_iommu_map(iommu, dma.iova + start, pfn, npage, dma.prot)
            if not error:
                start += npage << PAGE_SHIFT
            elif npage > 0:
                await self.vfio_unpin_pages_remote(dma, pfn, npage, True)
        await dma.mm.unpin_user_pages(batch.frames)  # `vfio_batch_unpin`
        batch.frames.clear()
        return error, start

    async def refill(self, dma: vfio_dma, batch: vfio_batch, npage: int) -> None:
        """Charge pages in advance: no release of Linux does."""

    async def vfio_iommu_map(self, iommu: vfio_iommu, iova: int, pfn: int, npage: int, prot: int) -> int:
        """Map a piece. The container has a domain."""
        assert iommu.domain is not None
        return await self.core.iommu_map(
            iommu.domain.domain, iova, pfn << PAGE_SHIFT, npage << PAGE_SHIFT, prot
        )

    async def vfio_pin_pages_remote(
        self, dma: vfio_dma, vaddr: int, npage: int, batch: vfio_batch
    ) -> tuple[int, int]:
        """Pin pages as long as they are contiguous in memory, and charge them: the first frame, and how
        many; or an error, and then none of them is pinned.
        """
        first = count = error = 0
        frames = batch.frames
        while count < npage:
            if not frames:
                at, most = vaddr + (count << PAGE_SHIFT), min(npage - count, VFIO_BATCH_MAX_CAPACITY)
                pinned = await dma.mm.pin_user_pages_remote(at, most)
                if isinstance(pinned, int):
                    error = pinned
                    break
                frames += pinned
            first = frames[0] if not count else first
            run = len(frames)
            if frames != list(range(first + count, first + count + run)):  # quicker than to look at each
                run = next(i for i, frame in enumerate(frames) if frame != first + count + i)
            del frames[:run]
            count += run
            if frames:
                break
        if not error:
            drawn = min(batch.lock_cache, count)
            batch.lock_cache -= drawn
            error = await dma.mm.account_locked_vm(count - drawn)
        if error:
            await dma.mm.unpin_user_pages(range(first, first + count))
        return (0, error) if error else (first, count)

    async def vfio_unpin_pages_remote(self, dma: vfio_dma, pfn: int, npage: int, do_accounting: bool) -> int:
        """Unpin pages and, if asked, give back what they were charged. How many."""
        await dma.mm.unpin_user_pages(range(pfn, pfn + npage))
        if do_accounting:
            await dma.mm.account_locked_vm(-npage)
        return npage

    # -- unmap ---------------------------------------------------------------

    async def vfio_dma_do_unmap(self, iommu: vfio_iommu, iova: int, size: int) -> tuple[int, int]:
        """Unmap whole mappings: 0 or -EINVAL (also for a range that cuts one in two),
        and the bytes unmapped.
        """
        if size <= 0 or (iova | size) & PAGE_SIZE - 1 or iova + size > 1 << 64:
            return -EINVAL, 0
        async with iommu.lock:
            first = self.vfio_find_dma(iommu, iova, 1)
            last = self.vfio_find_dma(iommu, iova + size - 1, 1)
            if (first is not None and first.iova != iova) or (
                last is not None and last.iova + last.size != iova + size
            ):
                return -EINVAL, 0
            unmapped = 0
            while (dma := self.vfio_find_dma(iommu, iova, size)) is not None:
                unmapped += dma.size
                await self.vfio_remove_dma(iommu, dma)
            return 0, unmapped

    async def vfio_remove_dma(self, iommu: vfio_iommu, dma: vfio_dma) -> None:
        """Unmap, unpin and forget one mapping."""
        await self.vfio_unmap_unpin(iommu, dma, dma.iova, dma.iova + dma.size)
        iommu.dma_list.remove(dma)
        await self.machine.kfree(dma)

    async def vfio_unmap_unpin(self, iommu: vfio_iommu, dma: vfio_dma, iova: int, end: int) -> None:
        """Unmap and unpin a part of a mapping (in Linux all of it); the domain says where the pages are."""
        if iova == end:
            return
        domain, unlocked = iommu.domain, 0
        assert domain is not None
        gather, regions = IotlbGather(), list[range]()
        while iova < end:
            # where the IOMMU joins small pages by itself (fgsp) it finds out what belongs together
            phys, size = await self.contiguous(domain.domain, iova, iova + PAGE_SIZE if domain.fgsp else end)
            if self.machine.warn_on(not phys, "vfio_unmap_unpin: not mapped"):
                iova += PAGE_SIZE
                continue
            done = await self.core.iommu_unmap_fast(domain.domain, iova, size, gather)
            if self.machine.warn_on(not done, "vfio_unmap_unpin: nothing unmapped"):
                break
            regions.append(range(phys >> PAGE_SHIFT, phys + done >> PAGE_SHIFT))
            iova += done
            if len(regions) == VFIO_IOMMU_TLB_SYNC_MAX or iova >= end:
                unlocked += await self.vfio_sync_unpin(dma, domain, regions, gather)
        await dma.mm.account_locked_vm(-unlocked)

    async def vfio_sync_unpin(
        self, dma: vfio_dma, domain: vfio_domain, regions: list[range], gather: IotlbGather
    ) -> int:
        """One flush for all the pieces, then they are unpinned. How many pages."""
        await self.core.iommu_iotlb_sync(domain.domain, gather)
        unlocked = 0
        for region in regions:
            unlocked += await self.vfio_unpin_pages_remote(dma, region.start, len(region), False)
        regions.clear()
        return unlocked

    async def contiguous(self, domain: IommuDomain, iova: int, end: int) -> tuple[int, int]:
        """The physical address behind `iova` (0: none), and for how many bytes memory goes on from
        there, page by page.
        """
        phys = await self.core.iommu_iova_to_phys(domain, iova)
        size = PAGE_SIZE
        while iova + size < end and await self.core.iommu_iova_to_phys(domain, iova + size) == phys + size:
            size += PAGE_SIZE
        return phys, size
