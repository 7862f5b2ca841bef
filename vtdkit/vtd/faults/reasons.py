"""Every reason for which a request can be refused: label, fault reason code, who is told what.

One row per condition, labelled as in the fault condition tables of the VT-d specification, rev 5.10. Several
conditions share a code. `qualified` conditions are kept out of the fault records when a
fault-processing-disable bit (FPD) was seen on the way; the requester is answered all the same.

The four response columns say what goes back to the requester:

    UR  unsupported request          CA  completer abort (the tables are broken)
    S0  success with no permission   Seff  success with the permissions the tables give
    IR  page response "invalid request" (dropped when none was asked for)
    -   cannot happen

S0 and Seff answer translation requests only. They are recoverable, so they are not recorded, except SFS.10.
Rows without a code are refusals that remapping never records.

Beside the specification's words stand those a Linux machine prints for the code (`linux_reason`): dmesg is
where most people meet a fault.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition. Responses are for untranslated, translation, translated and page requests."""

    label: str
    code: int | None
    name: str
    qualified: bool
    untranslated: str
    translation: str
    translated: str
    page: str


# label, code (hex), responses U/TR/TD/PR, qualified?, name
_ROWS = """
RTA.1.1  30  UR CA UR IR  no  abort-DMA mode selected but not supported
RTA.1.2  30  UR CA UR IR  no  reserved translation table mode selected
RTA.1.3  30  UR CA UR IR  no  scalable mode selected but not supported
RTA.1.4  30  UR CA UR -   no  SSIRWE set in legacy mode
RTA.2    31  UR UR UR -   no  request with PASID in legacy mode
RTA.3    32  -  -  -  IR  no  page request in legacy mode
RTA.4    33  UR UR UR IR  no  blocked by abort-DMA mode
RTA.5    34  UR UR UR -   no  execute request with PASID
LRT.1    8   UR CA UR -   no  root entry cannot be read
LRT.2    1   UR UR UR -   no  root entry not present
LRT.3    A   UR CA UR -   no  reserved bit set in root entry
LCT.1    9   UR CA UR -   no  context entry cannot be read
LCT.2    2   UR UR UR -   yes context entry not present
LCT.3    B   UR CA UR -   yes reserved bit set in context entry
LCT.4.1  3   UR CA UR -   yes address width of context entry not supported
LCT.4.2  3   UR CA UR -   yes translation type of context entry not supported
LCT.4.3  3   UR CA -  -   yes page-table root cannot be read
LCT.5    D   -  UR UR -   yes kind of request not allowed by context entry
LGN.1.1  4   UR S0 -  -   yes address beyond the width of the page table
LGN.1.2  4   -  -  UR -   yes translated address beyond the host address width
LGN.1.3  4   UR -  -  -   yes pass-through address beyond the host address width
LGN.2    5   UR Seff - -  yes no write permission
LGN.3    6   UR Seff - -  yes no read permission
LGN.4    E   UR CA UR -   yes address or result in the interrupt range
LSS.1    7   UR CA -  -   yes second-stage entry cannot be read
LSS.2    C   UR CA -  -   yes reserved bit set in second-stage entry
SRT.1    38  UR CA UR IR  no  root entry cannot be read
SRT.2    39  UR UR UR IR  no  half of root entry not present
SRT.3    3A  UR CA UR IR  no  reserved bit set in root entry
SCT.1    40  UR CA UR IR  no  context entry cannot be read
SCT.2    41  UR UR UR IR  yes context entry not present
SCT.3    42  UR CA UR IR  yes reserved bit set in context entry
SCT.4.1  43  UR CA UR IR  yes page requests enabled without device TLB
SCT.4.2  43  UR CA UR IR  yes RID_PASID beyond the PASID directory
SCT.4.3  43  UR CA UR IR  yes translated requests with PASID enabled without PASID
SCT.5    44  -  UR UR -   yes device TLB not enabled
SCT.6    45  UR UR -  IR  yes request with PASID not enabled
SCT.7    46  UR UR UR IR  yes PASID beyond the PASID directory
SCT.8    47  -  -  -  IR  yes page request not enabled
SCT.9    48  UR UR UR IR  yes PASID of the request is RID_PASID
SCT.10   49  -  -  UR -   yes translated request with PASID not enabled
SPD.1    50  UR CA CA IR  no  PASID directory entry cannot be read
SPD.2    51  UR S0 UR IR  yes PASID directory entry not present
SPD.3    52  UR CA CA IR  yes reserved bit set in PASID directory entry
SPT.1    58  UR CA CA IR  no  PASID table entry cannot be read
SPT.2    59  UR S0 UR IR  yes PASID table entry not present
SPT.3    5A  UR CA CA IR  yes reserved bit set in PASID table entry
SPT.4.1  5B  UR CA CA IR  yes address width of PASID table entry not supported
SPT.4.2  5B  UR CA CA IR  yes translation type of PASID table entry not supported
SPT.4.3  5B  UR CA CA IR  yes first-stage depth of PASID table entry not supported
SPT.4.4  5B  UR CA CA IR  yes first-stage root beyond the width of the second stage
SPT.5    5C  UR S0 -  -   yes execute request not supported
SPT.6    5D  UR S0 -  -   yes supervisor request not allowed
SPT.9    60  -  -  UR -   yes translated address beyond the host permission table
SFS.1    70  UR S0 -  -   yes first-stage entry cannot be read
SFS.2    71  UR S0 -  -   yes first-stage entry not present
SFS.3    72  UR S0 -  -   yes reserved bit set in first-stage entry
SFS.4    73  UR S0 -  -   yes first-stage root cannot be read
SFS.5    74  UR S0 -  -   yes first-stage address beyond the width of the second stage
SFS.6    75  UR S0 -  -   yes second stage does not let the first-stage root be read
SFS.7    76  UR S0 -  -   yes second stage does not let a first-stage table be read
SFS.8    77  UR S0 -  -   yes second stage does not let a first-stage entry be updated
SFS.9    90  UR S0 -  -   yes first-stage flags need an update and the walk is not snooped
SFS.10   91  UR S0 -  -   yes first-stage flags could not be updated
SSS.1    78  UR CA -  -   yes second-stage entry cannot be read
SSS.2    79  UR S0 -  -   yes second-stage entry not present
SSS.3    7A  UR CA -  -   yes reserved bit set in second-stage entry
SSS.4    7B  UR CA -  -   yes second-stage root cannot be read
SSS.5    7C  UR CA -  -   yes second-stage flags need an update and the walk is not snooped
SSS.6    7D  UR CA -  -   yes second-stage flags could not be updated
SGN.1    80  UR S0 -  -   yes address not canonical
SGN.2    81  UR S0 -  -   yes user request to a supervisor page
SGN.4.1  83  -  -  UR -   yes translated address beyond the host address width
SGN.4.2  83  UR S0 -  -   yes pass-through address beyond the host address width
SGN.5    84  UR S0 -  -   yes address beyond the width of the page table
SGN.6    85  UR Seff - -  yes no write permission
SGN.7    86  UR Seff - -  yes no read permission
SGN.8.1  87  UR -  -  -   yes result in the interrupt range
SGN.8.2  87  -  CA -  -   yes translated range touches the interrupt range
SGN.8.3  87  -  -  UR -   yes translated address in the interrupt range
SGN.10   89  UR UR UR -   yes PASID wider than supported
HPT.A0   A0  -  -  CA -   yes host permission entry cannot be read
HPT.A1   A1  -  -  CA -   yes reserved bit set in host permission entry
HPT.A2   A2  -  -  CA -   yes host permission root cannot be read
HPT.A3   A3  -  -  UR -   yes no host permission for a zero-length read
HPT.A4   A4  -  -  UR -   yes no host permission to write
HPT.A5   A5  -  -  UR -   yes no host permission to read
IR.20    20  UR -  -  -   no  reserved field set in interrupt request
IR.21    21  UR -  -  -   no  interrupt index beyond the table
IR.22    22  UR -  -  -   yes interrupt entry not present
IR.23    23  UR -  -  -   no  interrupt entry cannot be read
IR.24    24  UR -  -  -   yes reserved field set in interrupt entry
IR.25    25  UR -  -  -   no  compatibility-format interrupt blocked
IR.26    26  UR -  -  -   yes interrupt not allowed from this requester
IR.27    27  UR -  -  -   yes posted interrupt descriptor cannot be read
IR.28    28  UR -  -  -   yes reserved field set in posted interrupt descriptor
IR.29    29  UR -  -  -   no  not a valid interrupt request
IR.2A    2A  UR -  -  -   no  x2APIC mode is mandatory and not set
IR.2B    2B  UR -  -  -   no  interrupt remapping is mandatory and off
PMR      -   UR UR UR IR  no  protected memory region
TES      -   -  UR UR IR  no  remapping is off
AT       -   -  UR UR -   no  not a legal request
"""


def _parse(row: str) -> Reason:
    label, code, u, tr, td, pr, qualified, name = row.split(None, 7)
    return Reason(label, None if code == "-" else int(code, 16), name, qualified == "yes", u, tr, td, pr)


REASONS: dict[str, Reason] = {reason.label: reason for reason in map(_parse, _ROWS.strip().splitlines())}

# code (hex) and what Linux prints for it: `dma_remap_fault_reasons`, `irq_remap_fault_reasons` and
# `dma_remap_sm_fault_reasons` of drivers/iommu/intel/dmar.c,
# the same in v5.19, v6.1 and later.
# Several codes have other meanings in rev 5.10 than in the revision these texts were written for (79h).
_LINUX = """
0   Software
1   Present bit in root entry is clear
2   Present bit in context entry is clear
3   Invalid context entry
4   Access beyond MGAW
5   PTE Write access is not set
6   PTE Read access is not set
7   Next page table ptr is invalid
8   Root table address invalid
9   Context table ptr is invalid
A   non-zero reserved fields in RTP
B   non-zero reserved fields in CTP
C   non-zero reserved fields in PTE
D   PCE for translation request specifies blocking
20  Detected reserved fields in the decoded interrupt-remapped request
21  Interrupt index exceeded the interrupt-remapping table size
22  Present field in the IRTE entry is clear
23  Error accessing interrupt-remapping table pointed by IRTA_REG
24  Detected reserved fields in the IRTE entry
25  Blocked a compatibility format interrupt request
26  Blocked an interrupt request due to source-id verification failure
30  SM: Invalid Root Table Address
31  SM: TTM 0 for request with PASID
32  SM: TTM 0 for page group request
38  SM: Error attempting to access Root Entry
39  SM: Present bit in Root Entry is clear
3A  SM: Non-zero reserved field set in Root Entry
40  SM: Error attempting to access Context Entry
41  SM: Present bit in Context Entry is clear
42  SM: Non-zero reserved field set in the Context Entry
43  SM: Invalid Context Entry
44  SM: DTE field in Context Entry is clear
45  SM: PASID Enable field in Context Entry is clear
46  SM: PASID is larger than the max in Context Entry
47  SM: PRE field in Context-Entry is clear
48  SM: RID_PASID field error in Context-Entry
50  SM: Error attempting to access the PASID Directory Entry
51  SM: Present bit in Directory Entry is clear
52  SM: Non-zero reserved field set in PASID Directory Entry
58  SM: Error attempting to access PASID Table Entry
59  SM: Present bit in PASID Table Entry is clear
5A  SM: Non-zero reserved field set in PASID Table Entry
5B  SM: Invalid Scalable-Mode PASID Table Entry
5C  SM: ERE field is clear in PASID Table Entry
5D  SM: SRE field is clear in PASID Table Entry
70  SM: Error attempting to access first-level paging entry
71  SM: Present bit in first-level paging entry is clear
72  SM: Non-zero reserved field set in first-level paging entry
73  SM: Error attempting to access FL-PML4 entry
74  SM: First-level entry address beyond MGAW in Nested translation
75  SM: Read permission error in FL-PML4 entry in Nested translation
76  SM: Read permission error in first-level paging entry in Nested translation
77  SM: Write permission error in first-level paging entry in Nested translation
78  SM: Error attempting to access second-level paging entry
79  SM: Read/Write permission error in second-level paging entry
7A  SM: Non-zero reserved field set in second-level paging entry
7B  SM: Invalid second-level page table pointer
7C  SM: A/D bit update needed in second-level entry when set up in no snoop
80  SM: Address in first-level translation is not canonical
81  SM: U/S set 0 for first-level translation with user privilege
82  SM: No execute permission for request with PASID and ER=1
83  SM: Address beyond the DMA hardware max
84  SM: Second-level entry address beyond the max
85  SM: No write permission for Write/AtomicOp request
86  SM: No read permission for Read/AtomicOp request
87  SM: Invalid address-interrupt address
90  SM: A/D bit update needed in first-level entry when set up in no snoop
"""

LINUX_REASONS: dict[int, str] = {
    int(code, 16): text for code, text in (row.split(None, 1) for row in _LINUX.strip().splitlines())
}


def linux_reason(code: int) -> str:
    """The text Linux prints for a fault reason code: "Unknown" for those it does not know."""
    return LINUX_REASONS.get(code, "Unknown")
