# ruff: noqa: E501  (a table, a row a line)
"""Lines as kernels of 3.x to 6.x, QEMU and firmware tools print them: what each must be told to be, and
what is not about DMAR and must not be told."""

from __future__ import annotations

import pytest

from vtdkit.explain.causes import CAUSES
from vtdkit.explain.messages import HEADLINES, MESSAGES
from vtdkit.explain.reading import explain
from vtdkit.vtd.faults.reasons import REASONS

LINES = """
BUG: KASAN: use-after-free in domain_remove_dev_info+0x1a3/0x1f0 | kernel report: BUG: KASAN
BUG: KASAN: slab-use-after-free in dmar_remove_one_dev_info+0x1a3/0x1f0 | kernel report: BUG: KASAN
BUG: KFENCE: use-after-free read in intel_iommu_unmap+0x1a3/0x1f0 | memory is used that was freed
ACPI: DMAR 0x000000008D6F9000 0000A8 (v01 INTEL  EDK2     00000002      01000013) | ACPI: DMAR 0x000000008D6F9000 0000A8 (v01 INTEL EDK2
ACPI: DMAR 00000000bf7aa0c0 000140 (v01    AMI  OEMDMAR 00000001 MSFT 00000097) | firmware has a DMAR table
ACPI: Reserving DMAR table memory at [mem 0x8d6f9000-0x8d6f90a7] | is kept free
DMAR: Host address width 39 | Host address width 39
iommu: Default domain type: Translated | DMA goes through page tables
iommu: Default domain type: Passthrough (set via kernel command line) | protects nothing
iommu: DMA domain TLB invalidation policy: lazy mode (set via kernel command line) | flushed later
iommu: DMA domain TLB invalidation policy: strict mode | flushed at once
pci 0000:00:02.0: Adding to iommu group 0 | 0000:00:02.0: Adding to iommu group 0
iommu: Adding device 0000:00:02.0 to group 0 | given to a guest (kernels up to 5.2)
DMAR: [Firmware Bug]: RMRR entry for device 02:00.0 is broken - applying workaround | the device's own bus
DMAR: ERROR: DMA PTE for vPFN 0xfff00 already set (to 12345003 not 23456003) | "to" is what stands there
ERROR: DMA PTE for vPFN 0x7f000 already set (to 7f000003 not 18c2a7003) | given out twice
DMAR: ATSR flags: 0x0 | root ports below which
DMAR: dmar0: Using Queued invalidation | dmar0: Using Queued invalidation
IOMMU 0 0xfed90000: using Queued invalidation | through a queue in memory
DMAR: dmar2: Using Register based invalidation | through registers
DMAR-IR: IOAPIC id 2 under DRHD base  0xfed91000 IOMMU 1 | interrupts of this IOAPIC
DMAR: Intel(R) Virtualization Technology for Directed I/O | remapping is on
PCI-DMA: Intel(R) Virtualization Technology for Directed I/O | remapping is on
x2apic: IRQ remapping doesn't support X2APIC mode | x2APIC stays off
DMAR-IR: Copied IR table for dmar0 from previous kernel | keeps the interrupt entries
DMAR: Translation was enabled for dmar0 but we are not in kdump mode | set up anew
DMAR-IR: IRQ remapping was enabled on dmar0 but we are not in kdump mode | set up anew
DMAR: IOMMU disabled | was forbidden on the command line
Kernel command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro intel_iommu=on iommu=pt | intel_iommu=on iommu=pt
DMAR: No DMAR devices found | may be off in its setup
DMAR: dmar3: No supported address widths. Not attempting DMA translation. | may still remap interrupts
DMAR: Device scope type does not match for 0000:00:1c.0 | a bridge that is an endpoint
[Firmware Bug]: ioapic 2 has no mapping iommu, interrupt remapping will be disabled | no DRHD names this IOAPIC
Kernel panic - not syncing: DMAR hardware is malfunctioning | within ten seconds
DMAR: IOMMU: dmar0: PRQ overflow detected | requests are lost
DMAR: 32bit 0000:03:00.0 uses non-identity mapping | cannot reach all memory
IOMMU: hardware identity mapping for device 0000:00:00.0 | without change of address
vfio-pci 0000:01:00.0: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor. | 0000:01:00.0: Device is ineligible
vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform | could send any interrupt
pci 0000:00:14.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. | cannot be given to a guest
DMAR: Allocating 1-page iova for 0000:00:1f.2 failed | below the device's DMA mask
qemu-system-x86_64: VT-d failed to remap interrupt for gsi 4 | refused by the emulated unit
qemu-system-x86_64: We need to set caching-mode=on for intel-iommu to enable device assignment. | tells of every change
WARNING: drivers/iommu/intel/iommu.c:1234 at intel_iommu_unmap+0x12/0x30, CPU#3: swapper/0/1 | intel_iommu_unmap
Interrupt Remapping is not enabled | does not remap interrupts
DMA Remapping is not enabled on dmar0 | devices behind it reach all memory
UBSAN: shift-out-of-bounds in drivers/iommu/intel/dmar.c:1234:20 | kernel report: UBSAN
""".strip().splitlines()


@pytest.mark.parametrize("row", LINES, ids=lambda row: row[:50])
def test_a_line_is_told_with_what_it_means(row: str) -> None:
    line, want = row.split(" | ")
    found = explain(f"[    0.100000] {line}\n")
    assert want in repr(found), repr(found)
    assert found.understood == 1


REPORTS = {
    "what found a fault is one report with the line before it": (
        "list_del corruption. prev->next should be ffff88810a1, but was dead000000000100\n"
        "kernel BUG at lib/list_debug.c:51!\n"
        "RIP: 0010:__list_del_entry_valid+0x8c/0xb0\n dmar_remove_one_dev_info+0x3e/0x50\n",
        ("kernel report: list_del corruption", "not on any more", "dmar_remove_one_dev_info"),
    ),
    "a count": (
        "refcount_t: underflow; use-after-free.\n"
        "WARNING: CPU: 1 PID: 22 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110\n"
        " intel_svm_unbind+0x12/0x30\n",
        ("kernel report: refcount_t", "let go once too often", "intel_svm_unbind"),
    ),
    "a list read without protection": (
        "WARNING: suspicious RCU usage\n"
        "drivers/iommu/intel/dmar.c:366 RCU-list traversed in non-reader section!!\n",
        ("kernel report: suspicious RCU usage",),
    ),
    "a wild pointer of 4.x": (
        "BUG: unable to handle kernel paging request at ffff88ffffff0000\n"
        "RIP: 0010:dma_pte_clear_level+0x7e/0x1d0\n",
        ("unable to handle kernel paging request", "dma_pte_clear_level"),
    ),
    "both orders, 3.10": (
        "[ INFO: possible circular locking dependency detected ]\n"
        "modprobe/1 is trying to acquire lock:\n"
        " (&(&iommu->lock)->rlock){+.+...}, at: [<ffffffff814d6c5c>] domain_context_mapping_one+0x2bc/0x3f0\n"
        "but task is already holding lock:\n"
        " (device_domain_lock){-.....}, at: [<ffffffff814d6c5c>] domain_context_mapping_one+0x2bc/0x3f0\n",
        ("dependency detected\n", "locks     &iommu->lock, device_domain_lock"),
    ),
    "a panic": (
        "Kernel panic - not syncing: Hard LOCKUP\n qi_submit_sync+0x2bc/0x3f0\n",
        ("does not answer an invalidation of its TLB",),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_the_kernel_is_told_once(name: str) -> None:
    text, wanted = REPORTS[name]
    found = explain(text)
    assert len(found) == 1, repr(found)
    assert not [want for want in wanted if want not in repr(found)], repr(found)
    assert found.understood == found.lines


OTHERS = """
BUG: KASAN: use-after-free in ext4_put_super+0x1a3/0x1f0
WARNING: CPU: 1 PID: 22 at fs/ext4/inode.c:28 ext4_put_super+0xba/0x110
AMD-Vi: IOMMU performance counters supported
usb 1-1: new high-speed USB device number 2 using xhci_hcd
""".strip().splitlines()


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_about_something_else_is_not_told(line: str) -> None:
    assert not len(explain(line + "\n"))


@pytest.mark.parametrize("literal", MESSAGES)
def test_every_message_of_the_table_is_found_behind_its_prefix(literal: str) -> None:
    assert MESSAGES[literal][2] in repr(explain(f"DMAR: {literal} 0\n"))


@pytest.mark.parametrize("head", HEADLINES)
def test_every_headline_of_the_table_is_found(head: str) -> None:
    found = explain(f"[    1.000000] INFO: {head} 0\n[    1.000001]  intel_iommu_unmap+0x1/0x2\n")
    assert HEADLINES[head][1] in repr(found)


ROWS = """
0000: 44 4D 41 52 48 00 00 00 01 E3 49 4E 54 45 4C 20  DMAR..../INTEL
0010: 45 44 4B 32 20 20 20 20 02 00 00 00 20 20 20 20  EDK2    ....
0020: 13 00 00 01 26 05 00 00 00 00 00 00 00 00 00 00  ....&...........
0030: 00 00 18 00 00 00 00 00 00 00 D9 FE 00 00 00 00  ................
0040: 01 08 00 00 00 00 02 00                          ........
"""
OTHER = """SSDT @ 0x0000000000000000
    0000: 53 53 44 54 BC 00 00 00 03 BF 41 4C 41 53 4B 41  SSDT......ALASKA
    0010: 53 53 44 54 BC 00 00 00 03 BF 41 4C 41 53 4B 41  SSDT......ALASKA
"""


@pytest.mark.parametrize("between", ["", "\n"])
@pytest.mark.parametrize("head", ["DMAR @ 0xAB12C000", ""])
def test_an_acpidump_of_all_tables_has_the_dmar_table_in_the_middle(head: str, between: str) -> None:
    found = explain(OTHER + between + head + ROWS + between + OTHER + OTHER.replace("SSDT @", "APIC @"))
    assert "1 structures: DRHD" in repr(found)
    assert "DRHD at offset 0x30: unit at 0xfed90000" in repr(found)
    assert "reading stopped" not in repr(found)


PAIRS = """
CAP_REG = 0x00d2008c40660462|ECAP_REG = 0x0000000000f050da
cap=d2008c40660462|ecap=f050da
CAP 0xd2008c40660462, ECAP 0xf050da
cap: 0xd2008c40660462 ecap: 0xf050da
/sys/class/iommu/dmar0/intel-iommu/cap:d2008c40660462|/sys/class/iommu/dmar0/intel-iommu/ecap:f050da
""".strip().splitlines()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_of_registers_is_told_once_however_it_is_written(pair: str) -> None:
    (piece,) = explain(pair.replace("|", "\n") + "\n").pieces
    assert piece.title.endswith(": CAP d2008c40660462, ECAP f050da")


def test_a_log_full_of_warnings_of_others_does_not_hide_a_dump() -> None:
    other = "WARNING: CPU: 1 PID: 22 at fs/ext4/inode.c:28 ext4_put_super+0xba/0x110\n"
    dump = "DMAR: Dump dmar1 table entries for IOVA 0x1000\nDMAR: root entry: 0x0000000000000000\n"
    assert "refused with LRT.2" in repr(explain(other * 1500 + dump))


@pytest.mark.parametrize("reason", ["0x08", "0x09", "0x38", "0x40", "0x50", "0x58", "0x70", "0x78"])
def test_a_table_that_cannot_be_read_is_not_called_an_entry_that_is_missing(reason: str) -> None:
    line = "DMAR: [DMA Read NO_PASID] Request device [81:00.0] fault addr 0x1000 [fault reason {}]\n"
    (piece,) = explain(line.format(reason)).pieces
    assert "cannot be read" in repr(piece)
    assert "read" in piece.cause
    assert "no driver attached" not in piece.cause
    assert "firmware had started" not in piece.cause


def test_every_reason_of_the_specification_has_a_cause() -> None:
    assert {reason.code for reason in REASONS.values() if reason.code} <= set(CAUSES)
