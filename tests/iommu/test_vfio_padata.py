"""VFIO with helpers: the same mappings as with one thread, undone whole when a chunk fails; and what limits
it.
"""

from __future__ import annotations

import pytest
from users import PAGE, inventory, unexpected

from lessons.experiments.loading import MIB, load
from vtdkit.iommu.errno import EFAULT, ENOMEM
from vtdkit.iommu.pinning import FRESH, LANES, mm_struct
from vtdkit.iommu.vfio_padata import PadataState, VfioPadata
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer

BLOCK = 512 * PAGE


class Guest:
    """Eight pieces of 2 MiB, apart in memory, and a container with one device."""

    def __init__(self, cpus: int = 4, **options: int) -> None:
        self.pc = Computer(devices=["00:03.0"], cpus=cpus)
        self.vfio = VfioPadata(self.pc.core, max_threads=4, min_chunk=BLOCK, **options)
        container = self.pc.run(self.vfio.vfio_iommu_type1_open())
        assert container is not None
        self.container = container
        group = self.pc.devices["00:03.0"].peek("group")
        assert self.pc.run(self.vfio.vfio_iommu_type1_attach_group(container, group)) == 0
        extents = [(i * BLOCK, (1 << 20) + 1024 * i, 512) for i in range(8)]
        self.mm = mm_struct(self.pc.machine, extents, fresh=FRESH)
        self.before = inventory(self.pc.machine)

    def map(self, size: int) -> int:
        return self.pc.run(self.vfio.vfio_dma_do_map(self.container, 1 << 30, 0, size, self.mm))

    def leads_to(self, offset: int) -> int:
        assert self.container.domain is not None
        domain = self.container.domain.domain
        return self.pc.run(self.pc.core.iommu_iova_to_phys(domain, (1 << 30) + offset))


@pytest.mark.parametrize("lock_cache", [0, 300, 65536])
def test_helpers_map_what_one_thread_would_and_it_is_charged_once(lock_cache: int) -> None:
    guest = Guest(lock_cache=lock_cache)
    assert guest.map(8 * BLOCK) == 0
    for piece in range(8):
        assert guest.leads_to(piece * BLOCK + PAGE) == ((1 << 20) + 1024 * piece + 1) * PAGE
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 8 * 512
    (dma,) = guest.container.dma_list
    assert dma.size == 8 * BLOCK
    done = guest.pc.run(guest.vfio.vfio_dma_do_unmap(guest.container, 0, 1 << 40))
    assert done == (0, 8 * BLOCK)
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
    assert unexpected(guest.pc.machine) == []


@pytest.mark.parametrize("lock_cache", [0, 65536])
def test_a_chunk_that_fails_takes_all_of_them_back(lock_cache: int) -> None:
    guest = Guest(lock_cache=lock_cache)
    assert guest.map(9 * BLOCK) == -EFAULT  # the process has no memory behind the eighth piece
    guest.mm.limit = 3 * 512
    assert guest.map(8 * BLOCK) == -ENOMEM
    assert not any(guest.leads_to(piece * BLOCK) for piece in range(9))
    assert guest.mm.pins.total() == guest.mm.peek("locked_vm") == 0
    assert guest.container.dma_list == []
    left = inventory(guest.pc.machine) - guest.before
    assert all("table" in name for name in left)
    assert unexpected(guest.pc.machine) == []


def test_work_is_cut_at_multiples_of_chunks_four_for_each_thread() -> None:
    def cut(size: int, min_chunk: int, threads: int) -> tuple[int, int]:
        state = PadataState(Machine(1), size, BLOCK, min_chunk, threads, None)  # type: ignore[arg-type]
        return state.threads, state.chunk

    assert cut(64 * BLOCK, BLOCK, 4) == (4, 4 * BLOCK)
    assert cut(64 * BLOCK, 8 * BLOCK, 4) == (4, 8 * BLOCK)
    assert cut(64 * BLOCK, 32 * BLOCK, 4) == (2, 32 * BLOCK)
    assert cut(8 * BLOCK, 128 * MIB, 16) == (1, 128 * MIB)
    assert cut(33 * BLOCK, BLOCK, 2)[1] == 5 * BLOCK


def test_a_lock_that_is_taken_for_each_piece_eats_the_gain() -> None:
    alone = load("padata", 1, size=256 * MIB, chunk=16 * MIB)
    cached = load("padata", 8, size=256 * MIB, chunk=32 * MIB)
    each = load("padata", 8, size=256 * MIB, chunk=32 * MIB, lock_cache=0)
    assert alone.duration > 3 * cached.duration
    assert alone.duration < 1.5 * each.duration
    assert each.bottleneck == "&mm->mmap_lock"
    assert not alone.wrong + cached.wrong + each.wrong


def test_memory_can_clear_for_so_many_cpus_and_no_more() -> None:
    one, many, more = (load("iommufd", n, size=256 * MIB) for n in (1, 16, 64))
    assert one.duration / many.duration == pytest.approx(LANES, rel=0.1)
    assert one.duration / more.duration == pytest.approx(LANES, rel=0.1)
    there = load("iommufd", 16, size=256 * MIB, fresh=0)
    assert one.duration / there.duration > 100


def test_chunks_that_end_inside_large_pages_cost_tables() -> None:
    whole, cut = (load("padata", 32, size=64 * MIB, chunk=MIB, align=align) for align in (2 * MIB, PAGE))
    assert cut.tables > 10 * whole.tables
    assert not cut.wrong


def test_loads_that_make_no_sense_are_refused() -> None:
    for way, threads, more in (
        ("smoke", 1, {}),
        ("vfio", 0, {}),
        ("vfio", 3, {}),
        ("vfio", 1, {"piece": 100}),
    ):
        with pytest.raises(ValueError, match="1 thread or more, whole pieces"):
            load(way, threads, **more)
