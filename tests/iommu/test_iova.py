"""The address allocator's tree: against an allocator that looks at every page frame, and against
the kernel's own numbers.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from users import ranges

from vtdkit.iommu.errno import ENOMEM
from vtdkit.iommu.iova import iova_domain
from vtdkit.iommu.iova_tree import IOVA_ANCHOR, IovaTree, iova
from vtdkit.kernel.machine.machine import Machine

FRAMES_32 = 64  # page frames below 4 GiB in the small spaces of these tests (64 MiB each)
TOP = 2 * FRAMES_32


def small_space(machine: Machine | None = None) -> iova_domain:
    space = iova_domain(machine or Machine())
    space.dma_32bit_pfn = FRAMES_32
    space.preset(max32_alloc_size=FRAMES_32)
    return space


class EveryFrame:
    """A set of used frames and a remembered place on each side of 4 GiB: what the allocator
    promises, by brute force.
    """

    def __init__(self) -> None:
        self.ranges: dict[int, int] = {}  # first frame -> last frame
        self.place = {
            True: IOVA_ANCHOR,
            False: IOVA_ANCHOR,
        }  # the first frame of the range where the next search begins
        self.failed = FRAMES_32

    def free_at(self, first: int, size: int) -> bool:
        return not any(lo < first + size and first <= hi for lo, hi in self.ranges.items())

    def highest(self, size: int, low: int, high: int) -> int | None:
        """The highest aligned place for `size` frames in low ... high - 1."""
        align = 1
        while align < size:
            align *= 2
        return next(
            (at for at in range(high - size, low - 1, -1) if at % align == 0 and self.free_at(at, size)), None
        )

    def allocate(self, size: int, limit: int) -> int | None:
        below = limit + 1 <= FRAMES_32
        if below and size >= self.failed:
            return None
        start = self.place[below]
        at = self.highest(size, 1, min(limit + 1, start))
        if at is None and start < IOVA_ANCHOR:
            at = self.highest(size, self.ranges[start] + 1, limit + 1)
        if at is None:
            self.failed = size
            return None
        self.ranges[at] = at + size - 1
        self.place[at + size - 1 < FRAMES_32] = at
        return at

    def release(self, first: int) -> None:
        last = self.ranges.pop(first)
        above = min((lo for lo in self.ranges if lo > first), default=IOVA_ANCHOR)
        if first == self.place[True] or (last < FRAMES_32 and first >= self.place[True]):
            self.place[True] = above
        if first < FRAMES_32:
            self.failed = FRAMES_32
        if first >= self.place[False]:
            self.place[False] = above


STEPS = st.lists(
    st.tuples(
        st.sampled_from("aaaf"),
        st.sampled_from([1, 1, 1, 2, 3, 4, 5, 8]),
        st.sampled_from([FRAMES_32 - 1, TOP - 1]),
    ),
    max_size=80,
)


@given(STEPS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_range_is_where_looking_at_every_frame_would_put_it(
    steps: list[tuple[str, int, int]], random: object
) -> None:
    machine = Machine(checkers=("lockdep", "kasan"), record=False)
    space, reference = small_space(machine), EveryFrame()
    for what, size, limit in steps:
        if what == "a":
            got = machine.run(space.alloc_iova(size, limit))
            assert (got.pfn_lo if got is not None else None) == reference.allocate(size, limit)
        elif reference.ranges:
            first = random.choice(sorted(reference.ranges))  # type: ignore[attr-defined]
            machine.run(space.free_iova(first))
            reference.release(first)
        assert ranges(space) == sorted(reference.ranges.items())
    assert len(machine.check.objects) == len(reference.ranges)
    assert not machine.findings


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 20)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_reserved_frames_are_never_given_out(reserved: list[tuple[int, int]]) -> None:
    machine = Machine(checkers=(), record=False)
    space = small_space(machine)
    taken: set[int] = set()
    for first, more in reserved:
        frames = set(range(first, first + more + 1))
        if not frames & taken:
            machine.run(space.reserve_iova(first, first + more))
            taken |= frames
    covered = [frame for lo, hi in ranges(space) for frame in range(lo, hi + 1)]
    assert sorted(taken) == covered  # all of them, each in one range only
    given_out = set()
    while (got := machine.run(space.alloc_iova(1, TOP - 1))) is not None:
        given_out.add(got.pfn_lo)
    assert given_out == set(range(1, TOP)) - taken


def test_a_search_that_failed_below_4_gib_is_not_repeated_until_something_is_freed() -> None:
    machine = Machine()
    space = small_space(machine)
    whole = machine.run(space.alloc_iova(32, FRAMES_32 - 1))
    assert whole is not None
    assert (
        machine.run(space.alloc_iova(32, FRAMES_32 - 1)) is None
    )  # frame 0 is never given out, so half is too much
    assert space.peek("max32_alloc_size") == 32
    before = machine.now
    assert machine.run(space.alloc_iova(40, FRAMES_32 - 1)) is None
    quick = machine.now - before
    assert machine.run(space.alloc_iova(40, TOP - 1)) is not None  # above there is room
    machine.run(space.free_iova(whole.pfn_lo))
    assert space.peek("max32_alloc_size") == FRAMES_32
    before = machine.now
    assert machine.run(space.alloc_iova(40, FRAMES_32 - 1)) is None  # now it is looked for again, in vain
    assert machine.now - before > quick
    assert not machine.findings


def test_a_limit_in_the_middle_of_the_space_is_kept() -> None:
    machine = Machine()
    space = small_space(machine)
    first = [machine.run(space.alloc_iova(1, 9)) for _ in range(9)]
    assert [node.pfn_lo for node in first if node is not None] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert machine.run(space.alloc_iova(1, 9)) is None
    top = machine.run(space.alloc_iova(1, FRAMES_32 - 1, size_aligned=False))
    # what failed under a low limit is remembered for all limits below 4 GiB, as in Linux
    assert top is None


def test_ranges_need_not_be_aligned_when_nobody_asks() -> None:
    machine = Machine()
    space = small_space(machine)
    got = [machine.run(space.alloc_iova(3, FRAMES_32 - 1, size_aligned=False)) for _ in range(2)]
    assert [(node.pfn_lo, node.pfn_hi) for node in got if node is not None] == [(61, 63), (58, 60)]
    assert space.peek("rbroot").find(59) is got[1]
    assert space.peek("rbroot").find(5) is None


def test_the_time_a_search_takes_grows_with_the_ranges_it_passes() -> None:
    machine = Machine()
    space = iova_domain(machine)
    limit = (1 << 20) - 1
    pairs = [machine.run(space.alloc_iova(1, limit)) for _ in range(400)]
    for node in pairs[::2]:
        assert node is not None
        machine.run(space.free_iova(node.pfn_lo))  # every other page: 200 holes of one page
    before = machine.now
    machine.run(space.alloc_iova(2, limit))  # none of the holes will do
    assert machine.now - before > 200 * machine.costs.table_word
    assert not machine.findings


def test_an_allocation_that_fails_leaves_the_space_as_it_was() -> None:
    machine = Machine()
    space = small_space(machine)
    machine.pages.faults.nth = machine.pages.faults.count + 1
    assert machine.run(space.alloc_iova(1, FRAMES_32 - 1)) is None
    assert machine.run(space.iova_domain_init_rcaches()) == 0
    assert ranges(space) == []
    machine.run(space.put_iova_domain())
    assert machine.check.objects == {}


def test_no_allocation_of_the_caches_leaks_when_it_fails() -> None:
    machine = Machine(cpus=2)
    count = 0
    for nth in range(1, 100):
        space = iova_domain(machine)
        machine.pages.faults.count, machine.pages.faults.nth = 0, nth
        error = machine.run(space.iova_domain_init_rcaches())
        machine.pages.faults.nth = None
        if not error:
            machine.run(space.put_iova_domain())
            count = nth
            break
        assert error == -ENOMEM
        assert space.rcaches is None
        assert machine.check.objects == {}
    assert count == 1 + 6 * 2 * 2 + 1  # the array; for each size two magazines a CPU


def test_the_list_of_ranges_finds_inserts_and_removes_like_a_dictionary() -> None:
    machine = Machine()
    tree = IovaTree(iova(machine, IOVA_ANCHOR, IOVA_ANCHOR))
    nodes = {first: iova(machine, first, first + 2) for first in (40, 10, 30, 20)}
    for node in nodes.values():
        tree.insert(node)
    assert [node.pfn_lo for node in tree.nodes[1:]] == [40, 30, 20, 10]
    assert tree.find(31) is nodes[30]
    assert tree.find(33) is None
    assert tree.higher(nodes[30]) is nodes[40]
    assert tree.higher(nodes[40]) is tree.nodes[0]
    tree.remove(nodes[30])
    assert tree.find(31) is None
