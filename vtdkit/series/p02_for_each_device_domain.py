"""Patch 02, v1: drivers/iommu/intel/iommu.c and pasid.c.

Message-Id 20220527063019.3112905-3. Reviewed by Jason Gunthorpe and Kevin Tian. Dropped in v3:
PASID-table sharing itself went away in v5.19 (4140d77a0221).
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.intel.pasid_table import pasid_table_opaque
from vtdkit.iommu.pci import PciDevice

from .p01_debugfs import Patch01
from .patch import removed


class Patch02(Patch01):
    """iommu/vt-d: Remove for_each_device_domain()"""

    for_each_device_domain = removed("patch 02: its one user asks the device itself")
    search_pasid_table = removed("patch 02: there is no list to search any more")

    async def get_alias_pasid_table(
        self, pdev: PciDevice, bus: int, devfn: int, data: pasid_table_opaque
    ) -> int:
        """The table of the function that comes along with the alias: it is asked itself,
        no list is walked.
        """
        info = self.dev_iommu_priv_get(pdev)
        if info is None or info.pasid_table is None:
            return 0
        data.pasid_table = info.pasid_table
        return 1

    async def intel_pasid_alloc_table(self, dev: PciDevice) -> int:
        """Give the device a PASID table: the one of an alias, or a new one. 0, -EINVAL, -ENOMEM. Sleeps."""
        self.machine.might_sleep()
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is not None:
            self.machine.warn_on(True, "intel_pasid_alloc_table: no device record, or a table already")
            return -EINVAL
        data = pasid_table_opaque()  # only its pasid_table is used from now on
        await self.bus.for_each_dma_alias(
            dev, lambda pdev, bus, devfn: self.get_alias_pasid_table(pdev, bus, devfn, data)
        )
        table = data.pasid_table or await self.new_pasid_table(info)
        if table is None:
            return -ENOMEM
        await self.device_attach_pasid_table(info, table)
        return 0
