"""Patch 04, v1: drivers/iommu/intel/iommu.c.

Message-Id 20220527063019.3112905-5. Reviewed by Kevin Tian. Merged as 8ac0b64b9735 in 6.0-rc1; undone by
35bf49e05421 in 6.0-rc5: the fault handler runs in hard interrupt context, where the klist that the lookup
walks must not be touched.
"""

from __future__ import annotations

from vtdkit.iommu.errno import ENODEV
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.structs import dmar_domain, intel_iommu
from vtdkit.iommu.pci import PciDevice

from .p03_disable_dmar_iommu import Patch03
from .patch import removed


class Patch04(Patch03):
    """iommu/vt-d: Use pci_get_domain_bus_and_slot() in pgtable_walk()"""

    dmar_search_domain_by_dev_info = removed("patch 04: the PCI core is asked instead")

    def init_locks(self) -> None:
        super().init_locks()
        del self.device_domain_list

    async def pgtable_walk(self, iommu: intel_iommu, pfn: int, bus: int, devfn: int) -> None:
        """Print the page-table entries on the way to a page frame; the device comes from the PCI core."""
        pdev = await self.bus.get_domain_bus_and_slot(iommu.segment, bus, devfn)
        if pdev is None:
            return
        info = self.dev_iommu_priv_get(pdev)
        if info is None or info.domain is None:
            self.pr(f"device [{bus:02x}:{devfn >> 3:02x}.{devfn & 7}] not probed")
            return
        domain: dmar_domain = info.domain
        await self.walk_and_print(domain.pgd, defs.agaw_to_level(domain.agaw), pfn)

    async def intel_iommu_probe_device(self, dev: PciDevice) -> intel_iommu | int:
        """A device appears: make its record. The unit that translates for it, or -ENODEV, -ENOMEM."""
        iommu = self.device_to_iommu(dev)
        if iommu is None:
            return -ENODEV
        info = await self.new_device_info(dev, iommu)
        if isinstance(info, int):
            return info
        dev.iommu_priv = info
        return iommu

    async def intel_iommu_release_device(self, dev: PciDevice) -> None:
        """A device goes: detach it, forget it."""
        info = self.dev_iommu_priv_get(dev)
        if info is None:
            return
        await self.dmar_remove_one_dev_info(dev)
        dev.iommu_priv = None
        await self.machine.kfree(info)
