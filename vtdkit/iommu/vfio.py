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
from .pinning import PAGE_SIZE
from .vfio_dma import VfioMappings, vfio_domain, vfio_iommu


class VfioType1(VfioMappings):
    """The type 1 driver of one machine. Guards: nothing of its own; each container has a mutex."""

    # -- containers and groups -----------------------------------------------

    async def vfio_iommu_type1_open(self) -> vfio_iommu | None:
        """A new container, or None without memory."""
        return await self.machine.kmalloc(vfio_iommu)

    async def vfio_iommu_type1_release(self, iommu: vfio_iommu) -> None:
        """The container goes: mappings, then domains."""
        await self.vfio_iommu_unmap_unpin_all(iommu)
        for domain in iommu.domain_list:
            for group in domain.groups:
                await self.core.iommu_detach_group(domain.domain, group)
            await self.core.iommu_domain_free(domain.domain)
            await self.machine.kfree(domain)
        iommu.domain_list.clear()
        await self.machine.kfree(iommu)

    async def vfio_iommu_type1_attach_group(self, iommu: vfio_iommu, group: IommuGroup) -> int:
        """Put a group into the container. 0, -EINVAL if it is there, -ENOMEM, -EIO without a domain,
        or what attaching says.
        """
        # one mutex from the first look to the last page pinned: nobody else maps or unmaps in this container
        async with iommu.lock:
            if any(group in domain.groups for domain in iommu.domain_list):
                return -EINVAL
            domain = await self.machine.kmalloc(vfio_domain)
            if domain is None:
                return -ENOMEM
            error = await self._attach(iommu, group, domain)
            if domain not in iommu.domain_list:
                await self.machine.kfree(domain)
            return error

    async def _attach(self, iommu: vfio_iommu, group: IommuGroup, domain: vfio_domain) -> int:
        """The middle of attaching: the group joins a domain of its kind, or the new one joins the list."""
        generic = await self.core.iommu_domain_alloc("unmanaged")
        if generic is None:
            return -EIO
        domain.domain = generic
        error = await self.core.iommu_attach_group(generic, group)
        if not error:
            domain.enforce_cache_coherency = await self.core.ops.enforce_cache_coherency(generic)
            joined = await self._join(iommu, group, domain)
            if joined is None:
                await self.vfio_test_domain_fgsp(domain)
                error = await self.vfio_iommu_replay(iommu, domain)
                if not error:
                    domain.groups.append(group)
                    return 0
                await self.core.iommu_detach_group(generic, group)
            else:
                error = joined
        await self.core.iommu_domain_free(generic)
        return error

    async def _join(self, iommu: vfio_iommu, group: IommuGroup, domain: vfio_domain) -> int | None:
        """Rather use a domain of the same kind that is there: 0 if the group is in it now, None if it is in
        its own, or an error, and then it is in none.
        """
        for other in iommu.domain_list:
            if other.enforce_cache_coherency == domain.enforce_cache_coherency:
                await self.core.iommu_detach_group(domain.domain, group)
                if not await self.core.iommu_attach_group(other.domain, group):
                    other.groups.append(group)
                    return 0
                error = await self.core.iommu_attach_group(domain.domain, group)
                if error:
                    return error
        return None

    async def vfio_iommu_type1_detach_group(self, iommu: vfio_iommu, group: IommuGroup) -> None:
        """Take a group out; the last of a domain takes the domain with it, the last of all the mappings."""
        async with iommu.lock:
            domain = next((domain for domain in iommu.domain_list if group in domain.groups), None)
            if domain is None:
                return
            await self.core.iommu_detach_group(domain.domain, group)
            domain.groups.remove(group)
            if domain.groups:
                return
            if len(iommu.domain_list) == 1:
                await self.vfio_iommu_unmap_unpin_all(iommu)
            await self.core.iommu_domain_free(domain.domain)
            iommu.domain_list.remove(domain)
            await self.machine.kfree(domain)

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
        """A new domain joins the list, with everything the container has mapped. 0, or an error, and then
        it is not in the list.
        """
        if iommu.domain_list:
            error = await self._copy(iommu, domain)
            if not error:
                iommu.domain_list.insert(0, domain)
            return error
        iommu.domain_list.append(domain)  # nothing is pinned so far
        for number, dma in enumerate(iommu.dma_list):
            size, dma.size = dma.size, 0
            error = await self.vfio_pin_map_dma(iommu, dma, size)
            if error:
                for done in iommu.dma_list[: number + 1]:
                    await self.vfio_unmap_unpin(iommu, done)
                dma.size = size
                iommu.domain_list.clear()
                return error
        return 0

    async def _copy(self, iommu: vfio_iommu, domain: vfio_domain) -> int:
        """Map everything into one more domain, at the addresses that the first one has. After an error the
        caller frees the domain, and with it what was mapped.
        """
        for dma in iommu.dma_list:
            iova, end = dma.iova, dma.iova + dma.size
            while iova < end:
                phys, size = await self.contiguous(iommu.domain_list[0].domain, iova, end)
                error = await self.core.iommu_map(domain.domain, iova, phys, size, dma.prot)
                if error:
                    return error
                iova += size
        return 0

    def __repr__(self) -> str:
        return f"<VFIO type 1 on {self.core!r}>"
