"""983ebe57b3af: drivers/iommu/intel/debugfs.c. v1: patch 01. The dump holds the mutex of the group."""

from __future__ import annotations

from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.seq_file import SeqFile, seq_file
from vtdkit.kernel.checkers.findings import Oops

from .v519 import V519


class Commit01(V519):
    """iommu/vt-d: debugfs: Remove device_domain_lock usage"""

    async def _show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """`__show_device_domain_translation`: the first device of a group, under
        `group->mutex`; then no other.
        """
        domain = await self.core.iommu_get_domain_for_dev(dev)
        # C converts to its own structure first and tests that for NULL, which it can never be
        if domain is None:
            raise Oops(
                f"NULL pointer dereference: {dev.name} is in no domain, and the test for it comes too late"
            )
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

    @seq_file
    async def domain_translation_struct_show(self, m: SeqFile) -> None:
        """Read the file: every device of the PCI bus, no lock of the driver's."""
        await self.bus.for_each_dev(self.shower(m))
