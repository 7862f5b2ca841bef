"""The contract checker: which pairs of calls it objects to, what it says, and that honest callers hear
nothing.
"""

from __future__ import annotations

import pytest
from users import recorded

from lessons.experiments.loading import MIB, WAYS, load
from lessons.lesson17.replay import replay
from lessons.scenes import QUESTIONS
from lessons.scenes.pairs import BLOCK, LARGE, PAGE, Op, side_by_side
from vtdkit.iommu.contract import KIND, Contract
from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer
from vtdkit.lab.scenarios import base
from vtdkit.lab.scenarios.catalogue import SCENARIOS

HALF = BLOCK // 2
SMALL = (Op("map", 0, HALF, LARGE), Op("map", HALF, HALF, LARGE + HALF))
#: calls on page 0, and whether they only read
CALLS = {"map": False, "unmap": False, "look up": True, "dirty read": True, "demote": False, "promote": False}


def objected(*ops: Op, before: tuple[Op, ...] = (), lock: bool = False) -> list[Finding]:
    found = explore(side_by_side(*ops, before=before, lock=lock).on(IntelIommu), limit=2)
    assert found.executions >= 1
    return found.of("contract")


@pytest.mark.parametrize("first", CALLS)
@pytest.mark.parametrize("second", CALLS)
def test_two_calls_on_one_range_may_meet_only_if_both_read(first: str, second: str) -> None:
    before = (
        ()
        if "map" in (first, second)
        else SMALL
        if "promote" in (first, second)
        else (Op("map", 0, BLOCK, LARGE),)
    )
    ops = Op(first, 0, BLOCK), Op(second, 0, BLOCK)
    assert bool(objected(*ops, before=before)) == (not (CALLS[first] and CALLS[second]))
    assert not objected(*ops, before=before, lock=True)


@pytest.mark.parametrize("other", ["map", "unmap", "look up"])
def test_ranges_that_only_touch_do_not_meet(other: str) -> None:
    assert not objected(Op("map", 0, 4 * PAGE), Op(other, 4 * PAGE, PAGE))
    assert objected(Op("map", 0, 4 * PAGE), Op(other, 3 * PAGE, PAGE))


def test_freeing_the_domain_meets_every_address() -> None:
    assert objected(Op("look up", 1 << 40), Op("free"))


def test_a_finding_names_both_calls_their_ranges_and_where_they_were_made() -> None:
    pc = Computer(devices=["00:03.0"], cpus=2)
    domain = pc.new_domain(attach="00:03.0")
    Contract(pc.core)

    async def fill() -> None:
        await pc.core.iommu_map(domain, 0x2000, 0x5000000, 2 * PAGE, 3)

    async def empty() -> None:
        await pc.core.iommu_unmap(domain, 0, BLOCK)

    pc.machine.spawn(fill(), 0, "fill")
    pc.machine.spawn(empty(), 1, "empty")
    pc.machine.simulate()
    (finding,) = pc.machine.findings.of("contract")
    assert finding.kind == KIND
    assert finding.where == f"map and unmap, {domain!r}"
    assert finding.functions == ("empty", "fill")
    assert finding.text == (
        "unmap of 0x0 to 0x1fffff by empty, at the same time as or after map of 0x2000 to 0x3fff by fill, "
        "and nothing orders the two"
    )


def run(checkers: tuple[str, ...], pause: int) -> int:
    """Two CPUs map a page, the second one `pause` ns later; how many findings?"""
    pc = Computer(devices=["00:03.0"], cpus=2, checkers=checkers)
    domain = pc.new_domain(attach="00:03.0")
    Contract(pc.core)

    async def late(cpu: int) -> None:
        await pc.machine.work(cpu * pause)
        await pc.core.iommu_map(domain, 0, 0x5000000 + cpu * PAGE, PAGE, 3)

    for cpu in range(2):
        pc.machine.spawn(late(cpu), cpu)
    pc.machine.simulate()
    return len(pc.machine.findings.of("contract"))


def test_it_takes_no_meeting_but_without_clocks_it_does() -> None:
    assert run(("races",), 0) == run(("races",), 1_000_000) == run((), 0) == 1
    assert run((), 1_000_000) == 0


def test_nothing_is_paid_and_nothing_said_when_it_is_off() -> None:
    pc = Computer(devices=["00:03.0"])
    assert not vars(pc.core).keys() & {"_iommu_map", "iommu_unmap_fast", "iommu_iova_to_phys"}


def test_the_list_of_calls_does_not_grow_with_time() -> None:
    pc = Computer(devices=["00:03.0"])
    domain, contract = pc.new_domain(attach="00:03.0"), Contract(pc.core)
    for _ in range(50):
        pc.map(domain, 0, 0x5000000)
        pc.run(pc.core.iommu_iova_to_phys(domain, 0))
        pc.unmap(domain, 0)
    assert len(contract.calls[domain]) == 1


@pytest.mark.parametrize("name", [*SCENARIOS, *QUESTIONS])
def test_the_scenarios_of_the_kit_hear_of_it_only_where_they_overlap_on_purpose(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(
        driver: type[IntelIommu], machine: Machine, mode: str = "legacy", **options: object
    ) -> Computer:
        pc = computer(driver, machine, mode, **options)
        Contract(pc.core)
        return pc

    computer = base.computer
    scene = {**SCENARIOS, **QUESTIONS}[name]
    build = getattr(scene.build, "func", scene.build)  # some are partial
    monkeypatch.setitem(build.__globals__, "computer", watched)
    found = explore(scene.on(IntelIommu), limit=8)
    assert bool(found.of("contract")) == (name in ("maps-same-page", "map-in-unmap", "block-and-page"))


@pytest.mark.parametrize("way", WAYS)
def test_who_loads_a_guest_in_parallel_is_honest(way: str) -> None:
    done = load(way, 4, size=32 * MIB, piece=64 * PAGE, chunk=2 * MIB, contract=True, checkers=("races",))
    assert (done.broken, done.wrong) == (0, 0)


@pytest.mark.parametrize("mode", ["strict", "lazy"])
def test_a_real_guest_is_honest(mode: str) -> None:
    assert replay(recorded(mode).part(1500), contract=True).broken == 0


def test_the_dma_api_hands_addresses_from_cpu_to_cpu() -> None:
    pc = Computer(devices=[], cpus=2, default_type="dma-fq")
    api, contract = DmaApi(pc.core), Contract(pc.core)
    dev = pc.add_device("00:03.0")
    for cpu in range(6):
        handle = pc.run(api.iommu_dma_map_page(dev, 0x5000000, PAGE), cpu=cpu % 2)
        pc.run(api.iommu_dma_unmap_page(dev, handle, PAGE), cpu=(cpu + 1) % 2)
    assert contract.calls  # they were watched
    assert not pc.machine.findings.of("contract")
