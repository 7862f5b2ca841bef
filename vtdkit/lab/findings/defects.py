"""What the checkers find in the versions of the driver, explained: a name, a sentence, and where to read on.

Nothing here says which version has which defect: that is found by running (`findings`). A finding that no
entry explains is either a defect nobody knew of, or a bug of this kit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCK = "WARNING: inconsistent lock state"
UAF = "BUG: KASAN: use-after-free"
RACE = "BUG: KCSAN: data-race"


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect. A finding belongs to it if its kind, its place and its scenario match
    (regular expressions, whole text).

    - `real`: can it do harm? A few data races cannot, on the machines Linux runs on
    - `source`: message, commit, or that this kit found it
    """

    name: str
    about: str
    kind: str
    where: str = ".*"
    scenario: str = ".*"
    source: str = ""
    real: bool = True

    def explains(self, kind: str, where: str, scenario: str) -> bool:
        """Is this finding one of this defect?"""
        return all(
            re.fullmatch(pattern, text)
            for pattern, text in ((self.kind, kind), (self.where, where), (self.scenario, scenario))
        )


DEFECTS: tuple[Defect, ...] = (
    Defect(
        "dump-unmap",
        "the dump follows a table that unmap has freed",
        UAF,
        "page table",
        "dump-unmap",
        "Lu Baolu on 01, 31 May 2022: known, tolerated, never fixed in the series",
    ),
    Defect(
        "dump-free",
        "the dump reads the tables of a domain that is freed meanwhile",
        f"{UAF}|BUG: KASAN: slab-use-after-free|{RACE}",
        r"page table|dmar_domain\.pgd|dmar_domain|domain \d+",
        "dump-free",
        "Jason Gunthorpe on 01, 27 May 2022; mainline 983ebe57b3af holds group->mutex",
    ),
    Defect(
        "dump-no-record",
        "the dump asks for the domain of a device that the driver has no record of",
        "BUG: NULL pointer dereference",
        ".*",
        "dump-unprobed",
        "Xu Pengfei, October 2020, in find_domain(): 6097df457adf asked whether the core had probed the "
        "device; 5.19 does not ask any more; 01, and 983ebe57b3af in mainline, end it without a word",
    ),
    Defect(
        "fault-list",
        "the fault interrupt walks the global device list, whose lock it does not take",
        RACE,
        r"device_domain_list|.*\.global",
        "fault-.*",
        "by reading; 04, 8ac0b64b9735, ends it",
    ),
    Defect(
        "klist-irq",
        "the fault interrupt takes a klist lock that others hold with interrupts on",
        f"{LOCK}|deadlock",
        r"&k->k_lock.*",
        ".*",
        "04, 8ac0b64b9735; reported by Lennert Buytenhek; fixed by 35bf49e05421 in 6.0-rc5",
    ),
    Defect(
        "device-leak",
        "each fault that is dumped keeps a reference to the device for ever",
        "unreferenced object",
        "PciDevice",
        ".*",
        "by reading, searched for and not found elsewhere: 04, 8ac0b64b9735; went with 35bf49e05421 in "
        "6.0-rc5, which does not mention it",
    ),
    Defect(
        "assert-unlocked",
        "a helper insists on a lock that its caller has just stopped taking",
        "kernel BUG: assert_spin_locked",
        ".*",
        ".*",
        "by reading: 10 without 11, db75c9573b08; a kernel between the two commits stops at every detach",
    ),
    Defect(
        "list-unlocked",
        "a domain's device list is read with no lock, where the caller had it before",
        RACE,
        "domain->devices",
        "attach-both",
        "by reading: 10 without 11, what the assertion is there to catch",
    ),
    Defect(
        "order-inversion",
        "attach takes iommu->lock, then the device lock; enforcing coherency on first-level tables takes "
        "them the other way round",
        "WARNING: possible circular locking dependency detected|deadlock",
        r".*iommu->lock.*",
        "enforce-.*",
        "by reading, searched for and not found elsewhere: 11, 969aaefbaaf2, 6.0 too, but only behind a unit "
        "without second-level tables; a real deadlock while either lock is shared by the two domains",
    ),
    Defect(
        "publish-early",
        "a device is on the domain's list before its info says which domain that is",
        RACE,
        r"device_domain_info\.domain",
        ".*",
        "Kevin Tian on v2 of 11, 14 June 2022; v3 sets info->domain first",
    ),
    Defect(
        "ats-unlocked",
        "ATS is switched on or off outside the lock under which flushes look: the TLB of a device that gets "
        "it is left out",
        RACE,
        r"device_domain_info\.ats_enabled",
        ".*",
        "found by this kit, searched for and not found elsewhere: 11; 10 without 11 switches it off so",
    ),
    Defect(
        "pass-through-ats",
        "ATS is switched on for a device in a legacy pass-through domain, where its requests are refused",
        "DMAR: .*",
        ".*pass-through",
        "passthrough-ats",
        "by reading: 11, 969aaefbaaf2; Lu Baolu, 14 November 2023 (20231114011036.70142-3): da37dddcf4ca in "
        "6.7-rc4 leaves ATS off there again",
    ),
    Defect(
        "sleep-atomic",
        "a mutex is taken where the kernel must not sleep",
        r"BUG: sleeping function called from invalid context|\[ BUG: Invalid wait context \]",
        ".*",
        ".*",
        "12; v2 went back to a spin lock. Unmap does run in interrupts: a349ffcb4daf has the trace",
    ),
    Defect(
        "mutex-irq",
        "a mutex is taken in an interrupt, and waits for the thread under it",
        f"{LOCK}|deadlock",
        r"&domain->mutex",
        ".*",
        "by reading: 12; never merged",
    ),
    Defect(
        "device-lock-irq",
        "the device lock is taken in interrupts, and elsewhere with interrupts on",
        f"{LOCK}|deadlock",
        r"device_domain_lock",
        "unmap-.*|flush-queue|enforce-irq.*",
        "ffd5869d9353, the widened 08; fixed by a349ffcb4daf in 6.0-rc5",
    ),
    Defect(
        "domain-lock-irq",
        "domain->lock is taken in interrupts, and elsewhere with interrupts on",
        f"{LOCK}|deadlock",
        r"&domain->lock",
        "unmap-.*|flush-queue|enforce-irq.*",
        "6.0-rc1; fixed by a349ffcb4daf in 6.0-rc5",
    ),
    Defect(
        "irq-inversion",
        "iommu->lock, taken with interrupts on, is taken inside a lock that interrupts take",
        "WARNING: possible irq lock inversion dependency detected"
        "|WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected|deadlock",
        r"(device_domain_lock|&domain->(lock|mutex)).*iommu->lock.*",
        "unmap-.*|flush-queue|enforce-irq.*",
        "found by this kit, searched for and not found elsewhere: 07 in scalable mode, 08 in legacy mode, "
        "where 11 ends it; behind a unit without second-level tables it stays, in 6.0 too",
    ),
    Defect(
        "superpage-free",
        "the table under a new large page is freed before it is flushed; the hardware reads it",
        "IOMMU: use-after-free",
        "page table",
        "superpage-dma",
        "by reading, searched for and not found elsewhere: switch_to_super_page flushes after "
        "dma_pte_free_pagetable has freed; every version (the repair of 2025, 20250826143816.38686, is of "
        "the range, not of the order)",
    ),
    Defect(
        "failed-attach",
        "an attach that fails takes the device off a list it is not on any more",
        "list_del corruption",
        "domain->devices",
        "no-memory|id-exhaustion",
        "by reading and fault injection, searched for and not found elsewhere; not in 6.0: db75c9573b08 sets "
        "info->domain to NULL",
    ),
    Defect(
        "release-unattached",
        "a device that is in no domain is released, and nobody asks whether it has one",
        "BUG: NULL pointer dereference",
        ".*",
        "no-memory|id-exhaustion|release-unattached",
        "Eric Badger, 13 January 2024 (20240113181713.1817855), in a crash kernel; fixed by 81e921fd3216 in "
        "6.9, CVE-2024-27079; Fixes: 586081d3f6b1, older than the series",
    ),
    Defect(
        "dump-absent",
        "the fault dump takes 0 for the address of a table where an entry is not present",
        "physical address 0 taken for a table",
        ".*",
        ".*",
        "scalable mode: every version; legacy mode: 35bf49e05421; fixed by 6ceb93f952f6 in 6.13",
    ),
    Defect(
        "race-width",
        "two attaches to one domain set its address width with nothing between them",
        RACE,
        r"dmar_domain\.a?gaw",
        "attach-both",
        "by reading, no report found: a group attaches under its own mutex alone; units of one kind both "
        "write the same",
        real=False,
    ),
    Defect(
        "race-max-addr",
        "two CPUs change domain->max_addr with nothing between them",
        RACE,
        r"dmar_domain\.max_addr",
        ".*",
        "by reading, no report found: every version; only a hint is lost",
        real=False,
    ),
    Defect(
        "race-refcount",
        "a map looks at who uses the domain while an attach changes it",
        RACE,
        r"dmar_domain\.iommu_refcnt|.*iommu_refcnt.*",
        ".*",
        "by reading, no report found: every version; the attach flushes for itself",
        real=False,
    ),
    Defect(
        "race-has-iotlb",
        "unmap reads has_iotlb_device, with no lock, while ATS is switched on for the domain's first device: "
        "its TLB is left out",
        RACE,
        r"dmar_domain\.has_iotlb_device",
        ".*",
        "by reading, no report found: every version; the same window as ats-unlocked, for the first device",
    ),
)


def explain(kind: str, where: str, scenario: str) -> Defect | None:
    """The defect a finding belongs to; the first that matches."""
    return next((defect for defect in DEFECTS if defect.explains(kind, where, scenario)), None)
