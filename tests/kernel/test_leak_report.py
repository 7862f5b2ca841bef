"""What is left over, and where it came from; what lies outside of pages and objects."""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.kernel.checkers.findings import Oops
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.objects import KObject, shared


class device(KObject):
    """A driver's object."""

    domain = shared()


def rows(machine: Machine) -> list[tuple[str, str, int, str]]:
    return [(leak.kind, leak.name, leak.count, leak.site.function) for leak in machine.check.leaks()]


def test_everything_that_nobody_gave_back_is_named_with_its_place() -> None:
    machine = Machine(costs=IDEAL)
    ref = machine.refcount("dev->kref")

    async def forgets() -> None:
        for _ in range(3):
            await machine.alloc_page(name="page table")
        await machine.kmalloc(device, "00:02.0")
        await ref.get()
        await ref.get()

    machine.run(forgets())
    assert rows(machine) == [
        ("page", "page table", 3, "forgets"),
        ("object", "00:02.0", 1, "forgets"),
        ("reference", "dev->kref", 2, "forgets"),
    ]
    found = machine.findings.of("kmemleak")
    assert [finding.where for finding in found] == [
        "page table",
        "00:02.0",
        "dev->kref",
    ]
    assert found[0].kind == "kmemleak: unreferenced page"


def test_what_was_given_back_or_there_before_is_no_leak() -> None:
    machine = Machine(costs=IDEAL)
    ref, lst = machine.refcount("kref"), machine.list_head("list")

    async def boots() -> Any:
        obj = await machine.kmalloc(device)
        await lst.add(obj)
        await ref.get()
        return await machine.alloc_page(name="root table")

    machine.run(boots())
    assert len(rows(machine)) == 3
    machine.check.baseline()
    assert rows(machine) == []

    async def tidy() -> None:
        page = await machine.alloc_page(GFP_ATOMIC)
        obj = await machine.kmalloc(device)
        assert page is not None
        assert obj is not None
        await lst.add_tail(obj)
        await ref.get()
        await ref.put()
        await lst.del_(obj)
        await machine.kfree(obj)
        await machine.free_page(page)

    machine.run(tidy())
    assert rows(machine) == []
    machine.run(boots())
    assert [row[0] for row in rows(machine)] == ["page", "object", "reference"]


def test_without_the_checker_leaks_are_listed_and_not_reported() -> None:
    machine = Machine(costs=IDEAL, checkers=())

    async def forgets() -> None:
        await machine.alloc_page()

    machine.run(forgets())
    assert rows(machine) == [("page", "page", 1, "forgets")]
    assert not machine.findings


@pytest.mark.parametrize("index", [-1, 512, 10**9])
@pytest.mark.parametrize("write", [False, True])
def test_a_word_outside_of_its_page_is_refused(index: int, write: bool) -> None:
    machine = Machine(costs=IDEAL)

    async def thread() -> None:
        page = await machine.alloc_page(name="root table")
        assert page is not None
        await (page.store(index, 5) if write else page.load(index))

    what = "write" if write else "read"
    with pytest.raises(
        Oops, match=f"KASAN: out-of-bounds: {what} of word {index} of <page 0x1000 root table>"
    ):
        machine.run(thread())


def test_a_field_that_is_not_there_is_refused() -> None:
    machine = Machine(costs=IDEAL)

    async def follows_a_wrong_pointer() -> None:
        obj = await machine.kmalloc(device, "00:02.0")
        assert obj is not None
        await obj.read("pgd")

    with pytest.raises(AttributeError, match="device has no shared field 'pgd'; it has domain"):
        machine.run(follows_a_wrong_pointer())


def test_every_finding_says_how_to_get_it_again() -> None:
    machine = Machine(2, seed=9, sockets=2, costs=IDEAL.but(lock=5))

    async def thread() -> None:
        machine.spinlock("lock").assert_held()
        machine.spinlock("lock").assert_spin_locked()
        await machine.rcu.read_unlock()

    machine.run(thread())
    assert len(machine.findings) == 3
    assert {finding.replay for finding in machine.findings} == {machine.check.replay}
    assert "seed=9, sockets=2" in machine.check.replay
