"""What a reading of kit and lessons against the C sources and the list corrected, point by point.

§1.n is the n-th point; those that are not here have their tests beside what they are about (search for the
number).
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from lessons import variants
from vtdkit.iommu.pci import PciBus
from vtdkit.kernel import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import BOTH_STAGES, Computer
from vtdkit.lab.locktable import lock_table
from vtdkit.lab.scenarios import SCENARIOS
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.vtd.capabilities import Capabilities

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PAGE = 4096


def cells(number: str) -> list[dict[str, Any]]:
    (path,) = NOTEBOOKS.glob(f"{number}-*.ipynb")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def prose(number: str) -> str:
    """The text of a lesson, one paragraph a line."""
    return "\n".join("".join(cell["source"]) for cell in cells(number) if cell["cell_type"] == "markdown")


# -- locks ---------------------------------------------------------------------


def test_a_lock_pair_is_one_atomic_operation() -> None:
    """§1.7: on x86 letting go of a spin lock is a plain store; taking it is the atomic operation."""
    machine = Machine()
    lock = machine.spinlock("lock")
    times = []

    async def pair() -> None:
        times.append(machine.now)
        await lock.acquire()
        times.append(machine.now)
        await lock.release()
        times.append(machine.now)

    machine.run(pair())
    taking, letting_go = (b - a for a, b in pairwise(times))
    assert (taking, letting_go) == (machine.costs.lock, 0)
    assert "on x86 the unlock is a plain store" in prose("05")
    assert "dmar_disable_qi" not in prose("05")


def test_lockdep_judges_by_class() -> None:
    """§1.12: lockdep judges by class: all klists are one, so a list of memory blocks, walked at boot, is
    the other side of a report that a PCI walk in an interrupt brings about. No hot-plug is needed.
    """
    machine = Machine(checkers=("lockdep",))
    bus, memory = PciBus(machine), machine.spinlock("&k->k_lock")

    async def boot() -> None:
        async with memory:
            await machine.work(10)

    async def interrupt() -> None:
        await bus.klist_next(None)

    machine.run(boot())
    machine.irq.line("fault", interrupt).fire()
    machine.advance(1_000_000)
    (finding,) = machine.findings
    assert (finding.kind, finding.where) == ("WARNING: inconsistent lock state", "&k->k_lock")
    assert "**lock class" in prose("04")
    assert not re.search(r"\*\*(lock )?class", prose("08"))


def test_a_unit_with_a_numa_node_takes_the_lock_four_times_instead_of_two() -> None:
    """§1.17: "5 times instead of 2" holds where the unit has no node; with one it is 4."""
    name = "attach, first, ATS"
    one, two = lock_table((9, 11), [name]), lock_table((9, 11), [name], sockets=2)
    assert [cost.device_lock[0] for cost in (*one, *two)] == [2, 5, 2, 4]
    assert "four times instead of two, not five" in prose("11")


# -- the debate ----------------------------------------------------------------


def test_the_dump_that_tests_addresses_reads_freed_memory_all_the_same() -> None:
    """§1.15: claim 5 is judged on a dump that tests addresses, as it was proposed; "all claims" were seven:
    they are called so, and the table of all is another one.
    """
    tested = variants.test_addresses(driver_at(1))  # type: ignore[arg-type]
    found = explore(SCENARIOS["dump-unmap"].on(tested))
    assert found.complete
    assert any("use-after-free" in one.finding.kind for one in found.findings)
    assert not any("Oops" in one.finding.kind for one in found.findings)
    assert "## These seven claims in one table" in prose("13")
    assert "the block always succeeds *and is what is there in the end*" in prose("13")


def test_the_flush_comes_too_late_in_the_caller() -> None:
    """§1.19: what flushes after the free is `switch_to_super_page`, not `dma_pte_free_pagetable`."""
    order: list[str] = []
    pc = Computer()
    domain, driver = pc.domain_of("00:03.0"), cast(Any, pc.driver)
    pc.map(domain, 0, 0x5001000, 4 * PAGE)
    free, flush = driver.free_pgtable_page, driver.iommu_flush_iotlb_psi

    async def freed(page: Any) -> None:
        order.append("free")
        await free(page)

    async def flushed(*args: Any) -> None:
        order.append("flush")
        await flush(*args)

    driver.free_pgtable_page, driver.iommu_flush_iotlb_psi = freed, flushed
    pc.run(driver.dma_pte_free_pagetable(domain.driver, 0, 511, 3))
    assert order == ["free"]
    pc.map(domain, 0, 0x5001000, 4 * PAGE)
    order.clear()
    pc.map(domain, 0, 0x8000000, 512 * PAGE)
    assert order[:2] == ["free", "flush"]
    assert "stands in `switch_to_super_page`" in prose("13")


# -- dates, fates, names -------------------------------------------------------


TOLD = [
    ("14", "On 5 August it went to Linus Torvalds in a pull request"),
    ("14", "merged it on the 6th (1d239c1eb873)"),
    ("14", "for 6.1 by a stable update in December 2023"),
    ("14", "`dmar_remove_one_dev_info` stays for the release"),
    ("14", "da37dddcf4ca"),
    ("13", "The sixth version, of 24 October (20231024135109.73787)"),
    ("14", "`m11` what of the series is in 6.0-rc1"),
]


@pytest.mark.parametrize(("number", "words"), TOLD)
def test_what_came_after_is_told_as_it_was(number: str, words: str) -> None:
    """§1.14: the pull request and its merge, what 6.2 and 6.1.y brought, dirty tracking, what a column is."""
    assert words in prose(number)


def test_a_mainline_version_says_what_it_leaves_out() -> None:
    """§1.14: each is 5.19 plus so many commits of the series, without the rest of that pull."""
    assert "5.19 plus so many commits of the series, and nothing else" in " ".join(mainline.__doc__.split())
    assert issubclass(mainline.RC1, mainline.driver_at(0))


SAID = [
    ("04", "- **15 August.** Lennert Buytenhek", "17 August"),
    ("04", "another possibility", ""),
    ("06", "- **14 June.** Version 2 still mixes them. He says it again, with a reason", ""),
    ("06", "(Version 2 adds: less code at the callers.)", ""),
    ("01", "- **31 May.** Robin Murphy: `pfn_valid()` says too little", "- **1 June.** Robin Murphy"),
    ("08", "- **19 August.** In answer to the fix", ""),
    ("13", "For the dirty bits it stays open", ""),
    ("13", "The lock of the range has won.", ""),
]


@pytest.mark.parametrize(("number", "words", "never"), SAID)
def test_who_said_what_and_when(number: str, words: str, never: str) -> None:
    """§1.19: dates and attributions as on the list."""
    assert words in prose(number)
    assert not never or never not in prose(number)


def test_the_catalogue_has_the_dates_and_fates_of_the_list() -> None:
    """§1.19: the two repairs were posted on 17 and 19 August; merged 10 forgets the domain as well."""
    posted = {info.commit: info.posted for info in mainline.SERIES}
    assert (posted["a349ffcb4daf"], posted["35bf49e05421"]) == ("2022-08-17", "2022-08-19")
    assert {posted[info.commit] for info in mainline.SERIES[1:12]} == {"2022-07-06"}
    assert "info->domain" in SERIES[10].fate
    merged = {info.commit for info in mainline.SERIES}
    assert {info.commit for info in SERIES if info.commit} <= merged


def test_lockdep_has_two_texts_for_the_second_rule_of_interrupts() -> None:
    """§1.19: a path from a lock of interrupts to one that they may meet is told in two ways: by who adds the
    order that closes it, or by who uses a lock in a way that makes it bad.
    """
    kinds = []
    for order_first in (True, False):
        machine = Machine(checkers=("lockdep",))
        outer, inner = machine.spinlock("outer"), machine.spinlock("inner")

        async def order(outer: Any = outer, inner: Any = inner) -> None:
            async with outer.irqsave(), inner:
                pass

        async def inner_alone(inner: Any = inner) -> None:
            async with inner:
                pass

        async def handler(outer: Any = outer) -> None:
            async with outer:
                pass

        def interrupt(machine: Machine = machine, handler: Any = handler) -> None:
            machine.irq.line("irq", handler).fire()
            machine.advance(1_000_000)

        machine.run(inner_alone())
        if order_first:
            machine.run(order())
            interrupt()
        else:
            interrupt()
            machine.run(order())
        kinds += [finding.kind for finding in machine.findings]
    assert kinds == [
        "WARNING: possible irq lock inversion dependency detected",
        "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
    ]
    assert "*HARDIRQ-safe -> HARDIRQ-unsafe lock order* if the nesting is" in prose("08")


# -- tables --------------------------------------------------------------------


def test_leaves_are_put_in_with_the_cheaper_exchange_and_tables_with_the_full_one() -> None:
    """§1.20: leaf entries are written with `cmpxchg64_local`, entries for tables with `cmpxchg64`."""
    pc = Computer()
    domain = pc.domain_of("00:03.0")
    used: list[str] = []
    page = type(pc.dmar(domain).peek("pgd"))
    full, local = page.cmpxchg, page.cmpxchg_local

    def cmpxchg(self: Any, *args: Any) -> Any:
        used.append("full")
        return full(self, *args)

    def cmpxchg_local(self: Any, *args: Any) -> Any:
        used.append("local")
        return local(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "cmpxchg", cmpxchg)
        patch.setattr(page, "cmpxchg_local", cmpxchg_local)
        pc.map(domain, 0x1000, 0x5000000)
    assert used == ["full", "full", "full", "local"]
    assert "puts a missing table in with an atomic compare-and-exchange" in prose("01")


def test_an_address_in_an_entry_runs_to_the_width_of_the_machine() -> None:
    """§1.20: address bits of an entry are HAW-1:12, not 47:12: a page above the width is refused for
    reserved bits, one below it is reached.
    """
    for width, reached in ((39, False), (46, True)):
        pc = Computer(units=Capabilities(HAW=width))
        pc.map(pc.domain_of("00:03.0"), 0x1000, 1 << 45)
        assert (getattr(pc.dma("00:03.0", 0x1000), "address", None) == 1 << 45) is reached
    assert "3.4 (root and context tables) and 3.7 (seco" in prose("00")


def test_a_unit_with_both_kinds_of_table_gives_the_dma_api_first_level_ones() -> None:
    """§1.20: with both, Linux gives DMA-API domains first-level tables, users' domains second-level ones."""
    pc = Computer(units=BOTH_STAGES, scalable=True)
    assert pc.dmar(pc.domain_of("00:03.0")).use_first_level
    assert not pc.dmar(pc.new_domain("unmanaged")).use_first_level
    assert "gives the domains of its DMA API first-level tables" in prose("07")


def test_a_complete_removal_frees_the_record_of_the_unit() -> None:
    """§1.20: in Linux `struct intel_iommu` goes too; the lesson says that ours stays."""
    assert "In Linux a complete removal frees the unit's record too, `struct intel_iommu` itself" in prose(
        "03"
    )


# -- the order of teaching -----------------------------------------------------


@pytest.mark.parametrize(
    ("number", "printed", "explained"),
    [
        ("00", "DID 4", "the *domain id* (DID)"),
        ("01", "group->mutex", "Devices that the IOMMU cannot tell apart form a **group**"),
        ("01", "KCSAN", "(The kernel's own detector"),
    ],
)
def test_a_name_is_explained_before_a_cell_prints_it(number: str, printed: str, explained: str) -> None:
    """§1.21: DID, `group->mutex` and KCSAN are explained where they first show."""
    seen = found = -1
    for at, cell in enumerate(cells(number)):
        source = "".join(cell["source"])
        shown = "".join(
            "".join(o.get("data", {}).get("text/plain", o.get("text", ""))) for o in cell.get("outputs", [])
        )
        if explained in source and found < 0:
            found = at
        if printed in shown and seen < 0:
            seen = at
    assert found >= 0
    under = [at for at, cell in enumerate(cells(number)) if cell["cell_type"] == "markdown" and at > seen]
    assert seen < 0 or found <= under[0]  # at the latest in the words right under the cell


def test_lockdep_is_new_once() -> None:
    """§1.21: the word is bold once, where it is first used."""
    assert [n for n in range(15) if "**lockdep**" in prose(f"{n:02}")] == [4]
