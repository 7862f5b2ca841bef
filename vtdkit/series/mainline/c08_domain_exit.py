"""79d82ce4027f: drivers/iommu/intel/iommu.c. v1: patch 09. Unmapped first, then the warning."""

from __future__ import annotations

from vtdkit.iommu.intel.structs import dmar_domain
from vtdkit.series.patch import removed

from .c07_pasid import Commit07


class Commit08(Commit07):
    """iommu/vt-d: Check device list of domain in domain free path"""

    domain_remove_dev_info = removed("79d82ce4027f: a domain that is freed has no devices")

    async def domain_exit(self, domain: dmar_domain) -> None:
        """The end of a domain: everything is unmapped; one that still has devices then
        stays, with a warning.
        """
        await self.free_domain_table(domain)
        if self.machine.warn_on(not domain.devices.empty(), "domain_exit: devices are still attached"):
            return
        await self.machine.kfree(domain)
