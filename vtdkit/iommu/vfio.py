"""VFIO's mapping user: drivers/vfio/vfio_iommu_type1.c around v5.19, as far as it matters to an IOMMU driver.

A *container* holds the address space of, say, one virtual machine: groups of devices, the domains they are
attached to, and the user memory mapped for them (`vfio_dma`). One mutex guards all of it, also while
thousands of pages are pinned, mapped, unmapped and flushed.

Rules: threads only (everything sleeps).

Left out: emulated devices (mdev), dirty tracking by VFIO itself, `vaddr` invalidation, reserved regions,
nesting, API version 1.
"""

from __future__ import annotations

from vtdkit.kernel.memory.gfp import GFP_KERNEL

from .core import IOMMU_READ, IOMMU_WRITE, IommuGroup
from .errno import EINVAL, EIO, ENOMEM
from .pinning import PAGE_SHIFT, PAGE_SIZE
from .vfio_dma import VfioMappings, vfio_domain, vfio_iommu, vfio_iommu_group


class VfioType1(VfioMappings):
    """The type 1 driver of one machine. Guards: nothing of its own; each container has a mutex."""

    # -- containers and groups -----------------------------------------------

    async def vfio_iommu_type1_open(self) -> vfio_iommu | None:
        """A new container, or None without memory."""
        return await self.machine.kmalloc(vfio_iommu)

    async def vfio_iommu_type1_release(self, iommu: vfio_iommu) -> None:
        """The container goes: mappings, then domains."""
        await self.vfio_iommu_unmap_unpin_all(iommu)
        for domain in list(iommu.domain_list):
            for group in domain.groups:
                await self.core.iommu_detach_group(domain.domain, group.iommu_group)
                await self.machine.kfree(group)
            await self.core.iommu_domain_free(domain.domain)
            await self.machine.kfree(domain)
        iommu.domain_list.clear()
        await self.machine.kfree(iommu)

    async def vfio_iommu_type1_attach_group(self, iommu: vfio_iommu, iommu_group: IommuGroup) -> int:
        """Put a group into the container. 0, -EINVAL if it is there, -ENOMEM, -EIO without a domain,
        or what attaching says.
        """
        async with iommu.lock:
            if any(
                group.iommu_group is iommu_group for domain in iommu.domain_list for group in domain.groups
            ):
                return -EINVAL
            group = await self.machine.kmalloc(vfio_iommu_group, iommu_group)
            domain = await self.machine.kmalloc(vfio_domain)
            error, kept = -ENOMEM, False
            if group is not None and domain is not None:
                error, kept = await self._attach(iommu, group, domain)
            if group is not None and error:
                await self.machine.kfree(group)
            if domain is not None and not kept:
                await self.machine.kfree(domain)
            return error

    async def _attach(
        self, iommu: vfio_iommu, group: vfio_iommu_group, domain: vfio_domain
    ) -> tuple[int, bool]:
        """The middle of attaching: the error, and whether the new domain is used."""
        generic = await self.core.iommu_domain_alloc("unmanaged")
        if generic is None:
            return -EIO, False
        domain.domain = generic
        error = await self.core.iommu_attach_group(generic, group.iommu_group)
        if error:
            await self.core.iommu_domain_free(generic)
            return error, False
        domain.enforce_cache_coherency = await self.core.driver.intel_iommu_enforce_cache_coherency(generic)
        for other in iommu.domain_list:
            if other.enforce_cache_coherency == domain.enforce_cache_coherency:
                # a domain of the same kind is there already: rather use that one
                await self.core.iommu_detach_group(generic, group.iommu_group)
                if not await self.core.iommu_attach_group(other.domain, group.iommu_group):
                    other.groups.append(group)
                    await self.core.iommu_domain_free(generic)
                    return 0, False
                error = await self.core.iommu_attach_group(generic, group.iommu_group)
                if error:
                    await self.core.iommu_domain_free(generic)
                    return error, False
        await self.vfio_test_domain_fgsp(domain)
        error = await self.vfio_iommu_replay(iommu, domain)
        if error:
            await self.core.iommu_detach_group(generic, group.iommu_group)
            await self.core.iommu_domain_free(generic)
            return error, False
        domain.groups.append(group)
        iommu.domain_list.insert(0, domain)
        return 0, True

    async def vfio_iommu_type1_detach_group(self, iommu: vfio_iommu, iommu_group: IommuGroup) -> None:
        """Take a group out; the last of a domain takes the domain with it, the last of all the mappings."""
        async with iommu.lock:
            for domain in list(iommu.domain_list):
                group = next((group for group in domain.groups if group.iommu_group is iommu_group), None)
                if group is None:
                    continue
                await self.core.iommu_detach_group(domain.domain, iommu_group)
                domain.groups.remove(group)
                await self.machine.kfree(group)
                if not domain.groups:
                    if len(iommu.domain_list) == 1:
                        await self.vfio_iommu_unmap_unpin_all(iommu)
                    await self.core.iommu_domain_free(domain.domain)
                    iommu.domain_list.remove(domain)
                    await self.machine.kfree(domain)
                return

    async def vfio_test_domain_fgsp(self, domain: vfio_domain) -> None:
        """Does the IOMMU join neighbouring pages by itself? Map two, unmap one, look at
        how much was unmapped.
        """
        pages = await self.machine.alloc_pages(2, GFP_KERNEL, name="fgsp probe")
        if not pages:
            return
        generic, phys = domain.domain, pages[0].address
        if not await self.core.iommu_map(generic, 0, phys, 2 * PAGE_SIZE, IOMMU_READ | IOMMU_WRITE):
            if await self.core.iommu_unmap(generic, 0, PAGE_SIZE) == PAGE_SIZE:
                await self.core.iommu_unmap(generic, PAGE_SIZE, PAGE_SIZE)
            else:
                domain.fgsp = True
        for page in pages:
            await self.machine.free_page(page)

    async def vfio_iommu_replay(self, iommu: vfio_iommu, domain: vfio_domain) -> int:
        """Map everything the container has into a new domain. 0 or an error, and then the
        domain is empty again.
        """
        for number, dma in enumerate(iommu.dma_list):
            iova, end, batch = dma.iova, dma.iova + dma.size, list[int]()
            while iova < end:
                if dma.iommu_mapped:
                    phys, size = await self.contiguous(iommu.domain_list[0].domain, iova, end)
                    error = 0
                else:
                    offset = iova - dma.iova
                    pfn, npage = await self.vfio_pin_pages_remote(
                        dma, dma.vaddr + offset, end - iova >> PAGE_SHIFT, batch
                    )
                    phys, size, error = pfn << PAGE_SHIFT, npage << PAGE_SHIFT, min(npage, 0)
                error = error or await self.core.iommu_map(domain.domain, iova, phys, size, dma.prot)
                if error:
                    if not dma.iommu_mapped and size > 0:
                        await self.vfio_unpin_pages_remote(dma, phys >> PAGE_SHIFT, size >> PAGE_SHIFT, True)
                    await dma.mm.unpin_user_pages(batch)
                    await self._unwind_replay(iommu, domain, number, iova)
                    return error
                iova += size
        for dma in iommu.dma_list:
            dma.iommu_mapped = True
        return 0

    async def _unwind_replay(self, iommu: vfio_iommu, domain: vfio_domain, number: int, reached: int) -> None:
        """Unmap what a replay that failed at `reached` in the `number`-th mapping had done, and
        unpin what it pinned.
        """
        for dma in iommu.dma_list[number::-1]:
            end = reached if dma is iommu.dma_list[number] else dma.iova + dma.size
            if dma.iommu_mapped:
                await self.core.iommu_unmap(domain.domain, dma.iova, end - dma.iova)
                continue
            iova = dma.iova
            while iova < end:
                phys, size = await self.contiguous(domain.domain, iova, end)
                await self.core.iommu_unmap(domain.domain, iova, size)
                await self.vfio_unpin_pages_remote(dma, phys >> PAGE_SHIFT, size >> PAGE_SHIFT, True)
                iova += size

    def __repr__(self) -> str:
        return f"<VFIO type 1 on {self.core!r}>"
