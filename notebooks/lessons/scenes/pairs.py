"""Scenarios of any two calls on one domain at the same time, with the contract checker on.

    scene = side_by_side(Op("map", 0x0), Op("unmap", 0x0, BLOCK))
    found = explore(scene.on(driver))
    found.outcomes, found.of("contract")

An outcome is what each call returned, and where the addresses lead in the end. With `lock` both callers hold
one mutex around their calls, as the rule asks of them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vtdkit.iommu.contract import Contract
from vtdkit.iommu.core import IommuCore, IommuDomain
from vtdkit.iommu.dirty import intel_iommu_read_and_clear_dirty
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iommufd import io_pagetable
from vtdkit.iommu.pinning import mm_struct
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, Scenario, computer

from .resize import demote, promote
from .tables import reached

PAGE, BLOCK = 4096, 512 * 4096
ONE, LARGE = 0x5000000, 0x4000_0000
DEVICE = "00:03.0"


@dataclass(frozen=True, slots=True)
class Op:
    """One call: "map", "unmap", "look up", "free", "dirty read", "demote" or "promote", on `size` bytes from
    `iova` on; a map leads `to` memory. And "dump": somebody reads debugfs, which is no call of the interface.
    """

    what: str
    iova: int = 0
    size: int = PAGE
    to: int = ONE

    def __repr__(self) -> str:
        return f"{self.what} {self.iova:#x}" + (f" ({self.size:#x} bytes)" if self.size != PAGE else "")


class Calls:
    """The calls by name, all with the range in the same place, and under the eyes of a contract."""

    def __init__(self, core: IommuCore) -> None:
        self.core = core
        self.contract = Contract(core)
        for name, writes in (("dirty_read", False), ("demote", True), ("promote", True)):
            self.contract.watch(
                self, name, name.replace("_", " "), lambda domain, iova, size: (iova, size), writes
            )

    async def dirty_read(self, domain: IommuDomain, iova: int, size: int) -> int:
        """How many pages were found dirty."""
        return len(await intel_iommu_read_and_clear_dirty(self.core, domain, iova, size))

    async def demote(self, domain: IommuDomain, iova: int, size: int) -> int:
        """See `resize`."""
        return await demote(self.core, domain, iova)

    async def promote(self, domain: IommuDomain, iova: int, size: int) -> int:
        """See `resize`."""
        return await promote(self.core, domain, iova)

    def do(self, domain: IommuDomain, op: Op) -> Coroutine[Any, Any, Any]:
        """Begin one. Raises ValueError for a call there is not."""
        core, where = self.core, (domain, op.iova, op.size)
        ways: dict[str, Any] = {
            "map": lambda: core.iommu_map(domain, op.iova, op.to, op.size, 3),
            "unmap": lambda: core.iommu_unmap(*where),
            "look up": lambda: core.iommu_iova_to_phys(domain, op.iova),
            "free": lambda: core.iommu_domain_free(domain),
            "dirty read": lambda: self.dirty_read(*where),
            "demote": lambda: self.demote(*where),
            "promote": lambda: self.promote(*where),
            "dump": lambda: core.driver.domain_translation_struct_show(),  # type: ignore[attr-defined]
        }
        if op.what not in ways:
            raise ValueError(f"no call {op.what!r}; there are {', '.join(ways)}")
        return ways[op.what]()  # type: ignore[no-any-return]


def pair(
    driver: type[IntelIommu],
    machine: Machine,
    ops: Sequence[Op],
    before: Sequence[Op] = (),
    lock: bool = False,
    rcu: bool = False,
) -> Observer:
    """The calls in `ops`, each on a CPU of its own, after those in `before`. `rcu`: look-ups and dirty reads
    are inside a read-side section.
    """
    pc = computer(driver, machine, devices=[DEVICE])
    free = any(op.what == "free" for op in ops)
    domain = pc.new_domain(attach=None if free else DEVICE)
    calls = Calls(pc.core)
    for op in before:
        pc.run(_alone(calls, domain, op))
    mutex = machine.mutex("caller's lock")

    async def one(op: Op) -> Any:
        if rcu and op.what in ("look up", "dirty read"):
            async with machine.rcu.read():
                return await calls.do(domain, op)
        if not lock:  # a writer, where readers are in a read-side section
            return await calls.do(domain, op)
        async with mutex:
            return await calls.do(domain, op)

    threads = [
        machine.spawn(one(op) if lock or rcu else calls.do(domain, op), cpu=cpu, name=repr(op))
        for cpu, op in enumerate(ops)
    ]
    pages = sorted({op.iova for op in ops if op.what not in ("free", "demote", "promote", "dump")})
    return lambda: (
        *(thread.result for thread in threads),
        *(() if free else reached(pc, domain, *pages)),
    )


async def _alone(calls: Calls, domain: IommuDomain, op: Op) -> None:
    await calls.do(domain, op)


def side_by_side(*ops: Op, before: Sequence[Op] = (), lock: bool = False, rcu: bool = False) -> Scenario:
    """Calls at the same time, as a scenario."""
    build = partial(pair, ops=ops, before=before, lock=lock, rcu=rcu)
    about = " beside ".join(map(repr, ops)) + (", each under the callers' lock" if lock else "")
    return Scenario("side-by-side", about, build, cpus=max(len(ops), 2))


class Unlocked(io_pagetable):
    """iommufd as it must not be: dirty bits are read without `iova_rwsem`."""

    async def iopt_read_and_clear_dirty_data(
        self, domain: IommuDomain, iova: int, length: int
    ) -> list[int] | int:
        """With nothing that keeps the area there."""
        return await self.read_and_clear_dirty(domain, iova, length)


def ioas(driver: type[IntelIommu], machine: Machine, table: type[io_pagetable] = io_pagetable) -> Observer:
    """iommufd: an area is unmapped, its dirty bits are read, an area is mapped in its place, all at once."""
    pc = computer(driver, machine, "second level", devices=[DEVICE])
    domain = pc.new_domain(attach=DEVICE)
    areas, mm = table(pc.core), mm_struct(machine, [(0, 0x80000, 16)])
    watch = Contract(pc.core).watch
    watch(areas, "read_and_clear_dirty", "dirty read", lambda domain, iova, size: (iova, size), False)
    pc.run(areas.iopt_table_add_domain(domain))
    pc.run(areas.iopt_map_user_pages(mm, 0, PAGE, BLOCK))
    threads = [
        machine.spawn(work, cpu=cpu, name=name)
        for cpu, (name, work) in enumerate(
            {
                "unmap": areas.iopt_unmap_iova(BLOCK, PAGE),
                "dirty": areas.iopt_read_and_clear_dirty_data(domain, BLOCK, PAGE),
                "map": areas.iopt_map_user_pages(mm, PAGE, PAGE, BLOCK),
            }.items()
        )
    ]
    return lambda: tuple(str(thread.result) for thread in threads)
