"""VFIO's mapping user: drivers/vfio/vfio_iommu_type1.c around v5.19, as far as it matters to an IOMMU driver.

A *container* holds the address space of, say, one virtual machine: groups of devices, the domain they are
attached to, and the user memory mapped for them (`vfio_dma`). One mutex guards all of it, also while
thousands of pages are pinned, mapped, unmapped and flushed.

Rules: threads only (everything sleeps).

Left out: a second domain in one container, for devices whose units differ in coherency; emulated devices
(mdev), for which memory is mapped and not pinned; dirty tracking by VFIO itself, `vaddr` invalidation,
reserved regions, nesting, API version 1.
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
        """The container goes: mappings, then the domain with its groups."""
        await self.vfio_iommu_unmap_unpin_all(iommu)
        for group in list(iommu.domain.groups) if iommu.domain is not None else ():
            await self.vfio_iommu_type1_detach_group(iommu, group)
        await self.machine.kfree(iommu)

    async def vfio_iommu_type1_attach_group(self, iommu: vfio_iommu, group: IommuGroup) -> int:
        """Put a group into the container. 0, -EINVAL if it is there, -ENOMEM, -EIO without a domain,
        or what attaching says.
        """
        # one mutex from the first look to the last page pinned: nobody else maps or unmaps in this container
        async with iommu.lock:
            if iommu.domain is None:
                return await self._attach_first(iommu, group)
            # (Linux makes a domain first, and drops it where the one that is there is of its kind)
            groups, generic = iommu.domain.groups, iommu.domain.domain
            error = -EINVAL if group in groups else await self.core.iommu_attach_group(generic, group)
            if not error:
                groups.append(group)
            return error

    async def _attach_first(self, iommu: vfio_iommu, group: IommuGroup) -> int:
        """The first group of a container gets it its domain. Caller holds `iommu->lock`."""
        if (domain := await self.machine.kmalloc(vfio_domain)) is None:
            return -ENOMEM
        generic, error = await self.core.iommu_domain_alloc("unmanaged"), -EIO
        if generic is not None:
            domain.domain = generic
            error = await self.core.iommu_attach_group(generic, group)
            if not error:
                await self.core.ops.enforce_cache_coherency(generic)
                await self.vfio_test_domain_fgsp(domain)
                domain.groups.append(group)
                iommu.domain = domain
                return 0
            await self.core.iommu_domain_free(generic)
        await self.machine.kfree(domain)
        return error

    async def vfio_iommu_type1_detach_group(self, iommu: vfio_iommu, group: IommuGroup) -> None:
        """Take a group out; the last one takes the mappings and the domain with it."""
        async with iommu.lock:
            domain = iommu.domain
            if domain is None or group not in domain.groups:
                return
            await self.core.iommu_detach_group(domain.domain, group)
            domain.groups.remove(group)
            if not domain.groups:
                await self.vfio_iommu_unmap_unpin_all(iommu)
                await self.core.iommu_domain_free(domain.domain)
                iommu.domain = None
                await self.machine.kfree(domain)

    async def vfio_test_domain_fgsp(self, domain: vfio_domain) -> None:
        """Does the IOMMU join neighbouring pages by itself? Map two, unmap one, look at
        how much was unmapped.
        """
        if not (pages := await self.machine.alloc_pages(2, GFP_KERNEL, name="fgsp probe")):
            return
        generic, phys = domain.domain, pages[0].address
        if not await self.core.iommu_map(generic, 0, phys, 2 * PAGE_SIZE, IOMMU_READ | IOMMU_WRITE):
            domain.fgsp = await self.core.iommu_unmap(generic, 0, PAGE_SIZE) != PAGE_SIZE
            if not domain.fgsp:
                await self.core.iommu_unmap(generic, PAGE_SIZE, PAGE_SIZE)
        for page in pages:
            await self.machine.free_page(page)

    def __repr__(self) -> str:
        return f"<VFIO type 1 on {self.core!r}>"
