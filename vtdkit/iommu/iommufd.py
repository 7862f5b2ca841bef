"""iommufd's mapping user: drivers/iommu/iommufd/io_pagetable.c of v6.7 to v6.12, the address
space behind an IOAS.

Made after the series, with its debate in mind: nobody should have to hold one lock around slow work. The
address space is a set of *areas*. A map first reserves its area, empty, under `iova_rwsem`; then, holding no
lock that another area's map needs, pins the pages and fills the domains; then marks the area as filled. Two
maps of different areas run side by side, and so do unmaps. The rules that make this safe: an area is unmapped
whole or not at all (-ENOENT), and not while it is being filled (-EBUSY).

Pinning one's own memory takes no lock where the pages are there, and the pages are charged to the user with
one atomic, not to the address space under `mmap_lock` (that is left for VFIO's sake).

Reading dirty bits shares `iova_rwsem` with every map that reserves or finishes: an area cannot come
or go under it.

Rules: threads only. Addresses and lengths are in bytes and whole pages. Not modelled: access by
the kernel itself (`iopt_access`), areas that share pages, pages that more than one user pins, allowed and
reserved ranges, addresses that the kernel chooses. All pages of an area are pinned and then mapped; Linux
goes batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

from .core import IOMMU_READ, IOMMU_WRITE, IommuCore, IommuDomain, IotlbGather
from .dirty import intel_iommu_read_and_clear_dirty
from .errno import EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM
from .pinning import PAGE_SHIFT, PAGE_SIZE, mm_struct

BATCH = 512  # pages pinned at once


class iopt_pages(KObject):
    """`struct iopt_pages`: a piece of user memory behind an area. Guards: `mutex`: `frames`, the
    pages that are pinned.
    """

    frames = shared(())

    def __init__(self, machine: Machine, mm: mm_struct, uptr: int, npages: int) -> None:
        super().__init__(machine, f"iopt_pages {uptr:#x}")
        self.mutex = machine.mutex("&pages->mutex")
        self.mm = mm
        self.uptr = uptr
        self.npages = npages


class iopt_area(KObject):
    """`struct iopt_area`: a mapped range. `pages` is None while it is being filled or emptied.

    Guards: `iova_rwsem`: `pages`, and that the area is in the table. Written once: the rest.
    """

    pages = shared()

    def __init__(self, machine: Machine, iova: int, length: int, iommu_prot: int) -> None:
        super().__init__(machine, f"iopt_area {iova:#x}")
        self.iova = iova
        self.last = iova + length - 1
        self.iommu_prot = iommu_prot


class io_pagetable(KObject):
    """`struct io_pagetable`.

    Guards: `iova_rwsem`: `area_itree` and each area's `pages`. `domains_rwsem`: `domains`; held for reading
    as long as some area is neither empty nor filled, so that domains cannot come and go then.
    """

    area_itree = shared(())  # areas by address; an interval tree in Linux. Replaced, never changed in place
    domains = shared(())

    def __init__(self, core: IommuCore) -> None:
        """`iopt_init_table`."""
        super().__init__(core.machine, "io_pagetable")
        self.core = core
        self.iova_rwsem = core.machine.rwsem("&iopt->iova_rwsem")
        self.domains_rwsem = core.machine.rwsem("&iopt->domains_rwsem")
        self.read_and_clear_dirty = partial(intel_iommu_read_and_clear_dirty, core)  # `domain->dirty_ops`

    # -- areas ---------------------------------------------------------------

    def iopt_area_iter_first(self, start: int, last: int) -> iopt_area | None:
        """The lowest area that overlaps a range."""
        return next((area for area in self.area_itree if area.iova <= last and start <= area.last), None)

    async def iopt_alloc_area_pages(self, iova: int, length: int, prot: int) -> iopt_area | int:
        """Reserve a range with an area that is empty so far; -ENOMEM, -EINVAL, -EEXIST where there is one."""
        area: iopt_area | None = await self.machine.kmalloc(iopt_area, iova, length, prot)
        if area is None:
            return -ENOMEM
        async with self.iova_rwsem.write():
            error = -EINVAL if length <= 0 or (length | iova) & PAGE_SIZE - 1 else 0
            if not error and self.iopt_area_iter_first(area.iova, area.last) is not None:
                error = -EEXIST
            if not error:
                self.area_itree = tuple(sorted((*self.area_itree, area), key=lambda each: each.iova))
                return area
        await self.machine.kfree(area)
        return error

    async def iopt_abort_area(self, area: iopt_area) -> None:
        """Take an empty area out and free it."""
        async with self.iova_rwsem.write():
            self.area_itree = tuple(other for other in self.area_itree if other is not area)
        await self.machine.kfree(area)

    # -- map and unmap -------------------------------------------------------

    async def iopt_map_user_pages(
        self,
        mm: mm_struct,
        uptr: int,
        length: int,
        iova: int,
        prot: int = IOMMU_READ | IOMMU_WRITE,
    ) -> int:
        """Map user memory at `iova`; the address, or -ENOMEM, -EINVAL, -EEXIST, -EFAULT."""
        if (pages := await self.machine.kmalloc(iopt_pages, mm, uptr, length >> PAGE_SHIFT)) is None:
            return -ENOMEM
        area = await self.iopt_alloc_area_pages(iova, length, prot)
        if isinstance(area, int):
            await self.machine.kfree(pages)
            return area
        async with self.domains_rwsem.read():
            error = await self.iopt_area_fill_domains(area, pages, self.domains)
            if not error:
                async with self.iova_rwsem.write():
                    area.pages = pages
        if error:
            await self.iopt_abort_area(area)
            await self.machine.kfree(pages)
            return error
        return area.iova

    async def iopt_unmap_iova(self, iova: int, length: int) -> tuple[int, int]:
        """Unmap every area in a range, each of them whole: 0, and the bytes unmapped.

        -ENOENT if an area reaches out of the range (or there is none), -EBUSY if one is being filled; lower
        ones are gone then.
        """
        if length <= 0:
            return -EINVAL, 0
        last, unmapped = iova + length - 1, 0
        async with self.domains_rwsem.read():
            while True:
                async with self.iova_rwsem.write():
                    area = self.iopt_area_iter_first(iova, last)
                    if area is None:
                        return (0 if unmapped else -ENOENT), unmapped
                    pages: iopt_pages | None = area.pages
                    if pages is None:
                        return -EBUSY, unmapped
                    if area.iova < iova or area.last > last:
                        return -ENOENT, unmapped
                    area.pages = None
                await self.iopt_area_unfill_domains(area, pages, self.domains)
                unmapped += area.last - area.iova + 1
                await self.iopt_abort_area(area)
                await self.machine.kfree(pages)

    async def iopt_area_fill_domains(
        self, area: iopt_area, pages: iopt_pages, domains: Sequence[IommuDomain]
    ) -> int:
        """Map an area in some domains; the first that comes has the pages pinned. 0, or an error, and nothing
        is left.
        """
        if not domains:
            return 0
        async with pages.mutex:
            pin = not pages.frames
            error = await self._pin(pages) if pin else 0
            for number, domain in enumerate(domains if not error else ()):
                error = await self._fill(area, pages, domain)
                if error:
                    await self._empty(area, pages, domains[:number], pin)
                    break
        return error

    async def iopt_area_unfill_domains(
        self, area: iopt_area, pages: iopt_pages, domains: Sequence[IommuDomain], last: bool = True
    ) -> None:
        """Unmap an area in some domains; with the `last` of them go the pins."""
        async with pages.mutex:
            await self._empty(area, pages, domains, last)

    async def _empty(
        self, area: iopt_area, pages: iopt_pages, domains: Sequence[IommuDomain], unpin: bool
    ) -> None:
        """The body of both ways back. Caller holds `pages->mutex`."""
        for domain in domains:
            await self.core.iommu_unmap(domain, area.iova, area.last - area.iova + 1)
        if unpin and pages.frames:
            await pages.mm.unpin_user_pages(pages.frames)
            await pages.mm.incr_user_locked_vm(-pages.npages)
            pages.frames = ()

    async def _pin(self, pages: iopt_pages) -> int:
        """Pin all pages of an area, a batch at a time. Caller holds `pages->mutex`."""
        frames: list[int] = []
        while len(frames) < pages.npages:
            at = pages.uptr + (len(frames) << PAGE_SHIFT)
            batch = await pages.mm.pin_user_pages_fast(at, min(pages.npages - len(frames), BATCH))
            if isinstance(batch, int):
                await pages.mm.unpin_user_pages(frames)
                return batch
            frames += batch
        error = await pages.mm.incr_user_locked_vm(pages.npages)
        if error:
            await pages.mm.unpin_user_pages(frames)
        else:
            pages.frames = tuple(frames)
        return error

    async def _fill(self, area: iopt_area, pages: iopt_pages, domain: IommuDomain) -> int:
        """Map an area in one domain, each piece that is contiguous in memory at
        once. Caller holds `pages->mutex`.
        """
        for _, run in groupby(enumerate(pages.frames), lambda each: each[1] - each[0]):
            (at, frame), *more = run
            iova, size = area.iova + (at << PAGE_SHIFT), len(more) + 1 << PAGE_SHIFT
            error = await self.core.iommu_map(domain, iova, frame << PAGE_SHIFT, size, area.iommu_prot)
            if error:
                await self.core.iommu_unmap(domain, area.iova, at << PAGE_SHIFT)
                return error
        return 0

    # -- domains -------------------------------------------------------------

    async def iopt_table_add_domain(self, domain: IommuDomain) -> int:
        """A domain joins: every area is filled into it. 0, -EEXIST, or an error, and then
        the domain is empty.
        """
        async with self.domains_rwsem.write(), self.iova_rwsem.write():
            if any(other is domain for other in self.domains):
                return -EEXIST
            first, done = not self.domains, list[iopt_area]()
            for area in self.filled():
                error = await self.iopt_area_fill_domains(area, area.pages, (domain,))
                if error:
                    for other in done:
                        await self.iopt_area_unfill_domains(other, other.pages, (domain,), first)
                    return error
                done.append(area)
            self.domains = (*self.domains, domain)
        return 0

    async def iopt_table_remove_domain(self, domain: IommuDomain) -> None:
        """A domain leaves: every area is unmapped in it; the last one takes the pins with it."""
        async with self.domains_rwsem.write(), self.iova_rwsem.write():
            self.domains = tuple(other for other in self.domains if other is not domain)
            for area in self.filled():
                await self.iopt_area_unfill_domains(area, area.pages, (domain,), not self.domains)

    def filled(self) -> list[iopt_area]:
        """The areas that are there for good; the others see to their domains
        themselves. Caller holds `iova_rwsem`.
        """
        return [area for area in self.area_itree if area.pages is not None]

    # -- dirty pages ---------------------------------------------------------

    async def iopt_read_and_clear_dirty_data(
        self, domain: IommuDomain, iova: int, length: int
    ) -> list[int] | int:
        """The pages of a range that devices have written since the last call, as addresses. -EINVAL where
        something is not mapped.

        `iova_rwsem` is held for reading throughout: no area of the range goes meanwhile, and
        none can come anywhere.
        """
        async with self.iova_rwsem.read():
            at = iova
            for area in self.filled():
                if area.iova <= at <= area.last:
                    at = area.last + 1
            if at < iova + length:
                return -EINVAL
            dirty = await self.read_and_clear_dirty(domain, iova, length)
            if dirty:
                # the IOTLB remembers that a page is dirty and would not say so again
                await self.core.iommu_iotlb_sync(domain, IotlbGather(dirty[0], dirty[-1] + PAGE_SIZE - 1))
            return dirty
