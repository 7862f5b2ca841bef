"""What a thread has told others they may free: an access after that is no part of the step that told them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared


class Thing(KObject):
    """Something with two fields."""

    ready, value = shared(0), shared(0)


class Used:
    """A page and an object that one thread uses, and another frees as soon as it is told."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.lock, self.told = machine, machine.spinlock("lock"), machine.atomic("told")
        self.page: Any = machine.run(machine.alloc_page(name="page"))
        self.thing: Any = machine.run(machine.kmalloc(Thing, "thing"))
        self.line = machine.irq.line("line", self.free, cpu=0)

    async def free(self) -> None:
        """Free both, once told."""
        if await self.told.load() or await self.page.load(0) or await self.thing.read_once("ready"):
            await self.machine.free_page(self.page)
            await self.machine.kfree(self.thing)


async def write_then_write(used: Used) -> None:
    await used.page.store(0, 1)
    await used.page.store(1, 1)


async def write_then_read(used: Used) -> None:
    await used.page.store(0, 1)
    await used.page.load(1)


async def look_write_then_read(used: Used) -> None:
    await used.page.load(1)
    await used.page.xchg(0, 1)
    await used.page.load(2)


async def field_then_field(used: Used) -> None:
    await used.thing.write_once(ready=1)
    await used.thing.read_once("value")


async def field_then_plain_read(used: Used) -> None:
    await used.thing.write_once(ready=1)
    await used.thing.read("value")


async def unlock_then_plain_look(used: Used) -> None:
    async with used.lock:
        await used.told.store(1)
    used.thing.value  # noqa: B018


USES = write_then_write, write_then_read, look_write_then_read, field_then_field, field_then_plain_read


@pytest.mark.parametrize("use", [*USES, unlock_then_plain_look])
def test_who_is_told_may_free_what_is_used_next(use: Callable[[Used], Awaitable[None]]) -> None:
    def scenario(machine: Machine) -> Any:
        used = Used(machine)
        machine.spawn(use(used), cpu=0, name="user")  # type: ignore[arg-type]
        machine.spawn(used.free(), cpu=1, name="other")
        return lambda: used.page.freed is not None

    found = explore(scenario)
    assert found.complete
    assert set(found.outcomes) == {False, True}
    assert found.of("use-after-free")


def test_an_interrupt_that_was_kept_off_may_free_what_is_used_next() -> None:
    def scenario(machine: Machine) -> Any:
        used = Used(machine)

        async def user() -> None:
            flags = machine.irq.local_irq_save()
            await used.told.store(1)
            await used.page.load(1)
            await machine.irq.local_irq_restore(flags)
            await used.page.load(2)

        async def device() -> None:
            used.line.fire()

        machine.spawn(user(), cpu=0, name="user")
        machine.spawn(device(), cpu=1, name="device")
        return lambda: None

    assert explore(scenario).of("use-after-free")


def test_a_row_that_tells_nobody_is_one_step() -> None:
    """Freed in the middle of it, it could as well have been freed before it."""

    def scenario(machine: Machine) -> Any:
        used = Used(machine)

        async def user() -> None:
            for index in range(1, 100):
                await used.page.store(index, 1)
                await used.page.load(index)

        async def other() -> None:
            await machine.free_page(used.page)

        machine.spawn(user(), cpu=0, name="user")
        machine.spawn(other(), cpu=1, name="other")
        return lambda: None

    assert explore(scenario).executions == 2


def test_who_spins_on_a_word_of_a_page_that_is_freed_is_told() -> None:
    def scenario(machine: Machine) -> Any:
        page = machine.run(machine.alloc_page(name="page"))

        async def spins() -> None:
            await page.relax_until_written(3, 0)

        machine.spawn(spins(), cpu=0, name="spins")
        machine.spawn(machine.free_page(page), cpu=1, name="frees")
        return lambda: "went on"

    found = explore(scenario)
    assert set(found.outcomes) == {"went on"}
    assert [finding.kind for finding in found.of("use-after-free")] == ["BUG: KASAN: use-after-free"]
    machine = Machine(cpus=2)
    end = scenario(machine)
    machine.simulate()
    assert end() == "went on"
    assert [finding.kind for finding in machine.findings] == ["BUG: KASAN: use-after-free"]


def test_a_handler_that_comes_to_a_bad_end_leaves_its_cpu() -> None:
    def scenario(machine: Machine) -> Any:
        lock, x = machine.spinlock("lock"), machine.atomic("x")
        machine.check.bugs_end = True

        async def dies() -> None:
            lock.assert_spin_locked()

        async def raises() -> str:
            machine.irq.raise_softirq(machine.cpus[0], "dies", lambda: dies())
            await x.store(1)
            return "went on"

        task = machine.spawn(raises(), cpu=0, name="task")
        machine.spawn(x.load(), cpu=1, name="other")
        return lambda: task.result

    found = explore(scenario)
    assert (set(found.outcomes), found.of("deadlock")) == ({"went on"}, [])
    assert [finding.kind for finding in found.of("BUG")] == ["kernel BUG: assert_spin_locked"]
