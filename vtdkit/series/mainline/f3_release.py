"""81e921fd3216 (6.9, CVE-2024-27079): drivers/iommu/intel/iommu.c, pasid.c. Fixes: 586081d3f6b1.

Reported by Eric Badger on 13 January 2024: a crash kernel releases a device that was never attached, and
follows `info->domain`. Here it is applied to 6.0; in between, `device_block_translation` had taken the place
of `dmar_remove_one_dev_info` for everything but the release.
"""

from __future__ import annotations

from vtdkit.iommu.pci import PciDevice

from .f2_fault_dump import Fix2


class Fix3(Fix2):
    """iommu/vt-d: Fix NULL domain on device release

    The core attaches the device to a blocking domain first, unless its attach is still deferred; release
    undoes what probe did, and nothing else.
    """

    release_domain = True

    async def intel_iommu_release_device(self, dev: PciDevice) -> None:
        """A device goes: forget it. It is in no domain any more."""
        info = self.dev_iommu_priv_get(dev)
        if info is None:
            return
        dev.iommu_priv = None
        await self.machine.kfree(info)
