"""Lesson 14."""

RIGHT = {
    "NEVER_ATTACHED": {
        "swapped: dev.iommu_priv = None | await self.machine.kfree(info)": (
            "nobody looks for the record of a device that goes; since 35bf49e05421 the fault handler does not"
        ),
    },
}
