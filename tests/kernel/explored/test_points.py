"""At its point a thread says what it is about to do, whichever primitive it uses, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtdkit.kernel.locks.sync import Completion, SeqCount, WaitQueue
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared
from vtdkit.lab.steps.schedule import record_schedule


class Info(KObject):
    """Something with a field."""

    count = shared(0)


def everything(machine: Machine) -> Callable[[], object]:
    """Two threads that use every primitive, one after the other, and share it."""
    spin, mutex = machine.spinlock("spin"), machine.mutex("mutex")
    rwlock, rwsem = machine.rwlock("rwlock"), machine.rwsem("rwsem")
    word, users = machine.atomic("word"), machine.refcount("users")
    done, queue, seq = (
        machine.make(Completion, "done"),
        machine.make(WaitQueue, "queue"),
        machine.make(SeqCount, "seq"),
    )
    shelf = machine.list_head("shelf")
    page: Any = machine.run(machine.alloc_page(name="table"))
    info: Any = machine.run(machine.kmalloc(Info, "info"))

    async def body() -> None:
        async with spin.irqsave():
            pass
        async with mutex:
            pass
        if await spin.trylock():
            await spin.release()
        async with rwlock.read():
            pass
        async with rwsem.write():
            pass
        await word.store(await word.load() + 1)
        await word.add_return(1)
        await word.cmpxchg(9, 10)
        await users.get()
        await users.put()
        await done.complete()
        await done.wait()
        await queue.wake_up()
        await queue.wait_event(lambda: True)
        await seq.write_begin()
        await seq.write_end()
        await seq.read_retry(await seq.read_begin())
        await page.store(3, await page.load(3) + 1)
        await page.store32(7, 1)
        await page.cmpxchg(3, 0, 1)
        await page.xchg(3, 1)
        await page.relax_until_written(3, 0)
        await info.write(count=await info.read("count") + 1)
        await info.write_once(count=await info.read_once("count") + 1)
        entry = object()
        await shelf.add(entry)
        await shelf.del_(entry)
        async with machine.rcu.read():
            pass
        await machine.rcu.synchronize()

    async def last() -> None:
        await body()
        await machine.free_page(page)
        await machine.kfree(info)

    machine.spawn(body(), cpu=0, name="first")
    machine.spawn(last(), cpu=1, name="last")
    return lambda: "done"


def test_every_primitive_says_what_it_is_about_to_do() -> None:
    steps = record_schedule(everything)
    assert steps.threads == ("CPU0: first", "CPU1: last")
    assert [step.did for step in steps.steps if step.thread == 1] == [
        "begin",
        "take spin",
        "let go of spin",
        "take mutex",
        "let go of mutex",
        "try to take spin",
        "let go of spin",
        "take rwlock to read",
        "let go of rwlock to read",
        "take rwsem to write",
        "let go of rwsem to write",
        "read word",
        "write word",
        *["change word"] * 2,
        *["change users"] * 2,
        "complete done",
        "wait for done",
        "wake up queue",
        "wait for queue",
        *["change seq"] * 2,
        *["read seq"] * 2,
        "read table[3]",
        *["write table[3]"] * 2,
        "compare and exchange table[3]",
        "change table[3]",
        "watch table[3] until it is written",
        *["read Info.count", "write Info.count"] * 2,
        *["add to shelf"] * 2,
        *["delete from shelf"] * 2,
        "enter an RCU read-side section",
        "leave the RCU read-side section",
        "wait until all present RCU readers have left",
        "free table",
        "free info",
    ]


def test_who_waits_for_a_lock_says_for_which_and_who_has_it() -> None:
    def scenario(machine: Machine) -> Callable[[], object]:
        lock, sem, word = machine.spinlock("lock"), machine.rwsem("sem"), machine.atomic("word")

        async def owner() -> None:
            async with sem.write(), lock:
                await word.add_return(1)

        async def waiter() -> None:
            async with lock:
                pass

        async def reader() -> None:
            async with sem.read():
                await word.add_return(1)

        for cpu, body in enumerate((owner, waiter, reader)):
            machine.spawn(body(), cpu=cpu, name=body.__name__)
        return lambda: "done"

    steps = record_schedule(scenario, "waiter reader owner*3")
    assert [steps.stand(5, thread).next for thread in range(3)] == [
        "change word",
        "waits for lock, which owner has",
        "waits for sem, which owner has",
    ]
