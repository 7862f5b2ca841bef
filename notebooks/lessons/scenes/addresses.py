"""Scenarios of the DMA API's addresses: a CPU's cache, and an interrupt on that CPU.

These are questions of the debate; they are not run for `findings`.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.iova import iova_domain
from vtdkit.iommu.iova_rcache import iova_rcache
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, Scenario

LIMIT = (1 << 20) - 1


def _as_it_is(cache: Any) -> None:
    pass


def _no_lock(cache: Any) -> None:
    """Nothing: each CPU has a cache of its own, and that is all."""
    cache.lock = SimpleNamespace(irqsave=nullcontext)


def _interrupts_on(cache: Any) -> None:
    """The lock, with interrupts as they are."""
    cache.lock = SimpleNamespace(irqsave=partial(lambda lock: lock, cache.lock))


def cache_irq(driver: type[IntelIommu], machine: Machine, guard: Any = _as_it_is) -> Observer:
    """A thread wants an address, and so does an interrupt on its CPU; both magazines are empty, two full
    ones are in the depot. The driver has no part in it.
    """
    space = iova_domain(machine, mag_size=2)
    machine.run(space.iova_domain_init_rcaches())

    async def fill() -> None:
        taken = [await space.alloc_iova(1, LIMIT) for _ in range(9)]
        for range_ in taken:
            assert range_ is not None
            await space.free_iova_fast(range_.pfn_lo, 1)

    machine.run(fill(), cpu=1)
    single: iova_rcache = space.rcaches.of_order[0]
    guard(single.of_cpu[0])

    async def completion() -> None:
        given.append(await space.alloc_iova_fast(1, LIMIT))

    async def transfer() -> None:
        machine.irq.interrupt(machine.cpus[0], "nvme_irq", completion)

    given: list[int] = []
    thread = machine.spawn(space.alloc_iova_fast(1, LIMIT), cpu=0, name="map")
    machine.spawn(transfer(), cpu=1, name="device")

    def end() -> str:
        held = space.cached() + given + [thread.result]
        return "all addresses are there once" if len(held) == len(set(held)) == 9 else "an address is lost"

    return end


SCENARIOS = (
    Scenario(
        "cache-irq", "an interrupt wants an address while a thread on its CPU takes one", cache_irq, cpus=2
    ),
    Scenario(
        "cache-irq-unlocked",
        "the same, and a CPU's cache has no lock",
        partial(cache_irq, guard=_no_lock),
        cpus=2,
    ),
    Scenario(
        "cache-irq-on",
        "the same, and the cache's lock leaves interrupts on",
        partial(cache_irq, guard=_interrupts_on),
        cpus=2,
    ),
)
