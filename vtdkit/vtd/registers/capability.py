"""CAP and ECAP: what a remapping unit says about itself.

Mirrors the Capability and Extended Capability registers of the VT-d specification, rev 5.10. Each field is
named as there. `ECAP_NEEDS` and `CAP_NEEDS` hold the dependencies between bits as data: a bit on the left may
be 1 only if all bits on the right are.
"""

from __future__ import annotations

from vtdkit.vtd.tables.layout import Field, Structure, reserved


def _ro(name: str, high: int, low: int, meaning: str) -> Field:
    return Field(name, high, low, meaning, access="RO")


def _bit(name: str, bit: int, meaning: str) -> Field:
    return _ro(name, bit, bit, meaning)


VER = Structure(
    "VER_REG",
    32,
    (_ro("MIN", 3, 0, "minor version"), _ro("MAX", 7, 4, "major version"), reserved(31, 8)),
    "rev 5.10, Version Register",
)

CAP = Structure(
    "CAP_REG",
    64,
    (
        _ro("ND", 2, 0, "domain ids have 4 + 2*ND bits"),
        reserved(3, note="was AFL, advanced fault logging"),
        _bit("RWBF", 4, "software must flush write buffers with GCMD.WBF"),
        _bit("PLMR", 5, "protected low memory region"),
        _bit("PHMR", 6, "protected high memory region"),
        _bit("CM", 7, "caching mode: not-present entries may be cached"),
        _ro("SAGAW", 12, 8, "page-table depths: bit 1 = 39 bits, bit 2 = 48, bit 3 = 57"),
        reserved(15, 13),
        _ro("MGAW", 21, 16, "widest input address, less 1"),
        _bit("ZLR", 22, "zero-length reads may hit write-only pages"),
        reserved(23, note="deprecated (was ISOCH)"),
        _ro("FRO", 33, 24, "offset of the fault records, in 16 bytes"),
        _ro("SSLPS", 37, 34, "second-stage superpages: bit 0 = 2M, bit 1 = 1G"),
        reserved(38),
        _bit("PSI", 39, "page-selective IOTLB invalidation"),
        _ro("NFR", 47, 40, "number of fault records, less 1"),
        _ro("MAMV", 53, 48, "largest address mask of a page-selective invalidation"),
        _bit("DWD", 54, "write draining"),
        _bit("DRD", 55, "read draining"),
        _bit("FS1GP", 56, "1G first-stage pages"),
        reserved(58, 57),
        _bit("PI", 59, "posted interrupts"),
        _bit("FS5LP", 60, "5-level first stage"),
        _bit("ECMDS", 61, "enhanced commands; not modelled"),
        _bit("ESIRTPS", 62, "SIRTP also invalidates the interrupt entry cache"),
        _bit("ESRTPS", 63, "SRTP also invalidates all DMA-translation caches"),
    ),
    "rev 5.10, Capability Register",
)

ECAP = Structure(
    "ECAP_REG",
    64,
    (
        _bit("C", 0, "root, context, PASID and interrupt tables are snooped"),
        _bit("QI", 1, "queued invalidation"),
        _bit("DT", 2, "device TLBs"),
        _bit("IR", 3, "interrupt remapping"),
        _bit("EIM", 4, "x2APIC destinations"),
        reserved(5, note="deprecated"),
        _bit("PT", 6, "pass-through"),
        _bit("SC", 7, "snoop control"),
        _ro("IRO", 17, 8, "offset of the IOTLB registers, in 16 bytes"),
        reserved(19, 18),
        _ro("MHMV", 23, 20, "largest index mask of an interrupt entry invalidation"),
        reserved(24, note="deprecated (was ECS, extended mode)"),
        _bit("MTS", 25, "memory types"),
        _bit("NEST", 26, "nested translation"),
        reserved(27, note="deprecated (was DIS, deferred invalidation)"),
        reserved(28, note="deprecated (was PASID, now bit 40)"),
        _bit("PRS", 29, "page requests"),
        _bit("ERS", 30, "execute requests, 0 in rev 5.10"),
        _bit("SRS", 31, "supervisor requests"),
        reserved(32),
        _bit("NWFS", 33, "no-write flag of translation requests"),
        _bit("EAFS", 34, "extended-accessed flag"),
        _ro("PSS", 39, 35, "PASID size, less 1"),
        _bit("PASID", 40, "requests with PASID"),
        _bit("DIT", 41, "device-TLB invalidation throttle"),
        _bit("PDS", 42, "page-request drain in wait descriptors"),
        _bit("SMTS", 43, "scalable mode"),
        _bit("VCS", 44, "virtual command; not modelled"),
        _bit("SSADS", 45, "second-stage accessed and dirty flags"),
        _bit("SSTS", 46, "second stage in scalable mode"),
        _bit("FSTS", 47, "first stage"),
        _bit("SMPWC", 48, "scalable-mode page walks are coherent"),
        _bit("RPS", 49, "RID_PASID"),
        _bit("TDXIO", 50, "trusted device I/O; not modelled"),
        _bit("PMS", 51, "performance monitoring; not modelled"),
        _bit("ADMS", 52, "abort-DMA mode"),
        _bit("RPRIVS", 53, "RID_PRIV"),
        reserved(54),
        _bit("HPTS", 55, "host permission table"),
        _bit("PTRS", 56, "PASID in translated requests"),
        _bit("SSIRWS", 57, "second-stage I/O read and write bits"),
        _bit("SMS", 58, "defined in rev 5.10 only; not modelled"),
        _bit("HPT1GPS", 59, "defined in rev 5.10 only; not modelled"),
        _bit("RDTS", 60, "defined in rev 5.10 only; not modelled"),
        _bit("EIMER", 61, "x2APIC mode is mandatory"),
        _bit("IRREQ", 62, "interrupt remapping is mandatory"),
        reserved(63),
    ),
    "rev 5.10, Extended Capability Register",
)

# A bit on the left may be set only when every bit on the right is.
ECAP_NEEDS: dict[str, tuple[str, ...]] = {
    "DT": ("QI",),
    "IR": ("QI",),
    "EIM": ("IR",),
    "MHMV": ("IR",),
    "MTS": ("SMTS",),
    "NEST": ("SMTS", "FSTS", "SSTS"),
    "PRS": ("DT", "SMTS"),
    "SRS": ("SMTS",),
    "NWFS": ("DT",),
    "EAFS": ("FSTS", "SMPWC"),
    "PASID": ("SMTS",),
    "DIT": ("DT",),
    "PDS": ("DT",),
    "SMTS": ("QI",),
    "SSADS": ("SMPWC",),
    "RPS": ("SMTS",),
    "RPRIVS": ("SRS",),
    "HPTS": ("SMTS", "DT"),
    "PTRS": ("DT", "PASID"),
    "EIMER": ("EIM",),
    "IRREQ": ("IR",),
}
