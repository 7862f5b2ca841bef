"""VFIO type 1: what it maps, how it unmaps, what its mutex covers, and that pins, pages and
objects are given back.
"""

from __future__ import annotations

import pytest
from test_leaks import failing_in_turn
from users import HARDWARE, PAGE, descriptors, inventory, lock_stat, unexpected

from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.errno import EEXIST, EFAULT, EINVAL, EIO, ENOMEM
from vtdkit.iommu.pinning import mm_struct
from vtdkit.iommu.vfio import VfioType1
from vtdkit.iommu.vfio_dma import vfio_domain, vfio_iommu
from vtdkit.lab.computer import Computer
from vtdkit.vtd.requests import Fault

#: 1 GiB of user memory from 0: 2 MiB in one piece, then pieces of 16 pages that are apart in memory
SCATTERED = [(0, 0x80000, 512), *((0x20_0000 + i * 16 * PAGE, 0x100000 + 64 * i, 16) for i in range(100))]


class Guest:
    """A container with the group of each device, and the memory of its process."""

    def __init__(self, hardware: str = "legacy", attach: bool = True, **options: object) -> None:
        self.pc = Computer(**{**HARDWARE[hardware], **options})
        self.vfio = VfioType1(self.pc.core)
        container = self.pc.run(self.vfio.vfio_iommu_type1_open())
        assert container is not None
        self.container: vfio_iommu = container
        self.mm = mm_struct(self.pc.machine, SCATTERED)
        self.before = inventory(self.pc.machine)
        if attach:
            assert [self.attach(address) for address in self.pc.devices] == [0] * len(self.pc.devices)

    def attach(self, address: str) -> int:
        group = self.pc.devices[address].peek("group")
        return self.pc.run(self.vfio.vfio_iommu_type1_attach_group(self.container, group))

    def map(self, iova: int, vaddr: int, pages: int) -> int:
        return self.pc.run(self.vfio.vfio_dma_do_map(self.container, iova, vaddr, pages * PAGE, self.mm))

    def unmap(self, iova: int, pages: int) -> tuple[int, int]:
        return self.pc.run(self.vfio.vfio_dma_do_unmap(self.container, iova, pages * PAGE))

    def seen(self, iova: int, address: str = "00:03.0") -> int | None:
        answer = self.pc.dma(address, iova)
        return None if isinstance(answer, Fault) else answer.address


@pytest.mark.parametrize("hardware", HARDWARE)
def test_user_memory_is_reached_page_by_page_and_given_back(hardware: str) -> None:
    guest = Guest(hardware)
    assert guest.map(1 << 30, 0, 512 + 160) == 0
    for page in (0, 511, 512, 527, 528, 671):
        (frame,) = guest.mm.frames_at(page * PAGE, 1)
        assert guest.seen((1 << 30) + page * PAGE) == frame * PAGE
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 672
    answer = guest.pc.dma("00:03.0", 1 << 30)
    assert not isinstance(answer, Fault)
    assert answer.size == 2 << 20  # the piece that is contiguous is one large page
    assert guest.unmap(1 << 30, 1024) == (0, 672 * PAGE)
    assert guest.seen(1 << 30) is None
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
    assert guest.container.dma_list == []
    assert unexpected(guest.pc.machine) == []


def test_requests_that_make_no_sense_are_refused() -> None:
    guest = Guest()
    assert guest.map(1, 0, 1) == -EINVAL
    assert guest.map(0, 0, 0) == -EINVAL
    assert guest.map(0x10000, 0, 4) == 0
    assert guest.map(0x12000, 0, 1) == -EEXIST
    assert guest.unmap(0x11000, 3) == (-EINVAL, 0)  # cuts it in two
    assert guest.unmap(0x10000, 3) == (-EINVAL, 0)
    assert guest.unmap(0x90000, 3) == (0, 0)
    assert guest.unmap(0x10000, 0) == (-EINVAL, 0)
    assert guest.map(0x20000, 1 << 40, 1) == -EFAULT  # no memory of the process there
    assert guest.mm.pins.total() == 4
    assert guest.unmap(0, 0x100) == (0, 4 * PAGE)
    assert guest.attach("00:03.0") == -EINVAL  # it is there already
    assert guest.mm.pins.total() == 0


def test_the_limit_on_locked_memory_is_kept_and_nothing_stays_pinned() -> None:
    guest = Guest()
    guest.mm.limit = 520
    assert guest.map(0, 0, 512 + 16) == -ENOMEM
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
    assert guest.seen(0) is None
    assert guest.map(0, 0, 512) == 0


def test_a_container_without_a_group_maps_nothing() -> None:
    guest = Guest(attach=False)
    assert guest.map(0x100000, 0x200000 + 15 * PAGE, 40) == -EINVAL
    assert guest.attach("00:03.0") == 0
    assert guest.map(0x100000, 0x200000 + 15 * PAGE, 40) == 0
    assert guest.mm.pins.total() == 40


def test_the_probe_finds_no_fine_grained_super_pages_here_and_would_elsewhere() -> None:
    guest = Guest()
    domain = guest.container.domain
    assert domain is not None
    assert not domain.fgsp  # unmapping one of two pages unmaps one
    real = guest.pc.core.ops.unmap_pages

    async def joins_neighbours(generic: object, iova: int, pgsize: int, count: int, gather: object) -> int:
        return await real(generic, iova, pgsize, max(count, 2), gather)  # type: ignore[arg-type]

    guest.pc.core.ops.unmap_pages = joins_neighbours  # type: ignore[assignment]
    probe = vfio_domain(guest.pc.machine)
    probe.domain = domain.domain
    guest.pc.run(guest.vfio.vfio_test_domain_fgsp(probe))
    assert probe.fgsp


def test_one_flush_serves_all_pieces_and_pages_are_unpinned_after_it() -> None:
    guest = Guest()
    assert guest.map(0x20_0000, 0x20_0000, 160) == 0  # ten pieces
    machine, before = guest.pc.machine, descriptors(guest.pc)
    order: list[str] = []
    unpin, sync = guest.mm.unpin_user_pages, guest.pc.core.iommu_iotlb_sync

    async def watch_unpin(frames: object) -> None:
        order.append("unpin")
        await unpin(frames)  # type: ignore[arg-type]

    async def watch_sync(domain: object, gather: object) -> None:
        order.append("flush")
        await sync(domain, gather)  # type: ignore[arg-type]

    guest.mm.unpin_user_pages = watch_unpin  # type: ignore[method-assign,assignment]
    guest.pc.core.iommu_iotlb_sync = watch_sync  # type: ignore[method-assign]
    assert guest.unmap(0x20_0000, 160) == (0, 160 * PAGE)
    assert order == ["flush"] + ["unpin"] * 10
    assert descriptors(guest.pc) - before == 2
    assert not machine.findings


@pytest.mark.parametrize("fgsp", [False, True])
def test_an_iommu_that_joins_pages_is_asked_page_by_page(fgsp: bool) -> None:
    guest, asked = Guest(), list[int]()
    assert guest.map(0x20_0000, 0x20_0000, 32) == 0  # two pieces
    assert guest.container.domain is not None
    guest.container.domain.fgsp = fgsp
    real = guest.pc.core.iommu_unmap_fast

    async def watched(domain: object, iova: int, size: int, gather: object) -> int:
        asked.append(size)
        return await real(domain, iova, size, gather)  # type: ignore[arg-type]

    guest.pc.core.iommu_unmap_fast = watched  # type: ignore[method-assign,assignment]
    assert guest.unmap(0x20_0000, 32) == (0, 32 * PAGE)
    assert asked == ([PAGE] * 32 if fgsp else [16 * PAGE] * 2)


def test_one_mutex_is_held_from_the_first_pin_to_the_last_flush() -> None:
    guest = Guest(cpus=2)
    machine = guest.pc.machine

    async def user(iova: int, vaddr: int) -> None:
        for _ in range(3):
            assert await guest.vfio.vfio_dma_do_map(guest.container, iova, vaddr, 64 * PAGE, guest.mm) == 0
            assert await guest.vfio.vfio_dma_do_unmap(guest.container, iova, 64 * PAGE) == (0, 64 * PAGE)

    machine.spawn(user(0x1000_0000, 0x20_0000), cpu=0)
    machine.spawn(user(0x2000_0000, 0x28_0000), cpu=1)
    machine.simulate()
    log = lock_stat(machine, "&vfio_iommu->lock")
    assert log.acquisitions == 12 + 1  # and one for the attach
    assert log.contentions >= 4  # disjoint ranges, but they wait for each other
    assert guest.mm.pins.total() == 0
    assert unexpected(machine) == []


@pytest.mark.parametrize("hardware", ["legacy", "scalable, second level"])
def test_every_allocation_fails_in_turn(hardware: str) -> None:
    errors: set[int] = set()

    def fresh() -> tuple[Computer, DmaApi]:
        guest = Guest(hardware, attach=False)
        guests.append(guest)
        return guest.pc, None  # type: ignore[return-value]

    guests: list[Guest] = []
    for pc, _ in failing_in_turn(fresh):
        guest = guests[-1]
        attached = guest.attach("00:03.0")
        errors.add(attached)
        mapped: list[int] = []
        if not attached:
            for iova, vaddr, count in ((0x4000_0000, 0x20_0000, 40), (0x8000_0000, 0, 512 + 20)):
                error = guest.map(iova, vaddr, count)
                errors.add(error)
                mapped += [] if error else [count * PAGE]
        pc.machine.pages.faults.nth = None
        assert [dma.size for dma in guest.container.dma_list] == mapped
        assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == sum(mapped) // PAGE
        assert guest.unmap(0, 1 << 40) == (0, sum(mapped))
        assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
        if attached:
            # it left the device without any domain, as in v5.19; attached once more it is in its own again
            group = pc.devices["00:03.0"].peek("group")
            pc.run(pc.core.iommu_attach_group(group.peek("domain"), group))
            assert inventory(pc.machine) == guest.before
        assert unexpected(pc.machine) == [] or "scalable" in hardware
    assert errors <= {0, -ENOMEM, -EIO, -19}
    assert {0, -ENOMEM, -EIO} <= errors


def test_a_run_whose_end_cannot_be_pinned_is_not_mapped_in_part() -> None:
    guest, mapped = Guest(), list[int]()
    real = guest.pc.core.iommu_map

    async def watched(domain: object, iova: int, *more: object) -> int:
        mapped.append(iova)
        return await real(domain, iova, *more)  # type: ignore[arg-type]

    guest.pc.core.iommu_map = watched  # type: ignore[method-assign,assignment]
    last = SCATTERED[-1][0]
    assert guest.map(1 << 30, last, 17) == -EFAULT  # 16 pages in one piece, and no memory behind them
    assert mapped == []
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
