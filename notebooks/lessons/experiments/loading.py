"""How long it takes to map a guest's memory for a device, with one CPU and with many, and what they wait for.

    >>> load("padata", threads=8) vs load("vfio")

Three ways: `vfio`, type 1 as in every release, each thread with a request of its own for its part of the
memory; `padata`, one request that VFIO shares out among helpers (the RFC of January 2022); `iommufd`, each
thread with an area of its own. The memory is either there already, or whoever pins it first has it cleared
(`fresh`).

Guards: none here; each load is a computer of its own. The same arguments give the same numbers.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from vtdkit.iommu.contract import Contract
from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import FRESH, PAGE_SIZE, mm_struct
from vtdkit.iommu.vfio import VfioType1
from vtdkit.iommu.vfio_padata import LOCKED_VM_CACHE_PAGES, VfioPadata
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.lab.computer import Computer
from vtdkit.lab.scaling import LockWait, waits

MIB = 1 << 20
WAYS = ("vfio", "padata", "iommufd")
DEVICE = "00:03.0"
BASE = 1 << 32  # where the guest's memory is for the device


@dataclass(frozen=True, slots=True)
class Loading:
    """What came of it.

    - `size` in bytes, `duration` in virtual ns; `share` of all CPU time that was spent waiting, 0 to 1
    - `locks` waited for, the longest first
    - `tables` pages of page tables that it took
    - `wrong` pieces, of up to 64 looked at, that are not mapped as they should be
    - `broken` findings of the contract checker (None if it was off)
    """

    way: str
    threads: int
    size: int
    duration: int
    share: float
    locks: tuple[LockWait, ...]
    tables: int
    wrong: int
    broken: int | None

    @property
    def bottleneck(self) -> str:
        """The lock waited for longest, empty if hardly ever."""
        return self.locks[0].lock if self.locks and self.share >= 0.01 else ""

    def __repr__(self) -> str:
        waits = f"CPUs wait for {self.bottleneck} {self.share:.0%} of the time"
        return (
            f"{self.way}, {self.threads} threads: {self.duration / 1e6:.1f} ms; "
            f"{waits if self.bottleneck else 'no waiting'}; tables: {self.tables}"
        )


def load(
    way: str,
    threads: int = 1,
    *,
    size: int = 1024 * MIB,
    piece: int = 2 * MIB,
    fresh: int = FRESH,
    chunk: int = 64 * MIB,
    align: int = 2 * MIB,
    lock_cache: int = LOCKED_VM_CACHE_PAGES,
    driver: type[IntelIommu] = IntelIommu,
    contract: bool = False,
    **options: Any,
) -> Loading:
    """Map `size` bytes that lie in memory in pieces of `piece` bytes, with so many threads, one on each CPU.

    `chunk` and `align` say how padata cuts the work up, `lock_cache` how many pages it charges at once.
    `options` go to the machine. Raises ValueError for a way there is not, or for sizes that make no sense.
    """
    if (
        way not in WAYS
        or threads < 1
        or piece % PAGE_SIZE
        or size % (piece if way == "padata" else piece * threads)
    ):
        raise ValueError(
            f"{', '.join(WAYS)}, 1 thread or more, whole pieces for each; not {way!r}, {threads}, "
            f"{size} bytes in pieces of {piece}"
        )
    pc = Computer(
        driver=driver, devices=[DEVICE], cpus=threads, **{"checkers": (), "record": False, **options}
    )
    watch = Contract(pc.core) if contract else None
    pages = piece // PAGE_SIZE
    extents = [(at, (1 << 20) + at // piece * 2 * pages, pages) for at in range(0, size, piece)]
    mm = mm_struct(pc.machine, extents, fresh=fresh)
    work, domain = _work(pc, mm, way, threads, size, VfioPadata(pc.core, threads, chunk, lock_cache, align))
    before, began = len(pc.machine.pages), pc.machine.now
    for cpu, part in enumerate(work):
        pc.machine.spawn(_checked(part), cpu, f"loader {cpu}")
    pc.machine.simulate()
    duration = pc.machine.now - began
    tables = len(pc.machine.pages) - before
    locks, waited = waits(pc)
    looked_at = extents[:: -(-len(extents) // 64)]
    found = [pc.run(pc.core.iommu_iova_to_phys(domain, BASE + at)) >> 12 for at, _, _ in looked_at]
    return Loading(
        way,
        threads,
        size,
        duration,
        waited / (duration * threads),
        locks,
        tables,
        sum(frame != pfn for frame, (_, pfn, _) in zip(found, looked_at, strict=True)),
        len(pc.machine.findings.of("contract")) if watch else None,
    )


Work = list[Coroutine[Any, Any, int]]


def _work(
    pc: Computer, mm: mm_struct, way: str, threads: int, size: int, padata: VfioPadata
) -> tuple[Work, IommuDomain]:
    """What each thread does, and the domain it fills."""
    part = size // threads
    if way == "iommufd":
        table, domain = io_pagetable(pc.core), pc.new_domain(attach=DEVICE)
        pc.run(table.iopt_table_add_domain(domain))
        maps: Work = [table.iopt_map_user_pages(mm, at, part, BASE + at) for at in range(0, size, part)]
        return maps, domain
    vfio = padata if way == "padata" else VfioType1(pc.core)
    container: Any = pc.run(vfio.vfio_iommu_type1_open())
    pc.run(vfio.vfio_iommu_type1_attach_group(container, pc.devices[DEVICE].peek("group")))
    part = size if way == "padata" else part
    work = [vfio.vfio_dma_do_map(container, BASE + at, at, part, mm) for at in range(0, size, part)]
    return work, container.domain.domain


async def _checked(work: Coroutine[Any, Any, int]) -> None:
    """Mapping is not expected to fail."""
    error = await work
    if error < 0:
        raise KernelBug(f"mapping failed with {error}")
