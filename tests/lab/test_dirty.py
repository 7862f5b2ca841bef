"""Sweeps and who waits for them; scenes in which dirty bits are read; the picture of latencies."""

from __future__ import annotations

import pytest

from lessons.experiments.dirty import SWEEPS, beside
from lessons.scenes.dirty import DISK, ENDS, Tracked, area_goes, last_look, new_map, not_seen, split
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty
from vtdkit.kernel import Machine, explore
from vtdkit.views.charts.latency import latency_figure


def test_without_clearing_the_bits_stay() -> None:
    scene = Tracked(Machine())
    scene.pc.dma(DISK, 0, "write")
    looks = [
        scene.pc.run(intel_iommu_read_and_clear_dirty(scene.pc.core, scene.domain, 0, 8192, clear))
        for clear in (False, False, True, True)
    ]
    assert looks == [[0], [0], [0], []]


def test_nobody_waits_under_rcu_and_everybody_under_the_semaphore() -> None:
    found = {sweep: beside(sweep, mib=2) for sweep in SWEEPS}
    assert found["RCU"].maps == found["none"].maps
    assert found["iova_rwsem"].longest > 10 * found["none"].longest
    assert found["iova_rwsem"].took == pytest.approx(found["RCU"].took, rel=0.01)
    assert len(found["none"].calls) == 48


def test_who_runs_takes_the_semaphore_before_who_sleeps() -> None:
    longest = [beside("area by area", areas=64, pause=pause).longest for pause in (0, 2_000, 5_000)]
    assert longest[2] * 10 < min(longest[:2])


def test_a_sweep_there_is_not() -> None:
    with pytest.raises(ValueError, match="there is no 'rwsem'"):
        beside("rwsem")


@pytest.mark.parametrize("scene", [not_seen, split, new_map, last_look])
def test_every_end_has_a_name_and_every_order_is_run(scene: object) -> None:
    found = explore(scene, cpus=2)  # type: ignore[arg-type]
    assert found.complete
    assert set(found.outcomes) <= set(ENDS)
    assert not found.findings


def test_without_the_flush_a_later_write_is_lost() -> None:
    assert explore(lambda machine: not_seen(machine, flush=False), cpus=2).outcomes == {"told": 1, "lost": 1}


def test_without_the_semaphore_the_sweep_reads_a_freed_table() -> None:
    assert not explore(area_goes, cpus=2).findings
    assert explore(lambda machine: area_goes(machine, locked=False), cpus=2).of("use-after-free")


def test_the_picture_says_who_waited_longest() -> None:
    picture = latency_figure({"locked": [1_000, 50_000], "free": [900, 1_100]}, "Latency", "maps")
    assert picture.label == (
        "Latency: share of maps that took longer. locked: longest 50.0 µs; free: longest 1,100 ns."
    )
    for text in ("locked, longest 50.0 µs", "100 ns", "100.0 µs", "50%"):
        assert f">{text}</text>" in picture.svg
    with pytest.raises(ValueError, match="nothing to draw"):
        latency_figure({"none": []})
