"""Who waits while dirty pages are looked for: maps and unmaps of one address space beside a sweep of it.

A program has given a device its memory through iommufd, in areas. One CPU sweeps a large piece for dirty
pages; meanwhile requests come in, one after the other, each on a CPU of its own: map 16 pages elsewhere in
the address space, unmap them again. Measured is how long each call took::

    >>> beside(sweep="iova_rwsem").longest > 50 * beside(sweep="RCU").longest
    True

| `sweep` | what keeps the tables from being freed under the sweep |
|---|---|
| "iova_rwsem" | the semaphore of the address space, held for reading all the time: iommufd of Linux 6.7 |
| "area by area" | the same, taken anew for each area, which does not let others in by itself: a thread that
runs takes the semaphore again before a sleeping one is awake; `pause` gives it time |
| "RCU" | a read-side section; tables are freed after a grace period. Jason Gunthorpe's wish, never made |
| "none" | there is no sweep |

Guards: none here; each measurement is a computer of its own. The same arguments give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from lessons.variants.readers import free_after_grace_period
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import PAGE_SIZE, mm_struct
from vtdkit.lab.computer import Computer
from vtdkit.series.catalogue import driver_at

SWEEPS = ("iova_rwsem", "area by area", "RCU", "none")
MIB, SMALL = 1 << 20, 16  # pages of what is mapped meanwhile
FIRST, ELSEWHERE = 1 << 30, 1 << 40  # where the areas begin, and where the others map
DISK = "00:03.0"


@dataclass(frozen=True, slots=True, repr=False)
class Latencies:
    """How long each map and unmap took beside a sweep, in order of arrival, and the sweep itself; ns."""

    sweep: str
    took: int
    maps: tuple[int, ...]
    unmaps: tuple[int, ...]

    @property
    def calls(self) -> list[int]:
        """All calls, the shortest first."""
        return sorted(self.maps + self.unmaps)

    @property
    def longest(self) -> int:
        return self.calls[-1]

    @property
    def median(self) -> int:
        return self.calls[len(self.calls) // 2]

    def __repr__(self) -> str:
        return (
            f"<{self.sweep}: sweep {self.took:,} ns; {len(self.calls)} calls, median {self.median:,} ns, "
            f"longest {self.longest:,} ns>"
        )


@cache
def beside(
    sweep: str = "iova_rwsem", mib: int = 8, areas: int = 8, requests: int = 24, pause: int = 0
) -> Latencies:
    """Sweep `mib` MiB that were mapped in so many areas, and let `requests` come in meanwhile, evenly. Who
    goes area by area is away for `pause` ns after each.

    Raises ValueError for a `sweep` there is not.
    """
    if sweep not in SWEEPS:
        raise ValueError(f"a sweep is kept safe by {', '.join(SWEEPS)}; there is no {sweep!r}")
    driver: Any = driver_at(0)
    pc = Computer(
        driver=free_after_grace_period(driver) if sweep == "RCU" else driver,
        cpus=1 + requests,
        devices=[DISK],
        checkers=(),
        record=False,
    )
    machine, table, size = pc.machine, io_pagetable(pc.core), mib * MIB // areas
    # no two pages of user memory are neighbours: every page has an entry of its own
    memory = [(page * PAGE_SIZE, 2 * page + 1, 1) for page in range(1, 1 + max(size // PAGE_SIZE, SMALL))]
    mm, domain = mm_struct(machine, memory), pc.new_domain(attach=DISK)
    pc.run(table.iopt_table_add_domain(domain))
    for number in range(areas):
        pc.run(table.iopt_map_user_pages(mm, PAGE_SIZE, size, FIRST + number * size))
    spent: list[tuple[int, int]] = []

    async def look() -> int:
        began = machine.now
        if sweep == "RCU":
            async with machine.rcu.read():
                await intel_iommu_read_and_clear_dirty(pc.core, domain, FIRST, areas * size)
        else:
            part = size if sweep == "area by area" else areas * size
            for at in range(FIRST, FIRST + areas * size, part):
                await table.iopt_read_and_clear_dirty_data(domain, at, part)
                await machine.work(pause)
        return int(machine.now - began)

    async def request(number: int, after: int) -> None:
        await machine.work(after)
        began = machine.now
        iova = ELSEWHERE + number * 2 * MIB
        await table.iopt_map_user_pages(mm, PAGE_SIZE, SMALL * PAGE_SIZE, iova)
        mapped = machine.now
        await table.iopt_unmap_iova(iova, SMALL * PAGE_SIZE)
        spent.append((mapped - began, machine.now - mapped))

    sweeping = machine.spawn(look(), cpu=0, name="sweep") if sweep != "none" else None
    pages = areas * size // PAGE_SIZE
    for number in range(requests):
        after = pages * 4 * machine.costs.table_word * (number + 1) // requests
        machine.spawn(request(number, after), cpu=1 + number, name=f"request {number}")
    machine.simulate()
    name = f"{sweep}, pauses of {pause:,} ns" if pause else sweep
    return Latencies(name, sweeping.result if sweeping else 0, *zip(*spent, strict=True))
