"""The series: `driver_at(n)` is the driver after patch n (0: before), `SERIES[n]` says what patch n is."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "catalogue": "IntelIommu driver_at name_of POSTED SERIES",
        "p01_debugfs": "Patch01",
        "p02_for_each_device_domain": "Patch02",
        "p03_disable_dmar_iommu": "Patch03",
        "p04_pgtable_walk": "Patch04",
        "p05_root_table": "Patch05",
        "p06_domain_ids": "Patch06",
        "p07_pasid": "Patch07",
        "p08_irqsave": "Patch08",
        "p09_domain_exit": "Patch09",
        "p10_fold": "Patch10",
        "p11_accurately": "Patch11",
        "p12_mutex": "Patch12",
        "patch": "Change kernel_name PatchInfo removed source_of",
    },
)
