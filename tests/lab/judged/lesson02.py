"""Lesson 02."""

RIGHT = {
    "BY_ADDRESS": {
        "swapped: if info is not None and info.pasid_table is not None: | await self.bus.put(found)": (
            "the reference keeps the PCI device, not the driver's record of it, and only the record is read"
        ),
        "without info.pasid_table is not None in: info is not None and info.pasid_table is not None": (
            "None is put in the place of None"
        ),
    },
}
