"""The iommu core: groups of devices, domains, and the map/unmap interface every user of
an IOMMU goes through.

Mirrors drivers/iommu/iommu.c around v5.19. `group->mutex` serialises which domain a group is attached to;
it is held around the driver's attach and detach, never around map and unmap. Map and unmap take no lock
at all: their callers promise not to work on overlapping ranges at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.kernel.memory.pages import Page

from .arguments import own, unsigned
from .errno import EBUSY, EINVAL, ENODEV
from .ops import IommuDriver
from .pci import PciDevice

if TYPE_CHECKING:
    from .dma import DmaApi

IOMMU_READ = 1
IOMMU_WRITE = 2
WHOLE_PAGES = (1 << 64) - 4096  # what bits an aligned 64-bit number may have


class IommuDomain(KObject):
    """`struct iommu_domain`: what users see of a domain; `driver` is the driver's
    own structure around it.

    `type` is "dma" (strict), "dma-fq" (lazy), "unmanaged" or "identity". Guards: `pgsize_bitmap` and
    `aperture_end` by the driver.
    """

    pgsize_bitmap = shared(1 << 12)
    aperture_end = shared(0)

    def __init__(self, machine: Machine, type: str, driver: Any) -> None:
        super().__init__(machine, f"iommu_domain of {driver.label}")
        self.type = type
        self.driver = driver
        self.cookie: Any = None  # the DMA API's part

    @property
    def is_dma(self) -> bool:
        """`iommu_is_dma_domain`: does the DMA API manage it?"""
        return self.type in ("dma", "dma-fq")

    def __repr__(self) -> str:
        return f"<{self.type} {self.driver.label}>"


@dataclass(slots=True)
class IotlbGather:
    """`struct iommu_iotlb_gather`: what an unmap leaves to be flushed. `end` is the last byte; empty
    while start > end.
    """

    start: int = (1 << 64) - 1
    end: int = 0
    pgsize: int = 0
    freelist: list[Page] = field(default_factory=list)
    queued: bool = False

    def takes(self, iova: int, size: int) -> bool:
        """Can a range be added: does it join on to what there is, and is it made of pages
        of the same size?
        """
        joins = self.start > self.end or self.start - size <= iova <= self.end + 1
        return joins and self.pgsize in (0, size)

    def add(self, iova: int, size: int) -> None:
        """Add a range."""
        self.pgsize = size
        self.start, self.end = min(self.start, iova), max(self.end, iova + size - 1)


class IommuGroup(KObject):
    """`struct iommu_group`: devices that cannot be told apart, so they share a domain.

    Guards: `mutex`: `devices`, `domain`, `default_domain`. `iommu_get_domain_for_dev`
    reads `domain` without it.
    """

    domain = shared()
    default_domain = shared()

    def __init__(self, machine: Machine, number: int) -> None:
        super().__init__(machine, f"group {number}")
        self.mutex = machine.mutex("group->mutex")
        self.devices: list[PciDevice] = []


class IommuCore:
    """The core of one machine. `default_type` is the kind of default domain a device gets."""

    def __init__(self, machine: Machine, driver: IommuDriver, default_type: str = "dma") -> None:
        self.machine = machine
        self.driver = driver
        self.ops = driver.ops
        driver.core = self
        self.default_type = default_type
        self.groups: list[IommuGroup] = []
        self.dma: DmaApi | None = None  # the DMA API, if this machine has one

    # -- devices come and go -------------------------------------------------

    async def iommu_probe_device(self, dev: PciDevice) -> int:
        """A device appears: the driver looks at it, it joins a group, the group gets its default
        domain. 0 or negative.

        A group for which no default domain can be had goes without, as in Linux. In a crash kernel the attach
        is left to the first DMA mapping, which is not modelled. If attaching fails, the device is released.
        """
        iommu = await self.ops.probe_device(dev)
        if isinstance(iommu, int):
            return iommu
        group = await self.iommu_group_get_for_dev(dev)
        error = 0
        async with group.mutex:
            if group.default_domain is None:
                group.default_domain = await self.iommu_domain_alloc(self.default_type)
            if group.default_domain is not None:
                if not self.ops.is_attach_deferred(dev):
                    error = await self.ops.attach_dev(group.default_domain, dev)
                if not error and group.domain is None:
                    await group.write_once(domain=group.default_domain)
        if error:
            await self.iommu_release_device(dev)
        elif self.dma is not None:
            await self.dma.iommu_setup_dma_ops(dev)  # `probe_finalize`; a failure is only logged
        return error

    async def iommu_group_get_for_dev(self, dev: PciDevice) -> IommuGroup:
        """The group of a device: that of a device it shares an alias with, or a new one."""
        group = next(
            (g for g in self.groups for other in g.devices if set(other.aliases) & set(dev.aliases)), None
        )
        if group is None:
            group = IommuGroup(self.machine, len(self.groups))
            self.groups.append(group)
        group.devices.append(dev)
        dev.group = group
        return group

    async def iommu_release_device(self, dev: PciDevice) -> None:
        """A device goes. `group->mutex` is not held: in 2022 nothing keeps an attach out here but who calls.

        A driver with a release domain (6.9) has the device attached to it first, if it ever was attached.
        """
        if self.ops.release_domain and not self.ops.is_attach_deferred(dev):
            await self.ops.release_domain(dev)
        await self.ops.release_device(dev)
        group: IommuGroup | None = dev.group
        if group is None:
            return
        async with group.mutex:
            group.devices.remove(dev)
            dev.group = None
            last = not group.devices
        if last:
            self.groups.remove(group)
            if group.default_domain is not None:
                await self.iommu_domain_free(group.default_domain)

    # -- domains -------------------------------------------------------------

    async def iommu_domain_alloc(self, type: str) -> IommuDomain | None:
        """A domain of this type, or None."""
        return await self.ops.domain_alloc(type)

    async def iommu_domain_free(self, domain: IommuDomain) -> None:
        """Free it. No device may be attached any more."""
        if domain.cookie is not None:
            await domain.cookie.put()
        await self.ops.free(domain)

    async def iommu_attach_device(self, domain: IommuDomain, dev: PciDevice) -> int:
        """Attach a device that is alone in its group. 0, -ENODEV, -EINVAL, -EBUSY, or
        what the driver says.
        """
        own(self.machine, domain, dev)
        group: IommuGroup | None = dev.group
        if group is None:
            return -ENODEV
        async with group.mutex:
            if len(group.devices) != 1:
                return -EINVAL
            return await self._iommu_attach_group(domain, group)

    async def iommu_attach_group(self, domain: IommuDomain, group: IommuGroup) -> int:
        """Attach every device of a group."""
        async with group.mutex:
            return await self._iommu_attach_group(domain, group)

    async def _iommu_attach_group(self, domain: IommuDomain, group: IommuGroup) -> int:
        """`__iommu_attach_group`. Caller holds `group->mutex`."""
        if group.domain is not None and group.domain is not group.default_domain:
            return -EBUSY
        for dev in group.devices:
            if error := await self.ops.attach_dev(domain, dev):
                return error
        await group.write_once(domain=domain)
        return 0

    async def iommu_detach_device(self, domain: IommuDomain, dev: PciDevice) -> None:
        """Back to the default domain. A warning, and nothing happens, if it is in another one."""
        own(self.machine, domain, dev)
        group: IommuGroup | None = dev.group
        if group is None:
            return
        async with group.mutex:
            if not self.machine.warn_on(
                group.domain is not domain, f"iommu_detach_device: {dev.name} is not attached to this domain"
            ) and not self.machine.warn_on(
                len(group.devices) != 1, f"iommu_detach_device: {dev.name} is not alone in its group"
            ):
                await self._iommu_group_set_core_domain(group)

    async def _iommu_group_set_core_domain(self, group: IommuGroup) -> None:
        """`__iommu_group_set_core_domain`. Caller holds `group->mutex`."""
        default: IommuDomain | None = group.default_domain
        if group.domain is default:
            return
        for dev in group.devices:
            if default is None:
                await self.ops.detach_dev(group.domain, dev)
            else:
                error = await self.ops.attach_dev(default, dev)
                self.machine.warn_on(error, "attaching the default domain failed")
        await group.write_once(domain=default)

    async def iommu_get_domain_for_dev(self, dev: PciDevice) -> IommuDomain | None:
        """The domain a device is attached to. Safe only for who keeps it attached
        meanwhile: nothing is held.
        """
        group: IommuGroup | None = dev.group
        return await group.read_once("domain") if group is not None else None

    async def iommu_group_for_each_dev(
        self, group: IommuGroup, visit: Callable[[PciDevice], Awaitable[int]]
    ) -> int:
        """Call `visit` on every device of a group under `group->mutex`, until it returns
        something other than 0.
        """
        async with group.mutex:
            for dev in group.devices:
                if result := await visit(dev):
                    return result
        return 0

    # -- map and unmap -------------------------------------------------------

    def iommu_pgsize(self, domain: IommuDomain, iova: int, paddr: int, size: int) -> tuple[int, int]:
        """The largest page size that fits here, and how many of them before a larger one would fit."""
        merged = iova | paddr
        bitmap: int = domain.pgsize_bitmap
        if size == bitmap & -bitmap and not merged & size - 1:
            return size, 1
        fitting = bitmap & (1 << size.bit_length()) - 1
        if merged:
            fitting &= (merged & -merged) * 2 - 1
        pgsize = 1 << fitting.bit_length() - 1
        above = bitmap & -(2 * pgsize)
        larger = above & -above
        count = size // pgsize
        if larger and not (iova ^ paddr) & larger - 1:
            offset = larger - (paddr & larger - 1)
            if offset + larger <= size:
                count = offset // pgsize
        return pgsize, count

    async def iommu_map(self, domain: IommuDomain, iova: int, paddr: int, size: int, prot: int) -> int:
        """Map `size` bytes at `iova` to `paddr`, all or nothing. 0, -EINVAL, -ENOMEM, -EFAULT."""
        error = await self._iommu_map(domain, iova, paddr, size, prot)
        if not error:
            await self.ops.iotlb_sync_map(domain, iova, size)
        return error

    async def iommu_map_sg(
        self, domain: IommuDomain, iova: int, sg: Sequence[tuple[int, int]], prot: int
    ) -> int:
        """Map pieces of memory (address, bytes) side by side from `iova` on, all or nothing. The bytes
        mapped, or an error.

        Pieces that are neighbours in memory too are mapped as one.
        """
        mapped = start = length = 0
        for phys, size in [*sg, (-1, 0)]:
            if length and phys != start + length:
                error = await self._iommu_map(domain, iova + mapped, start, length, prot)
                if error:
                    await self.iommu_unmap(domain, iova, mapped)
                    return error
                mapped, length = mapped + length, 0
            start, length = start if length else phys, length + size
        await self.ops.iotlb_sync_map(domain, iova, mapped)
        return mapped

    async def _iommu_map(self, domain: IommuDomain, iova: int, paddr: int, size: int, prot: int) -> int:
        """`__iommu_map`: map, without telling the hardware."""
        if (iova | paddr | size) & ~WHOLE_PAGES or domain.type == "identity":
            self.refused(domain, iova=iova, pa=paddr, size=size)
            return -EINVAL
        at, to, left = iova, paddr, size
        while left:
            pgsize, count = self.iommu_pgsize(domain, at, to, left)
            error, mapped = await self.ops.map_pages(domain, at, to, pgsize, count, prot)
            at, to, left = at + mapped, to + mapped, left - mapped
            if error:
                if at > iova:
                    await self.iommu_unmap(domain, iova, at - iova)
                return error
        return 0

    async def iommu_unmap(self, domain: IommuDomain, iova: int, size: int) -> int:
        """Unmap and flush; the bytes that were unmapped."""
        gather = IotlbGather()
        unmapped = await self.iommu_unmap_fast(domain, iova, size, gather)
        await self.iommu_iotlb_sync(domain, gather)
        return unmapped

    async def iommu_unmap_fast(self, domain: IommuDomain, iova: int, size: int, gather: IotlbGather) -> int:
        """Unmap, leaving the flush to the caller."""
        unmapped = 0
        if (iova | size) & ~WHOLE_PAGES or domain.type == "identity":
            self.refused(domain, iova=iova, size=size)
            return 0
        while unmapped < size:
            pgsize, count = self.iommu_pgsize(domain, iova, iova, size - unmapped)
            done = await self.ops.unmap_pages(domain, iova, pgsize, count, gather)
            if not done:
                break
            iova += done
            unmapped += done
        return unmapped

    def refused(self, domain: IommuDomain, **numbers: int) -> None:
        """What is not aligned Linux refuses with a line in the log, and a domain without tables silently.

        Raises ValueError for what C could not even be given: a number below 0, or of more than 64 bits.
        """
        unsigned(**numbers)
        if domain.type != "identity":
            texts = [f"{name} {value:{'#018x' if name == 'pa' else '#x'}}" for name, value in numbers.items()]
            self.driver.log.append(f"iommu: unaligned: {' '.join(texts)} min_pagesz 0x1000")

    async def iommu_iotlb_sync(self, domain: IommuDomain, gather: IotlbGather) -> None:
        """Flush what was gathered."""
        if gather.start <= gather.end:
            await self.ops.iotlb_sync(domain, gather)
        gather.start, gather.end, gather.pgsize = (1 << 64) - 1, 0, 0

    async def iommu_flush_iotlb_all(self, domain: IommuDomain) -> None:
        """Flush the whole domain."""
        await self.ops.flush_iotlb_all(domain)

    async def iommu_iova_to_phys(self, domain: IommuDomain, iova: int) -> int:
        """The physical address behind an address, 0 if there is none."""
        return iova if domain.type == "identity" else await self.ops.iova_to_phys(domain, iova)

    def __repr__(self) -> str:
        return f"<iommu core: {len(self.groups)} groups, driver {self.driver.title}>"
