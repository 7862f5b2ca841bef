"""Lesson 07."""

RIGHT = {
    "BUSY_AGAIN": {
        "swapped: if not self.ecap(iommu, defs.ECAP_SLTS): | pgd, agaw = await "
        "self.iommu_skip_agaw(domain, iommu)": ("looking for the table changes nothing"),
        "swapped: if pgd is None: | did = domain.iommu_did[iommu.seq_id]": "the number is only read",
        "done twice: await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))": (
            "the same words are written again, under the same lock, before anybody is told"
        ),
        "lock widened over: did = domain.iommu_did[iommu.seq_id]": "the lock is held for one more read",
        "lock hardened to irqsave: iommu.lock": "more than is needed, as it was before patch 08",
    },
}
