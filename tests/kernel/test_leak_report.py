"""What is left over, and where it came from; what lies outside of pages and objects."""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.kernel.explored.exploring import explore, replay
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.kernel.memory.pages import POISON


class device(KObject):
    """A driver's object."""

    domain = shared()


def rows(machine: Machine) -> list[tuple[str, str, int, str]]:
    return [(leak.kind, leak.name, leak.count, leak.site.function) for leak in machine.check.leaks()]


def test_everything_that_nobody_gave_back_is_named_with_its_place() -> None:
    machine = Machine(costs=IDEAL)
    ref, lst = machine.refcount("dev->kref"), machine.list_head("devices")

    async def expire() -> None: ...

    timer = machine.irq.timer("flush timer", expire)

    async def forgets() -> None:
        for _ in range(3):
            await machine.alloc_page(name="page table")
        obj = await machine.kmalloc(device, "00:02.0")
        await lst.add(obj)
        await ref.get()
        await ref.get()
        timer.mod(1000)

    machine.run(forgets())
    assert rows(machine) == [
        ("page", "page table", 3, "forgets"),
        ("object", "00:02.0", 1, "forgets"),
        ("reference", "dev->kref", 2, "forgets"),
        ("list entry", "00:02.0", 1, "?"),
        ("timer", "flush timer", 1, "forgets"),
    ]
    found = machine.findings.of("kmemleak")
    assert [finding.where for finding in found] == [
        "page table",
        "00:02.0",
        "dev->kref",
        "00:02.0",
        "flush timer",
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
    assert len(rows(machine)) == 4
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
    assert [row[0] for row in rows(machine)] == ["page", "object", "reference", "list entry"]


def test_an_object_freed_while_it_is_on_a_list_is_said_to_be() -> None:
    machine = Machine(costs=IDEAL)
    lst = machine.list_head("devices")

    async def thread() -> None:
        obj = await machine.kmalloc(device, "00:03.0")
        await lst.add(obj)
        assert obj is not None
        await machine.kfree(obj)

    machine.run(thread())
    (leak,) = machine.check.leaks()
    assert str(leak) == f"1 x freed list entry 00:03.0, from {leak.site}"
    assert leak.site.function == "thread"


def test_without_the_checker_leaks_are_listed_and_not_reported() -> None:
    machine = Machine(costs=IDEAL, checkers=())

    async def forgets() -> None:
        await machine.alloc_page()

    machine.run(forgets())
    assert rows(machine) == [("page", "page", 1, "forgets")]
    assert not machine.findings


@pytest.mark.parametrize("index", [-1, 512, 10**9])
def test_a_word_outside_of_its_page_is_reported_and_is_somebody_elses(index: int) -> None:
    machine = Machine(costs=IDEAL)

    async def thread() -> int:
        page = await machine.alloc_page(name="root table")
        assert page is not None
        await page.store(index, 5)
        return await page.load(index)

    value = machine.run(thread())
    (found,) = {finding.kind for finding in machine.findings}
    assert found == "BUG: KASAN: out-of-bounds"
    assert machine.findings[0].where == "root table"
    assert machine.findings[0].functions == ("thread",)
    assert f"write of word {index} of page" in machine.findings[0].text
    assert value in (5, 0, POISON)


async def allocates(machine: Machine) -> Any:
    """A page and an object."""
    return await machine.alloc_page(name="t"), await machine.kmalloc(device, "00:02.0")


def one_word_too_far(machine: Machine) -> Any:
    page, _ = machine.run(allocates(machine))

    async def one() -> None:
        await page.store(512, 1)
        await page.load(-1)
        await page.cmpxchg(512, 0, 1)
        await page.xchg(513, 2)

    async def two() -> None:
        await page.store(3, 1)

    machine.spawn(one(), cpu=0, name="one")
    machine.spawn(two(), cpu=1, name="two")
    return lambda: (page.words[0], page.words[3])


def test_beyond_a_page_every_way_to_run_names_the_drivers_own_lines() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    one_word_too_far(machine)
    machine.simulate()
    found = explore(one_word_too_far)
    assert found.complete
    assert set(found.outcomes) == {(0, 1)}
    again = replay(one_word_too_far, found.findings[0].schedule)
    lines = {site.line for finding in machine.findings for site in finding.sites[:1]}
    assert len(lines) == 4
    for findings in (machine.findings, [each.finding for each in found.findings], again.outcome.findings):
        assert {repr(finding) for finding in findings} == {"BUG: KASAN: out-of-bounds: t [one, allocates]"}
        assert {finding.sites[0].line for finding in findings} == lines


def ask_for_a_wrong_field(machine: Machine, how: str) -> Any:
    _, obj = machine.run(allocates(machine))

    async def follows_a_wrong_pointer() -> None:
        if how == "plain":
            obj.pgd  # noqa: B018
        await (obj.read("pgd") if how == "read" else obj.write(pgd=1))

    machine.spawn(follows_a_wrong_pointer(), cpu=0)
    return lambda: None


@pytest.mark.parametrize("how", ["read", "write", "plain"])
def test_a_field_that_is_not_there_is_reported(how: str) -> None:
    machine = Machine(costs=IDEAL)
    ask_for_a_wrong_field(machine, how)
    with pytest.raises(
        AttributeError, match=r"'?device'? (has|object has) no (shared field|attribute) 'pgd'"
    ):
        machine.simulate()
    found = explore(lambda machine: ask_for_a_wrong_field(machine, how))
    for finding in (*machine.findings, *(each.finding for each in found.findings)):
        assert finding.kind == "BUG: KASAN: slab-out-of-bounds"
        assert finding.where == "00:02.0"
        assert finding.functions == ("follows_a_wrong_pointer", "allocates")
        assert finding.text.startswith("device has no shared field 'pgd', allocated at ")
    assert len(machine.findings) == len(found.findings) == 1


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
