"""v5.19, what the merged series was written on: PASID tables are not shared any more (4140d77a0221)."""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.pci import PciDevice
from vtdkit.series.patch import removed


class V519(IntelIommu):
    """v5.19: PASID tables are not shared any more."""

    title = "v5.19"

    for_each_device_domain = removed("4140d77a0221: PASID tables are not shared")
    search_pasid_table = removed("4140d77a0221: PASID tables are not shared")
    get_alias_pasid_table = removed("4140d77a0221: PASID tables are not shared")

    async def intel_pasid_alloc_table(self, dev: PciDevice) -> int:
        """Give the device a PASID table of its own. 0, -EINVAL, -ENOMEM. Sleeps."""
        self.machine.might_sleep()
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is not None:
            self.machine.warn_on(True, "intel_pasid_alloc_table: no device record, or a table already")
            return -EINVAL
        table = await self.new_pasid_table(info)
        if table is None:
            return -ENOMEM
        await self.device_attach_pasid_table(info, table)
        return 0
