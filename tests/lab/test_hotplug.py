"""A device plugged in while its alias is pulled out: after patches 01 and 02, and what Linux excludes."""

from __future__ import annotations

from functools import partial

import pytest

from lessons.scenes import QUESTIONS
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore, settled
from vtdkit.kernel.explorer.search import explore_system
from vtdkit.kernel.explorer.system import Outcome
from vtdkit.lab.computer import Computer
from vtdkit.lab.scenarios.base import pull
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

V519 = mainline.driver_at(0)


def orders(driver: type[IntelIommu], name: str) -> tuple[int, int]:
    """In how many orders something is found, and how many there are."""
    found: list[bool] = []

    def attempt(factory, shared):  # type: ignore[no-untyped-def]
        found.clear()

        def note(outcome: Outcome, *_: object) -> None:
            found.append(bool(outcome.findings))

        return explore_system(factory, on_outcome=note)

    result, _ = settled(QUESTIONS[name].on(driver), attempt)
    assert result.complete
    return sum(found), len(found)


@pytest.mark.parametrize(
    ("name", "driver", "expected"),
    [
        ("plug-alias", driver_at(1), (134, 170)),
        ("plug-alias", driver_at(2), (16, 43)),
        ("plug-bridge", driver_at(1), (0, 138)),
        ("plug-bridge", driver_at(2), (248, 293)),
        ("plug-bridge", V519, (0, 67)),
    ],
)
def test_devices_that_share_a_table_race_where_nothing_keeps_plug_and_unplug_apart(
    name: str, driver: type[IntelIommu], expected: tuple[int, int]
) -> None:
    """§1.4."""
    assert orders(driver, name) == expected


def test_patch_02_moves_the_use_after_free_from_one_pair_to_the_other() -> None:
    """§1.4."""
    for name, driver, there in (
        ("plug-alias", driver_at(1), True),
        ("plug-alias", driver_at(2), False),
        ("plug-bridge", driver_at(2), True),
    ):
        kinds = {one.finding.kind for one in explore(QUESTIONS[name].on(driver)).findings}  # type: ignore[attr-defined]
        assert ({"BUG: KASAN: use-after-free", "BUG: KASAN: double-free"} <= kinds) is there


@pytest.mark.parametrize("pair", ["alias", "bridge"])
@pytest.mark.parametrize("driver", [driver_at(1), driver_at(2), V519])
def test_under_pci_rescan_remove_lock_one_comes_after_the_other(driver: type[IntelIommu], pair: str) -> None:
    """§1.4 and §1.11: two orders are left, and no memory is used after it was freed."""
    found = explore(QUESTIONS[f"plug-{pair}-excluded"].on(driver))
    assert (found.executions, found.complete) == (2, True)
    assert not any("KASAN" in str(one.finding) or "KCSAN" in str(one.finding) for one in found.findings)


def test_plugging_and_pulling_take_the_lock_and_give_everything_back() -> None:
    """§1.11."""
    pc = Computer(devices=[])
    pages = len(pc.machine.pages)
    dev = pc.new_device("00:05.0")
    assert pc.run(pc.plug(dev)) == 0
    pc.run(pc.bus.rescan_or_remove(partial(pull, pc, dev)))
    assert pc.bus.devices() == ()
    taken = {row.name: row.write.acquisitions for row in pc.machine.lock_stat()}
    assert taken["pci_rescan_remove_lock"] == 2
    assert len(pc.machine.pages) == pages + 1  # the bus's context table stays
    assert not pc.machine.findings
