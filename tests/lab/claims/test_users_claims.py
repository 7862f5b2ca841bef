"""The claims about who calls map and unmap at once: each verdict to the letter, and that it could have been
the other.
"""

from __future__ import annotations

import pytest

from lessons.claims.claim import Claim
from lessons.claims.users import CLAIMS

BY_NUMBER = {claim.number: claim for claim in CLAIMS}
#: word, evidence, evidence of the counter-experiment
VERDICTS: dict[int, tuple[str, str, str]] = {
    23: (
        "holds",
        "padata, 16 threads: 8.7 times as fast as one, 38% of the time waiting, most for &mm->mmap_lock",
        "padata, 16 threads: 1.1 times as fast as one, 92% of the time waiting, most for &mm->mmap_lock",
    ),
    24: (
        "holds",
        "iommufd, 16 threads: 13.9 times as fast as one",
        "vfio, 16 threads: 1.0 times as fast as one, 47% of the time waiting, most for &vfio_iommu->lock",
    ),
    25: (
        "does not hold",
        "without a lock: pairs of calls: 5, executions: 10, of which touch what is freed: 0; pairs "
        "with more than one end: 0; the contract checker objects in 0; with one: pairs of calls: 5,"
        " executions: 10, of which touch what is freed: 0; pairs with more than one end: 0; the "
        "contract checker objects in 0",
        "without a lock: pairs of calls: 1, executions: 5, of which touch what is freed: 3; pairs "
        "with more than one end: 1; the contract checker objects in 5; with one: pairs of calls: 1,"
        " executions: 2, of which touch what is freed: 0; pairs with more than one end: 1; the "
        "contract checker objects in 2",
    ),
    26: (
        "holds",
        "CPUs that map 4,096 pages apart in one domain: 16; with a lock in it 9.9 times as long",
        "CPUs that map 4,096 pages apart in one domain: 1; with a lock in it 1.1 times as long",
    ),
    32: (
        "holds",
        "pairs of calls: 5, executions: 10, of which touch what is freed: 0; pairs with more than "
        "one end: 0; the contract checker objects in 0",
        "pairs of calls: 1, executions: 53, of which touch what is freed: 32; pairs with more than "
        "one end: 1; the contract checker objects in 53",
    ),
    33: (
        "holds",
        "16 CPUs map so many times as much as one: intel 15.4, arm 15.4, simple 0.8 (one domain)",
        "16 CPUs map so many times as much as one: intel 15.9, arm 16.0, simple 15.9 (16 domains)",
    ),
    34: (
        "holds",
        "a dump beside one honest unmap: freed tables read in 1 of 3 executions; the contract "
        "checker sees 0 of it",
        "a dump beside one honest unmap: freed tables read in 0 of 4 executions; the contract "
        "checker sees 0 of it",
    ),
    35: (
        "holds",
        "pairs of calls: 1, executions: 2, of which touch what is freed: 0; pairs with more than "
        "one end: 0; the contract checker objects in 0",
        "pairs of calls: 1, executions: 5, of which touch what is freed: 3; pairs with more than "
        "one end: 1; the contract checker objects in 5",
    ),
    36: (
        "holds",
        "two maps at once: different ends 2, executions 6, in which a call fails 0",
        "two maps at once: different ends 1, executions 2, in which a call fails 0",
    ),
    37: (
        "not seen to fail",
        "80 random maps and unmaps, 9 tables freed; mapped and not found: 0 times",
        "80 random maps and unmaps, 41 tables freed; mapped and not found: 204 times",
    ),
    66: (
        "holds",
        "promote beside unmap, without a lock: freed tables touched in 1 of 12 executions, the "
        "contract checker objects in 12",
        "promote beside unmap, each under the callers' lock: freed tables touched in 0 of 2 "
        "executions, the contract checker objects in 0",
    ),
    67: (
        "holds",
        "iommufd, unmap, dirty read and map of one range: two calls at once on it in 0 of 30 executions",
        "iommufd, unmap, dirty read and map of one range: two calls at once on it in 20 of 20 executions",
    ),
    68: (
        "holds",
        "tables freed by RCU: the unmap says a page is gone, and it leads to memory, in 3 of 7 executions",
        "tables freed by RCU, calls under a lock: the unmap says a page is gone, and it leads to "
        "memory, in 0 of 3 executions",
    ),
}
OPINIONS = (27, 28)


def test_they_are_all_there() -> None:
    assert sorted(BY_NUMBER) == [23, 24, 25, 26, 27, 28, 32, 33, 34, 35, 36, 37, 66, 67, 68]
    assert sorted([*VERDICTS, *OPINIONS]) == sorted(BY_NUMBER)
    assert all(claim.lesson == "17" for claim in CLAIMS)


@pytest.mark.parametrize("number", VERDICTS)
def test_verdict_and_the_other_way(number: int) -> None:
    claim: Claim = BY_NUMBER[number]
    verdict = claim.verdict()
    assert verdict.counter is not None
    assert (verdict.word, verdict.evidence, verdict.counter.evidence) == VERDICTS[number]
    assert (verdict.word == "does not hold") == verdict.counter.holds


@pytest.mark.parametrize("number", OPINIONS)
def test_an_opinion_has_something_measured_beside_it(number: int) -> None:
    verdict = BY_NUMBER[number].verdict()
    assert verdict.word == "opinion"
    assert "; measured: " in verdict.evidence
