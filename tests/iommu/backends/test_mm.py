"""The mm's way: its tables as the CPU's own walker reads them, and who may free them under whom."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.scenes.readers import mm_race
from vtdkit.iommu.backends.mm import ADDRESS, DIRTY, PGD, PRESENT, PTE, RW, USER, Mm
from vtdkit.iommu.backends.walker import Bad, Leaf, Next, TableWalker
from vtdkit.iommu.errno import EFAULT
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine

PAGE, BLOCK = 4096, 1 << 21
AREAS = [(0, 2 * BLOCK), (BLOCK * 512, 3 * BLOCK), (3 << 39, BLOCK)]  # some share upper tables, some do not


class Mmu(TableWalker):
    """A CPU's own walker, that remembers nothing yet: 4 levels, leaves of 4 KiB."""

    def __init__(self, mm: Mm) -> None:
        super().__init__(mm.machine, "the MMU")
        self.mm = mm

    def root(self, iova):
        return Bad("not the process's half") if iova >> 47 else Next(self.mm.pgd.address, PGD)

    def entry(self, level, raw, iova):
        if not raw & PRESENT or not raw & USER:
            return Bad("not present")
        writable = bool(raw & RW)
        if level > PTE:
            return Next(raw & ADDRESS, level - 1, True, writable)
        return Leaf(raw & ADDRESS, 12, True, writable, None if raw & DIRTY else raw | DIRTY)


def process(**options) -> tuple[Machine, Mm]:
    machine = Machine(cpus=2)
    mm = Mm(machine, **options)
    for start, size in AREAS:
        mm.mmap(start, size)
    return machine, mm


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1023)), max_size=12),
    st.sets(st.integers(0, 2)),
    st.booleans(),
)
def test_the_walker_finds_what_was_faulted_in_and_no_more(faults, gone, rcu):
    machine, mm = process(rcu=rcu)
    known = {}
    for area, page in faults:
        start, size = AREAS[area]
        address = start + page * PAGE % size
        known.setdefault(address, 0x4000_0000 + len(known) * PAGE)
        assert machine.run(mm.handle_mm_fault(address, known[address])) == 0
    for area in gone:
        machine.run(mm.munmap(*AREAS[area]))
    machine.simulate()
    for address, page in known.items():
        area = next(area for area, (start, size) in enumerate(AREAS) if start <= address < start + size)
        wanted = None if area in gone else page
        assert machine.run(Mmu(mm).translate(address, "write")).address == wanted
        assert machine.run(mm.get_user_pages_fast(address)) == (wanted or 0)
    assert not machine.findings
    if len(gone) == len(AREAS):  # whole areas, so no last-level table is left; upper ones may be
        assert not [page for page in machine.pages.live() if "pte table" in page.name]


def test_outside_of_all_areas():
    machine, mm = process()
    assert machine.run(mm.handle_mm_fault(5 << 39, 0x4000_0000)) == -EFAULT


def test_tables_wait_for_a_grace_period():
    machine = Machine(cpus=1)
    mm = Mm(machine, rcu=True, flush="instruction")
    mm.mmap(0, BLOCK)
    machine.run(mm.handle_mm_fault(0, 0x4000_0000))
    machine.run(mm.munmap(0, BLOCK))
    assert [page for page in machine.pages.live() if "pte table" in page.name]
    machine.simulate()
    assert not [page for page in machine.pages.live() if "pte table" in page.name]


def test_two_faults_put_in_one_table():
    def scene(machine):
        mm = Mm(machine)
        mm.mmap(0, BLOCK)
        threads = [machine.spawn(mm.handle_mm_fault(at * PAGE, 0x4000_0000), cpu=at) for at in (0, 1)]
        before = len(machine.pages)
        return lambda: (*(thread.result for thread in threads), len(machine.pages) - before)

    found = explore(scene, cpus=2)
    assert (found.complete, list(found.outcomes), found.findings) == (True, [(0, 0, 3)], ())


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, 0),
        ({"irqs_off": False}, 1),
        ({"flush": "instruction"}, 1),
        ({"flush": "instruction", "rcu": True}, 0),
        ({"flush": "instruction", "rcu": True, "irqs_off": False}, 1),
        ({"frees": False, "irqs_off": False}, 0),
        ({"reader": "fault"}, 0),
        ({"reader": "fault", "area_lock": False}, 1),
        ({"reader": "fault", "area_lock": False, "frees": False}, 0),
    ],
    ids=str,
)
def test_who_walks_into_a_freed_table(options, found):
    seen = explore(partial(mm_race, **options), cpus=2)
    assert seen.complete
    assert bool(seen.of("use-after-free")) == bool(found)
