"""Personalities: where an emulator is known to differ from the specification, one named switch each.

The default `SPECIFICATION` has every switch off. `QEMU_7_2` and `QEMU_10` turn on what QEMU's emulated unit
of that version does; they exist so that tables and faults recorded from QEMU guests can be compared bit for
bit, and because each difference is a lesson. `vtdkit quirks` lists them. Every switch was seen in a
real run or read in QEMU's source (hw/i386/intel_iommu.c), and the sentence beside it says what happens and
why it matters.
"""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any

from .plain import echo, quoted

#: one switch per difference, and what it does
SWITCHES: dict[str, str] = {
    "legacy_codes": (
        "Root, context and second-stage faults in scalable mode carry the legacy codes (1, 2, 3 …), so "
        "software cannot tell the mode from the code."
    ),
    "one_pasid_code": (
        "Every fault in the PASID directory or table is reported as 58h, access error "
        "(7.2; told apart in 10)."
    ),
    "pasid_reserved_ignored": "Reserved bits of PASID directory and table entries are never looked at.",
    "context_features_unchecked": (
        "DTE, PASIDE, PRE, RID_PASID and RID_PRIV of a scalable-mode context entry are accepted "
        "whatever ECAP says of them. RID_PASID is used, even beyond the size of the PASID directory; "
        "RID_PRIV is not looked at."
    ),
    "both_root_halves": (
        "The reserved bits of both halves of a scalable-mode root entry are checked, also of the "
        "half that is not present."
    ),
    "fpd_spares_not_code_b": "FPD does not keep reserved-bit faults of context entries out of the records.",
    "fpd_spares_not_pasid": (
        "Code 58h is not qualified, so FPD never keeps faults in the PASID directory or table "
        "out of the records (7.2)."
    ),
    "type_before_present": (
        "The translation type of a PASID table entry is checked before its P bit: an entry that is all "
        "zero is invalid "
        "(5Bh), not absent (59h)."
    ),
    "transient_mapping": (
        "Bit 62 of a second-stage leaf entry is accepted where device TLBs are supported; it was once the "
        "transient-mapping hint (7.2; an option since)."
    ),
    "snoop_bit_accepted": (
        "SNP (bit 11) of a second-stage leaf entry is accepted wherever scalable mode is "
        "supported, whatever ECAP.SC says."
    ),
    "huge_first_stage_accepted": "First-stage entries that map 1G are accepted although CAP.FS1GP is 0.",
    "first_stage_width_from_aw": (
        "Which first-stage addresses are canonical is told by AW of the PASID table entry, the field of the "
        "second stage, not by FSPM: with AW=1 bits 63:39 must repeat bit 38, though 4 levels are walked (10)."
    ),
    "all_ones_unreadable": (
        "A page-table entry of 64 ones counts as one that could not be read, not as one with reserved bits."
    ),
    "pass_through_unchecked": (
        "A pass-through context entry takes remapping out of the device's way altogether: no address is too "
        "wide, and in legacy mode AW may name any depth there is, not only the largest."
    ),
    "pass_through_width_checked": (
        "AW of a pass-through PASID table entry must name a depth of tables that there is, "
        "although none are walked (7.2)."
    ),
    "interrupt_page": (
        "A page that overlaps FEEx_xxxx faults for every address in it (a whole 1G leaf), not only for "
        "addresses whose result lies there."
    ),
    "interrupt_code_by_capability": (
        "A result in FEEx_xxxx is reported as 87h wherever scalable mode is supported, also while legacy "
        "mode is in force, whose code is 0Eh."
    ),
    "interrupt_window_silent": (
        "Any request to FEEx_xxxx goes to the interrupt region without a remapping fault, "
        "whatever its size or direction."
    ),
    "first_stage_unknown": (
        "First-stage and nested PASID entries are walked as second stage (7.2, which knows no first stage)."
    ),
    "flags_without_snoop": "Accessed and dirty flags are set even when page walks are not snooped.",
    "odd_pasid_field": (
        "Faults of page walks for requests without PASID: the legacy ones carry PV=FFFF with PP=0, the "
        "scalable ones PP=1 with RID_PASID."
    ),
    "plain_fault_record": "Fault records never set T2, AT, PRIV or EXE.",
    "compression": "A second fault of the same source id is dropped while the first is still recorded.",
    "hit_keeps_silent": (
        "A write that hits a cached read-only translation is blocked and leaves no fault record."
    ),
    "index_restarts_early": (
        "Fault recording begins at record 0 again whenever TE goes off, also while interrupt remapping is on."
    ),
    "mode_is_one_bit": (
        "Bit 10 of RTADDR alone tells the mode, and only where scalable mode is supported: TTM=2 is legacy, "
        "TTM=3 scalable, and every TTM is legacy without SMTS."
    ),
    "message_addresses_short": (
        "FEUADDR and IEUADDR cannot be written, also with EIM=1: event messages go to 32-bit addresses."
    ),
    "pasid_cache_unchecked": (
        "PASID-cache invalidations are accepted whatever their granularity and reserved bits say."
    ),
    "entry_cache_unchecked": (
        "Reserved bits of interrupt-entry and of PASID-based IOTLB invalidations are never looked at (7.2 as "
        "released; a check came in November 2024)."
    ),
    "upper_half_unchecked": (
        "The upper half of a 256-bit descriptor is never looked at (7.2 as released; a "
        "check came in November 2024)."
    ),
    "short_type": (
        "A type is bits 3:0 alone and goes up to 7; bits 11:9 of interrupt-entry, PASID-cache and "
        "PASID-based IOTLB invalidations are never looked at (7.2 as released)."
    ),
    "odd_tail_ignored": (
        "A tail that is not aligned to a 256-bit descriptor is not acted on, and no error (7.2 as released)."
    ),
    "narrow_queue_everywhere": (
        "Descriptors of every type are accepted from a 128-bit queue, in legacy mode too (7.2)."
    ),
    "resume_by_tail": "Clearing FSTS.IQE does not restart the invalidation queue; the next IQT write does.",
    "empty_wait_is_error": "A wait descriptor with IF=SW=FN=0 is an invalid descriptor.",
    "silent_queue_error": "IQERCD, ICE and ITE do not exist; a queue error gives no cause.",
    "disable_needs_wait": "QIE=0 is refused unless the last descriptor was a wait.",
    "width_needs_scalable": (
        "IQA.DW counts only where scalable mode is supported; elsewhere descriptors are 128 bits wide "
        "whatever it says, and the queue runs. The specification calls it an error (IQEI 5)."
    ),
    "width_reads_zero": "IQA.DW reads back as 0 although descriptors are 256 bits wide (7.2).",
    "commands_stick": "CCMD and IOTLB commands are ignored while the queue is on; ICC and IVT stay 1.",
    "domain_is_global": "A domain-selective context command is done, and reported, as a global one.",
    "device_tlb_at_once": "Device-TLB invalidations complete at once; no endpoint is waited for.",
    "compatibility_passes": "Compatibility-format interrupts pass while interrupts are remapped.",
    "reversed_bus_range": (
        "SVT=2 takes SID[15:8] as the last bus and SID[7:0] as the first; the specification has them the "
        "other way round."
    ),
    "reserved_check_is_requester_fault": (
        "SVT=3, a reserved value, is reported as a failed requester check (26h), not "
        "as a reserved field (24h)."
    ),
    "interrupt_faults_silent": "A refused interrupt leaves no fault record (7.2).",
    "handle_wraps": (
        "Handle and subhandle of an interrupt are added in 16 bits: after index FFFFh comes index 0, not a "
        "fault."
    ),
    "interrupt_order": (
        "Reserved fields of an interrupt entry are looked at before the requester, those of the message last."
    ),
    "posted_is_remapped": "IM=1 entries are treated as remapped format.",
    "destination_unchecked": "DST bits that xAPIC mode reserves are accepted.",
    "page_event_unmasked": "PECTL comes out of reset with the mask clear.",
}
_Switches: Any = make_dataclass("Quirks", [(name, bool, False) for name in SWITCHES], frozen=True, slots=True)


class Quirks(_Switches):  # type: ignore[misc]
    """Which of `SWITCHES` are on, by keyword; all off is the specification."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> bool: ...

    def __repr__(self) -> str:
        on = [name for name in SWITCHES if getattr(self, name)]
        return f"Quirks({', '.join(f'{name}=True' for name in on)})"


_ONLY_7_2 = {
    "one_pasid_code",
    "fpd_spares_not_pasid",
    "first_stage_unknown",
    "width_reads_zero",
    "interrupt_faults_silent",
    "narrow_queue_everywhere",
    "short_type",
    "odd_tail_ignored",
    "entry_cache_unchecked",
    "upper_half_unchecked",
    "transient_mapping",
    "pass_through_width_checked",
}
SPECIFICATION = Quirks()
QEMU_7_2 = Quirks(**dict.fromkeys(SWITCHES, True))
QEMU_10 = Quirks(**{name: name not in _ONLY_7_2 for name in SWITCHES})
PERSONALITIES = {"specification": SPECIFICATION, "qemu-7.2": QEMU_7_2, "qemu-10": QEMU_10}


def qemu(version: str) -> Quirks:
    """The personality of a QEMU `version` string such as "7.2.22" or "QEMU emulator version 10.0.13 (…)".

    Versions in between are taken as the nearer one below 9. Raises ValueError for text without a number.
    """
    return QEMU_10 if int(version_number(version).partition(".")[0]) >= 9 else QEMU_7_2


def version_number(version: str) -> str:
    """The number in a version string: "10.0.13". Raises ValueError when there is none."""
    for word in version.split():
        if word[:4].partition(".")[0].isdecimal():
            return echo(word)
    raise ValueError(f"no version number in {quoted(version)}")


# Labels whose code QEMU reports differently in scalable mode. A pair is (read, write or atomic).
_LEGACY_CODES: dict[str, tuple[int, int]] = {
    "SRT.1": (0x8, 0x8),
    "SRT.2": (0x1, 0x1),
    "SRT.3": (0xA, 0xA),
    "SCT.1": (0x9, 0x9),
    "SCT.2": (0x2, 0x2),
    "SCT.3": (0xB, 0xB),
    "SSS.1": (0x7, 0x7),
    "SSS.2": (0x6, 0x5),
    "SSS.3": (0xC, 0xC),
    "SSS.4": (0x3, 0x3),
    "SGN.5": (0x4, 0x4),
}


def reported_code(
    quirks: Quirks, label: str, code: int | None, *, write: bool, second_stage: bool, scalable: int
) -> int | None:
    """The code that goes into the record for `label`: the specification's, or what the personality makes of
    it. `scalable`: whether the unit supports scalable mode, in force or not.
    """
    if quirks.interrupt_code_by_capability and scalable and label == "LGN.4":
        return 0x87
    if quirks.one_pasid_code and label.startswith(("SPD.", "SPT.")):
        return 0x58
    if quirks.legacy_codes:
        if label in _LEGACY_CODES:
            return _LEGACY_CODES[label][write]
        if second_stage and label in ("SGN.6", "SGN.7"):
            return 0x5 if write else 0x6
    return code
