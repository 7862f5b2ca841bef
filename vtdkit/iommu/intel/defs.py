"""Bits and register offsets the driver writes: the driver's own definitions, apart from the hardware model's.

Software builds tables with these; the hardware model reads them with `vtdkit.vtd`. Neither borrows from the
other, so that one can catch the other. Names are the kernel's (drivers/iommu/intel/iommu.h, pasid.h),
values the VT-d specification's.
"""

from __future__ import annotations

VTD_PAGE_SHIFT = 12
VTD_PAGE_SIZE = 1 << VTD_PAGE_SHIFT
VTD_PAGE_MASK = ~(VTD_PAGE_SIZE - 1) & ((1 << 64) - 1)

LEVEL_STRIDE = 9
DEFAULT_DOMAIN_ADDRESS_WIDTH = 57
MAX_AGAW_WIDTH = 64
MAX_AGAW_PFN_WIDTH = MAX_AGAW_WIDTH - VTD_PAGE_SHIFT
ROOT_ENTRY_NR = 256

# second-level (and, where marked, first-level) table entries
DMA_PTE_READ = 1 << 0
DMA_PTE_WRITE = 1 << 1
DMA_PTE_LARGE_PAGE = 1 << 7
DMA_PTE_SNP = 1 << 11
DMA_FL_PTE_PRESENT = 1 << 0
DMA_FL_PTE_US = 1 << 2
DMA_FL_PTE_ACCESS = 1 << 5
DMA_FL_PTE_DIRTY = 1 << 6
DMA_FL_PTE_XD = 1 << 63
PTE_ADDRESS = 0x000F_FFFF_FFFF_F000

# context entries
CONTEXT_PRESENT = 1 << 0
CONTEXT_TT_MULTI_LEVEL = 0
CONTEXT_TT_DEV_IOTLB = 1
CONTEXT_TT_PASS_THROUGH = 2
CONTEXT_PASIDE = 1 << 3  # scalable mode
CONTEXT_DTE = 1 << 2  # scalable mode
CONTEXT_PRE = 1 << 4  # scalable mode
CONTEXT_COPIED = 1 << 3  # in the high half: bit 67, marks an entry taken over from a crashed kernel

# domain ids and PASIDs
FLPT_DEFAULT_DID = 1
NUM_RESERVED_DID = 2
PASID_RID2PASID = 0
PASID_PDE_SHIFT = 6
PASID_TBL_ENTRIES = 64
PASID_PTE_MASK = 0x3F
PASID_MAX = 0x100000
PASID_ENTRY_PGTT_FL_ONLY = 1
PASID_ENTRY_PGTT_SL_ONLY = 2
PASID_ENTRY_PGTT_PT = 4
PASID_FLAG_SUPERVISOR_MODE = 1 << 0
PASID_FLAG_PAGE_SNOOP = 1 << 2
PASID_FLAG_FL5LP = 1 << 3
INVALID_IOASID = -1

# registers
DMAR_CAP_REG = 0x08
DMAR_ECAP_REG = 0x10
DMAR_GCMD_REG = 0x18
DMAR_GSTS_REG = 0x1C
DMAR_RTADDR_REG = 0x20
DMAR_FSTS_REG = 0x34
DMAR_FECTL_REG = 0x38
DMAR_IQH_REG = 0x80
DMAR_IQT_REG = 0x88
DMAR_IQA_REG = 0x90
DMAR_IQER_REG = 0xB0

# each command has its answer in the same bit of the status register
DMA_GCMD_TE = 1 << 31
DMA_GCMD_SRTP = 1 << 30
DMA_GCMD_WBF = 1 << 27
DMA_GCMD_QIE = 1 << 26
DMA_GSTS_TES = 1 << 31
DMA_GSTS_RTPS = 1 << 30
DMA_GSTS_WBFS = 1 << 27
DMA_GSTS_QIES = 1 << 26
DMA_RTADDR_SMT = 1 << 10

DMA_CCMD_GLOBAL_INVL = 1 << 61
DMA_CCMD_DEVICE_INVL = 3 << 61
DMA_CCMD_MASK_NOBIT = 0
DMA_TLB_GLOBAL_FLUSH = 1 << 60
DMA_TLB_DSI_FLUSH = 2 << 60
DMA_TLB_PSI_FLUSH = 3 << 60

# fault status
DMA_FSTS_PFO = 1 << 0
DMA_FSTS_PPF = 1 << 1
DMA_FSTS_IQE = 1 << 4
DMA_FSTS_ICE = 1 << 5
DMA_FSTS_ITE = 1 << 6
DMA_FSTS_PRO = 1 << 7
DMA_FRCD_F = 1 << 31  # top word of a fault record: there is one

# queued invalidation
QI_LENGTH = 256
QI_FREE, QI_IN_USE, QI_DONE, QI_ABORT = range(4)
QI_CC_TYPE = 0x1
QI_IOTLB_TYPE = 0x2
QI_DIOTLB_TYPE = 0x3
QI_IWD_TYPE = 0x5
QI_EIOTLB_TYPE = 0x6
QI_PC_TYPE = 0x7
QI_DEIOTLB_TYPE = 0x8
QI_IWD_STATUS_WRITE = 1 << 5
QI_PC_ALL_PASIDS, QI_PC_PASID_SEL, QI_PC_GLOBAL = 0, 1, 3
QI_GRAN_NONG_PASID = 2
QI_GRAN_PSI_PASID = 3


def agaw_to_level(agaw: int) -> int:
    """Levels of a table of this adjusted guest address width (agaw 1 = 39 bits, 2 = 48, 3 = 57)."""
    return agaw + 2


def agaw_to_width(agaw: int) -> int:
    """Input address bits of this agaw, 64 at most."""
    return min(30 + agaw * LEVEL_STRIDE, MAX_AGAW_WIDTH)


def width_to_agaw(width: int) -> int:
    """The smallest agaw that is at least this wide."""
    return -(-(width - 30) // LEVEL_STRIDE)


def pfn_level_offset(pfn: int, level: int) -> int:
    """Index of a page frame number in a table of this level."""
    return pfn >> (level - 1) * LEVEL_STRIDE & 511


def level_size(level: int) -> int:
    """Pages that one entry of this level spans."""
    return 1 << (level - 1) * LEVEL_STRIDE


def pfn_supported(agaw: int, pfn: int) -> bool:
    """Does a page frame lie within this width?"""
    return not pfn >> (30 + agaw * LEVEL_STRIDE if agaw < 4 else MAX_AGAW_WIDTH) - VTD_PAGE_SHIFT


def align_to_level(pfn: int, level: int) -> int:
    """The first page frame at or after `pfn` that begins an entry of this level."""
    return pfn + level_size(level) - 1 & -level_size(level)


def domain_max_addr(gaw: int) -> int:
    """`__DOMAIN_MAX_ADDR`: the highest address of this width."""
    return (1 << gaw) - 1


def domain_max_pfn(gaw: int) -> int:
    """`DOMAIN_MAX_PFN`: the highest page frame of this width."""
    return domain_max_addr(gaw) >> VTD_PAGE_SHIFT


def aligned_nrpages(host_addr: int, size: int) -> int:
    """Pages that `size` bytes from `host_addr` touch."""
    return ((host_addr & (VTD_PAGE_SIZE - 1)) + size + VTD_PAGE_SIZE - 1) >> VTD_PAGE_SHIFT


# capability fields, as the driver decodes them
def cap_ndoms(cap: int) -> int:
    """How many domain ids there are."""
    return 1 << (4 + 2 * (cap & 7))


def cap_mgaw(cap: int) -> int:
    """Widest guest address, in bits."""
    return (cap >> 16 & 0x3F) + 1


def cap_sagaw(cap: int) -> int:
    """Supported widths, one bit each."""
    return cap >> 8 & 0x1F


def cap_super_page_val(cap: int) -> int:
    """Second-level large pages: bit 0 2 MiB, bit 1 1 GiB."""
    return cap >> 34 & 0xF


def cap_max_amask_val(cap: int) -> int:
    """Largest address mask of a page-selective invalidation."""
    return cap >> 48 & 0x3F


def cap_fault_reg_offset(cap: int) -> int:
    """Byte offset of the fault records."""
    return (cap >> 24 & 0x3FF) * 16


def cap_num_fault_regs(cap: int) -> int:
    """How many fault records there are."""
    return (cap >> 40 & 0xFF) + 1


CAP_RWBF, CAP_CACHING_MODE, CAP_PGSEL_INV = 4, 7, 39
CAP_WRITE_DRAIN, CAP_FL1GP, CAP_5LP = 54, 56, 60
ECAP_COHERENT, ECAP_QIS, ECAP_DEV_IOTLB, ECAP_PASS_THROUGH, ECAP_SC = 0, 1, 2, 6, 7
ECAP_PRS, ECAP_SRS, ECAP_PASID, ECAP_DIT, ECAP_SMTS, ECAP_SLTS, ECAP_FLTS, ECAP_SMPWC = (
    29,
    31,
    40,
    41,
    43,
    46,
    47,
    48,
)
