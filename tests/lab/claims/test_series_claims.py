"""Verdicts on what the patches say of themselves, word for word, and what their counters say."""

from __future__ import annotations

import pytest

from lessons.claims.series import CLAIMS

GUARDED = (
    "changed without iommu->lock while devices come and go: "
    "context entries no, PASID entries {}, domain ids no"
)
EDITED = "changed without device_domain_lock: {}; the fault interrupt walks {}"
USERS = "{} functions use it, outside iommu.c: {}; the debug file takes it {} times"
HELD = "with 1, 2, 4 devices {} ATS the lock is held {} ns, interrupts are off {}"
OFF = "held during the wait: {}; interrupts are off {} ns in one piece, {} ns of 2655 in all"
DETACH = "(detach holds the device lock 2890 ns, then 0)"
TAKEN = "its lock is taken in a hard interrupt {0} times, in a timer's soft one {0}"
#: number: verdict, evidence, the counter's evidence
EXPECTED = {
    1: ("does not hold", GUARDED.format("yes"), GUARDED.format("no")),
    2: (
        "holds",
        EDITED.format("device_domain_list no, domain->devices no", "device_domain_list without it"),
        EDITED.format("domain->devices yes", "no such list"),
    ),
    3: ("holds", f"5 of 5 {DETACH}", f"4 of 5 {DETACH}; not: a mutex"),
    5: ("holds", USERS.format(21, "none", 0), USERS.format(22, "domain_translation_struct_show", 1)),
    6: (
        "holds",
        "users left: none; patch by patch 5, 5, 4, 3, 0",
        "users left: disable_dmar_iommu, for_each_device_domain; patch by patch 5, 5, 4, 3, 0",
    ),
    7: (
        "does not hold",
        "found when a fault is dumped: device-leak, klist-irq",
        "found when a fault is dumped: nothing",
    ),
    8: (
        "holds",
        "8 CPUs, each in its own domain: 3.3 times the unmaps; waiting for locks 70% of the time, then 1%",
        "8 CPUs, all in one domain: 1.0 times the unmaps; waiting for locks 64% of the time, then 64%",
    ),
    9: (
        "holds",
        HELD.format("with", "1530, 3060, 6120", "1545, 3075, 6135"),
        HELD.format("without", "0, 0, 0", "930, 930, 930"),
    ),
    10: (
        "holds",
        OFF.format("&domain->mutex", 1530, 2460),
        OFF.format("device_domain_lock", 1545, 2475),
    ),
    11: ("does not hold", TAKEN.format(1), TAKEN.format(0)),
}


def test_all_are_here():
    assert [claim.number for claim in CLAIMS] == sorted(EXPECTED) == [1, 2, 3, *range(5, 12)]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.number)
def test_verdict_and_counter(claim):
    verdict = claim.verdict()
    assert verdict.counter is not None
    assert (verdict.word, verdict.evidence, verdict.counter.evidence) == EXPECTED[claim.number]
    assert verdict.counter.holds is (verdict.word == "does not hold")
