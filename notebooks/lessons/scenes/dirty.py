"""Scenarios of dirty tracking: a device writes, software looks which pages were written, and a third party
changes the table.

Each is a function of a machine and of a way to look, `sweep(core, domain, iova, size)`, which returns the
dirty pages. Every outcome is one of `ENDS`. A write is *told of* if a look whose flush came after it says so:
who copies the page then, copies what was written. These are questions of the debate, not run for `findings`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from vtdkit.iommu.core import IommuCore, IommuDomain, IotlbGather
from vtdkit.iommu.dirty import DIRTY_BIT, intel_iommu_read_and_clear_dirty, intel_iommu_set_dirty_tracking
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import mm_struct
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.lab.scenarios.base import Observer
from vtdkit.vtd.requests import Request, Translation

from .resize import demote

PAGE, BLOCK = 4096, 1 << 21
TARGET, OTHER = 0x4000_0000, 0x6000_0000
TRACKS = replace(SCALABLE, SSADS=1)  #: a unit that sets dirty bits in second-stage leaves
DISK = "00:03.0"
ENDS = ("not written", "told", "lost", "the old page is mapped again")
Sweep = Callable[[IommuCore, IommuDomain, int, int], Awaitable[list[int]]]


class Tracked:
    """A device whose writes are tracked, and what happens in which order: `write` and `look` note it. Guards:
    one run uses it; the notes are the observer's.
    """

    def __init__(self, machine: Machine, size: int = PAGE, driver: type[IntelIommu] = IntelIommu) -> None:
        self.pc = pc = Computer(machine=machine, devices=[DISK], units=TRACKS, scalable=True, driver=driver)
        self.domain = pc.new_domain(attach=DISK)
        pc.map(self.domain, 0, TARGET, size)
        pc.run(intel_iommu_set_dirty_tracking(pc.core, self.domain, True))
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        """Both sides' notes are in one order, which an exploration has to know of."""
        self.pc.machine.steps.hardware(self)
        self.notes.append(what)

    async def write(self, iova: int = 0) -> None:
        """The device writes a word."""
        answer = await self.pc.hardware[0].dma(Request(self.pc.devices[DISK].sid, iova, "write"))
        if isinstance(answer, Translation):
            self.note("written")

    async def mark(self) -> None:
        """The same where the unit remembers nothing, without its walk: the bit of the leaf is set."""
        pte, _ = await self.pc.driver.pfn_to_dma_pte(self.pc.dmar(self.domain), 0, 0)
        assert pte is not None
        await pte.page.test_and_set_bit(pte.index, DIRTY_BIT)
        self.note("written")

    async def look(self, sweep: Sweep, size: int = PAGE, flush: bool = True) -> None:
        """One look, and the flush that has the unit set the bits again."""
        found = await sweep(self.pc.core, self.domain, 0, size)
        if found and flush:
            await self.pc.core.iommu_iotlb_sync(self.domain, IotlbGather(found[0], found[-1] + PAGE - 1))
        if 0 in found:
            self.note("told")

    def end(self, sweep: Sweep, size: int = PAGE) -> str:
        """One more look, when all is over, and what came of it."""
        self.pc.run(self.look(sweep, size))
        if "written" not in self.notes:
            return "not written"
        last = len(self.notes) - 1 - self.notes[::-1].index("written")
        return "told" if "told" in self.notes[last:] else "lost"


def not_seen(
    machine: Machine, sweep: Sweep = intel_iommu_read_and_clear_dirty, flush: bool = True
) -> Observer:
    """The unit remembers the entry as dirty. Software clears the bit while the device writes once more: the
    changed entry has not been seen by the walker.
    """
    scene = Tracked(machine)
    machine.run(scene.write(), None)
    scene.notes.clear()
    machine.spawn(scene.look(sweep, flush=flush), cpu=0, name="look")
    machine.spawn_device(scene.write(), "device")
    return lambda: scene.end(sweep)


def split(machine: Machine, sweep: Sweep = intel_iommu_read_and_clear_dirty) -> Observer:
    """A dirty page of 2 MiB is made into small ones while software looks."""
    scene = Tracked(machine, BLOCK)
    machine.run(scene.write(), None)
    machine.spawn(scene.look(sweep, BLOCK), cpu=0, name="look")
    resized = machine.spawn(demote(scene.pc.core, scene.domain, 0), cpu=1, name="split")

    def end() -> str:
        told = scene.end(sweep, BLOCK)
        _, level = scene.pc.run(scene.pc.driver.pfn_to_dma_pte(scene.pc.dmar(scene.domain), 0, 0))
        return "the old page is mapped again" if not resized.result and level > 1 else told

    return end


def new_map(
    machine: Machine,
    sweep: Sweep = intel_iommu_read_and_clear_dirty,
    driver: type[IntelIommu] = IntelIommu,
) -> Observer:
    """A dirty page is unmapped, and another one mapped at its address and written, while software looks."""
    scene = Tracked(machine, driver=driver)
    machine.run(scene.write(), None)
    scene.notes.clear()
    core = scene.pc.core

    async def renew() -> None:
        await core.iommu_unmap(scene.domain, 0, PAGE)
        await core.iommu_map(scene.domain, 0, OTHER, PAGE, 3)
        await scene.mark()

    machine.spawn(scene.look(sweep), cpu=0, name="look")
    machine.spawn(renew(), cpu=1, name="map")

    def end() -> str:
        there = scene.pc.run(core.iommu_iova_to_phys(scene.domain, 0))
        return scene.end(sweep) if there == OTHER else "the old page is mapped again"

    return end


def last_look(machine: Machine, look: bool = True) -> Observer:
    """A page is unmapped after the device has written to it, beside a sweep. With `look`, the bits are read
    just before.
    """
    scene = Tracked(machine)
    keep = partial(intel_iommu_read_and_clear_dirty, clear=False)

    async def unmap() -> None:
        if look:
            await scene.look(keep, flush=False)
        await scene.pc.core.iommu_unmap(scene.domain, 0, PAGE)

    machine.run(scene.write(), None)
    machine.spawn(scene.look(intel_iommu_read_and_clear_dirty), cpu=1, name="sweep")
    machine.spawn(unmap(), cpu=0, name="unmap")
    return lambda: scene.end(intel_iommu_read_and_clear_dirty)


def area_goes(machine: Machine, locked: bool = True) -> Observer:
    """An area of 2 MiB is unmapped, tables and all, while its dirty bits are read; `locked`: as iommufd does
    both, else the sweep takes no lock.
    """
    pc = Computer(machine=machine, devices=[DISK])
    domain, table = pc.new_domain(attach=DISK), io_pagetable(pc.core)
    mm = mm_struct(machine, [(PAGE * page, 2 * page + 1, 1) for page in range(1, 513)])
    machine.run(table.iopt_table_add_domain(domain))
    machine.run(table.iopt_map_user_pages(mm, PAGE, BLOCK, BLOCK))
    if locked:
        look = table.iopt_read_and_clear_dirty_data(domain, BLOCK, PAGE)
    else:
        look = intel_iommu_read_and_clear_dirty(pc.core, domain, BLOCK, PAGE)
    machine.spawn(look, cpu=0, name="sweep")
    unmap = machine.spawn(table.iopt_unmap_iova(BLOCK, BLOCK), cpu=1, name="unmap")
    return lambda: unmap.result
