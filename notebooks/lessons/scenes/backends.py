"""Scenes on page-table back-ends: two at work on one table, nobody holding a lock.

Each takes `make`, which makes a back-end on a machine (`vtdkit.iommu.backends.kinds.BACKENDS`), and the
machine, so that `explore(partial(scene, make))` tries every order. The three cases of freeing are Robin
Murphy's of 31 May 2022: `insert_race`, `block_over_table`, `unmap_of_a_block`. Who looks is the hardware,
with what it remembers of upper entries; `reader` is software that breaks the rule and looks all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from vtdkit.iommu.backends.backend import Backend
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, together

Make = Callable[[Machine], Backend]
PAGE, BLOCK = 1 << 12, 1 << 21
ONE, TWO, LARGE = 0x500_0000, 0x600_0000, 0x4000_0000  # where pages and a block are mapped to


def reached(back: Backend, *iovas: int) -> tuple[str, ...]:
    """Where the table leads for some addresses, as the software reads it when all is over."""
    answers = [back.run(back.iova_to_phys(iova)) for iova in iovas]
    return tuple(f"{answer:#x}" if answer else "nothing" for answer in answers)


def tables(machine: Machine) -> int:
    """Live pages of page tables; of all back-ends these, and no others, say so in their names."""
    return sum("table" in page.name or "root" in page.name for page in machine.pages.live())


def insert_race(make: Make, machine: Machine) -> Observer:
    """Case 1. Two CPUs map neighbouring pages where no last table is yet; both want to put it in."""
    back = make(machine)
    back.run(back.map(4 * BLOCK, LARGE + PAGE, PAGE))  # the upper tables are there
    before = tables(machine)
    maps = {f"map {iova:#x}": back.map(iova, to, PAGE) for iova, to in ((0, ONE), (PAGE, TWO))}
    return together(
        machine, maps, lambda: (*reached(back, 0, PAGE), f"{tables(machine) - before} table more")
    )


def with_device(back: Backend, machine: Machine, iova: int) -> Callable[[], str]:
    """A device reads an address once before, so that the unit remembers the way, and once more meanwhile."""
    back.run(back.walk(iova))
    device = machine.spawn_device(back.walk(iova), "device")
    return lambda: "fault" if device.result.address is None else f"{device.result.address:#x}"


def block_over_table(make: Make, machine: Machine) -> Observer:
    """Case 2. A page was mapped and unmapped, its table stayed; 2 MiB are mapped there as one block, while a
    device reads an address that nobody has mapped for it yet.
    """
    back = make(machine)
    back.run(back.map(0, ONE, PAGE))
    back.run(back.map(PAGE, TWO, PAGE))
    back.run(back.unmap(0, PAGE))
    back.run(back.unmap(PAGE, PAGE))
    device = with_device(back, machine, 0)
    return together(machine, {"map 2M": back.map(0, LARGE, BLOCK)}, lambda: (device(), *reached(back, 0)))


def unmap_of_a_block(make: Make, machine: Machine) -> Observer:
    """Case 3. 2 MiB that were mapped page by page are unmapped at once, while a device still reads there."""
    back = make(machine)
    back.run(back.map(0, LARGE + PAGE, BLOCK))
    device = with_device(back, machine, 8 * PAGE)
    unmap = {"unmap 2M": back.unmap(0, BLOCK)}
    return together(machine, unmap, lambda: (device(), *reached(back, 0, 8 * PAGE)))


def unmap_of_pages(make: Make, machine: Machine) -> Observer:
    """Two pages of three are unmapped, while a device still reads the first: no table goes."""
    back = make(machine)
    back.run(back.map(0, LARGE + PAGE, 3 * PAGE))
    device = with_device(back, machine, 0)
    unmap = {"unmap": back.unmap(0, 2 * PAGE)}
    return together(machine, unmap, lambda: (device(), *reached(back, 0, PAGE, 2 * PAGE)))


def unmap_of_unlike_parts(make: Make, machine: Machine) -> Observer:
    """Case 3 once more, the range a page longer at its beginning: the core unmaps it in two parts."""
    back = make(machine)
    back.run(back.map(BLOCK - PAGE, LARGE, BLOCK + PAGE))
    device = with_device(back, machine, BLOCK + 8 * PAGE)
    unmap = {"unmap": back.unmap(BLOCK - PAGE, BLOCK + PAGE)}
    return together(machine, unmap, lambda: (device(), *reached(back, BLOCK - PAGE, BLOCK + 8 * PAGE)))


def reader(make: Make, machine: Machine) -> Observer:
    """Case 3 with another CPU that looks an address up meanwhile, though it is being unmapped. Nobody may."""
    back = make(machine)
    back.run(back.map(0, LARGE + PAGE, BLOCK))
    unmapping = machine.spawn(back.unmap(0, BLOCK), cpu=0, name="unmap 2M")
    looking = machine.spawn(back.iova_to_phys(8 * PAGE), cpu=1, name="look")
    return lambda: (unmapping.result, "oops" if looking.result is None else f"{looking.result:#x}")


def block_and_page(make: Make, machine: Machine) -> Observer:
    """A block and a page inside it are mapped at once. Nobody may."""
    back = make(machine)
    back.run(back.map(4 * BLOCK, LARGE + PAGE, PAGE))  # the upper tables are there
    maps = {"map 2M": back.map(0, LARGE, BLOCK), "map page": back.map(3 * PAGE, TWO, PAGE)}
    return together(machine, maps, lambda: reached(back, 0, 3 * PAGE))


def split_at_once(make: Make, machine: Machine) -> Observer:
    """Two CPUs unmap one page each of one block. Whether a part may be unmapped is for the driver to say."""
    back = make(machine)
    back.run(back.map(0, LARGE, BLOCK))
    unmaps = {f"unmap {iova:#x}": back.unmap(iova, PAGE) for iova in (3 * PAGE, 5 * PAGE)}
    return together(machine, unmaps, lambda: reached(back, 0, 3 * PAGE, 5 * PAGE))


def grow(make: Make, machine: Machine) -> Observer:
    """One CPU maps above 512 GiB, so that AMD's table needs a level more; another maps a page below."""
    back = make(machine)
    back.run(back.map(4 * BLOCK, LARGE + PAGE, PAGE))
    maps = {
        "map above": back.map(1 << 39, ONE, PAGE),
        "map below": back.map(4 * BLOCK + PAGE, TWO, PAGE),
    }
    return together(machine, maps, lambda: reached(back, 1 << 39, 4 * BLOCK + PAGE))


def unmap_and_map(make: Make, machine: Machine) -> Observer:
    """One CPU unmaps the only page of a last-level table, another maps the page beside it: both keep the
    rule.
    """
    back = make(machine)
    back.run(back.map(0, ONE, PAGE))
    calls = {"unmap": back.unmap(0, PAGE), "map": back.map(PAGE, TWO, PAGE)}
    return together(machine, calls, lambda: reached(back, 0, PAGE))
