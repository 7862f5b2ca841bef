"""Lesson 10."""

RIGHT = {
    "EVERY_STEP_WORKS": {
        "done twice: await self.intel_pasid_free_table(dev)": "the second time there is no table any more",
        "swapped: await self.intel_pasid_free_table(dev) | async with self.device_domain_lock.irqsave():": (
            "once the context entry is gone nobody reaches the table, on the list or not"
        ),
        "done twice: await self.intel_pasid_tear_down_entry(iommu, dev, 0, False)": (
            "an entry that is not there is left alone"
        ),
        "done twice: await self.iommu_disable_dev_iotlb(info)": "what is off is left alone",
        "swapped: await domain.devices.del_(info) | await self.domain_detach_iommu(domain, iommu)": (
            "both under one lock; the device's ATS is off by then, so it counts for nothing on the list"
        ),
    },
}
