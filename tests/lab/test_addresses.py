"""Addresses for 1 to 64 CPUs, and the map of a guest's."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from lessons.experiments.addresses import HOW, curves, disk, use
from lessons.lesson18.occupancy import heat_figure, occupancy
from vtdkit.lab.lesson.base import reality
from vtdkit.vtd.image.image import Image


def test_more_cpus_do_more_only_with_magazines() -> None:
    points = curves((1, 16))
    gain = {how: points.at(how, 16).ops_per_second / points.at(how, 1).ops_per_second for how in HOW}
    assert gain["magazines"] > 12 > 1 > gain["one lock"] > gain["tree"]
    assert points.at("tree", 16).bottleneck == "&iovad->iova_rbtree_lock"
    assert points.at("magazines", 16).wait_share == 0


def test_buffers_above_128_kib_go_past_the_magazines() -> None:
    waits = [use("magazines", 8, pages=pages).wait_share for pages in (32, 33)]
    assert waits[0] == 0 < 0.2 < waits[1]


def test_who_frees_does_not_matter() -> None:
    here, there = (use("magazines", 8, elsewhere=elsewhere).ops_per_second for elsewhere in (False, True))
    assert there > 0.9 * here


def test_a_way_there_is_not() -> None:
    with pytest.raises(ValueError, match="one lock, tree, magazines; there is no 'trees'"):
        disk("trees")


@pytest.mark.parametrize("device", ["00:02.0", "00:1f.2", "00:0a.0"])
def test_the_map_is_the_same_without_numpy(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.load(reality("legacy48_lazy-s0-busy"))
    asked = occupancy(image, device), occupancy(image, device, 0xFF00_0000, 1)
    found = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] == "numpy":
            raise ModuleNotFoundError(name)
        return found(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert (occupancy(image, device), occupancy(image, device, 0xFF00_0000, 1)) == asked


def test_the_picture_has_a_square_for_each_cell_in_use_and_names_what_is_never_given_out() -> None:
    found = occupancy(Image.load(reality("legacy48_lazy-s0-busy")), "00:1f.2")
    picture = heat_figure(found, [(0xC000_0000, 0xFEBF_FFFF)], title="Disks")
    assert picture.label == (
        "Disks: <00:1f.2 (ahci): 4,234 of 1,048,576 pages from 0x0 on, in 17 of 4,096 cells>"
    )
    assert picture.svg.count("<rect") == 2 + 17 + 16  # the sheet, the map; in use; rows of registers
    assert "Grey: never given out." in picture.svg
