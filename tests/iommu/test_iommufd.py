"""iommufd: areas come and go whole, maps of different areas run side by side, dirty bits are
read without missing any.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from test_leaks import failing_in_turn
from users import HARDWARE, PAGE, inventory, lock_stat, unexpected

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty, intel_iommu_set_dirty_tracking
from vtdkit.iommu.dma import DmaApi
from vtdkit.iommu.errno import EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import mm_struct
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.vtd.requests import Fault, Translation

MEMORY = [(0, 0x80000, 1024), *((0x40_0000 + i * 16 * PAGE, 0x100000 + 64 * i, 16) for i in range(40))]
DIRTY = replace(SCALABLE, SSADS=1)


class Ioas:
    """An address space with one domain, attached to one device, and the memory of its user."""

    def __init__(self, domains: int = 1, **options: object) -> None:
        self.pc = Computer(**{"devices": [f"00:0{3 + i}.0" for i in range(max(domains, 1))], **options})  # type: ignore[arg-type]
        self.table = io_pagetable(self.pc.core)
        self.mm = mm_struct(self.pc.machine, MEMORY)
        self.domains: list[IommuDomain] = []
        for address in list(self.pc.devices)[:domains]:
            self.domains.append(self.pc.new_domain(attach=address))
        self.before = inventory(self.pc.machine)
        for domain in self.domains:
            assert self.pc.run(self.table.iopt_table_add_domain(domain)) == 0

    def map(self, uptr: int, pages: int, iova: int) -> int:
        return self.pc.run(self.table.iopt_map_user_pages(self.mm, uptr, pages * PAGE, iova))

    def unmap(self, iova: int, length: int) -> tuple[int, int]:
        return self.pc.run(self.table.iopt_unmap_iova(iova, length))

    def seen(self, iova: int, address: str = "00:03.0") -> int | None:
        answer = self.pc.dma(address, iova)
        return answer.address if isinstance(answer, Translation) else None


@pytest.mark.parametrize("hardware", HARDWARE)
def test_an_area_is_reached_page_by_page_and_given_back(hardware: str) -> None:
    ioas = Ioas(**HARDWARE[hardware])
    assert ioas.map(0x3F_0000, 48, 0x1000_0000) == 0x1000_0000
    for page in range(48):
        (frame,) = ioas.mm.frames_at(0x3F_0000 + page * PAGE, 1)
        assert ioas.seen(0x1000_0000 + page * PAGE) == frame * PAGE
    assert ioas.mm.pins.total() == ioas.mm.user_locked_vm.value == 48
    assert ioas.unmap(0, 1 << 40) == (0, 48 * PAGE)
    assert ioas.seen(0x1000_0000) is None
    assert ioas.mm.pins.total() == 0
    assert not inventory(ioas.pc.machine) - ioas.before or all(
        "table" in k for k in inventory(ioas.pc.machine) - ioas.before
    )
    assert unexpected(ioas.pc.machine) == []


def test_a_range_that_cuts_an_area_in_two_is_refused_and_nothing_happens() -> None:
    ioas = Ioas()
    assert ioas.map(0, 8, 0x10000) == 0x10000
    for iova, pages in ((0x10000, 7), (0x11000, 7), (0x12000, 2), (0xF000, 8)):
        assert ioas.unmap(iova, pages * PAGE) == (-ENOENT, 0)
    assert ioas.seen(0x17000) == 0x80007 * PAGE
    assert ioas.unmap(0x90000, PAGE) == (-ENOENT, 0)
    assert ioas.unmap(0x90000, 0) == (-EINVAL, 0)
    assert ioas.map(0, 1, 0x17000) == -EEXIST
    assert ioas.map(0, 1, 0x800) == -EINVAL
    assert ioas.map(1 << 40, 1, 0x90000) == -EFAULT
    assert ioas.unmap(0xF000, 9 * PAGE) == (0, 8 * PAGE)  # a strict superset is fine


def test_areas_below_the_one_that_is_cut_are_gone_when_the_error_comes() -> None:
    ioas = Ioas()
    ioas.map(0, 4, 0x10000)
    ioas.map(0, 4, 0x20000)
    assert ioas.unmap(0x10000, 0x12000) == (-ENOENT, 4 * PAGE)
    assert [area.iova for area in ioas.table.area_itree] == [0x20000]


def test_domains_join_and_leave_an_address_space_that_is_in_use() -> None:
    ioas = Ioas(domains=2)
    ioas.pc.run(ioas.table.iopt_table_remove_domain(ioas.domains[1]))
    ioas.map(0, 20, 0x10000)
    assert ioas.seen(0x10000, "00:04.0") is None
    assert ioas.pc.run(ioas.table.iopt_table_add_domain(ioas.domains[1])) == 0
    assert ioas.pc.run(ioas.table.iopt_table_add_domain(ioas.domains[1])) == -EEXIST
    assert ioas.seen(0x10000, "00:04.0") == ioas.seen(0x10000) == 0x80000 * PAGE
    ioas.pc.run(ioas.table.iopt_table_remove_domain(ioas.domains[0]))
    assert ioas.seen(0x10000) is None
    assert ioas.mm.pins.total() == 20
    ioas.pc.run(ioas.table.iopt_table_remove_domain(ioas.domains[1]))
    assert ioas.mm.pins.total() == 0
    assert ioas.pc.run(ioas.table.iopt_table_add_domain(ioas.domains[0])) == 0
    assert ioas.seen(0x13000) == 0x80003 * PAGE
    assert ioas.mm.pins.total() == 20


def test_what_a_domain_cannot_take_is_undone_under_the_same_hold_and_only_there() -> None:
    ioas = Ioas(domains=2)
    ioas.pc.run(ioas.table.iopt_table_remove_domain(ioas.domains[1]))
    assert ioas.map(0, 20, 0x10000) == 0x10000
    real = ioas.pc.core.iommu_map

    async def fails_late(domain: IommuDomain, iova: int, *rest: int) -> int:
        full = domain is ioas.domains[1] and iova >= 0x90000
        return -ENOMEM if full else await real(domain, iova, *rest)

    ioas.pc.core.iommu_map = fails_late  # type: ignore[method-assign]
    assert ioas.map(0x40_0000, 20, 0x90000) == 0x90000
    assert ioas.pc.run(ioas.table.iopt_table_add_domain(ioas.domains[1])) == -ENOMEM
    assert ioas.seen(0x10000, "00:04.0") is None
    assert ioas.seen(0x10000) == 0x80000 * PAGE
    assert ioas.mm.pins.total() == 40
    assert ioas.unmap(0x90000, 20 * PAGE) == (0, 20 * PAGE)
    assert ioas.pc.run(ioas.table.iopt_table_add_domain(ioas.domains[1])) == 0
    before = lock_stat(ioas.pc.machine, "&pages->mutex").acquisitions
    assert ioas.map(0x40_0000, 20, 0x90000) == -ENOMEM
    assert lock_stat(ioas.pc.machine, "&pages->mutex").acquisitions == before + 1
    assert ioas.seen(0x90000) is None
    assert ioas.mm.pins.total() == ioas.mm.user_locked_vm.value == 20


def test_maps_of_different_areas_overlap_in_time_where_vfio_lets_one_wait() -> None:
    ioas = Ioas(cpus=2)
    machine = ioas.pc.machine
    spans: list[tuple[int, int]] = []
    fill = ioas.table.iopt_area_fill_domains

    async def watched(*args: Any) -> int:
        start = machine.now
        error = await fill(*args)
        spans.append((start, machine.now))
        return error

    ioas.table.iopt_area_fill_domains = watched  # type: ignore[method-assign,assignment]

    async def user(uptr: int, iova: int) -> None:
        assert await ioas.table.iopt_map_user_pages(ioas.mm, uptr, 160 * PAGE, iova) == iova

    machine.spawn(user(0, 0x1000_0000), cpu=0)
    machine.spawn(user(0x40_0000, 0x2000_0000), cpu=1)
    machine.simulate()
    (first, second) = sorted(spans)
    overlap = first[1] - second[0]
    assert overlap > 0.5 * (second[1] - second[0])
    assert unexpected(machine) == []


def test_an_area_that_is_being_filled_cannot_be_unmapped() -> None:
    ioas = Ioas(cpus=2)
    machine = ioas.pc.machine
    answers: list[tuple[int, int]] = []

    async def mapper() -> None:
        assert await ioas.table.iopt_map_user_pages(ioas.mm, 0x40_0000, 160 * PAGE, 0x1000_0000) > 0

    async def unmapper() -> None:
        await machine.work(4000)
        answers.append(await ioas.table.iopt_unmap_iova(0x1000_0000, 160 * PAGE))
        await machine.work(200_000)
        answers.append(await ioas.table.iopt_unmap_iova(0x1000_0000, 160 * PAGE))

    machine.spawn(mapper(), cpu=0)
    machine.spawn(unmapper(), cpu=1)
    machine.simulate()
    assert answers == [(-EBUSY, 0), (0, 160 * PAGE)]
    assert ioas.mm.pins.total() == 0
    assert unexpected(machine) == []


def test_dirty_pages_are_those_that_a_device_wrote_since_the_last_look() -> None:
    ioas = Ioas(units=DIRTY, scalable=True)
    pc, (domain,) = ioas.pc, ioas.domains
    ioas.map(0, 512, 0x20_0000)  # one large page
    ioas.map(0x40_0000, 32, 0x60_0000)
    pc.run(intel_iommu_set_dirty_tracking(pc.core, domain, True))

    def read(iova: int, pages: int) -> list[int] | int:
        return pc.run(ioas.table.iopt_read_and_clear_dirty_data(domain, iova, pages * PAGE))

    assert read(0x60_0000, 32) == []
    for page in (3, 17):
        assert isinstance(pc.dma("00:03.0", 0x60_0000 + page * PAGE, "write"), Translation)
    pc.dma("00:03.0", 0x60_0000 + 5 * PAGE, "read")
    assert read(0x60_0000, 32) == [0x60_3000, 0x61_1000]
    assert read(0x60_0000, 32) == []
    pc.dma("00:03.0", 0x20_0000 + 7 * PAGE, "write")
    assert read(0x20_0000, 512) == [0x20_0000 + i * PAGE for i in range(512)]  # the whole large page
    assert read(0x60_0000, 33) == -EINVAL
    pc.run(intel_iommu_set_dirty_tracking(pc.core, domain, False))
    pc.dma("00:03.0", 0x60_0000, "write")
    assert read(0x60_0000, 32) == []
    assert not pc.machine.findings


def test_a_dirty_bit_that_is_cached_is_not_set_again_so_reading_flushes() -> None:
    ioas = Ioas(units=DIRTY, scalable=True)
    pc, (domain,) = ioas.pc, ioas.domains
    ioas.map(0, 4, 0x60_0000)
    pc.run(intel_iommu_set_dirty_tracking(pc.core, domain, True))

    def written_since(read: Coroutine[Any, Any, list[int] | int]) -> bool:
        pc.dma("00:03.0", 0x60_0000, "write")
        return pc.run(read) == [0x60_0000]

    assert written_since(ioas.table.iopt_read_and_clear_dirty_data(domain, 0x60_0000, PAGE))
    assert written_since(ioas.table.iopt_read_and_clear_dirty_data(domain, 0x60_0000, PAGE))
    # the driver's part alone does not flush: then the next write goes unseen
    assert written_since(intel_iommu_read_and_clear_dirty(pc.core, domain, 0x60_0000, PAGE))
    assert not written_since(intel_iommu_read_and_clear_dirty(pc.core, domain, 0x60_0000, PAGE))


def test_every_allocation_fails_in_turn() -> None:
    spaces: list[Ioas] = []
    errors: set[int] = set()

    def fresh() -> tuple[Computer, DmaApi]:
        spaces.append(Ioas(domains=2))
        return spaces[-1].pc, None  # type: ignore[return-value]

    for pc, _ in failing_in_turn(fresh):
        ioas = spaces[-1]
        errors.add(min(ioas.map(0x40_0000, 40, 0x10000), 0))
        pc.run(ioas.table.iopt_table_remove_domain(ioas.domains[0]))
        errors.add(pc.run(ioas.table.iopt_table_add_domain(ioas.domains[0])))
        errors.add(min(ioas.map(0, 512, 0x20_0000), 0))
        ioas.unmap(0, 1 << 40)
        assert ioas.mm.pins.total() == ioas.mm.user_locked_vm.value == 0
        assert not [o for o in pc.machine.check.objects.values() if type(o).__name__.startswith("iopt")]
        assert isinstance(pc.dma("00:03.0", 0x10000), Fault)
        assert not pc.machine.findings
    assert errors == {0, -ENOMEM}
