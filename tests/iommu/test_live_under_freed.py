"""No page that is mapped lies under a table that was freed: whatever is mapped and unmapped, in one thread
and in two.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.scenes.pairs import BLOCK, PAGE, Op, side_by_side
from lessons.variants.users import free_touched_tables
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore
from vtdkit.lab.computer import Computer

RUNS = st.tuples(st.integers(0, 1300), st.sampled_from((1, 2, 99, 511, 512, 513, 1024)), st.booleans())
HALF = BLOCK // 2


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(RUNS, min_size=1, max_size=12), st.integers(0, 1))
def test_against_a_plain_dict(runs: list[tuple[int, int, bool]], apart: int) -> None:
    """Runs of pages come and go; with `apart` 0 some of them are large pages."""
    pc = Computer(devices=["00:03.0"], checkers=("kasan",))
    domain, live, mapped = pc.new_domain(attach="00:03.0"), dict[int, int](), dict[int, int]()
    for first, pages, again in runs:
        taken = range(first, first + pages)
        if again and live:
            start = sorted(live)[first % len(live)]
            assert pc.unmap(domain, start * PAGE, live[start] * PAGE) == live[start] * PAGE
            for page in range(start, start + live.pop(start)):
                del mapped[page]
        elif not mapped.keys() & set(taken):
            assert pc.map(domain, first * PAGE, (first + (1 << 20) + apart) * PAGE, pages * PAGE) == 0
            live[first] = pages
            mapped |= {page: page + (1 << 20) + apart for page in taken}
        for page in (*live, *(start + live[start] - 1 for start in live), first, first + pages - 1):
            assert pc.run(pc.core.iommu_iova_to_phys(domain, page * PAGE)) >> 12 == mapped.get(page, 0)
    assert not pc.machine.findings


def ends(driver: type[IntelIommu]) -> tuple[set[object], int]:
    """Two CPUs unmap the two halves of what one table maps; a third one keeps looking at the last page of
    all.
    """
    scene = side_by_side(
        Op("unmap", 0, HALF),
        Op("unmap", HALF, HALF - PAGE),
        Op("look up", BLOCK - PAGE),
        before=[Op("map", 0, HALF, 0x5001000), Op("map", HALF, HALF, 0x7001000)],
    )
    found = explore(scene.on(driver), limit=60)
    return {end[2] for end in found.outcomes if isinstance(end, tuple)}, len(found.of("use-after-free"))


def test_two_halves_of_a_table_go_at_once_and_the_table_stays() -> None:
    assert ends(IntelIommu) == ({0x7001000 + HALF - PAGE}, 0)


def test_a_driver_that_frees_what_it_touches_is_caught() -> None:
    seen, freed = ends(free_touched_tables(IntelIommu))
    assert freed or 0 in seen
