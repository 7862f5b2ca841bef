"""Scenarios: two CPUs, or a CPU and the hardware, work on one page table at the same time. No lock guards it.

These are not run for `findings`, which is about the locks of the series; each answers a
question of the debate.
"""

from __future__ import annotations

from functools import partial

from lessons.variants.tables import load_store_dirty
from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.dirty import DIRTY_BIT, intel_iommu_read_and_clear_dirty
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import Computer
from vtdkit.lab.scenarios.base import Observer, Scenario, computer, together

PAGE, BLOCK = 4096, 512 * 4096
ONE, TWO = 0x5000000, 0x6000000  # where two maps lead to


def reached(pc: Computer, domain: IommuDomain, *iovas: int) -> tuple[str, ...]:
    """Where the tables lead for some addresses, as the driver reads them."""
    answers = [pc.run(pc.core.iommu_iova_to_phys(domain, iova)) for iova in iovas]
    return tuple(f"{answer:#x}" if answer else "nothing" for answer in answers)


def lost(pc: Computer, domain: IommuDomain) -> int:
    """Report tables that nothing leads to: every page of the domain that is not found from its root."""
    root = pc.dmar(domain).pgd
    known = {root.address}
    todo = [(root, pc.dmar(domain).agaw + 2)]
    while todo:
        page, level = todo.pop()
        for word in page.words if level > 1 else ():
            address = word & 0xFFFF_FFFF_F000
            if word & 3 and not word & 1 << 7:
                known.add(address)
                todo.append((pc.driver.phys_to_virt(address), level - 1))
    label = pc.dmar(domain).label
    astray = [
        page
        for page in pc.machine.pages.live()
        if page.name.startswith(f"{label} ") and page.address not in known
    ]
    for page in astray:
        pc.machine.check.report(
            "unreferenced object", page.name, (), text="nothing leads to this table any more"
        )
    return len(astray)


def two_maps(
    driver: type[IntelIommu], machine: Machine, first: int = 0, second: int = PAGE, size: int = PAGE
) -> Observer:
    """Two CPUs map pages of a region where the last-level table is missing, and both want to put it in."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 4 * BLOCK, ONE)  # the upper tables are there
    maps = {
        f"map {iova:#x}": pc.core.iommu_map(domain, iova, target, length, 3)
        for iova, target, length in ((first, ONE, PAGE), (second, TWO, size))
    }
    return together(machine, maps, lambda: (*reached(pc, domain, first, second), lost(pc, domain)))


def overlapping(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Two CPUs map the same page to different places. The rule is that callers never do this."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, PAGE, ONE)  # the tables are there
    maps = {f"map to {to:#x}": pc.core.iommu_map(domain, 0, to, PAGE, 3) for to in (ONE, TWO)}
    return together(machine, maps, lambda: reached(pc, domain, 0))


def overlapping_unmap(driver: type[IntelIommu], machine: Machine) -> Observer:
    """One CPU maps a page, another unmaps the range it lies in. The rule is that callers never do this."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, PAGE, ONE)
    calls = {
        "unmap": pc.core.iommu_unmap(domain, 0, BLOCK),
        "map": pc.core.iommu_map(domain, 0, TWO, PAGE, 3),
    }
    return together(machine, calls, lambda: reached(pc, domain, 0))


def block_and_page(driver: type[IntelIommu], machine: Machine) -> Observer:
    """One CPU maps 2 MiB as one large page, another maps a page inside. The rule is that
    callers never do this.
    """
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 4 * BLOCK, ONE)  # the upper tables are there
    maps = {
        "block": pc.core.iommu_map(domain, 0, 0x40000000, BLOCK, 3),
        "page": pc.core.iommu_map(domain, 3 * PAGE, TWO, PAGE, 3),
    }
    return together(machine, maps, lambda: (*reached(pc, domain, 0, 3 * PAGE), lost(pc, domain)))


def dirty(driver: type[IntelIommu], machine: Machine, careful: bool = True) -> Observer:
    """Software looks whether a page was written to, and clears the mark, while the hardware sets it; if not
    `careful`, it writes the entry back with a plain store.

    A write is told of if the bit is found set now or later.
    """
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 0, ONE)
    pte, _ = pc.run(pc.driver.pfn_to_dma_pte(pc.dmar(domain), 0, 0))
    assert pte is not None
    pc.run(pte.page.test_and_set_bit(pte.index, DIRTY_BIT))  # from an earlier write

    async def unmap_and_look() -> bool:
        if careful:
            return bool(await intel_iommu_read_and_clear_dirty(pc.core, domain, 0, PAGE))
        return await load_store_dirty(pc.core, domain, 0)

    async def walker() -> int:
        """What the unit does for a DMA write through a leaf: set the bit with one compare-and-exchange
        on the whole entry.
        """
        value = await pte.load()
        while value & 3:
            found = await pte.cmpxchg(value, value | 1 << DIRTY_BIT)
            if found == value:
                return 1
            value = found
        return 0

    async def close() -> int:
        return await pte.page.xchg(pte.index, 0) >> DIRTY_BIT & 1

    machine.spawn(unmap_and_look(), cpu=0, name="look")
    written = machine.spawn(walker(), cpu=1, name="hardware")
    last = machine.spawn(close(), cpu=2, name="unmap")

    def end() -> str:
        if pte.page.words[pte.index]:
            return "an unmapped page is mapped again"
        if not written.result:
            return "not written"
        return "written, found at unmap" if last.result else "written, found before"

    return end


SCENARIOS = (
    Scenario("maps-apart", "two CPUs map pages that need the same new table", two_maps),
    Scenario("maps-same-page", "two CPUs map the same page to different places", overlapping),
    Scenario("map-in-unmap", "a page is mapped in a range that another CPU unmaps", overlapping_unmap),
    Scenario(
        "block-and-page", "a large page is mapped while another CPU maps a page inside it", block_and_page
    ),
    Scenario(
        "dirty-cmpxchg",
        "dirty bits are read and cleared by one atomic operation while hardware sets them",
        dirty,
    ),
    Scenario(
        "dirty-store",
        "dirty bits are read and cleared by a load and a store while hardware sets them",
        partial(dirty, careful=False),
    ),
)
