"""Replaying what a real guest mapped: the tables end as the trace leaves them, and the lock that gives out
is the real one's.
"""

from __future__ import annotations

import pytest
from users import recorded, unexpected

from lessons.lesson17.replay import GUEST_UNIT, Replayed, replay
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.costs import NEAR
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

STRICT, LAZY = recorded("strict").part(5000), recorded("lazy").part(8000)
DRIVER_LOCKS = (
    "device_domain_lock",
    "&iommu->lock",
    "&iommu->register_lock",
    "&domain->lock",
    "&domain->mutex",
    "group->mutex",
)
VERSIONS = [driver_at(0), mainline.RC5]


def all_well(result: Replayed) -> None:
    assert result.wrong == ()
    left = sum(size for mapping in STRICT.mappings() for _, size in mapping.segments if mapping.unmap_cpu < 0)
    assert result.pages == left // 4096 or result.lazy
    assert unexpected(result.computer.machine) == []


@pytest.mark.parametrize("driver", VERSIONS, ids=["before", "6.0-rc5"])
def test_strict_contends_for_the_invalidation_queue_by_the_thousand_and_for_nothing_else(
    driver: type[IntelIommu],
) -> None:
    result = replay(STRICT, driver=driver)
    all_well(result)
    assert result.waits("&qi->q_lock") > 1000
    assert {row.function for row in result.contended if row.lock == "&qi->q_lock"} == {"qi_submit_sync"}
    assert sum(result.waits(lock) for lock in DRIVER_LOCKS) == 0
    assert sum(row.count for row in result.contended) - result.waits("&qi->q_lock") < 0.01 * result.waits(
        "&qi->q_lock"
    )


@pytest.mark.parametrize("driver", VERSIONS, ids=["before", "6.0-rc5"])
def test_lazy_hardly_ever_waits_for_the_queue(driver: type[IntelIommu]) -> None:
    result = replay(LAZY, driver=driver)
    all_well(result)
    assert result.waits("&qi->q_lock") <= 1
    assert sum(result.waits(lock) for lock in DRIVER_LOCKS) == 0
    assert result.acquired["&qi->q_lock"] < 30  # a flush for 256 unmaps
    assert result.acquired["&fq->lock"] > 1000


def test_the_times_of_the_trace_can_be_kept_or_shortened() -> None:
    part = STRICT.part(1500)
    real, quick = replay(part, speed=1), replay(part, speed=50)
    assert real.duration == pytest.approx(part.duration, rel=0.001)
    assert quick.duration == pytest.approx(part.duration / 50, rel=0.01)
    assert real.calls == quick.calls
    assert real.waits("&qi->q_lock") < 10  # at a twentieth of a processor's speed the queue has nothing to do
    assert real.wrong == quick.wrong == ()
    with pytest.raises(ValueError, match="above 0, or None"):
        replay(part, speed=0)


def test_a_guest_that_was_lazy_can_be_replayed_strictly() -> None:
    part = LAZY.part(3000)
    assert replay(part).waits("&qi->q_lock") == 0
    assert replay(part, lazy=False).waits("&qi->q_lock") > 100


def test_dearer_hardware_contends_more() -> None:
    part = STRICT.part(2000)
    cheap, dear = (replay(part, costs=NEAR.but(mmio=mmio), speed=20) for mmio in (100, 10_000))
    assert dear.waits("&qi->q_lock") > 2 * cheap.waits("&qi->q_lock")


def test_the_same_replay_twice_is_the_same_to_the_nanosecond() -> None:
    part = STRICT.part(1500)
    one, two = replay(part, record=True), replay(part, record=True)
    assert one == two
    first, second = one.computer.machine.trace(), two.computer.machine.trace()
    assert len(first) > 4 * len(part.events)
    assert all(
        first.column(name) == second.column(name) for name in ("time", "cpu", "kind", "object", "site", "arg")
    )


def test_the_result_reads_well_and_a_wrong_table_would_show() -> None:
    result = replay(STRICT.part(300))
    text = repr(result)
    assert text.startswith(
        "maps_smp4_strict-s0[0:5000][0:300], strict, driver before the series: 300 events, "
    )
    assert text.endswith(f"{result.pages} pages mapped at the end, as the trace leaves them")

    class Forgetful(IntelIommu):
        """A driver that loses every leaf for one page frame."""

        async def _domain_mapping(
            self, domain: object, iov_pfn: int, phys_pfn: int, nr_pages: int, prot: int
        ) -> int:
            if phys_pfn == 0x4249:
                return 0
            return await super()._domain_mapping(domain, iov_pfn, phys_pfn, nr_pages, prot)  # type: ignore[arg-type]

    part = STRICT.part(20)
    assert replay(part).wrong == ()
    broken = replay(part, driver=Forgetful, units=GUEST_UNIT)
    assert [line.split(" should")[0] for line in broken.wrong] == ["0000:00:03.0: 0xfffff000"]
