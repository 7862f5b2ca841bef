"""Patch 01 of "iommu/vt-d: Optimize the use of locks", v1: drivers/iommu/intel/debugfs.c.

Message-Id 20220527063019.3112905-2-baolu.lu@linux.intel.com, posted 27 May 2022. Jason Gunthorpe's objection
the same day: nothing keeps the domain alive while the dump reads it. Merged in another form as 983ebe57b3af.
"""

from __future__ import annotations

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.iommu.seq_file import SeqFile, seq_file


class Patch01(IntelIommu):
    """iommu/vt-d: Use iommu_get_domain_for_dev() in debugfs"""

    async def show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """One device of the bus: the table of the domain the core says it is attached to."""
        domain = await self.core.iommu_get_domain_for_dev(dev)
        if domain is None:
            return 0
        await self.dump_domain(m, dev, domain.driver)
        return 0

    @seq_file
    async def domain_translation_struct_show(self, m: SeqFile) -> None:
        """Read the file: every device of the PCI bus, no lock."""
        await self.bus.for_each_dev(self.shower(m))
