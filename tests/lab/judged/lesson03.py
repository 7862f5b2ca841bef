"""Lesson 03."""

RIGHT = {
    "WARN_AND_STOP": {
        "swapped: if not iommu.domain_ids: | reserved = 2 if self.sm_supported(iommu) else 1": (
            "how many ids are reserved follows from the unit's capabilities alone"
        ),
        "swapped: self.machine.warn_on(iommu.domain_ids.bit_count() > reserved, 'disable_dmar_iommu: devices "
        "are still attached') | if iommu.gcmd & defs.DMA_GCMD_TE:": "the text asks for both, in no order",
        "done twice: await self.iommu_disable_translation(iommu)": "what is off is switched off once more",
        "test is always True: iommu.gcmd & defs.DMA_GCMD_TE": "what is off is switched off once more",
    },
}
