"""Magazines: what a CPU frees it gets back first, the tree's lock stays out of it, and no range is ever lost
or given out twice.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from users import lock_stat, ranges

from vtdkit.iommu.iova import iova_domain
from vtdkit.iommu.iova_rcache import (
    IOVA_MAG_SIZE,
    MAX_GLOBAL_MAGS,
    iova_magazine,
    iova_magazine_pop,
    order_base_2,
)
from vtdkit.kernel.machine.machine import Machine

LIMIT = (1 << 20) - 1


def space_of(machine: Machine, **options: int) -> iova_domain:
    space = iova_domain(machine, **options)
    assert machine.run(space.iova_domain_init_rcaches()) == 0
    return space


def depot_sizes(space: iova_domain) -> list[int]:
    assert space.rcaches is not None
    return [len(rcache.peek("depot")) for rcache in space.rcaches.of_order]


def test_size_classes_are_powers_of_two() -> None:
    assert [order_base_2(size) for size in (1, 2, 3, 4, 5, 8, 9, 32, 33)] == [0, 1, 2, 2, 3, 3, 4, 5, 6]


def test_what_a_cpu_freed_last_it_gets_first_without_the_trees_lock() -> None:
    machine = Machine()
    space = space_of(machine)

    async def use() -> list[int]:
        got = [await space.alloc_iova_fast(1, LIMIT) for _ in range(3)]
        for pfn in got:
            await space.free_iova_fast(pfn, 1)
        return got

    first = machine.run(use())
    assert first == [LIMIT, LIMIT - 1, LIMIT - 2]
    before = lock_stat(machine, "&iovad->iova_rbtree_lock").acquisitions
    assert [machine.run(space.alloc_iova_fast(1, LIMIT)) for _ in range(3)] == first[::-1]
    assert lock_stat(machine, "&iovad->iova_rbtree_lock").acquisitions == before


def test_each_cpu_has_its_own() -> None:
    machine = Machine(cpus=2)
    space = space_of(machine)
    pfn = machine.run(space.alloc_iova_fast(1, LIMIT), cpu=0)
    machine.run(space.free_iova_fast(pfn, 1), cpu=0)
    assert machine.run(space.alloc_iova_fast(1, LIMIT), cpu=1) == LIMIT - 1
    assert machine.run(space.alloc_iova_fast(1, LIMIT), cpu=0) == pfn


def test_a_size_that_is_no_power_of_two_is_rounded_up_so_that_it_fits_the_next_user() -> None:
    machine = Machine()
    space = space_of(machine)
    pfn = machine.run(space.alloc_iova_fast(5, LIMIT))
    assert ranges(space) == [(pfn, pfn + 7)]
    machine.run(space.free_iova_fast(pfn, 5))
    assert machine.run(space.alloc_iova_fast(8, LIMIT)) == pfn


def test_large_ranges_go_past_the_caches() -> None:
    machine = Machine()
    space = space_of(machine)
    pfn = machine.run(space.alloc_iova_fast(33, LIMIT))
    assert ranges(space) == [(pfn, pfn + 32)]
    machine.run(space.free_iova_fast(pfn, 33))
    assert ranges(space) == []


def test_full_magazines_go_to_the_depot_and_come_back_from_it() -> None:
    machine = Machine()
    space = space_of(machine)

    async def use() -> None:
        got = [await space.alloc_iova_fast(1, LIMIT) for _ in range(3 * IOVA_MAG_SIZE)]
        for pfn in got:
            await space.free_iova_fast(pfn, 1)

    machine.run(use())
    # two magazines of this CPU took two thirds; the rest needed a third one, so a full one went to the depot
    assert depot_sizes(space) == [1, 0, 0, 0, 0, 0]
    assert len(space.cached()) == len(ranges(space)) == 3 * IOVA_MAG_SIZE
    magazines = len([o for o in machine.check.objects.values() if isinstance(o, iova_magazine)])

    async def take() -> list[int]:
        return [await space.alloc_iova_fast(1, LIMIT) for _ in range(3 * IOVA_MAG_SIZE)]

    again = machine.run(take())
    assert len(set(again)) == 3 * IOVA_MAG_SIZE
    assert len(ranges(space)) == 3 * IOVA_MAG_SIZE  # all came from the caches
    assert depot_sizes(space) == [0] * 6
    assert len([o for o in machine.check.objects.values() if isinstance(o, iova_magazine)]) == magazines - 1
    assert not machine.findings


def test_a_full_depot_gives_a_magazine_back_to_the_tree() -> None:
    machine = Machine(record=False, checkers=("lockdep", "kasan"))
    space = space_of(machine, mag_size=4)

    async def use() -> None:
        got = [await space.alloc_iova_fast(1, LIMIT) for _ in range(4 * (MAX_GLOBAL_MAGS + 4))]
        for pfn in got:
            await space.free_iova_fast(pfn, 1)

    machine.run(use())
    assert depot_sizes(space)[0] == MAX_GLOBAL_MAGS
    # two magazines' worth was freed
    assert len(ranges(space)) == len(space.cached()) == 4 * (MAX_GLOBAL_MAGS + 2)
    machine.run(space.put_iova_domain())
    assert machine.check.objects == {}
    assert not machine.findings


def test_a_magazine_looks_for_an_entry_below_the_limit_and_fills_the_gap_with_its_last() -> None:
    mag = iova_magazine(Machine())
    mag.pfns = [5, 900, 20, 800]
    assert iova_magazine_pop(mag, 100) == 20
    assert mag.pfns == [5, 900, 800]
    assert iova_magazine_pop(mag, 1000) == 800
    assert iova_magazine_pop(mag, 4) == 0
    assert mag.pfns == [5, 900]


def test_when_the_space_runs_out_the_caches_are_emptied() -> None:
    machine = Machine(cpus=2)
    space = space_of(machine)

    async def fill_and_free() -> None:
        got = [await space.alloc_iova_fast(1, 63) for _ in range(63)]
        assert 0 not in got
        for pfn in got:
            await space.free_iova_fast(pfn, 1)

    machine.run(fill_and_free(), cpu=1)
    assert machine.run(space.alloc_iova_fast(32, 63, flush_rcache=False)) == 0  # all are in CPU 1's magazine
    assert machine.run(space.alloc_iova_fast(2, 63)) == 62
    assert space.cached() == []
    machine.run(space.put_iova_domain())
    assert machine.check.objects == {}
    assert not machine.findings


def test_what_full_magazines_of_the_depot_hold_comes_back_too() -> None:
    machine = Machine()
    space = space_of(machine, mag_size=2)

    async def fill_and_free() -> None:
        for pfn in [await space.alloc_iova_fast(1, 63) for _ in range(63)]:
            await space.free_iova_fast(pfn, 1)

    machine.run(fill_and_free())
    assert depot_sizes(space)[0]
    assert machine.run(space.alloc_iova_fast(32, 63)) == 32
    assert depot_sizes(space)[0] == 0
    assert space.cached() == []
    assert not machine.findings


def test_without_memory_for_a_magazine_a_range_is_freed_the_long_way() -> None:
    machine = Machine()
    space = space_of(machine, mag_size=2)

    async def fill() -> list[int]:
        got = [await space.alloc_iova_fast(1, LIMIT) for _ in range(5)]
        for pfn in got[:4]:
            await space.free_iova_fast(pfn, 1)
        return got

    got = machine.run(fill())
    machine.pages.faults.nth = machine.pages.faults.count + 1
    machine.run(space.free_iova_fast(got[4], 1))
    assert machine.pages.faults.failed
    assert (got[4], got[4]) not in ranges(space)
    assert len(space.cached()) == 4
    assert not machine.findings


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 8, 32, 40])), min_size=20, max_size=120),
    st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_four_cpus_at_once_never_share_an_address(work: list[tuple[int, int]], seed: int) -> None:
    machine = Machine(cpus=4, seed=seed)
    space = space_of(machine, mag_size=3)
    owned: Counter[int] = Counter()

    async def user(sizes: list[int]) -> None:
        mine: list[tuple[int, int]] = []
        for step, size in enumerate(sizes):
            pfn = await space.alloc_iova_fast(size, LIMIT)
            assert pfn % (1 << order_base_2(size)) == 0
            owned.update(range(pfn, pfn + size))
            assert max(owned[page] for page in range(pfn, pfn + size)) == 1
            mine.append((pfn, size))
            if step % 3:
                old, size = mine.pop(step % len(mine))
                owned.subtract(range(old, old + size))
                await space.free_iova_fast(old, size)
        for old, size in mine:
            owned.subtract(range(old, old + size))
            await space.free_iova_fast(old, size)

    for cpu in range(4):
        machine.spawn(user([size for where, size in work if where == cpu]), cpu=cpu)
    machine.simulate()
    assert [lo for lo, _ in ranges(space)] == space.cached()
    machine.run(space.put_iova_domain())
    assert machine.check.objects == {}
    assert not machine.findings


def test_an_interrupt_may_map_while_its_cpu_is_in_the_allocator() -> None:
    machine = Machine(cpus=1)
    space = space_of(machine)
    seen: list[int] = []

    async def handler() -> None:
        pfn = await space.alloc_iova_fast(1, LIMIT)
        seen.append(pfn)
        await space.free_iova_fast(pfn, 1)

    line = machine.irq.line("nvme0q1", handler)

    async def user() -> None:
        for i in range(60):
            line.fire(37 * i % 500)
            pfn = await space.alloc_iova_fast(1, LIMIT)
            await space.free_iova_fast(pfn, 1)

    machine.spawn(user(), cpu=0)
    machine.simulate()
    assert len(seen) == 60
    assert not machine.findings
