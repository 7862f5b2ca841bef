"""What others say these tables do: facts of the kernel's own tests, of AMD's page sizes and of QEMU's walks,
as cases of ours. Sources stand with each; no line of theirs is here.
"""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.iommu.backends.amd_v1 import AmdV1, page_size_level, pte_count, pte_page_size, size_encoded
from vtdkit.iommu.backends.amd_walker import AmdWalker
from vtdkit.iommu.backends.arm_lpae import ArmLpae
from vtdkit.iommu.backends.arm_walker import SmmuWalker
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.kinds import BACKENDS, amd, arm
from vtdkit.iommu.backends.walker import Bad, Leaf, Next
from vtdkit.kernel.machine.machine import Machine

K, M, G = 1 << 10, 1 << 20, 1 << 30


def quiet(kind: str) -> Backend:
    return BACKENDS[kind](Machine(checkers=(), record=False, statistics=False))


def test_io_pgtable_arm_s_self_test() -> None:
    """`arm_lpae_run_tests` of drivers/iommu/io-pgtable-arm.c (v5.19), for 4 KiB, 48 bits in and out: what it
    demands, in its order. It calls the table itself, not the core.
    """
    machine = Machine(checkers=(), record=False)
    table, run, sizes = ArmLpae(machine), machine.run, (4 * K, 2 * M, G)

    def unmap(iova: int, size: int) -> int:
        from vtdkit.iommu.core import IotlbGather

        return run(table.unmap_pages(iova, size, 1, IotlbGather()))

    # an empty table knows nothing
    assert [run(table.iova_to_phys(at + 42)) for at in (0, G, 2 * G)] == [0, 0, 0]
    # a page of each size, each at a GiB of its own; a second map of the same place fails
    for number, size in enumerate(sizes):
        iova = number * G
        assert run(table.map_pages(iova, iova, size, 1, 3)) == (0, size)
        assert run(table.map_pages(iova, iova + size, size, 1, 3))[0] < 0
        assert run(table.iova_to_phys(iova + 42)) == iova + 42
    # a part of the second, a block, goes, and is mapped anew to the bottom of memory
    size = sizes[0]
    assert unmap(G + size, size) == size
    assert run(table.map_pages(G + size, size, size, 1, 1)) == (0, size)
    assert run(table.iova_to_phys(G + size + 42)) == size + 42
    # each as a whole goes, whatever it is made of now, and can be mapped again
    for number, size in enumerate(sizes):
        iova = number * G
        assert unmap(iova, size) == size
        assert run(table.iova_to_phys(iova + 42)) == 0
        assert run(table.map_pages(iova, iova, size, 1, 2)) == (0, size)
        assert run(table.iova_to_phys(iova + 42)) == iova + 42
    # the last block of the address space (later versions ask for it)
    last = (1 << 48) - G
    assert run(table.map_pages(last, last, G, 1, 3)) == (0, G)
    assert unmap(last, G) == G


@pytest.mark.parametrize(
    ("size", "level", "replicas"),
    [
        (4 * K, 0, 1),
        (8 * K, 0, 2),
        (64 * K, 0, 16),
        (M, 0, 256),
        (2 * M, 1, 1),
        (4 * M, 1, 2),
        (512 * M, 1, 256),
        (G, 2, 1),
        (256 * G, 2, 256),
    ],
)
def test_amd_s_page_sizes(size: int, level: int, replicas: int) -> None:
    """PAGE_SIZE_LEVEL, PAGE_SIZE_PTE_COUNT, PAGE_SIZE_PTE, PTE_PAGE_SIZE of
    drivers/iommu/amd/amd_iommu_types.h.
    """
    assert (page_size_level(size), pte_count(size)) == (level, replicas)
    if replicas > 1:
        assert pte_page_size(size_encoded(5 * size, size)) == size
    back = amd(Machine(checkers=(), record=False))
    assert back.run(back.map(5 * size, 3 * size, size)) == 0
    assert back.run(back.walk(5 * size + size // 2)).size == size
    assert back.run(back.walk(5 * size + size - 1)).address == 4 * size - 1
    assert back.run(back.walk(6 * size)).address is None


def test_amd_takes_every_power_of_two_but_one() -> None:
    """AMD_IOMMU_PGSIZES: all from 4 KiB on, except 512 GiB."""
    assert [bit for bit in range(64) if not AmdV1.pgsize_bitmap >> bit & 1] == [*range(12), 39]


@pytest.mark.parametrize(
    ("low", "size"),
    [(0x0, 8 * K), (0x1000, 16 * K), (0x3000, 32 * K), (0x7000, 64 * K), (0x7F000, M), (0x2000, 8 * K)],
)
def test_the_lowest_zero_of_an_amd_address_tells_its_size(low: int, size: int) -> None:
    """`pte_override_page_mask` of QEMU, hw/i386/amd_iommu.c: 13 bits, and one more for each one bit."""
    walker = AmdWalker(Machine(checkers=(), record=False), 0, 4)
    leaf = walker.entry(1, 0x4000_0000 | low | 7 << 9 | 1 | 3 << 61, 0)
    assert isinstance(leaf, Leaf)
    assert (1 << leaf.shift, leaf.base) == (size, (0x4000_0000 | low) & -size)


def test_amd_s_levels_may_be_skipped() -> None:
    """The walk goes on where NextLevel says (the same file, `amdvi_page_walk`), whatever lies between; the
    specification wants the bits left out to be 0.
    """
    machine = Machine(checkers=(), record=False)
    root, last = machine.pages.take_run(2, -1, "tables", None)
    walker = AmdWalker(machine, root.address, 4)
    root.words[0] = last.address | 1 << 9 | 1 | 3 << 61  # from level 4 to level 1
    last.words[5] = 0x7000_0000 | 1 | 1 << 61
    answer = machine.run(walker.translate(0x5123))
    assert (answer.address, answer.writable, len(answer.looked)) == (0x7000_0123, False, 2)
    assert machine.run(walker.translate(0x20_5123)).address is None  # bit 21 belongs to a level left out
    assert isinstance(walker.entry(2, last.address | 2 << 9 | 1, 0), Bad)  # no way up, nor on the level


@pytest.mark.parametrize(
    ("level", "raw", "expected"),
    [
        (1, 0x5000_0443, Leaf(0x5000_0000, 12, True, True)),  # a page
        (1, 0x5000_04C3, Leaf(0x5000_0000, 12, True, False)),  # AP[2]: read-only
        (1, 0x5000_0441, "translation fault, level 3"),  # type 01 at the last level is reserved
        (1, 0x5000_0442, "translation fault, level 3"),  # bit 0 clear
        (1, 0x5000_0043, "access flag fault, level 3"),
        (1, 0x5000_0403, "permission fault, level 3"),  # for the privileged alone
        (2, 0x5020_0441, Leaf(0x5020_0000, 21, True, True)),  # a block of 2 MiB
        (2, 0x5020_0003, Next(0x5020_0000, 1)),
        (3, 0x4000_0441, Leaf(0x4000_0000, 30, True, True)),  # a block of 1 GiB
        (4, 0x4000_0441, "translation fault, level 0"),  # no blocks of 512 GiB with 4 KiB
        (4, 0x4000_0003, Next(0x4000_0000, 3)),
        (1, 0x10_0000_5001_0443, Leaf(0x5001_0000, 16, True, True)),  # the contiguous hint: 16 pages as one
    ],
)
def test_arm_s_descriptors(level: int, raw: int, expected: Any) -> None:
    """VMSAv8-64 (Arm ARM, D8); QEMU's hw/arm/smmu-internal.h has the same tests of type, level, AP and AF."""
    found = SmmuWalker(Machine(checkers=(), record=False), 0).entry(level, raw, 0)
    assert found == (Bad(expected) if isinstance(expected, str) else expected)


@pytest.mark.parametrize("kind", ["intel", "arm", "amd"])
def test_a_table_becomes_a_page_and_can_go_again(kind: str) -> None:
    """`test_map_table_to_oa` of drivers/iommu/generic_pt/kunit_iommu_pt.h: a large page's place is filled
    with small ones, these go one by one, the large page is mapped, and goes.
    """
    back = quiet(kind)
    start = 4 * M
    for small in (4 * K, 64 * K):
        for at in range(0, 2 * M, small):
            assert back.run(back.map(start + at, 0x1_0000_0000 + at, small)) == 0
        assert all(
            back.run(back.iova_to_phys(start + at)) == 0x1_0000_0000 + at for at in range(0, 2 * M, 4 * K)
        )
        assert back.run(back.unmap(start, M)) == M
        for at in range(M, 2 * M, small):
            assert back.run(back.unmap(start + at, small)) == small
        assert back.run(back.map(start, 0x2_0000_0000, 2 * M)) == 0
        answer = back.run(back.walk(start + M + 5))
        assert (answer.address, answer.size) == (0x2_0010_0005, 2 * M)
        assert back.run(back.unmap(start, 2 * M)) == 2 * M
        assert back.run(back.walk(start)).address is None


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("intel", (12, 21, 30)),
        ("arm", (12, 21, 30)),
        ("amd", tuple(range(12, 39))),
        ("simple", tuple(range(12, 23))),
    ],
)
def test_each_page_size_once(kind: str, sizes: tuple[int, ...]) -> None:
    """Each size that a table names is mapped, read and unmapped as one (kunit_iommu_pt.h does the same)."""
    back = quiet(kind)
    assert [bit for bit in range(12, 39) if back.domain.pgsize_bitmap >> bit & 1] == list(sizes)
    at = 0
    for bit in sizes:
        size = 1 << bit
        at = -(-at // size) * size
        to = at if kind == "simple" else at + (1 << 40)
        assert back.run(back.map(at, to, size)) == 0
        assert back.run(back.iova_to_phys(at + size - 1)) == to + size - 1
        assert back.run(back.walk(at + size - 1)).address == to + size - 1
        if kind != "simple":  # whose entries are of 4 KiB always
            assert back.run(back.walk(at)).size == size
        assert back.run(back.unmap(at, size)) == size
        assert back.run(back.walk(at)).address is None
        at += size


# -- dirty bits -----------------------------------------------------------------------


def test_amd_s_unit_marks_one_replica_and_software_asks_all() -> None:
    """`pte_test_and_clear_dirty` of v6.7: the page is dirty if any one of them is, and all are cleared."""
    back = amd(Machine(checkers=(), record=False))
    walker: Any = back.table.walker
    walker.hd = True
    back.run(back.map(0, 0x4000_0000, 32 * K))
    assert back.run(back.read_and_clear_dirty(0, 64 * K)) == []
    assert back.run(back.walk(0x5000, "read")).address == 0x4000_5000
    assert back.run(back.read_and_clear_dirty(0, 64 * K)) == []
    back.run(back.walk(0x5000, "write"))
    leaf = back.machine.pages.page(back.run(back.walk(0x1_0000)).looked[-1].address)
    assert [index for index, word in enumerate(leaf.words) if word >> 6 & 1] == [5]
    assert back.run(back.read_and_clear_dirty(0, 64 * K)) == [page * 4 * K for page in range(8)]
    assert back.run(back.read_and_clear_dirty(0, 64 * K)) == []
    back.run(back.walk(0x5000, "write"))  # the flush that comes with it lets the unit mark again
    assert len(back.run(back.read_and_clear_dirty(0, 64 * K))) == 8


def test_arm_s_dirty_state() -> None:
    """`arm_lpae_read_and_clear_dirty` of v6.12: a leaf with DBM begins as written to; cleared, it is
    read-only until the unit takes that back.
    """
    back = arm(Machine(checkers=(), record=False), hd=True)
    back.run(back.map(0, 0x4000_0000, 2 * 4 * K))
    assert back.run(back.read_and_clear_dirty(0, 8 * K)) == [0, 4 * K]
    assert back.run(back.read_and_clear_dirty(0, 8 * K)) == []
    back.run(back.walk(0x1010, "write"))
    assert back.run(back.read_and_clear_dirty(0, 8 * K)) == [4 * K]
    plain = arm(Machine(checkers=(), record=False))
    assert plain.run(plain.read_and_clear_dirty(0, 8 * K)) is None


@pytest.mark.parametrize("kind", ["amd", "arm"])
def test_an_address_above_the_table(kind: str) -> None:
    """AMD's: there is no size to go on by, and the search begins at 0 again. Arm's refuses."""
    machine = Machine(record=False)
    back = BACKENDS[kind](machine)
    back.run(back.map(0, 0x4000_0000, 4 * K))
    back.run(back.unmap(1 << 48, 4 * K))
    assert (back.run(back.iova_to_phys(0)) == 0) == (kind == "amd")
    assert any(each.kind == "WARNING" for each in machine.findings) == (kind == "arm")
