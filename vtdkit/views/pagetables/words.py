"""Words for a newcomer: what each way to be refused means, and what each table on the way is for.

The short names come from `vtdkit.vtd.REASONS`; the sentences here say what one would look at. A condition
without a sentence of its own is told by its name.
"""

from __future__ import annotations

from vtdkit.vtd.faults.reasons import REASONS

SENTENCES = {
    "LRT.2": "The root table has no entry for this bus: no device on it may reach memory.",
    "SRT.2": "The root table has no entry for this half of the bus: no device there may reach memory.",
    "LCT.2": "The context table has no entry for this device: it may not reach memory at all.",
    "SCT.2": "The context table has no entry for this device: it may not reach memory at all.",
    "SPD.2": "The PASID directory has no table for this address space.",
    "SPT.2": "The PASID table has no entry for this address space.",
    **dict.fromkeys(
        ("LGN.1.1", "SGN.5", "LGN.1.3", "SGN.4.2"), "The address has more bits than these tables can look up."
    ),
    **dict.fromkeys(
        ("LGN.2", "SGN.6"),
        "The device asked to write, and an entry on the way does not allow it. An entry that is all 0 "
        "allows nothing: not mapped.",
    ),
    **dict.fromkeys(
        ("LGN.3", "SGN.7"),
        "The device asked to read, and an entry on the way does not allow it. An entry that is all 0 allows "
        "nothing: not mapped.",
    ),
    **dict.fromkeys(
        ("LGN.4", "SGN.8.1"),
        "The way ends at FEE00000 to FEEFFFFF, where writes are interrupts and no memory is.",
    ),
    **dict.fromkeys(
        ("LSS.2", "SSS.3", "SFS.3", "LRT.3", "SRT.3", "LCT.3", "SCT.3", "SPD.3", "SPT.3"),
        "The entry has a bit set that must be 0 in this unit. It is not followed.",
    ),
    **dict.fromkeys(
        ("LSS.1", "LCT.4.3", "SSS.1", "SSS.4", "SFS.1", "SFS.4", "LRT.1", "LCT.1", "SRT.1", "SCT.1"),
        "There is no memory where this table should be.",
    ),
    **dict.fromkeys(("SFS.2", "SSS.2"), "The entry is not present: nothing is mapped here."),
    "SGN.1": "The upper bits of the address are neither all 0 nor all 1, as they must be for this depth of "
    "tables.",
    "SGN.2": "An entry on the way is for the operating system alone, and this request comes with a user's "
    "rights.",
    "IR.29": "Addresses from FEE00000 to FEEFFFFF belong to interrupts. Only a 4-byte write may go there.",
    "PMR": "The result lies in a protected memory region: no device may touch it.",
}

WORDS = (
    (
        "IOMMU",
        "the unit between devices and memory: it looks up every address a device uses, "
        "as a CPU does for programs",
    ),
    ("DMA", "direct memory access: a device reads or writes memory by itself"),
    (
        "DMA address",
        "the address the device uses (also called IOVA); the tables say where in memory it "
        "leads, and whether it may",
    ),
    (
        "root, context table",
        "find the page tables of a device: by its bus number, then by its device and function number",
    ),
    ("domain", "a set of page tables; devices with the same domain id (DID) share them"),
    (
        "level",
        "page tables are a tree: each level looks at 9 bits of the address and picks one of 512 entries",
    ),
    (
        "IOTLB",
        "the unit's memory of lookups it has done. It is quicker than the tables, and stays "
        "as it was when they change",
    ),
    (
        "stale",
        "still remembered, though the tables now say something else; it stays until "
        "the driver invalidates it",
    ),
    ("reserved bit", "a bit that must be 0; ignored bits may be anything"),
)
PASID_WORD = ("PASID", "a number a request may carry, so that one device can use several address spaces")


def sentence(label: str) -> str:
    """What condition `label` means, as a sentence; nothing of one that is none of VT-d's."""
    name = REASONS[label].name if label in REASONS else ""
    return SENTENCES.get(label) or (name and f"{name[0].upper()}{name[1:]}.")


#: what the tables before the page tables are for
PURPOSE = {
    "root entry": ("Root table", "one entry for each bus"),
    "scalable-mode root entry": ("Root table", "one entry for each bus"),
    "context entry": ("Context table", "one entry for each device"),
    "scalable-mode context entry": ("Context table", "one entry for each device"),
    "PASID directory entry": ("PASID directory", "one entry for 64 address spaces"),
    "PASID table entry": ("PASID table", "one entry for each address space"),
}
