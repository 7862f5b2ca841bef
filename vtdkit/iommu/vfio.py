"""VFIO's mapping user: drivers/vfio/vfio_iommu_type1.c around v5.19, as far as it matters to an IOMMU driver.

A *container* holds the address space of, say, one virtual machine: a group of devices, the domain they are
attached to, and the user memory mapped for them (`vfio_dma`). One mutex guards all of it, also while
thousands of pages are pinned, mapped, unmapped and flushed.

Rules: threads only (everything sleeps).

Left out: a container's end, and a group that leaves; a second group, and a second domain for devices
whose units differ in coherency; emulated devices (mdev), for which memory is mapped and not pinned; dirty
tracking by VFIO itself, `vaddr` invalidation, reserved regions, nesting, API version 1.
"""

from __future__ import annotations

from vtdkit.kernel.memory.gfp import GFP_KERNEL

from .core import IOMMU_READ, IOMMU_WRITE, IommuGroup
from .errno import EINVAL, EIO, ENOMEM
from .pinning import PAGE_SIZE
from .vfio_dma import VfioMappings, vfio_domain, vfio_iommu


class VfioType1(VfioMappings):
    """The type 1 driver of one machine. Guards: nothing of its own; each container has a mutex."""

    async def vfio_iommu_type1_open(self) -> vfio_iommu | None:
        """A new container, or None without memory."""
        return await self.machine.kmalloc(vfio_iommu)

    async def vfio_iommu_type1_attach_group(self, iommu: vfio_iommu, group: IommuGroup) -> int:
        """Give the container its group and its domain. 0, -EINVAL if it has them, -ENOMEM, -EIO without a
        domain, or what attaching says.
        """
        # one mutex from the first look to the last page pinned: nobody else maps or unmaps in this container
        async with iommu.lock:
            if iommu.domain is not None:
                return -EINVAL
            if (domain := await self.machine.kmalloc(vfio_domain)) is None:
                return -ENOMEM
            generic, error = await self.core.iommu_domain_alloc("unmanaged"), -EIO
            if generic is not None:
                domain.domain = generic
                error = await self.core.iommu_attach_group(generic, group)
                if not error:
                    await self.core.ops.enforce_cache_coherency(generic)
                    await self.vfio_test_domain_fgsp(domain)
                    iommu.domain = domain
                    return 0
                await self.core.iommu_domain_free(generic)
            await self.machine.kfree(domain)
            return error

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
