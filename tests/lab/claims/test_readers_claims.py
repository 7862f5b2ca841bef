"""The claims about readers: each verdict's word and evidence, and that its counter-experiment differs."""

from __future__ import annotations

import pytest

from lessons.claims.readers import CLAIMS

EVIDENCE: dict[int, tuple[str, str]] = {
    4: ("does not hold", "the dump reads a domain that was freed in 10 of 16 executions"),
    15: (
        "holds",
        "if the dump waits for the disk while it has it, deadlock in 1 of 1 executions; if not, the disk's "
        "interrupt, which unmaps, sleeps in 1 of 1",
    ),
    16: ("does not hold", "the dump reads a freed table in 7 of 23 executions, an oops in 13 of 23"),
    17: (
        "does not hold",
        "1171 of 2583 words that look present would be refused; none in small numbers, a table of a process, "
        "a table of another domain",
    ),
    18: (
        "opinion",
        "how bad is bad enough is for its maintainers to say; measured: a freed table is read in 1 of 3 "
        "executions",
    ),
    19: (
        "holds",
        "pages that pass and cannot be read: 7187, in 9 ranges; the dump's oops: 13 of 23 executions",
    ),
    20: (
        "holds",
        "an unmap can free the table that is read for 600 ns, held up between two levels for 3000600 ns (1 "
        "of its pages mapped)",
    ),
    21: ("holds", "a freed table is read in 0 of 1 executions"),
    22: ("holds", "oops in 0 of 23 executions; a freed table is still read in 7 of 23"),
    51: (
        "holds",
        "freed tables used: with mmap_lock 0 of 3, without 2 of 19; walk without a lock, interrupts off 0 of "
        "6, on 1 of 10",
    ),
    52: (
        "holds",
        "a freed table is read in 0 of 4 executions, 18 lines are out of date; a map with its unmap takes "
        "1535 ns, before 1535; where each unmap takes a table out 1000 wait to be freed",
    ),
    53: (
        "holds",
        "struct page: lru and rcu_head share bytes; of a list of 5 tables one callback frees 1; 64 bytes a "
        "page. struct iommu_pt_page: list_head and rcu_head stand apart; of a list of 5 tables one callback "
        "frees 5; 64 bytes a page",
    ),
    54: (
        "holds",
        "freed tables used by a walk with interrupts off: freed after the flush 1 of 6, a grace period "
        "0 of 8",
    ),
    55: ("holds", "4 unmaps of 16 tables each: 4 callbacks"),
    56: ("holds", "a sweep for dirty bits reads a freed table: VT-d 3 of 5, Arm 1 of 6"),
    69: (
        "holds",
        "goes wrong: RCU 0 of 4, 0 of 16, 0 of 1; nothing 1 of 3, pfn_valid 1 of 3, all ones 1 of 3, rwsem 1 "
        "of 1",
    ),
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.number))
def test_verdict(claim):
    verdict = claim.verdict()
    assert (verdict.word, verdict.evidence) == EVIDENCE[claim.number]
    if claim.experiment:
        assert (verdict.counter.word == "does not hold") != (verdict.word == "does not hold")
