"""What Linux says of its units outside of faults, and what that means: literal | kind | lesson | meaning.

The texts are found in lines of 3.x to 6.x. A message is known by its literal. Headlines of the kernel's
checkers stand with the kind of finding as the kit calls it."""

from __future__ import annotations

import re

_MESSAGES = """
IOMMU enabled | boot | 0 | remapping was asked for on the command line (intel_iommu=on) or by the configuration
Intel-IOMMU: enabled | boot | 0 | remapping was asked for on the command line (kernels up to 4.x)
Intel-IOMMU force enabled due to platform opt in | boot | 0 | firmware asks for protection against devices (DMA_CTRL_PLATFORM_OPT_IN), so remapping is on although nobody asked for it
Enable scalable mode if hardware supports | boot | 7 | scalable mode (PASIDs) was asked for: it is used only if every unit has it
Intel(R) Virtualization Technology for Directed I/O | boot | 0 | remapping is on
DRHD base: | boot | 0 | a remapping unit that firmware reports; flags 0x1: it serves every device of its segment that no other unit names
RMRR base: | boot | 0 | memory that a device uses behind the operating system's back; it stays mapped for that device, and such a device cannot be given to a guest as it is
ATSR flags: | boot | 0 | root ports below which devices may have a device TLB
SATC flags: | boot | 0 | integrated devices that have a device TLB
RHSA base: | boot | 0 | the NUMA node of a unit
ANDD device: | boot | 0 | a device known by its ACPI name
No ATSR found | boot | 0 | firmware names no root port for device TLBs: none is used for devices behind root ports
No RMRR found | boot | 0 | firmware claims no reserved memory
No SATC found | boot | 0 | firmware names no integrated device with a device TLB
Using Queued invalidation | boot | 12 | the unit is told to forget through a queue in memory
Using Register based invalidation | boot | 12 | the unit is told to forget through registers, one command at a time
using Register based invalidation | boot | 12 | the unit is told to forget through registers, one command at a time
using Queued invalidation | boot | 12 | the unit is told to forget through a queue in memory
IOAPIC id | boot | 4 | interrupts of this IOAPIC go through this unit
HPET id | boot | 4 | interrupts of this timer go through this unit
Queued invalidation will be enabled to support x2apic | boot | 4 | interrupt remapping needs the queue
Enabled IRQ remapping in x2apic mode | boot | 4 | interrupts are remapped; a destination has 32 bits
IOMMU batching disabled | boot | 12 | strict: what is unmapped is flushed at once
Enabled IRQ remapping in xapic mode | boot | 4 | interrupts are remapped; a destination has 8 bits
x2apic is disabled because BIOS sets x2apic opt out bit | firmware | 4 | X2APIC_OPT_OUT is set in the DMAR table: x2APIC stays off unless intremap=no_x2apic_optout
Use 'intremap=no_x2apic_optout' to override | boot | 4 | the way round a firmware that opts out of x2APIC
Failed to enable irq remapping | boot | 4 | interrupts are not remapped: guests with devices can send any interrupt
DMAR reported at address 0 | firmware bug | 20 | a DRHD names no registers: Linux takes the table for broken, does not use this unit, and stops reading the table
bad RMRR | firmware bug | 20 | the range does not start or end where it should: Linux warns, marks the kernel as tainted by firmware, and goes on
dmar_fault: | fault | 4 | so many messages about faults were left out: Linux prints ten in five seconds
returns all ones | firmware bug | 20 | nobody answers at the address that firmware gives: CAP and ECAP read all ones. The unit is not used
Parse DMAR table failure | firmware bug | 20 | the DMAR table could not be read to its end: no unit is used, DMA is not remapped
arse DMAR table failure | firmware bug | 20 | the DMAR table could not be read to its end: no unit is used, DMA is not remapped
Record passes table end | firmware bug | 20 | a structure says it is longer than the table: parsing ends with an error, no unit is used
Invalid 0-length structure | firmware bug | 20 | a structure of length 0: reading the table stops there
No firmware reserved region can cover this RMRR | firmware bug | 5 | the memory map does not keep this RMRR reserved: the kernel may use memory that the device writes to
RMRR ends before it starts | firmware bug | 20 | a reserved region with its end below its start: Linux does not map it, so DMA that firmware does there faults
RMRR exceeds permitted address width | firmware bug | 20 | a reserved region beyond what the unit can address: Linux does not map it
Your BIOS is broken | firmware bug | 20 | Linux found something impossible in the firmware's tables and says which
ANDD object name is not NUL-terminated | firmware bug | 20 | the DMAR table names a device by a text without an end
Skip IOMMU disabling for graphics | boot | 0 | remapping stays on for the integrated graphics
Disabling IOMMU for graphics on this chipset | boot | 0 | a known fault of this chipset: its graphics run without remapping
Forcing write-buffer flush capability | boot | 0 | a known fault of this chipset: RWBF is taken as set although CAP says 0
Disabling batched IOTLB flush on Ironlake | boot | 12 | a known fault of this chipset: flushing is strict
Translation already enabled - trying to copy translation structures | boot | 5 | a kernel started in the middle of another one's DMA (kdump): it copies the tables of the crashed kernel
Copied translation tables from previous kernel | boot | 5 | the tables of the crashed kernel stay in force until drivers take their devices over.
Failed to copy translation tables from previous kernel | boot | 5 | DMA that was under way in the crashed kernel will fault
Setting identity map for device | boot | 0 | this device gets a reserved region mapped one to one
Device is ineligible for IOMMU domain attach due to platform RMRR requirement | boot | 0 | firmware uses memory through this device (RMRR), so it cannot be given to a guest
SVM disabled, incompatible | boot | 7 | the unit's first stage does not fit the processor's page tables (1 GiB pages or 5 levels)
Allocating domain for | driver | 6 | a device could not be given a domain: domain ids or memory have run out
Disable batched IOTLB flush due to virtualization | boot | 12 | caching mode (CM): under an emulator flushing is strict, so that it sees every change
IOMMU batching disallowed due to virtualization | boot | 12 | caching mode (CM): under an emulator flushing is strict, so that it sees every change
Unknown DMAR structure type | firmware | 20 | a structure that this kernel does not know is passed over
Invalidation Queue Error (IQE) cleared | queue error | 12 | the driver cleared IQE: the queue goes on
Invalidation Time-out Error (ITE) cleared | queue error | 20 | the driver cleared ITE: waits that were pending had been dropped, so it sends them again
Invalidation Completion Error (ICE) cleared | queue error | 12 | the driver cleared ICE
Host address width | boot | 0 | the widest physical address, as the DMAR table says
IOMMU disabled | boot | 0 | remapping was forbidden on the command line (intel_iommu=off): devices reach all memory
Intel-IOMMU: disabled | boot | 0 | remapping was forbidden on the command line (intel_iommu=off, kernels up to 4.x)
intel_iommu=on | boot | 0 | the command line asks for remapping of DMA
intel_iommu=off | boot | 0 | the command line forbids remapping of DMA
iommu=pt | boot | 0 | the command line asks for identity domains (pass-through): drivers' DMA is not translated
Disable GFX device mapping | boot | 0 | intel_iommu=igfx_off: the unit of the integrated graphics is left off
Forcing DAC for PCI devices | boot | 0 | addresses above 4 GiB are given out first, also to PCI devices
Disable batched IOTLB flush | boot | 12 | strict: what is unmapped is flushed at once
Disable supported super page | boot | 0 | intel_iommu=sp_off: only pages of 4 KiB are mapped
Disable scalable mode | boot | 7 | scalable mode was forbidden on the command line
Scalable mode is disallowed | boot | 7 | scalable mode was forbidden on the command line (intel_iommu=sm_off)
Intel-IOMMU: scalable mode supported | boot | 7 | scalable mode was asked for on the command line (intel_iommu=sm_on); it is used only if every unit has it
enable pre-production PASID support | boot | 7 | extended mode of early units, which scalable mode replaced
Unknown option - | boot | 0 | a word of intel_iommu= on the command line that this kernel does not know
Forcing Intel-IOMMU to enabled | boot | 0 | a measured start (tboot) keeps remapping on
ACPI: DMAR | boot | 0 | firmware has a DMAR table: its address, its length in hex, the revision of its layout, who made it
Reserving DMAR table memory | boot | 0 | the memory of the DMAR table is kept free
No DMAR devices found | boot | 0 | the DMAR table names no unit, or firmware has no such table (VT-d may be off in its setup): DMA is not remapped
Unable to map DMAR | firmware bug | 20 | the DMAR table cannot be read
Invalid DMAR haw | firmware bug | 20 | the table's width of host addresses cannot be: the table is not used
RMRR entry for device | firmware bug | 20 | the scope of a reserved region gives the device's own bus where the path from the root should begin; Linux matches it by bus, device and function all the same and goes on
Unsupported device scope | firmware | 20 | the table names a kind of device that this kernel does not know: it is left out
Device scope type does not match | firmware bug | 20 | the table calls a device an endpoint that is a bridge, or a bridge that is an endpoint: the unit or region may miss it
Failed to find handle for ACPI object | firmware bug | 20 | an ANDD structure names an ACPI device that there is not
Can't reserve memory | driver | 0 | the window of a unit's registers is in use by something else: the unit is not used
Can't map the region | driver | 0 | the window of a unit's registers cannot be mapped: the unit is not used
Cannot get a valid agaw | boot | 0 | none of the unit's table depths (SAGAW) fits the width of addresses: the unit is not used
Cannot get a valid max agaw | boot | 0 | the unit names no table depth that there is (SAGAW): the unit is not used
No supported address widths | boot | 0 | SAGAW is 0: the unit does not translate DMA, and may still remap interrupts
Adding to iommu group | boot | 0 | devices of one group cannot be kept apart; only a whole group can be given to a guest
Adding device | boot | 0 | devices of one group cannot be kept apart; only a whole group can be given to a guest (kernels up to 5.2)
Default domain type: Translated | boot | 0 | drivers' DMA goes through page tables
Default domain type: Passthrough | boot | 0 | drivers' DMA is not translated (identity domains), which is faster and protects nothing
Default domain type | boot | 0 | what a device gets when nobody asks for something else
DMA domain TLB invalidation policy: lazy | boot | 12 | what is unmapped is flushed later, in batches: faster, and a device can reach a freed page for some milliseconds
DMA domain TLB invalidation policy: strict | boot | 12 | what is unmapped is flushed at once
identity mapping for device | boot | 0 | the device reaches memory without change of address (hardware: pass-through; software: an identity table)
uses non-identity mapping | boot | 0 | a device of 32 bits cannot reach all memory by itself, so it is translated
uses identity mapping | boot | 0 | the device reaches memory without change of address
uses a private identity domain | boot | 0 | the device reaches memory without change of address, in a domain of its own
uses a private dma domain | boot | 0 | the device is translated, in a domain of its own
Ignoring identity map for HW passthrough device | boot | 0 | a reserved region needs no mapping for a device that is not translated
Setting RMRR | boot | 0 | reserved regions are being mapped for their devices
0-16MiB unity mapping for LPC | boot | 0 | the ISA bridge gets the first 16 MiB one to one, for old DMA (a floppy)
Translation was enabled for | boot | 5 | firmware, or a kernel before this one, left the unit on, and this is no crash kernel: translation is switched off and set up anew
IRQ remapping was enabled on | boot | 5 | firmware, or a kernel before this one, left remapping of interrupts on, and this is no crash kernel: it is switched off and set up anew
Copied IR table for | boot | 5 | a crash kernel (kdump) keeps the interrupt entries of the crashed one, so that interrupts under way do not fault
Failed to copy IR table | boot | 5 | interrupts that were under way in the crashed kernel will fault
IRQ remapping doesn't support X2APIC mode | boot | 4 | interrupts are not remapped, or only to destinations of 8 bits: x2APIC stays off
has no mapping iommu, interrupt remapping will be disabled | firmware bug | 4 | no DRHD names this IOAPIC: no interrupt of the machine is remapped
This system BIOS has enabled interrupt remapping | firmware bug | 4 | a known fault of this chipset (5500, 5520, X58): interrupt remapping is switched off
No interrupt remapping | driver | 4 | VFIO does not give a device to a guest where interrupts are not remapped, unless allow_unsafe_interrupts is set: the guest could send any interrupt
Firmware has requested this device have a 1:1 IOMMU mapping | driver | 0 | firmware uses memory through this device (RMRR), so it cannot be given to a guest
DMAR hardware is malfunctioning | driver | 12 | the unit did not do a command within ten seconds (a bit of GSTS did not change): Linux stops the machine
Interrupt Remapping is not enabled | boot | 4 | this unit does not remap interrupts
DMA Remapping is not enabled on | boot | 0 | this unit is off: devices behind it reach all memory
Initialization failed | driver | 0 | the units could not be set up: DMA is not remapped; lines before it say why
Flush IOTLB failed | driver | 12 | the unit did not do an invalidation
No free domain ids | driver | 6 | all domain ids of the unit (ND) are in use
is not sufficient for the mapped address | driver | 0 | the address is wider than the domain's tables
-page iova for | driver | 12 | no free address is left below the device's DMA mask
--- failed | driver | 12 | a mapping was refused: no free address, or no memory for tables
DMA PTE for vPFN | driver | 1 | a page was to be mapped at an address that has an entry already: the address was given out twice, or an unmap left something behind. "to" is what stands there, "not" what was to be written
PRQ overflow detected | driver | 7 | the queue of page requests was full: requests are lost until the driver has cleared the overflow
PRQ overflow cleared | driver | 7 | the queue of page requests takes requests again
Page request without PASID | driver | 7 | a device asks for a page and names no address space
Page request in Privilege Mode | driver | 7 | a device asks for a page with supervisor rights, which Linux does not give
Execution request not supported | driver | 7 | a device asks for a page to execute, which Linux does not give
Address is not canonical | driver | 7 | a device asks for a page at an address that no process can have
Invalid page request | driver | 7 | a page request that the driver does not answer
DMAR active, disabling use of stolen memory | driver | 0 | the graphics driver keeps off memory that firmware set aside, because its DMA is translated
VT-d active for gfx access | driver | 0 | the graphics driver knows that its DMA is translated, and works round faults of its chipset
DMA routed to ISOCH DMAR unit | firmware bug | 20 | firmware gives the unit of the sound device no room in its cache: sound would stutter, so the unit is not used for it
Recommended TLB entries for ISOCH unit | firmware | 20 | firmware gives the unit of the sound device less room in its cache than it needs
BIOS has allocated no shadow GTT | firmware | 0 | the graphics of this chipset need a copy of their table for VT-d, which firmware did not make: remapping of graphics is off
failed to remap interrupt | QEMU | 4 | an interrupt of the guest was refused by the emulated unit: its entry is missing or does not fit
caching-mode=on | QEMU | 12 | QEMU gives a real device to a guest with an emulated unit only if the guest tells of every change (CM)
"""

#: literal -> kind, lesson, meaning
MESSAGES: dict[str, tuple[str, int, str]] = {
    literal.strip(): (kind.strip(), int(lesson), meaning.strip())
    for literal, kind, lesson, meaning in (row.split("|", 3) for row in _MESSAGES.strip().splitlines())
}

GONE = (
    "the device was reset, switched off, unplugged or hung while its TLB (ATS) was on, and the driver still "
    "invalidates it. Linux from 6.9 on gives up on a device that is gone; before, it tried again for ever "
    "with "
    "interrupts off, which ends in a hard lockup"
)
ALL_ONES = "all ones: the unit's registers cannot be read, as when the unit or the way to it has lost power"

#: what a device did with an invalidation: title, meaning, cause, lesson
SOURCES = {
    "Time-out": (
        "time-out (ITE)",
        "A device did not answer an invalidation of its TLB in time. The unit drops pending waits and stops "
        "fetching until software clears ITE.",
        GONE,
        20,
    ),
    "Completion": (
        "completion error (ICE)",
        "A device answered an invalidation that nobody had sent it. The unit notes it and goes on.",
        "",
        12,
    ),
}
#: source ids that name no device
NAMELESS = {
    0xFFFF: (ALL_ONES,),
    0: ("SID 0: older units do not name the device; the descriptor before the head does",),
}

#: IQERCD.IQEI, what was wrong with the queue (rev 5.10)
IQEI = (
    "no information",
    "the tail points beyond the queue",
    "the descriptor could not be fetched",
    "the type of the descriptor is unknown, or not allowed here",
    "a reserved field of the descriptor is set",
    "the width of descriptors does not fit the mode",
    "the tail is not aligned to a descriptor",
    "the mode in the root-table register is reserved",
)

# What Linux calls a feature in "IOMMU feature ... inconsistent": a field of CAP or ECAP
FEATURES = dict(
    row.split()
    for row in re.split(
        r"\|",
        "pi_support PI|fl1gp_support FS1GP|fl5lp_support FS5LP|pgsel_inv PSI|super_page_val SSLPS|zlr ZLR|caching_mode CM"
        "|write_buffer RWBF|read_drain DRD|write_drain DWD|nwfs NWFS|dit DIT|pds PDS|eafs EAFS|srs SRS|ers ERS|prs PRS"
        "|nest NEST|mts MTS|sc_support SC|pass_through PT|dev_iotlb_support DT|qis QI|coherent C|smts SMTS|slts SSTS"
        "|flts FSTS|smpwc SMPWC|slads SSADS|vcs VCS|pasid PASID|rps RPS|ir_support IR|eim_support EIM|rid_priv RPRIVS"
        "|mhmv MHMV|ndoms ND",
    )
)

#: what Linux does where units differ in a field
CONSEQUENCES = {
    "C": "a domain that spans both flushes its tables from the processor's cache for either (it counts as "
    "not coherent)",
    "SSLPS": "a domain that spans both uses only the large pages that both have",
    "SAGAW": "a domain that spans both takes a table depth that both have",
    "MGAW": "a domain that spans both may use only addresses that both can translate",
    "SC": "snooping can be enforced only for a domain all of whose units have it",
    "SMTS": "scalable mode is used only if every unit has it",
    "FSTS": "a domain with first-stage tables can be attached only behind units that have them",
    "SSTS": "a domain with second-stage tables can be attached only behind units that have them",
    "FS1GP": "the first stage uses 1 GiB pages only behind units that have them",
    "FS5LP": "a domain with 5-level first-stage tables can be attached only behind units that have them",
    "PT": "pass-through is a real translation type only where every unit has it; else an identity table "
    "stands in",
    "PSI": "a unit without page-selective invalidation is told to forget whole domains",
    "MAMV": "larger ranges than the unit's mask are invalidated by domain",
    "ND": "each unit hands out domain ids of its own; the narrower runs out first",
    "DT": "device TLBs are used only behind units that have DT",
    "IR": "interrupts are remapped only if every unit that has an IOAPIC can",
    "EIM": "x2APIC mode needs EIM on every unit",
    "PASID": "requests with PASID work only behind units that have it",
    "PRS": "page requests work only behind units that have them",
    "NEST": "nested translation works only behind units that have it",
    "QI": "a unit without a queue is told by registers",
    "RWBF": "the driver flushes write buffers for the unit that asks for it",
    "CM": "not-present entries must be flushed too, for the unit that may cache them",
}

_HEADLINES = """
possible circular locking dependency detected | WARNING: possible circular locking dependency detected | two locks are taken in both orders somewhere: two CPUs can each hold one and wait for the other
possible irq lock inversion dependency detected | WARNING: possible irq lock inversion dependency detected | a lock that interrupts take is held while one is taken that others take with interrupts on: an interrupt in between can wait for ever
HARDIRQ-safe -> HARDIRQ-unsafe lock order detected | WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected | a lock that interrupts take is held while one is taken that others take with interrupts on
SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected | WARNING: possible irq lock inversion dependency detected | a lock that soft interrupts take is held while one is taken that others take with them on
inconsistent lock state | WARNING: inconsistent lock state | a lock is taken in interrupts, and elsewhere with interrupts on: an interrupt can wait for the thread under it
possible recursive locking detected | deadlock | a lock is taken while one of the same class is held
Invalid wait context | [ BUG: Invalid wait context ] | a lock that may sleep is taken where sleeping is forbidden
sleeping function called from invalid context | BUG: sleeping function called from invalid context | something that may sleep is called with a spin lock held or interrupts off
scheduling while atomic | BUG: sleeping function called from invalid context | a thread went to sleep where it must not
BUG: KASAN: | BUG: KASAN: use-after-free | memory is used that was freed, or never belonged to it
BUG: KCSAN: data-race | BUG: KCSAN: data-race | two CPUs use the same memory with nothing between them, and one writes
list_del corruption | list_del corruption | something is taken off a list it is not on any more
list_add corruption | list_del corruption | a list was changed without its lock, or with freed memory on it
refcount_t: | reference count | an object was let go once too often, or taken after it was free
BUG: KFENCE: | BUG: KASAN: use-after-free | memory is used that was freed, or never belonged to it
unreferenced object | unreferenced object | memory that nobody points to any more was never freed
suspicious RCU usage | suspicious RCU usage | a list is read without what keeps its members from being freed
bad unlock balance detected | bad unlock balance | a lock is let go that is not held
spinlock recursion | deadlock | a CPU waits for a lock that it holds itself
spinlock lockup suspected | soft lockup | a CPU has waited for a spin lock for seconds
spinlock bad magic | spinlock bad magic | a lock was never made ready, or its memory was freed or overwritten
UBSAN: | UBSAN | a calculation that C does not define, as a shift by too much or an index beyond an array
soft lockup - CPU | soft lockup | a CPU has not scheduled for many seconds: it spins for a lock, or for hardware
detected hard LOCKUP on cpu | hard lockup | a CPU has taken no interrupt for many seconds: it waits with interrupts off
not syncing: Hard LOCKUP | hard lockup | a CPU has taken no interrupt for many seconds: it waits with interrupts off
self-detected stall on CPU | stall | a CPU has not passed through a quiet state for many seconds
detected expedited stalls on CPUs | stall | a CPU has not passed through a quiet state in time
detected stalls on CPUs | stall | a CPU has not passed through a quiet state for many seconds
blocked for more than | hung task | a thread has waited for minutes, mostly for a mutex
kernel NULL pointer dereference | BUG: NULL pointer dereference | the kernel followed a pointer that is NULL
unable to handle kernel paging request | oops | the kernel followed a wild pointer
unable to handle page fault | oops | the kernel followed a wild pointer
general protection fault | oops | the kernel followed a wild pointer
kernel BUG at | kernel BUG: assert_spin_locked | an assertion of the kernel failed
WARNING: drivers/iommu | warning | the kernel checked a condition that should never hold
WARNING: CPU: | warning | the kernel checked a condition that should never hold
"""

#: headline of a report -> kind of finding as the kit calls it, meaning
HEADLINES: dict[str, tuple[str, str]] = {
    head.strip(): (kind.strip(), meaning.strip())
    for head, kind, meaning in (row.split("|") for row in _HEADLINES.strip().splitlines())
}

#: headlines of what found the fault that the line before names
SECOND = ("kernel BUG at", "WARNING: CPU:")

#: what a CPU waits for in `qi_submit_sync`, by kind of report
WAITS = {
    "hard lockup": "qi_submit_sync waits with interrupts off until the unit has done a descriptor; a device "
    "that does "
    "not answer an invalidation of its TLB keeps it there for ever",
    "soft lockup": "a CPU spins for a lock that others hold long, or waits in qi_submit_sync for the unit",
    "stall": "a CPU waits in qi_submit_sync for a unit that does not go on",
}
