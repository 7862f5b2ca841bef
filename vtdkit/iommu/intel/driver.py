"""The whole driver, as it stood before the series, and its start-up
(drivers/iommu/intel/iommu.c, `intel_iommu_init`).
"""

from __future__ import annotations

from .debugfs import Debugfs
from .structs import intel_iommu


class IntelIommu(Debugfs):
    """The whole driver before the series."""

    def __init_subclass__(cls) -> None:
        """A patch is called what its class's docstring says first: the subject line of the commit."""
        subject = (cls.__doc__ or "").partition("\n")[0]
        if subject.startswith("iommu/vt-d: "):
            cls.title = subject

    async def intel_iommu_init(self) -> int:
        """`intel_iommu_init` and `init_dmars`: every unit gets its queue, its ids, its root table;
        then translation goes on.
        """
        async with self.dmar_global_lock.write():
            for seq_id, hardware in enumerate(self.units):
                iommu = intel_iommu(self.machine, hardware, seq_id)
                self.g_iommus[seq_id] = iommu
                error = await self.init_unit(iommu)
                if error:
                    await self.free_dmar_iommu(iommu)
                    await self.free_iommu(iommu)  # in Linux later, by dmar_free_unused_resources
                    return error
            if error := await self.si_domain_init():
                return error
            for iommu in self.for_each_iommu():
                await self.iommu_set_root_entry(iommu)
        async with self.dmar_global_lock.read():
            for iommu in self.for_each_iommu():
                if not iommu.translation_pre_enabled:
                    await self.iommu_enable_translation(iommu)
        return 0
