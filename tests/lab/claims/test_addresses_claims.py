"""Claims 29 to 31: what decides each, and that its variant comes out the other way."""

from __future__ import annotations

import pytest

from lessons.claims.catalogue import claims

SAID = {
    29: (
        "holds",
        "16 CPUs in one domain unmap 12.5 times as much as one, and wait for locks 0% of their time",
    ),
    30: ("holds", "0 of 3 orders go wrong"),
    31: (
        "holds",
        "up to 8 of 8 CPUs are inside iommu_map at once, 0 times two of them for one page; "
        "waiting for locks: 0 ns",
    ),
}


@pytest.mark.parametrize("number", SAID)
def test_the_verdict_and_the_other_way(number: int) -> None:
    verdict = claims([number])[0].verdict()
    assert (verdict.word, verdict.evidence) == SAID[number]
    assert verdict.counter is not None
    assert verdict.counter.word == "does not hold"
    assert verdict.lesson == "18"
