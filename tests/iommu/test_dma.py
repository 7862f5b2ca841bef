"""The DMA API: what it maps the hardware translates, from every context; addresses come from where they
may; nothing is left.
"""

from __future__ import annotations

import pytest
from users import (
    HARDWARE,
    LAZY,
    PAGE,
    STRICT,
    cookie,
    descriptors,
    device,
    dma_computer,
    inventory,
    ranges,
    unexpected,
)

from vtdkit.iommu.dma import DMA_FROM_DEVICE, DMA_TO_DEVICE, MSI_RANGE, PCI_WINDOW, DmaApi
from vtdkit.iommu.errno import EINVAL
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.lab.computer import Computer
from vtdkit.vtd.requests import Fault, Translation


@pytest.mark.parametrize("default_type", [STRICT, LAZY])
@pytest.mark.parametrize("hardware", HARDWARE)
def test_a_mapped_buffer_is_reached_and_an_unmapped_one_is_not(hardware: str, default_type: str) -> None:
    pc, api = dma_computer(default_type, hardware)
    handle = pc.run(api.iommu_dma_map_page(device(pc), 0x1234567, 5000))
    for offset in (0, 4999):
        answer = pc.dma("00:03.0", handle + offset, "write")
        assert isinstance(answer, Translation)
        assert answer.address == 0x1234567 + offset
    pc.run(api.iommu_dma_unmap_page(device(pc), handle, 5000))
    stale = pc.dma("00:03.0", handle)
    assert isinstance(stale, Fault if default_type == STRICT else Translation)  # lazy: the IOTLB still has it
    pc.machine.advance(11_000_000)
    assert isinstance(pc.dma("00:03.0", handle), Fault)
    assert not pc.machine.findings


def test_the_direction_decides_what_the_device_may_do() -> None:
    pc, api = dma_computer()
    to = pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE, DMA_TO_DEVICE))
    assert isinstance(pc.dma("00:03.0", to, "read"), Translation)
    assert isinstance(pc.dma("00:03.0", to, "write"), Fault)
    out = pc.run(api.iommu_dma_map_page(device(pc), 0x6000, PAGE, DMA_FROM_DEVICE))
    assert isinstance(pc.dma("00:03.0", out, "write"), Translation)


def test_a_list_of_buffers_lands_side_by_side() -> None:
    pc, api = dma_computer()
    sg = [(0x5000, PAGE), (0x6000, 2 * PAGE), (0x20010, 100), (0x9F00, 0x200)]
    mapped = pc.run(api.iommu_dma_map_sg(device(pc), sg))
    base = mapped[0][0]
    assert base % (8 * PAGE) == 0  # six pages, aligned to eight
    assert [(at - base, length) for at, length in mapped] == [
        (0, PAGE),
        (PAGE, 2 * PAGE),
        (0x3010, 100),
        (0x4F00, 0x200),
    ]
    for (at, length), (phys, _) in zip(mapped, sg, strict=True):
        for offset in (0, length - 4):
            assert pc.dma("00:03.0", at + offset).address == phys + offset  # type: ignore[union-attr]
    before = descriptors(pc)
    pc.run(api.iommu_dma_unmap_sg(device(pc), mapped))
    assert descriptors(pc) - before == 2  # one flush for all of it, and its wait
    assert all(isinstance(pc.dma("00:03.0", at), Fault) for at, _ in mapped)
    assert not pc.machine.findings


def test_neighbours_in_memory_become_one_large_page() -> None:
    pc, api = dma_computer()
    sg = [(0x40_0000 + i * (64 << 10), 64 << 10) for i in range(32)]
    mapped = pc.run(api.iommu_dma_map_sg(device(pc), sg))
    answer = pc.dma("00:03.0", mapped[5][0])
    assert isinstance(answer, Translation)
    assert answer.size == 2 << 20
    assert pc.run(api.iommu_dma_map_sg(device(pc), [])) == []


def test_strict_flushes_at_once_lazy_puts_it_off() -> None:
    counts = []
    for default_type in (STRICT, LAZY):
        pc, api = dma_computer(default_type)
        before = descriptors(pc)
        for _ in range(20):
            handle = pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE))
            pc.run(api.iommu_dma_unmap_page(device(pc), handle, PAGE))
        counts.append(descriptors(pc) - before)
    assert counts == [40, 0]


def test_addresses_are_below_4_gib_while_there_are_any_and_never_where_devices_or_interrupts_are() -> None:
    pc, api = dma_computer()
    size, handles = 64 << 20, []
    for _ in range(70):
        handle = pc.run(api.iommu_dma_map_page(device(pc), 0, size))
        handles.append(handle)
        for first, last in (PCI_WINDOW, MSI_RANGE):
            assert handle > last or handle + size <= first
    low = [handle for handle in handles if handle < 1 << 32]
    # 3 GiB below the window, less the piece that would begin at address 0
    assert low == [0xC000_0000 - size * i for i in range(1, 48)]
    assert all(handle >= 1 << 32 for handle in handles[len(low) :])
    assert not pc.machine.findings


def test_mapping_without_set_up_says_what_is_missing() -> None:
    pc = Computer()
    api = DmaApi(pc.core)
    with pytest.raises(
        ValueError, match=r"00:03\.0 is not set up for the DMA API; await iommu_setup_dma_ops\(dev\) first"
    ):
        pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE))


def test_a_computer_that_is_up_already_can_be_set_up_later() -> None:
    pc = Computer()
    api = DmaApi(pc.core)
    assert pc.run(api.iommu_setup_dma_ops(device(pc))) == 0
    assert pc.run(api.iommu_setup_dma_ops(device(pc))) == 0
    handle = pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE))
    assert pc.dma("00:03.0", handle).address == 0x5000  # type: ignore[union-attr]
    loose = pc.add_device("00:04.0", probe=False)
    assert pc.run(api.iommu_setup_dma_ops(loose)) == -EINVAL


def test_identity_domains_need_no_addresses() -> None:
    pc, _ = dma_computer("identity")
    assert pc.domain_of("00:03.0").cookie is None


def test_unmapping_what_is_not_mapped_warns_and_does_nothing() -> None:
    pc, api = dma_computer()
    pc.run(api.iommu_dma_unmap_page(device(pc), 0xFFFF_0000, PAGE))
    (finding,) = pc.machine.findings
    assert finding.where == "iommu_dma_unmap_page of an address that is not mapped"


@pytest.mark.parametrize("default_type", [STRICT, LAZY])
def test_threads_softirqs_and_interrupts_map_side_by_side(default_type: str) -> None:
    pc, api = dma_computer(default_type, cpus=2, devices={"00:03.0": {"ats": True}, "00:04.0": {}})
    machine, done = pc.machine, []

    async def io(address: str, frame: int, name: str) -> None:
        dev = pc.devices[address]
        handle = await api.iommu_dma_map_page(dev, frame * PAGE, PAGE)
        await machine.work(300)
        await api.iommu_dma_unmap_page(dev, handle, PAGE)
        done.append(name)

    line = machine.irq.line("nvme", lambda: io("00:03.0", 0x111, "hardirq"))
    timer = machine.irq.timer("net", lambda: io("00:04.0", 0x222, "softirq"))

    async def thread(cpu: int) -> None:
        for i in range(12):
            line.fire(500 + 700 * i)
            timer.mod(900)
            await io("00:03.0" if cpu else "00:04.0", 0x300 + i, "thread")
            await machine.work(4000)

    for cpu in (0, 1):
        machine.spawn(thread(cpu), cpu=cpu)
    machine.simulate()
    assert {"thread", "softirq", "hardirq"} == set(done)
    assert done.count("hardirq") == done.count("thread") == 24
    assert unexpected(machine) == []


@pytest.mark.parametrize("default_type", [STRICT, LAZY])
@pytest.mark.parametrize("hardware", HARDWARE)
def test_a_device_that_goes_takes_everything_with_it(hardware: str, default_type: str) -> None:
    pc, api = dma_computer(default_type, hardware, devices={})
    before = inventory(pc.machine)
    pc.add_device("00:03.0")
    kept = [pc.run(api.iommu_dma_map_page(device(pc), i * PAGE, PAGE)) for i in range(1, 41)]
    for handle in kept[::2]:
        pc.run(api.iommu_dma_unmap_page(device(pc), handle, PAGE))
    pc.remove_device("00:03.0")
    pc.machine.advance(30_000_000)
    assert inventory(pc.machine) == before
    assert not pc.machine.findings


def test_the_allocator_of_a_domain_counts_what_is_mapped() -> None:
    pc, api = dma_computer()
    iovad = cookie(pc).iovad
    assert iovad is not None
    reserved = len(ranges(iovad))
    handles = [pc.run(api.iommu_dma_map_page(device(pc), 0x5000, PAGE)) for _ in range(5)]
    assert len(ranges(iovad)) == reserved + 5
    for handle in handles:
        pc.run(api.iommu_dma_unmap_page(device(pc), handle, PAGE))
    assert len(iovad.cached()) == 5
    with pytest.raises(KernelBug):
        pc.run(pc.core.iommu_unmap(pc.domain_of("00:03.0"), 1 << 60, PAGE))
