"""Patch 09, v1: drivers/iommu/intel/iommu.c.

Reviewed by Jason Gunthorpe as posted. Kevin Tian: a warning must not make it less safe; so in mainline
(79d82ce4027f) the domain is unmapped first.
"""

from __future__ import annotations

from vtdkit.iommu.intel.structs import dmar_domain

from .p08_irqsave import Patch08
from .patch import removed


class Patch09(Patch08):
    """iommu/vt-d: Check device list of domain in domain free path"""

    domain_remove_dev_info = removed("patch 09: a domain that is freed has no devices")

    async def domain_exit(self, domain: dmar_domain) -> None:
        """The end of a domain. One that still has devices is left alone, with a warning."""
        if self.machine.warn_on(not domain.devices.empty(), "domain_exit: devices are still attached"):
            return
        await self.free_domain_table(domain)
        await self.machine.kfree(domain)
