"""Pages, table words, watched objects, lists, RCU, races: what the memory checkers see."""

from __future__ import annotations

import pytest

from vtdkit.kernel.locks.sync import Completion, PerCpuCounter, SeqCount, WaitQueue
from vtdkit.kernel.machine.costs import IDEAL, NEAR
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC, GFP_KERNEL
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.kernel.memory.pages import POISON


class Info(KObject):
    """A driver object for these tests. Guards: `domain` by whatever the test says."""

    domain = shared()
    count = shared(0)


def test_a_page_is_cleared_and_its_words_are_read_and_written_in_steps() -> None:
    machine = Machine()

    async def use() -> list[int]:
        page = await machine.alloc_page(name="table")
        assert page is not None
        seen = [await page.load(5)]
        await page.store(5, 7)
        seen += [await page.cmpxchg(5, 7, 9), await page.cmpxchg(5, 7, 1), await page.load(5)]
        seen += [
            int(await page.test_and_set_bit(5, 0)),
            int(await page.test_and_clear_bit(5, 63)),
            await page.xchg(5, 1 << 63),
        ]
        seen += [await page.load(5)]
        await machine.free_page(page)
        return seen

    assert machine.run(use()) == [0, 7, 9, 9, 1, 0, 9, 1 << 63]
    assert len(machine.pages) == 0
    assert not machine.findings


def test_reading_a_freed_page_gives_poison_and_a_report_with_both_places() -> None:
    machine = Machine()

    async def frees(page: object) -> None:
        await machine.free_page(page)  # type: ignore[arg-type]

    async def use() -> int:
        page = await machine.alloc_page(name="pt level 1")
        assert page is not None
        await frees(page)
        return await page.load(0)

    assert machine.run(use()) == POISON
    (finding,) = machine.findings
    assert finding.kind == "BUG: KASAN: use-after-free"
    assert finding.where == "pt level 1"
    assert finding.functions == ("use", "frees")


def test_freeing_twice_is_reported() -> None:
    machine = Machine()

    async def twice() -> None:
        page = await machine.alloc_page(name="p")
        assert page is not None
        await machine.free_page(page)
        await machine.free_page(page)
        info = await machine.kmalloc(Info)
        assert info is not None
        await machine.kfree(info)
        await machine.kfree(info)

    machine.run(twice())
    assert [f.kind for f in machine.findings] == ["BUG: KASAN: double-free"] * 2


def test_a_page_comes_from_the_node_asked_for() -> None:
    machine = Machine(cpus=4, sockets=2)

    async def get(node: int) -> int:
        page = await machine.alloc_page(node=node)
        assert page is not None
        return page.node

    assert [machine.run(get(node)) for node in (0, 1, -1, 1)] == [0, 1, 0, 1]


def test_memory_runs_out_and_every_allocation_can_be_made_to_fail() -> None:
    machine = Machine(pages=2)

    async def get() -> bool:
        return await machine.alloc_page() is not None

    assert [machine.run(get()) for _ in range(3)] == [True, True, False]
    machine = Machine()
    machine.pages.faults.nth = 2
    assert [machine.run(get()) for _ in range(3)] == [True, False, True]
    machine = Machine(seed=7)
    machine.pages.faults.probability = 0.5
    first = [machine.run(get()) for _ in range(20)]
    again = Machine(seed=7)
    again.pages.faults.probability = 0.5

    async def get_again() -> bool:
        return await again.alloc_page() is not None

    assert first == [again.run(get_again()) for _ in range(20)]
    assert 4 < sum(first) < 16


def test_gfp_kernel_under_a_spin_lock_is_reported_and_gfp_atomic_is_not() -> None:
    machine = Machine()
    lock = machine.spinlock("lock")

    async def get(gfp: object) -> None:
        async with lock:
            await machine.alloc_page(gfp)  # type: ignore[arg-type]

    machine.run(get(GFP_ATOMIC))
    assert not machine.findings
    machine.run(get(GFP_KERNEL))
    assert machine.findings.of("sleeping function")


def test_two_cpus_racing_for_a_word_one_cmpxchg_wins() -> None:
    machine = Machine(cpus=8, costs=NEAR)
    wins: list[int] = []

    async def thread(page: object) -> None:
        if await page.cmpxchg(0, 0, machine.cpu() + 1) == 0:  # type: ignore[attr-defined]
            wins.append(machine.cpu())

    async def setup() -> object:
        return await machine.alloc_page()

    page = machine.run(setup())
    for cpu in range(8):
        machine.spawn(thread(page), cpu=cpu)
    machine.simulate()
    assert len(wins) == 1


def test_relaxing_until_a_word_is_written_costs_no_lock_and_ends_with_the_write() -> None:
    machine = Machine(cpus=2, costs=IDEAL.but(line_near=50))
    log: list[int] = []

    async def waits(page: object) -> None:
        await page.relax_until_written(3, 0)  # type: ignore[attr-defined]
        log.append(machine.now)

    async def writes(page: object) -> None:
        await machine.work(700)
        await page.store(3, 1)  # type: ignore[attr-defined]

    async def setup() -> object:
        return await machine.alloc_page()

    page = machine.run(setup())
    machine.spawn(waits(page), cpu=0)
    machine.spawn(writes(page), cpu=1)
    machine.simulate()
    assert log == [800]  # 700 of work, one line to the writer, one back to the waiter


def test_a_plain_write_nobody_ordered_is_a_data_race() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    info = Info(machine, "info 00:03.0")

    async def writer() -> None:
        info.domain = "d"

    async def reader() -> None:
        await machine.work(10)
        assert info.domain == "d"

    machine.spawn(writer(), cpu=0, name="attach")
    machine.spawn(reader(), cpu=1, name="flush")
    machine.simulate()
    (finding,) = machine.findings
    assert finding.kind == "BUG: KCSAN: data-race"
    assert finding.where == "Info.domain"
    assert finding.functions == ("reader", "writer")


def test_a_lock_orders_and_so_do_marked_accesses_in_pairs() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    lock, info = machine.spinlock("lock"), Info(machine)

    async def locked() -> None:
        async with lock:
            info.count = info.count + 1
            await machine.work(5)

    async def marked() -> None:
        await info.write_once(domain=1)
        await info.read_once("domain")

    for cpu in range(2):
        machine.spawn(locked(), cpu=cpu)
        machine.spawn(marked(), cpu=cpu)
    machine.simulate()
    assert not machine.findings
    assert info.count == 2


def test_a_marked_write_still_races_with_a_plain_read() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    info = Info(machine)

    async def writer() -> None:
        await info.write_once(domain=1)

    async def reader() -> None:
        await machine.work(10)
        assert info.domain == 1

    machine.spawn(writer(), cpu=0)
    machine.spawn(reader(), cpu=1)
    machine.simulate()
    assert machine.findings.of("data-race")


def test_a_handler_does_not_race_with_a_stretch_with_interrupts_off() -> None:
    for off in (True, False):
        machine = Machine(costs=IDEAL)
        info = Info(machine)

        async def handler(info: Info = info) -> None:
            info.count = info.count + 1

        async def thread(machine: Machine = machine, info: Info = info, off: bool = off) -> None:
            flags = machine.irq.local_irq_save() if off else 0
            info.count = info.count + 1
            await machine.work(100)
            if off:
                await machine.irq.local_irq_restore(flags)
            await machine.work(100)

        machine.spawn(thread(), cpu=0)
        machine.irq.line("nic", handler).fire(50)
        machine.simulate()
        assert bool(machine.findings.of("data-race")) is not off


def test_use_of_a_freed_object_names_the_field_and_both_places() -> None:
    machine = Machine()

    async def use() -> None:
        info = await machine.kmalloc(Info, "info")
        assert info is not None
        await machine.kfree(info)
        info.domain = 3

    machine.run(use())
    (finding,) = machine.findings
    assert finding.kind == "BUG: KASAN: slab-use-after-free"
    assert "field domain" in finding.text


def test_a_list_keeps_order_and_notices_misuse() -> None:
    machine = Machine()
    devices = machine.list_head("domain->devices")
    infos = [Info(machine, f"info{i}") for i in range(3)]

    async def use() -> list[str]:
        await devices.add(infos[0])
        await devices.add(infos[1])
        await devices.add_tail(infos[2])
        order = [info.label for info in devices.entries()]
        await devices.del_(infos[0])
        assert not machine.findings
        await devices.del_(infos[0])
        await devices.add(infos[1])
        return order

    assert machine.run(use()) == ["info1", "info0", "info2"]
    assert [f.kind for f in machine.findings] == ["list_del corruption", "list_add double add"]


@pytest.mark.parametrize(("copy", "found"), [(False, ["list walk"]), (True, [])])
def test_who_deletes_what_the_walk_stands_on_walks_a_copy(copy: bool, found: list[str]) -> None:
    """`list_for_each_entry` reads the next pointer of the entry that has gone, also of the last one."""
    machine = Machine()
    devices = machine.list_head("domain->devices")
    info = Info(machine, "info")

    async def use() -> None:
        await devices.add(info)
        for each in list(devices.entries()) if copy else devices.entries():
            await devices.del_(each)

    machine.run(use())
    assert [f.kind for f in machine.findings] == found


def test_a_reader_inside_delays_a_grace_period_and_a_later_one_does_not() -> None:
    machine = Machine(cpus=3, costs=IDEAL.but(grace_period=10))
    log: list[tuple[int, str]] = []

    async def reader(start: int, length: int, name: str) -> None:
        await machine.work(start)
        async with machine.rcu.read():
            await machine.work(length)
        log.append((machine.now, name))

    async def updater() -> None:
        await machine.work(50)
        await machine.rcu.synchronize()
        log.append((machine.now, "grace period over"))

    machine.spawn(reader(0, 100, "early"), cpu=0)
    machine.spawn(reader(60, 200, "late"), cpu=1)
    machine.spawn(updater(), cpu=2)
    machine.simulate()
    assert log == [(100, "early"), (110, "grace period over"), (260, "late")]


def test_call_rcu_runs_in_softirq_after_the_readers_have_left() -> None:
    machine = Machine(cpus=2, costs=IDEAL.but(grace_period=10))
    log: list[tuple[int, str]] = []

    async def reader() -> None:
        async with machine.rcu.read():
            await machine.work(100)

    async def updater() -> None:
        page = await machine.alloc_page(name="table")
        assert page is not None
        await machine.work(5)

        async def callback() -> None:
            log.append((machine.now, machine.sched.current.kind))

        machine.rcu.call(callback)
        machine.rcu.free_page_rcu(page)

    machine.spawn(reader(), cpu=0)
    machine.spawn(updater(), cpu=1)
    machine.simulate()
    assert log == [(110, "softirq")]
    assert len(machine.pages) == 0


def test_rcu_rules_are_checked() -> None:
    machine = Machine()

    async def wrong() -> None:
        machine.rcu.dereference(1)
        async with machine.rcu.read():
            machine.rcu.dereference(1)
            machine.might_sleep()

    machine.run(wrong())
    assert [f.kind for f in machine.findings] == [
        "WARNING: suspicious RCU usage",
        "BUG: sleeping function called from invalid context",
    ]


def test_completions_wait_queues_and_counters() -> None:
    machine = Machine(cpus=3, costs=NEAR)
    queue, count = machine.make(WaitQueue, "wq"), machine.atomic("count")
    ref, total = machine.refcount("dev->kref"), machine.make(PerCpuCounter, "total", batch=4)
    log: list[int] = []

    async def waiter() -> None:
        await queue.wait_event(lambda: count.value >= 2)
        log.append(count.value)

    async def worker() -> None:
        await machine.work(100)
        await count.add_return(1)
        await queue.wake_up()
        for _ in range(6):
            await total.add(1)
        await ref.get()

    machine.spawn(waiter(), cpu=0)
    machine.spawn(worker(), cpu=1)
    machine.spawn(worker(), cpu=2)
    machine.simulate()
    assert log == [2]
    assert total.sum() == 12
    assert total.read() == 8
    assert ref.value == 3
    assert not machine.findings


def test_a_reference_taken_on_nothing_is_reported() -> None:
    machine = Machine()
    ref = machine.refcount("dev->kref")

    async def wrong() -> None:
        assert await ref.put()
        await ref.get()

    machine.run(wrong())
    assert machine.findings[0].kind == "refcount_t: addition on 0; use-after-free"


def test_a_seqcount_reader_retries_when_a_writer_came_in_between() -> None:
    machine = Machine(cpus=2, costs=IDEAL)
    seq = machine.make(SeqCount, "seq")
    tries: list[int] = []

    async def writer() -> None:
        await machine.work(10)
        await seq.write_begin()
        await machine.work(20)
        await seq.write_end()

    async def reader() -> None:
        attempts = 0
        while True:
            attempts += 1
            count = await seq.read_begin()
            await machine.work(15)
            if not await seq.read_retry(count):
                break
        tries.append(attempts)

    machine.spawn(writer(), cpu=0)
    machine.spawn(reader(), cpu=1)
    machine.simulate()
    assert tries == [2]


def test_what_a_student_looks_at_in_a_cell_says_what_it_is() -> None:
    machine = Machine()
    word, users = machine.atomic("word", 3), machine.refcount("users")
    done, queue = machine.make(Completion, "done"), machine.make(WaitQueue, "queue")

    async def waits() -> None:
        await done.wait()

    thread = machine.spawn(waits(), cpu=0, name="waits")
    assert [repr(each) for each in (word, users, done, thread, machine.cpus[0])] == [
        "<atomic word = 3>",
        "<refcount users = 1>",
        "<completion done: 0 done, 0 waiting>",
        "<task waits on CPU0: runnable>",
        "<CPU0: waits>",
    ]
    page = machine.run(machine.alloc_page(name="root table"))
    machine.run(page.copy_in(3, range(7)))

    async def expire() -> None: ...

    line, timer = machine.irq.line("nic", expire), machine.irq.timer("flush", expire)
    timer.mod(10)
    assert [repr(each) for each in (page, machine.pages, line, timer)] == [
        "<page 0x1000 root table: 6 of 512 words set>",
        "<1 pages in use, 1 ever>",
        "<irq nic on CPU0, raised 0 times>",
        "<timer flush: pending, fired 0 times>",
    ]
    machine.simulate()
    machine.run(machine.free_page(page))
    assert [repr(page), repr(timer)] == [
        "<page 0x1000 root table: freed>",
        "<timer flush: idle, fired 1 times>",
    ]
    assert repr(thread) == "<task waits on CPU0: waiting for <completion done: 0 done, 1 waiting>>"
    assert [repr(queue), repr(machine.cpus[0])] == ["<wait queue queue: 0 waiting>", "<CPU0: idle>"]
