"""Scenarios: tables are read, for the debug file or for dirty bits, while others take them out and free them.

These are not run for `findings`; each answers a question of the debate.
"""

from __future__ import annotations

from typing import Any, Literal

from vtdkit.iommu.backends.arm_lpae import ArmLpae
from vtdkit.iommu.backends.driver import on_core
from vtdkit.iommu.backends.mm import Mm
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.memory.sections import MemoryMap
from vtdkit.lab.scenarios.base import Observer, Scenario, computer

PAGE, BLOCK, GIB = 4096, 1 << 21, 1 << 30
TARGET = 0x5001000
SECRET = 0x5EC4E7_5EC4E7_003  # what the next owner's data has at a place: looks like an entry, leads nowhere


def dump_superpage(driver: type[IntelIommu], machine: Machine) -> Observer:
    """A dump while a large page is mapped where an empty table was, which is freed."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 0, TARGET)
    pc.unmap(domain, 0, PAGE)  # an unmap of less than the whole table leaves the table
    machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0, name="cat")
    large = machine.spawn(pc.core.iommu_map(domain, 0, GIB, BLOCK, 3), cpu=1, name="map 2M")
    return lambda: large.result


def reusing(driver: type[IntelIommu], words: dict[int, int]) -> type[IntelIommu]:
    """A freed table has its next owner at once, who writes these words into it."""

    class Reusing(driver):  # type: ignore[misc, valid-type]
        async def free_pgtable_page(self, page: Page) -> None:
            await super().free_pgtable_page(page)
            await self.machine.pages.reuse(page, "a file's page")
            for index, word in words.items():
                await page.store(index, word)

    return Reusing


def told(cat: Context, word: int) -> str:
    """How a dump ended in which a table became somebody's who wrote this word into it."""
    if cat.error:
        return "oops"
    text = str(cat.result)
    if f"{word:#018x}" in text:
        return "prints what was never an entry"
    return "prints the page" if f"{TARGET | 3:#018x}" in text else "prints nothing"


def dump_reuse(driver: type[IntelIommu], machine: Machine, leads_to: int = SECRET) -> Observer:
    """A dump while two tables are unmapped and freed, and get a new owner with data like entries.

    `leads_to` is where the data would lead.
    """
    word = leads_to | 3
    pc = computer(reusing(driver, {7: word}), machine, devices=["00:03.0"])
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0, TARGET)
    cat = machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0, name="cat")
    machine.spawn(pc.core.iommu_unmap(domain, 0, GIB), cpu=1, name="unmap")
    return lambda: told(cat, word)


def sweep_unmap(driver: type[IntelIommu], machine: Machine) -> Observer:
    """Dirty bits are read for a range that another CPU unmaps, tables and all. Callers must not do this."""
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 0, TARGET)

    async def sweep() -> None:
        async with machine.rcu.read():
            await intel_iommu_read_and_clear_dirty(pc.core, domain, 0, PAGE)

    machine.spawn(sweep(), cpu=0, name="sweep")
    unmap = machine.spawn(pc.core.iommu_unmap(domain, 0, BLOCK), cpu=1, name="unmap")
    return lambda: unmap.result


def dump_disk(driver: type[IntelIommu], machine: Machine, in_irq: bool = True) -> Observer:
    """`cat domain_translation_struct > file`, the file on a disk behind the same unit.

    The text becomes a dirty page, which a worker has written out: it maps the page, the disk reads it, and
    the disk's interrupt (with `in_irq`, as in Linux; else the worker) unmaps it. `cat` waits for the write.
    """
    pc = computer(driver, machine, devices=["00:03.0"])
    domain = pc.domain_of("00:03.0")
    pc.map(domain, GIB, TARGET)
    dirty, done = (machine.make(Completion, name) for name in ("dirty pages", "the page's writeback"))

    async def completed() -> None:
        await pc.core.iommu_unmap(domain, 0, PAGE)
        await done.complete()

    async def worker() -> None:
        await dirty.wait()
        await pc.core.iommu_map(domain, 0, TARGET + PAGE, PAGE, 3)
        if in_irq:
            machine.irq.interrupt(machine.cpus[1], "nvme_irq", completed)
        else:
            await completed()

    async def write() -> None:
        await dirty.complete()
        await done.wait()

    async def cat() -> None:
        if hasattr(pc.driver, "cat"):
            await pc.driver.cat(write)
        else:
            await pc.driver.domain_translation_struct_show()
            await write()

    threads = [machine.spawn(cat(), cpu=0, name="cat"), machine.spawn(worker(), cpu=1, name="kworker")]
    return lambda: "written" if all(thread.done and not thread.error for thread in threads) else "crashed"


#: a machine of 2020 whose kernel met such a page: its memory as the firmware told it (message
#: 20200521014407.29690-1-bhe@redhat.com); the page was at 0x2a800000
HOLES = MemoryMap(
    (
        (0x0, 0x8C000), (0x100000, 0x28329000), (0x28569000, 0x28D86000), (0x28EE6000, 0x29A05000),
        (0x29A09000, 0x29EE5000), (0x29EF3000, 0x29F23000), (0x29F24000, 0x29F25000),
        (0x29F30000, 0x29FFE000), (0x2A823000, 0x33A23000), (0x33A53000, 0x78000000),
        (0x100000000, 0x87F000000),
    )
)  # fmt: skip
HOLE = 0x2A800000
#: the same amount, more or less, in whole sections
WHOLE = MemoryMap(((0, 0x78000000), (0x100000000, 0x878000000)))


def mm_race(
    machine: Machine,
    reader: Literal["gup_fast", "fault"] = "gup_fast",
    *,
    irqs_off: bool = True,
    frees: bool = True,
    **options: Any,
) -> Observer:
    """A process's area is unmapped, tables and all (without `frees`: its pages only), while another CPU
    looks a page of it up without a lock, or faults one in. `options` are `Mm`'s.
    """
    mm = Mm(machine, **options)
    mm.mmap(0, BLOCK)
    machine.run(mm.handle_mm_fault(PAGE, TARGET & -PAGE))
    machine.spawn((mm.munmap if frees else mm.madvise_dontneed)(0, BLOCK), cpu=0, name="unmap")
    look = (
        mm.get_user_pages_fast(PAGE, irqs_off) if reader == "gup_fast" else mm.handle_mm_fault(2 * PAGE, GIB)
    )
    other = machine.spawn(look, cpu=1, name=reader)
    return lambda: other.result


def arm_sweep(machine: Machine, table: type[ArmLpae] = ArmLpae) -> Observer:
    """Dirty bits of an Arm table are read while another CPU unmaps the range, table and all."""
    back = on_core(machine, table(machine, hd=True))
    back.run(back.map(0, TARGET, PAGE))

    async def sweep() -> None:
        async with machine.rcu.read():
            await back.read_and_clear_dirty(0, PAGE)

    machine.spawn(sweep(), cpu=0, name="sweep")
    unmap = machine.spawn(back.unmap(0, BLOCK), cpu=1, name="unmap")
    return lambda: unmap.result


class ArmFreelist(ArmLpae):
    """Arm's table as Robin Murphy has it half finished: tables go on a list, and wait for a grace period."""

    async def _arm_lpae_free_pgtable(self, level: int, table: Page) -> None:
        async def free() -> None:
            await ArmLpae._arm_lpae_free_pgtable(self, level, table)

        self.machine.rcu.call(free, "the gather's list")


SCENARIOS = (
    Scenario(
        "dump-superpage", "debugfs is read while a large page takes the place of a table", dump_superpage
    ),
    Scenario("dump-reuse", "debugfs is read while a table is freed and gets a new owner", dump_reuse),
    Scenario("sweep-unmap", "dirty bits are read while another CPU unmaps the range", sweep_unmap),
    Scenario("dump-disk", "debugfs is read into a file on a disk behind the same unit", dump_disk),
)
