"""Every back-end against a plain dictionary, and its software reader against its hardware."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.intel import intel
from vtdkit.iommu.backends.kinds import BACKENDS, amd, arm
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.machine import Machine

PAGE, BLOCK, GIB = 1 << 12, 1 << 21, 1 << 30
KINDS = {
    **BACKENDS,
    "intel second stage": partial(intel, stage="second"),
    "arm, dirty": partial(arm, hd=True),
}
BASES = {"simple": (0, 1 << 31), "amd": (0, 5 * GIB, 3 << 39, 1 << 50)}  # AMD's grows by one level, by two
EVERY = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> Backend:
    return KINDS[kind](Machine(checkers=(), record=False, statistics=False))


class Model:
    """What is mapped, page by page: address -> (physical address, writable). `ranges`: as it was mapped."""

    def __init__(self) -> None:
        self.pages: dict[int, tuple[int, bool]] = {}
        self.ranges: list[tuple[int, int]] = []

    def taken(self, first: int, size: int) -> bool:
        return any(first < at + long and at < first + size for at, long in self.ranges)

    def map(self, iova: int, to: int, size: int, write: bool) -> None:
        self.ranges.append((iova, size))
        self.pages |= {iova + at: (to + at, write) for at in range(0, size, PAGE)}

    def unmap(self, iova: int, size: int) -> None:
        self.ranges.remove((iova, size))
        for at in range(0, size, PAGE):
            del self.pages[iova + at]


# pages near the borders of tables; sizes that make pages, blocks and everything between
places = st.one_of(st.integers(0, 40), st.integers(500, 530), st.integers(1000, 1040), st.just(512))
sizes = st.sampled_from([1, 1, 1, 2, 3, 8, 16, 31, 64, 512, 513])
targets = st.sampled_from([0, 0, 1, 5, 16, 512])  # how the target lies to the address
calls = st.lists(
    st.tuples(st.sampled_from(["map", "map", "unmap", "access"]), places, sizes, targets, st.booleans()),
    max_size=10,
)


@EVERY
@settings(max_examples=15, deadline=None)
@given(calls=calls, base=st.integers(0, 3))
def test_callers_who_keep_the_rule(kind: str, calls: list[Any], base: int) -> None:
    """Maps of what is free, unmaps of what was mapped: the dictionary knows all."""
    back, model = made(kind), Model()
    start = BASES.get(kind, (0, 5 * GIB))[base % len(BASES.get(kind, (0, 0)))]
    for what, place, count, target, write in calls:
        iova, size = start + place * PAGE, count * PAGE
        if what == "map" and not model.taken(iova, size):
            to = (0x4000_0000 if kind == "simple" else 0x1_0000_0000) + (place + target) * PAGE
            assert back.run(back.map(iova, to, size, 3 if write else 1)) == 0
            model.map(iova, to, size, write)
        elif what == "unmap" and model.ranges:
            first, size = model.ranges[place % len(model.ranges)]
            assert back.run(back.unmap(first, size)) == size
            model.unmap(first, size)
            if kind.startswith("intel"):
                # its flushes leave things behind, see the two tests of that below
                back.run(back.core.iommu_flush_iotlb_all(back.domain))
        asked = [at + d for at, long in model.ranges for d in (0, long - PAGE, long // 2 & -PAGE)]
        for page in {iova, iova + size, *asked[:6]}:
            known = model.pages.get(page)
            address = page + 0x123
            assert back.run(back.iova_to_phys(address)) == (known[0] + 0x123 if known else 0)
            answer = back.run(back.walk(address, "write" if write else "read"))
            assert answer.address == (known[0] + 0x123 if known and known[1] >= write else None)


@EVERY
@settings(max_examples=15, deadline=None)
@given(calls=calls, base=st.integers(0, 3))
def test_any_callers(kind: str, calls: list[Any], base: int) -> None:
    """Whatever was done to the table, once nothing is remembered hardware reads what software reads."""
    back = made(kind)
    start = BASES.get(kind, (0, 5 * GIB))[base % len(BASES.get(kind, (0, 0)))]
    for what, place, count, target, write in calls:
        iova, size = start + place * PAGE, count * PAGE
        taken = kind == "amd" and any(back.run(back.iova_to_phys(iova + at)) for at in range(0, size, PAGE))
        if what == "map" and not taken:  # see `test_amd_replicas_overwritten_in_part`
            try:
                back.run(back.map(iova, 0x4000_0000 + (place + target) * PAGE, size, 3 if write else 1))
            except Oops:  # Intel's takes a large page that is in the way for a table, and follows it
                assert kind.startswith("intel")
                return
        elif what == "unmap" and not kind.startswith("intel"):
            back.run(back.unmap(iova, size))
        back.run(back.core.iommu_flush_iotlb_all(back.domain))
        for page in (iova, iova + size, iova + size // 2 & -PAGE, start, start + BLOCK):
            answer = back.run(back.walk(page + 0x10))
            assert (answer.address or 0) == back.run(back.iova_to_phys(page + 0x10))


@EVERY
def test_no_memory(kind: str) -> None:
    """Every allocation of a map fails in turn: -ENOMEM, nothing is mapped, nothing is lost."""
    for nth in range(1, 9):
        machine = Machine(record=False)
        back = KINDS[kind](machine)
        machine.pages.faults.count, machine.pages.faults.nth = 0, nth
        error = back.run(back.map(3 * BLOCK - 2 * PAGE, 0x4000_0000 - 2 * PAGE, 2 * BLOCK))
        machine.pages.faults.nth = None
        if not error:
            break
        assert error == -12
        for page in (3 * BLOCK - 2 * PAGE, 3 * BLOCK, 5 * BLOCK - 4 * PAGE):
            assert back.run(back.iova_to_phys(page)) == 0
            assert back.run(back.walk(page)).address is None
    assert nth > 2
    assert not machine.findings


def test_amd_grows_and_never_shrinks() -> None:
    machine = Machine()
    back = amd(machine)
    table: Any = back.table
    assert table.mode == 3
    assert back.run(back.map((1 << 39) - PAGE, 0, 2 * PAGE)) == 0
    assert table.mode == 4
    pages = len(machine.pages)
    assert back.run(back.unmap((1 << 39) - PAGE, 2 * PAGE)) == 2 * PAGE
    assert (table.mode, len(machine.pages)) == (4, pages)
    assert back.run(back.walk((1 << 39) - PAGE)).address is None


def test_amd_replicas_overwritten_in_part() -> None:
    """A map over a part of a larger page leaves some replicas. The unit reads the one on its way; `fetch_pte`
    goes to the first of them, which is another page now.
    """
    back = made("amd")
    back.run(back.map(0, 0x4000_0000, 16 * PAGE))
    back.run(back.map(0, 0x5000_0000, PAGE))
    assert back.run(back.walk(9 * PAGE)).address == 0x4000_9000
    assert back.run(back.iova_to_phys(9 * PAGE)) == 0x5000_9000


def test_intel_frees_a_table_before_its_range_is_flushed() -> None:
    """An unmap of pages whose parts are of unlike sizes: `intel_iommu_unmap` unlinks the second part's table,
    then `iommu_iotlb_gather_add_page` flushes the first part and frees what was collected, that table too.
    The second part's own flush is then one of leaves only (the list is empty), so the unit keeps the upper
    entry.
    """
    for first, found in ((512, False), (511, True)):
        machine = Machine()
        back = intel(machine)
        back.run(back.map(first * PAGE, (first + 1 << 12) + 0x4000_0000, (1024 - first) * PAGE))
        assert back.run(back.walk(600 * PAGE)).address
        assert back.run(back.unmap(first * PAGE, (1024 - first) * PAGE)) == (1024 - first) * PAGE
        back.run(back.walk(600 * PAGE))
        assert [each.kind for each in machine.findings] == ["IOMMU: use-after-free"] * found


def test_intel_first_stage_flushes_miss_the_end_of_a_range() -> None:
    """`qi_flush_piotlb` rounds an address that is not aligned to the length down, with a WARN."""
    for first, stale in ((1024, False), (512, True)):
        machine = Machine()
        back = intel(machine, "first")
        back.run(back.map(first * PAGE, 0x4000_0000 + first * PAGE, 2 * BLOCK))
        assert back.run(back.walk(first * PAGE + BLOCK)).address
        assert back.run(back.unmap(first * PAGE, 2 * BLOCK)) == 2 * BLOCK
        assert (back.run(back.walk(first * PAGE + BLOCK)).address is not None) == stale
        assert [each.kind for each in machine.findings] == ["WARNING"] * stale
