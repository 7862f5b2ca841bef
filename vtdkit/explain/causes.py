"""What usually causes which fault, and which lesson shows it: texts by fault reason, kept as data.

The causes are those that public reports ended with (kernel bug trackers, the lists iommu and linux-pci, the
trackers of drivers and of firmware); a reason is a hint, never a proof.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtdkit.vtd.faults.reasons import REASONS

LESSONS = dict(
    enumerate(
        (
            "start here",
            "the debugfs dump",
            "the alias search",
            "a unit is taken out",
            "the fault interrupt",
            "the root table",
            "the domain ids",
            "the PASID entries",
            "interrupts and locks",
            "freed while attached",
            "detaching without the lock",
            "the lock, used accurately",
            "a lock for each domain",
            "the debate",
            "the aftermath",
        )
    )
) | {20: "five calls for help"}

# reasons (hex), lesson, what usually causes them
_CAUSES = """
1 39      | 05 | the device was still doing DMA that firmware had started when remapping was switched on (graphics, USB, audio at boot or after sleep), or firmware names no reserved region (RMRR) for it
2 41      | 02 | requests under a source id that no driver attached: a device that also speaks as another function (some SATA and Wi-Fi chips), one behind a PCIe-to-PCI bridge, or one that goes on after its driver has detached it
3 5B      | 06 | the entry asks for a table depth or translation type that this unit does not have: check SAGAW, PT and DT in its capabilities
4 80 84   | 00 | an address wider than the tables: a wild pointer, or a DMA mask wider than the domain
5 85      | 09 | the page was unmapped while the device still wrote to it, it was mapped for reading only, or the device was never told an address (0). At boot: DMA that firmware started, with no reserved region
6 86      | 09 | the page was unmapped while the device still read it, the device reads ahead beyond its buffer, or it was given a physical address in place of a mapped one. At boot: DMA that firmware started, with no reserved region
7 50 58 70 73 78 7B | 09 | an entry leads to where no table can be read: a table freed too early, overwritten, or not yet written back to memory
8 9 30 38 40 | 05 | the pointer to the tables is wrong, or its memory cannot be read: overwritten tables, a copied table of a crashed kernel
A 3A B 42 52 | 07 | a bit is set that must be 0 in this unit: an overwritten entry, or one made for a unit that can do more
C 7A 72   | 20 | a bit is set that must be 0 in this unit: SNP where snoop control (SC) is missing, a large page where there are none, an address beyond the host's width, or an overwritten entry
D 44      | 14 | a device asks for translations (ATS), and its context entry does not allow them: ATS was switched on for a pass-through or detached device
E 87      | 00 | the address or the result lies in FEEx_xxxx, which belongs to interrupts
20 24 28 29 | 04 | the interrupt message or its entry has bits set that must be 0: a device that was set up by other rules, or an overwritten entry
21 22 23  | 04 | the interrupt came after its entry had been freed, or before the change of the entry was flushed from the interrupt entry cache
25        | 04 | the device still sends interrupts as firmware had set them up, in compatibility format: it was not set up again when remapping of interrupts was switched on (often an IOAPIC, as f0:1f.0, or a device behind VMD)
26        | 04 | the interrupt comes under another source id than its entry allows: an alias of a bridge, a wrong device scope in the DMAR table, or a device that wakes up under another id
31 45 46 48 49 4A 89 | 07 | a request with a PASID that the device's context entry does not provide for
51 59     | 07 | the PASID directory or table has no entry, or none that the unit can see: a PASID was unbound while requests were under way, the tables of a crashed kernel were not copied, or an entry was written and not flushed on a unit whose walks are not coherent
5A        | 07 | a bit of the PASID table entry must be 0 in this unit, for instance SRE where SRS is missing
34 5C 5D  | 07 | the PASID table entry does not allow execute or supervisor requests
71 79     | 09 | nothing is mapped there: unmapped while the device still used it, never mapped, or a peer-to-peer address that nobody mapped. A table that was changed and not flushed looks the same
74 75 76 77 7C 7D 90 91 | 07 | the two stages do not fit together, or flags need an update that the unit cannot do
27        | 04 | the descriptor of posted interrupts was freed while the entry still named it, or its address is wrong
2A 2B     | 04 | the unit insists on remapping of interrupts, in x2APIC mode, and software has not switched that on
32 47     | 07 | a device sends page requests (PRI) for which its context entry does not provide
33        | 05 | software has told the unit to refuse all DMA (abort-DMA mode), and a device still does some
43        | 07 | the context entry contradicts itself: page requests without a device TLB, or a RID_PASID that its PASID directory is too short for
60 A0 A1 A2 A3 A4 A5 | 07 | a device uses an address as already translated that the host permission table does not allow: its TLB was not flushed, or it makes addresses up
81        | 07 | a request with user rights for a page that the tables keep for the supervisor
83        | 00 | an address beyond the width of the host's memory: a wild pointer, or a device TLB that gives out nonsense
"""


def _parsed() -> Iterator[tuple[int, tuple[int, str]]]:
    for row in _CAUSES.strip().splitlines():
        codes, lesson, text = (part.strip() for part in row.split("|"))
        yield from ((int(code, 16), (int(lesson), text)) for code in codes.split())


CAUSES: dict[int, tuple[int, str]] = dict(_parsed())

#: what an emulator in scalable mode reports under a legacy code
ALSO = {
    "LRT.2": "SRT.2",
    "LCT.2": "SCT.2",
    "LSS.1": "SSS.1",
    "LSS.2": "SSS.3",
    "LGN.2": "SGN.6",
    "LGN.3": "SGN.7",
}


def labels(code: int) -> tuple[str, ...]:
    """The conditions of the specification that a fault reason stands for."""
    return tuple(reason.label for reason in REASONS.values() if reason.code == code)


#: what the driver's locks are called, and the lesson about each
OURS = (
    ("device_domain_lock", 12),
    ("domain->lock", 12),
    ("domain->mutex", 12),
    ("iommu->lock", 11),
    ("q_lock", 12),
    ("qi_submit_sync", 12),
    ("iova", 12),
    ("rcache", 12),
    ("fq_", 12),
    ("pasid", 7),
    ("group->mutex", 14),
    ("k->k_lock", 4),
    ("irq_2_ir_lock", 4),
)


def lesson_of(name: str) -> int | None:
    """The lesson about a lock, None for one that is not the driver's."""
    return next((lesson for known, lesson in OURS if known in name), None)
