"""What it costs to read tables while others free them, and what it would have cost.

    stale       how much of a dump is out of date when it is printed
    exposed     how long a dump holds the address of a table that an unmap may free
    caught      of the contents a freed page may have, which entries look right
    held_back   map and unmap on several CPUs beside a dump: time, and pages that wait for a grace period

Virtual time; the model charges a table's callback nothing, where Linux spends some tens of nanoseconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from lessons.variants.readers import looks_bad
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import dma_pte_present
from vtdkit.kernel.machine.costs import NEAR
from vtdkit.kernel.memory.pages import POISON, Page
from vtdkit.lab.computer import Computer
from vtdkit.vtd.walk.rules import Rules

PAGE, BLOCK = 4096, 1 << 21
NO_RACES = ("kasan",)


def exposed(driver: type[IntelIommu], leaves: int = 512, held_up: int = 0) -> int:
    """Nanoseconds from reading the entry that leads to a last-level table to the last read of that table.

    `leaves` pages are mapped in it; `held_up`: for how long the reader is kept from going on in between.
    """
    times: list[int] = []

    class Timed(driver):  # type: ignore[misc, valid-type]
        async def pgtable_walk_level(self, m: Any, table: Any, level: int, *rest: Any) -> None:
            begun = self.machine.now
            if level == 1:
                await self.machine.work(held_up)
            await super().pgtable_walk_level(m, table, level, *rest)
            if level == 1:
                times.append(self.machine.now - begun)

    pc = Computer(driver=Timed, devices=["00:03.0"], checkers=NO_RACES)
    pc.map(pc.domain_of("00:03.0"), 0, 0x5001000, leaves * PAGE)
    pc.run(pc.driver.domain_translation_struct_show())
    return max(times)


def stale(driver: type[IntelIommu], at: int = 10_000) -> tuple[int, bool]:
    """A full table is unmapped `at` ns after a dump has begun: how many of its lines are printed when the
    unmap is over already, and was a freed table read?
    """
    over, late = [False], [0]

    class Seen(driver):  # type: ignore[misc, valid-type]
        async def dump_domain(self, m: Any, *rest: Any) -> None:
            printf = m.printf

            async def counted(line: str = "") -> None:
                late[0] += over[0] and "|" in line and not m.overflow
                await printf(line)

            m.printf = counted
            await super().dump_domain(m, *rest)
            m.printf = printf

    pc = Computer(driver=Seen, devices=["00:03.0"], cpus=2, checkers=NO_RACES)
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0, 0x5001000, BLOCK)

    async def unmap() -> None:
        await pc.machine.work(at)
        await pc.core.iommu_unmap(domain, 0, BLOCK)
        over[0] = True

    pc.machine.spawn(pc.driver.domain_translation_struct_show(), cpu=0)
    pc.machine.spawn(unmap(), cpu=1)
    pc.machine.simulate()
    return late[0], any("use-after-free" in finding.kind for finding in pc.machine.findings)


def contents(seed: int = 0) -> dict[str, list[int]]:
    """What the next owner may write to a page that was a table: 512 words each."""
    rng = random.Random(seed)
    frames = [rng.randrange(0x1000, 0x80_0000) << 12 for _ in range(512)]
    text = ("The page was freed, and somebody else has it now. " * 100).encode()
    return {
        "poison of a debug kernel": [POISON] * 512,
        "random bytes": [rng.getrandbits(64) for _ in range(512)],
        "text": [int.from_bytes(text[at : at + 8], "little") for at in range(0, 4096, 8)],
        "pointers into the kernel": [0xFFFF_8880_0000_0000 | rng.randrange(1 << 32) & ~7 for _ in range(512)],
        "small numbers": list(range(512)),
        "a table of a process": [frame | 0x8000_0000_0000_0067 for frame in frames],
        "a table of another domain": [frame | 3 for frame in frames],
    }


def caught(rules: Rules, words: list[int], level: int = 1) -> tuple[int, int]:
    """How many of these words look present, and how many of those the hardware would refuse."""
    present = [word for word in words if dma_pte_present(word)]
    return len(present), sum(looks_bad(rules, word, level) for word in present)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One run.

    `ns`: a map with its unmap, on average; `waiting`: tables unhooked and not yet free, after each unmap;
    `callbacks`: of RCU; `printed`: how long the dump took (ns).
    """

    ns: int
    waiting: tuple[int, ...]
    callbacks: int
    printed: int

    @property
    def peak(self) -> int:
        """The most tables that waited at once."""
        return max(self.waiting)

    def __repr__(self) -> str:
        return f"<{self.ns} ns a pair; at most {self.peak} tables wait, {self.callbacks} callbacks>"


def held_back(
    driver: type[IntelIommu],
    *,
    cpus: int = 4,
    pairs: int = 100,
    leaves: int = 512,
    tables: int = 1,
    grace_period: int = NEAR.grace_period,
) -> HeldBack:
    """CPUs map and unmap, each in a range of its own; each unmap takes out `tables` tables (0: just a page).
    One more reads the debug file, which has `leaves` pages to print.
    """
    pending, waiting, took = [0], list[int](), list[int]()

    class Counted(driver):  # type: ignore[misc, valid-type]
        async def put_pages_list(self, freelist: list[Page]) -> None:
            pending[0] += len(freelist)
            await super().put_pages_list(freelist)

        async def free_pgtable_page(self, page: Page) -> None:
            await super().free_pgtable_page(page)
            pending[0] -= 1

    costs = NEAR.but(grace_period=grace_period)
    pc = Computer(driver=Counted, devices=["00:03.0"], cpus=cpus + 1, checkers=NO_RACES, costs=costs)
    machine, domain = pc.machine, pc.domain_of("00:03.0")
    pc.map(domain, 1 << 37, 0x5001000, leaves * PAGE)
    for cpu in range(cpus):
        pc.map(domain, cpu << 30, 0x5001000)  # the upper tables stay

    async def user(cpu: int) -> None:
        first, begun = (cpu << 30) + (BLOCK if tables else PAGE), machine.now
        for _ in range(pairs):
            for table in range(max(tables, 1)):
                await pc.core.iommu_map(domain, first + table * BLOCK, 0x5001000, PAGE, 3)
            await pc.core.iommu_unmap(domain, first, tables * BLOCK or PAGE)
            waiting.append(pending[0])
        took.append(machine.now - begun)

    async def cat() -> int:
        begun = machine.now
        await pc.driver.domain_translation_struct_show()
        return int(machine.now - begun)

    for cpu in range(cpus):
        machine.spawn(user(cpu), cpu=cpu)
    reader, callbacks = machine.spawn(cat(), cpu=cpus), machine.rcu.begun
    machine.simulate()
    return HeldBack(
        sum(took) // (cpus * pairs),
        tuple(waiting),
        machine.rcu.begun - callbacks,
        int(reader.result),
    )
