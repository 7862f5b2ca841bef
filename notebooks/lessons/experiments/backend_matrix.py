"""What each back-end makes of calls that no rule forbids clearly: unmaps of a part, of nothing, of too much;
maps of what is mapped.

`answer(case, make)` does one case on a fresh machine and says what was returned, what is gone and what the
kernel would print. Nothing here is written down: each answer is a run. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lessons.scenes.backends import BLOCK, LARGE, ONE, PAGE, TWO, Make, insert_race
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.vfio import VfioType1
from vtdkit.iommu.vfio_dma import vfio_domain
from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.vtd.requests import size_name


@dataclass(frozen=True, slots=True)
class Case:
    """What is mapped first (address, target, bytes), then one call. A map has a target."""

    first: tuple[tuple[int, int, int], ...]
    iova: int
    size: int
    target: int | None = None


CASES: dict[str, Case] = {
    "unmap the first page of a block": Case(((0, LARGE, BLOCK),), 0, PAGE),
    "unmap a page inside a block": Case(((0, LARGE, BLOCK),), 3 * PAGE, PAGE),
    "unmap one of two pages mapped together": Case(((0, LARGE, 2 * PAGE),), 0, PAGE),
    "unmap a page where no table is": Case(((8 * BLOCK, LARGE, PAGE),), 0, PAGE),
    "unmap a page that is not mapped, its neighbour is": Case(((PAGE, ONE, PAGE),), 0, PAGE),
    "unmap four pages, the third is not mapped": Case(
        ((0, ONE, 2 * PAGE), (3 * PAGE, TWO, PAGE)), 0, 4 * PAGE
    ),
    "unmap 2 MiB, one page of it is mapped": Case(((3 * PAGE, ONE, PAGE),), 0, BLOCK),
    "map a page that is mapped": Case(((0, ONE, PAGE),), 0, PAGE, TWO),
    "map a page inside a block": Case(((0, LARGE, BLOCK),), 3 * PAGE, PAGE, TWO),
    "map a block over a page": Case(((3 * PAGE, ONE, PAGE),), 0, BLOCK, LARGE),
    "map nothing": Case(((0, ONE, PAGE),), PAGE, 0, TWO),
    "unmap nothing": Case(((0, ONE, PAGE),), 0, 0),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case. `returned` is None if the kernel went down; `gone` and `new` are bytes that lead
    nowhere now, and bytes that lead elsewhere.
    """

    returned: int | None
    gone: int
    new: int
    warned: bool
    unmap: bool

    def __repr__(self) -> str:
        if self.returned is None:
            return "follows the block as a table"
        if self.unmap:
            text = f"says {_size(self.returned)}, gone {_size(self.gone)}"
        else:
            text = f"{self.returned}, " + (f"{size_name(self.new)} new" if self.new else "all as before")
            if self.gone:
                text += f", {size_name(self.gone)} gone"
        return text + (", WARN" if self.warned else "")


def _size(size: int) -> str:
    return size_name(size) if size else "0"


def mapped(back: Backend) -> dict[int, int]:
    """Where each page of the first 2 MiB leads."""
    found = {page: back.run(back.iova_to_phys(page)) for page in range(0, BLOCK, PAGE)}
    return {page: to for page, to in found.items() if to}


def answer(case: Case, make: Make) -> Outcome:
    """Do one case on a fresh machine."""
    machine = Machine(record=False, checkers=())
    back = make(machine)
    for iova, to, size in case.first:
        assert back.run(back.map(iova, to, size)) == 0
    before, known = mapped(back), len(machine.findings)
    unmap = case.target is None
    call = back.unmap(case.iova, case.size) if unmap else back.map(case.iova, case.target or 0, case.size)
    try:
        returned = back.run(call)
    except Oops:
        returned = None
    after = before if returned is None else mapped(back)
    gone = sum(page not in after for page in before)
    new = sum(before.get(page) != to for page, to in after.items())
    warned = any(each.kind == "WARNING" for each in list(machine.findings)[known:])
    return Outcome(returned, gone * PAGE, new * PAGE, warned, unmap)


def tables_freed(make: Make) -> tuple[int, int, int]:
    """How many table pages a living domain gives back in each of Robin Murphy's three cases: a lost race to
    put one in (in the order in which it is lost), a block in place of an empty table, an unmap of a block
    that was mapped by pages.
    """
    return _lost_race(make), _freed(make, _block_over), _freed(make, _unmap_block)


def _freed(make: Make, go: Callable[[Backend], None]) -> int:
    machine = Machine(record=False)
    back = make(machine)
    back.run(back.map(0, ONE, PAGE))
    back.run(back.map(PAGE, TWO, PAGE))
    before = {page.serial for page in machine.pages.live()}
    go(back)
    return len(before - {page.serial for page in machine.pages.live()})


def _block_over(back: Backend) -> None:
    back.run(back.unmap(0, PAGE))
    back.run(back.unmap(PAGE, PAGE))
    back.run(back.map(0, LARGE, BLOCK))


def _unmap_block(back: Backend) -> None:
    for page in range(2, 512):
        back.run(back.map(page * PAGE, ONE + page * PAGE * 2, PAGE))
    back.run(back.unmap(0, BLOCK))


def _lost_race(make: Make) -> int:
    """The most pages that `insert_race` gives back in any order: allocated ever, less those that live."""

    def scene(machine: Machine) -> Callable[[], int]:
        done = insert_race(make, machine)
        before = machine.pages.allocated - len(machine.pages)

        def end() -> int:
            done()
            return machine.pages.allocated - len(machine.pages) - before

        return end

    return max(int(str(value)) for value in explore(scene).outcomes)


def fgsp(make: Make) -> bool:
    """`vfio_test_domain_fgsp`: does VFIO take this IOMMU for one that joins pages by itself?"""
    machine = Machine(record=False)
    back = make(machine)
    while machine.pages.take_run(1, -1, "filler", None)[0].pfn & 1 == 0:
        pass  # the probe's two pages, one allocation in Linux, begin at an even frame
    domain = vfio_domain(machine)
    domain.domain = back.domain
    machine.run(VfioType1(back.core).vfio_test_domain_fgsp(domain))
    return bool(domain.fgsp)
