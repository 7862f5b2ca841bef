"""A kernel in which a lesson's scene is run again and again does not grow."""

from __future__ import annotations

import gc
import tracemalloc

from tests.notebooks.cells import scenes
from vtdkit.series.catalogue import driver_at

RUNS, ALLOWED = 200, 5_000_000  # bytes


def test_two_hundred_runs_of_a_scene_leave_next_to_nothing_behind() -> None:
    scene, driver = scenes("10").detach_scene, driver_at(10)
    for _ in range(5):
        scene(driver)  # what is kept for good is there now
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(RUNS):
        scene(driver)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before <= ALLOWED
