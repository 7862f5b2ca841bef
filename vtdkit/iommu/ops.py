"""`struct iommu_ops` and `iommu_domain_ops`: what the core and its users ask of a driver, a table of
functions as in Linux. What each does and returns say the functions behind it (for VT-d `intel/iommu.py`,
`intel/device.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .pci import PciDevice

if TYPE_CHECKING:
    from .core import IommuCore, IommuDomain, IotlbGather

OfDevice = Callable[[PciDevice], Awaitable[Any]]


@dataclass(slots=True)
class iommu_ops:
    """The operations. A table without devices (`backends`) has none of those that are about devices."""

    # mappings: no lock, any context
    map_pages: Callable[[IommuDomain, int, int, int, int, int], Awaitable[tuple[int, int]]]
    unmap_pages: Callable[[IommuDomain, int, int, int, IotlbGather], Awaitable[int]]
    iotlb_sync_map: Callable[[IommuDomain, int, int], Awaitable[None]]
    iotlb_sync: Callable[[IommuDomain, IotlbGather], Awaitable[None]]
    flush_iotlb_all: Callable[[IommuDomain], Awaitable[None]]
    iova_to_phys: Callable[[IommuDomain, int], Awaitable[int]]

    # domains and devices
    free: Callable[[IommuDomain], Awaitable[None]] = None  # type: ignore[assignment]
    domain_alloc: Callable[[str], Awaitable[IommuDomain | None]] = None  # type: ignore[assignment]
    attach_dev: Callable[[IommuDomain, PciDevice], Awaitable[int]] = None  # type: ignore[assignment]
    detach_dev: Callable[[IommuDomain, PciDevice], Awaitable[None]] = None  # type: ignore[assignment]
    enforce_cache_coherency: Callable[[IommuDomain], Awaitable[bool]] = None  # type: ignore[assignment]
    probe_device: OfDevice = None  # type: ignore[assignment]
    release_device: OfDevice = None  # type: ignore[assignment]
    is_attach_deferred: Callable[[PciDevice], bool] = None  # type: ignore[assignment]
    #: blocks a device's DMA before it is released, where the driver wants that (from 6.9 on)
    release_domain: OfDevice | None = None


class IommuDriver(Protocol):
    """A driver, as the core sees it. It is told of its core when it gets one."""

    title: str
    core: IommuCore
    log: list[str]  # what the kernel would print

    @property
    def ops(self) -> iommu_ops:
        """Its operations, bound to it."""

    def put_pages_list(self, freelist: list[Any]) -> Awaitable[None]:
        """Free the tables an unmap took out, once they are flushed."""
