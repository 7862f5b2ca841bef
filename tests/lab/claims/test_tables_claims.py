"""Verdicts on the claims about entries and tables, word for word; each comes out the other way in its
counter.
"""

from __future__ import annotations

import pytest

from lessons.claims.tables import CLAIMS

EVERY = "every order"
INSERT = "mappings lost in {} executions on {}, every order; uses after free 0"
FREED = "table pages freed in case 1: {}, case 2: {}, case 3: {}"
USED = "the hardware uses a freed table in {} executions, every order"
EXPECTED = {
    12: ("does not hold", "locks taken by a map 0, by an unmap before its flush 0"),
    13: ("holds", INSERT.format("0 of 4", "1 table")),
    14: ("holds", INSERT.format("0 of 4", "1 table")),
    38: ("holds", "gone: 2048 KiB, 2048 KiB, 4 KiB"),
    39: ("holds", "a page more than asked for goes: Intel no, AMD yes, Arm no"),
    40: ("holds", "bytes said to be unmapped: 2097152, 2097152, 0 and a WARN"),
    41: ("holds", "0 of 6 unmaps cut through a map; 10 maps left"),
    42: (
        "holds",
        f"inserts: {INSERT.format('0 of 8', '2 tables')}; a reader uses a freed table in 2 of 6",
    ),
    43: ("holds", INSERT.format("0 of 12", "3 tables")),
    44: ("holds", USED.format("0 of 5")),
    45: ("holds", USED.format("0 of 2")),
    46: ("holds", FREED.format(1, 1, 1)),
    47: ("does not hold", FREED.format(1, 1, 1)),
    48: ("does not hold", FREED.format(1, 1, 0)),
    49: ("holds", "the block is not there in 0 of 5 executions, every order; the page's map failed in 2"),
    50: (
        "holds",
        "512 entries looked at for one page; a neighbour's page, mapped meanwhile, is lost in 2 of 4 "
        "executions, every order",
    ),
}
OTHERWISE = {
    12: "locks taken by a map 1, by an unmap before its flush 1",
    13: "both maps said 0, one is lost, in 6 of 6 executions, every order",
    14: INSERT.format("2 of 6", "1 table"),
    38: "gone: 2048 KiB, 2048 KiB",
    39: "a page more than asked for goes: Intel no, Arm no",
    40: "bytes said to be unmapped: 0 and a WARN, 0",
    41: "8 of 28 unmaps cut through a map; 5 maps left",
    42: f"inserts: {INSERT.format('0 of 4', '1 table')}; a reader uses a freed table in 0 of 3",
    43: INSERT.format("2 of 6", "1 table"),
    44: USED.format("4 of 8"),
    45: USED.format("1 of 3"),
    46: FREED.format(1, 1, 0),
    47: FREED.format(1, 1, 0),
    48: FREED.format(1, 1, 1),
    49: "the block is not there in 17 of 27 executions, every order; the page's map failed in 0",
    50: "512 entries looked at for one page; a neighbour's page, mapped meanwhile, is lost in 0 of 2 "
    "executions, every order under a lock",
}


def test_all_are_here():
    assert [claim.number for claim in CLAIMS] == sorted(EXPECTED) == [12, 13, 14, *range(38, 51)]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.number)
def test_verdict_and_counter(claim):
    verdict = claim.verdict()
    assert (verdict.word, verdict.evidence) == EXPECTED[claim.number]
    assert verdict.counter is not None
    assert verdict.counter.evidence == OTHERWISE[claim.number]
    assert verdict.counter.holds != (verdict.word != "does not hold")
