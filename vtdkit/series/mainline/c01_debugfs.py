"""983ebe57b3af: drivers/iommu/intel/debugfs.c. v1: patch 01. The dump holds the mutex of the group."""

from __future__ import annotations

from vtdkit.iommu.intel.debugfs import SeqFile
from vtdkit.iommu.pci import PciDevice

from .v519 import V519


class Commit01(V519):
    """iommu/vt-d: debugfs: Remove device_domain_lock usage"""

    title = "iommu/vt-d: debugfs: Remove device_domain_lock usage"

    async def _show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """`__show_device_domain_translation`: the first device of a group, under
        `group->mutex`; then no other.
        """
        domain = await self.core.iommu_get_domain_for_dev(dev)
        # the kernel converts to its own structure before it tests for NULL, so its test can never come
        # true; here it would
        if domain is not None:
            await self.dump_domain(m, dev, domain.driver)
        return 1

    async def show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """One device of the bus: its group's domain, which cannot be replaced meanwhile."""
        group = dev.group
        if group is not None:
            await self.core.iommu_group_for_each_dev(
                group, lambda other: self._show_device_domain_translation(m, other)
            )
        return 0

    async def domain_translation_struct_show(self) -> SeqFile:
        """Read the file: every device of the PCI bus, no lock of the driver's."""
        m = SeqFile(self)
        await self.bus.for_each_dev(self.shower(m))
        return m
