"""The flush queue: what waits, for how long, what sets it off, and in which context."""

from __future__ import annotations

import pytest
from users import LAZY, PAGE, cookie, descriptors, device, dma_computer, inventory, ranges, unexpected

from vtdkit.iommu.dma_fq import IOVA_FQ_SIZE, IOVA_FQ_TIMEOUT, FlushQueue
from vtdkit.lab.computer import Computer
from vtdkit.vtd.requests import Fault, Translation


def queue_of(pc: Computer) -> FlushQueue:
    fq = cookie(pc).fq
    assert fq is not None
    return fq


def cycle(pc: Computer, api: object, count: int, cpu: int = 0) -> list[int]:
    """Map and unmap one page `count` times on a CPU; the addresses."""

    async def go() -> list[int]:
        handles = []
        for _ in range(count):
            handle = await api.iommu_dma_map_page(device(pc), 0x5000, PAGE)  # type: ignore[attr-defined]
            await api.iommu_dma_unmap_page(device(pc), handle, PAGE)  # type: ignore[attr-defined]
            handles.append(handle)
        return handles

    return pc.run(go(), cpu)


def test_an_address_is_not_used_again_before_its_flush() -> None:
    pc, api = dma_computer(LAZY)
    handles = cycle(pc, api, 50)
    assert len(set(handles)) == 50
    assert [entry[0] << 12 for entry in queue_of(pc).rings.of_cpu[0].queued()] == handles
    pc.machine.advance(IOVA_FQ_TIMEOUT + 100_000)
    assert queue_of(pc).rings.of_cpu[0].queued() == []
    assert cycle(pc, api, 1) == handles[-1:]  # last freed, first used


def test_a_full_ring_is_flushed_by_who_finds_it_full() -> None:
    pc, api = dma_computer(LAZY)
    cycle(pc, api, IOVA_FQ_SIZE - 1)
    assert queue_of(pc).fq_flush_start_cnt.value == 0
    before = descriptors(pc)
    cycle(pc, api, 1)
    assert queue_of(pc).fq_flush_start_cnt.value == 1
    assert descriptors(pc) - before == 2  # the whole domain in one go
    assert len(queue_of(pc).rings.of_cpu[0].queued()) == 1
    assert not pc.machine.findings


def test_the_timer_flushes_once_for_all_cpus_ten_milliseconds_after_the_first_entry() -> None:
    pc, api = dma_computer(LAZY, cpus=3)
    for cpu in range(3):
        cycle(pc, api, 4, cpu)
    assert queue_of(pc).fq_timer.pending
    pc.machine.advance(IOVA_FQ_TIMEOUT - pc.machine.now % IOVA_FQ_TIMEOUT - 100_000)
    assert sum(len(fq.queued()) for fq in queue_of(pc).rings.of_cpu) == 12
    pc.machine.advance(200_000)
    assert sum(len(fq.queued()) for fq in queue_of(pc).rings.of_cpu) == 0
    assert queue_of(pc).fq_flush_start_cnt.value == 1
    assert queue_of(pc).fq_timer.fired == 1
    assert not queue_of(pc).fq_timer.pending  # armed again by the next entry only
    cycle(pc, api, 1)
    assert queue_of(pc).fq_timer.pending
    assert not pc.machine.findings


def test_the_timer_runs_in_softirq_context_and_waits_for_the_hardware_there() -> None:
    pc, api = dma_computer(LAZY, cpus=2)
    seen = []
    flush = pc.core.iommu_flush_iotlb_all

    async def watched(domain: object) -> None:
        seen.append((pc.machine.sched.current.kind, pc.machine.sched.current.name))
        await flush(domain)  # type: ignore[arg-type]

    pc.core.iommu_flush_iotlb_all = watched  # type: ignore[method-assign]
    cycle(pc, api, 3, cpu=1)
    pc.machine.advance(IOVA_FQ_TIMEOUT + 100_000)
    assert seen == [("softirq", "fq_timer")]


def test_an_entry_of_one_cpu_goes_with_the_flush_of_another() -> None:
    pc, api = dma_computer(LAZY, cpus=2)
    cycle(pc, api, 5, cpu=0)
    cycle(pc, api, IOVA_FQ_SIZE, cpu=1)  # fills its ring: one flush
    assert queue_of(pc).fq_flush_start_cnt.value == 1
    assert len(queue_of(pc).rings.of_cpu[0].queued()) == 5  # covered, but nobody has looked yet
    cycle(pc, api, 1, cpu=0)
    assert len(queue_of(pc).rings.of_cpu[0].queued()) == 1


def test_an_entry_put_in_while_a_flush_is_under_way_waits_for_the_next() -> None:
    pc, api = dma_computer(LAZY, cpus=2)
    queue = queue_of(pc)
    machine = pc.machine
    handle = pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE))

    async def flusher() -> None:
        await queue.fq_flush_iotlb()

    async def unmapper() -> None:
        await machine.work(200)  # in the middle of the flush
        assert queue.fq_flush_start_cnt.value == 1
        assert queue.fq_flush_finish_cnt.value == 0
        await api.iommu_dma_unmap_page(device(pc), handle, PAGE)

    machine.spawn(flusher(), cpu=0)
    machine.spawn(unmapper(), cpu=1)
    machine.simulate(machine.now + 1_000_000)
    assert queue.fq_flush_finish_cnt.value == 1
    (entry,) = queue.rings.of_cpu[1].queued()
    assert entry[3] == 1  # a flush begun later must finish first
    cycle(pc, api, 1, cpu=1)
    assert len(queue.rings.of_cpu[1].queued()) == 2


def test_tables_taken_out_live_until_the_flush() -> None:
    pc, api = dma_computer(LAZY)
    sg = [(0x40_0000 + 2 * PAGE * i, PAGE) for i in range(512)]  # 2 MiB of single pages: a table of their own
    mapped = pc.run(api.iommu_dma_map_sg(device(pc), sg))
    pages = len(pc.machine.pages)
    assert isinstance(pc.dma("00:03.0", mapped[7][0]), Translation)
    pc.run(api.iommu_dma_unmap_sg(device(pc), mapped))
    assert len(pc.machine.pages) == pages
    (entry,) = queue_of(pc).rings.of_cpu[0].queued()
    assert [page.name.split()[-2:] for page in entry[2]] == [["1", "table"]]
    # a device still walks it through a cached upper entry, and hits nothing that was freed
    assert isinstance(pc.dma("00:03.0", mapped[9][0]), Translation)
    pc.machine.advance(IOVA_FQ_TIMEOUT + 100_000)
    assert len(pc.machine.pages) == pages - 1
    assert isinstance(pc.dma("00:03.0", mapped[9][0]), Fault)
    assert not pc.machine.findings


def test_without_memory_for_the_rings_a_domain_is_strict() -> None:
    pc, api = dma_computer(LAZY, devices={})
    pc.add_device("00:03.0")
    faults = pc.machine.pages.faults
    before, faults.count = faults.count, 0
    pc.add_device("00:04.0")
    # the last allocations of a probe: the per-CPU rings, the reserved ranges
    faults.nth = 2 * faults.count - 2
    pc.add_device("00:05.0")
    faults.nth = None
    assert before > 0
    assert [place.site.function for place in faults.failed if place is not None] == ["iommu_dma_init_domain"]
    domain = pc.domain_of("00:05.0")
    assert domain.type == "dma"
    assert cookie(pc, "00:05.0").fq is None
    dev = pc.devices["00:05.0"]
    handle = pc.run(api.iommu_dma_map_page(dev, 0x5000, PAGE))
    pc.run(api.iommu_dma_unmap_page(dev, handle, PAGE))
    assert isinstance(pc.dma("00:05.0", handle), Fault)
    assert not pc.machine.findings


@pytest.mark.parametrize("wait", [0, IOVA_FQ_TIMEOUT - 13_000, IOVA_FQ_TIMEOUT - 8_000, IOVA_FQ_TIMEOUT])
def test_a_domain_goes_whatever_its_timer_is_doing(wait: int) -> None:
    pc, api = dma_computer(LAZY, devices={}, cpus=2)
    before = inventory(pc.machine)
    pc.add_device("00:03.0")
    cycle(pc, api, 30, cpu=1)
    machine = pc.machine
    dev = pc.devices["00:03.0"]

    async def remover() -> None:
        await machine.work(wait)
        await pc.core.iommu_release_device(dev)

    machine.spawn(remover(), cpu=0)
    machine.simulate()
    assert inventory(machine) == before
    assert unexpected(machine) == []


def test_four_cpus_storm_through_the_queue_without_a_finding() -> None:
    pc, api = dma_computer(LAZY, cpus=4, devices={"00:03.0": {"ats": True}})
    machine = pc.machine

    async def storm(cpu: int) -> None:
        held = []
        for i in range(150):
            held.append(await api.iommu_dma_map_page(device(pc), (0x1000 * cpu + i + 1) * PAGE, PAGE))
            if i % 3 == 2:
                await api.iommu_dma_unmap_page(device(pc), held.pop(cpu % len(held)), PAGE)
        for handle in held:
            await api.iommu_dma_unmap_page(device(pc), handle, PAGE)

    for cpu in range(4):
        machine.spawn(storm(cpu), cpu=cpu)
    machine.simulate()
    queue, iovad = queue_of(pc), cookie(pc).iovad
    assert iovad is not None
    queued = [entry[0] for fq in queue.rings.of_cpu for entry in fq.queued()]
    assert queued == []  # the timer came last
    assert len(iovad.cached()) == len(ranges(iovad)) - 2
    assert unexpected(machine) == []
