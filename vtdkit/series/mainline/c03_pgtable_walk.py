"""8ac0b64b9735: drivers/iommu/intel/iommu.c. v1: patch 04. Undone by 35bf49e05421 (`f2_fault_dump`)."""

from __future__ import annotations

from vtdkit.series.p04_pgtable_walk import Patch04
from vtdkit.series.patch import as_in_v1, removed

from .c02_disable_dmar_iommu import Commit02


class Commit03(Commit02):
    """iommu/vt-d: Use pci_get_domain_bus_and_slot() in pgtable_walk()"""

    dmar_search_domain_by_dev_info = removed("8ac0b64b9735: the PCI core is asked instead")
    pgtable_walk = as_in_v1(Patch04.pgtable_walk)
    intel_iommu_probe_device = as_in_v1(Patch04.intel_iommu_probe_device)
    intel_iommu_release_device = as_in_v1(Patch04.intel_iommu_release_device)

    def init_locks(self) -> None:
        super().init_locks()
        del self.device_domain_list
