"""What a generated program can do: every public primitive in each of its forms, a few lines each.

An operation is `async def name(world, log)`: `world` makes the things it uses when the scenario is set up,
`log` takes what the thread saw. The outcome of a program is all logs and what is left in the things.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from vtdkit.kernel.locks.sync import Completion, PerCpuCounter, SeqCount, WaitQueue
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject, shared

Log = list[Any]
Operation = Callable[[Any, Log], Awaitable[None]]


class Thing(KObject):
    """Something with two fields."""

    a, b = shared(0), shared(0)


class World:
    """The things of one machine, made when first asked for: at set-up, by name."""

    def __init__(self, machine: Machine, wanted: set[str]) -> None:
        self.machine = machine
        self.spawned: list[Context] = []
        self.x, self.y = machine.atomic("x"), machine.atomic("y")
        for name in sorted(wanted):
            setattr(self, name, MAKERS[name](self, machine))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this world has no {name}")

    def left(self) -> tuple[object, ...]:
        """What is left in the things at the end."""
        told = (TELLERS[name](vars(self)[name]) for name in TELLERS if name in vars(self))
        return self.x.value, self.y.value, *told


async def _bump(world: World) -> None:
    await world.y.store(await world.y.load() + 1)


async def _handler(world: World) -> None:
    await world.x.add_return(8)


MAKERS: dict[str, Callable[[World, Machine], Any]] = {
    "spin": lambda w, m: m.spinlock("spin"),
    "ticket": lambda w, m: m.spinlock("ticket", kind="ticket"),
    "tas": lambda w, m: m.spinlock("tas", kind="test-and-set"),
    "raw": lambda w, m: m.raw_spinlock("raw"),
    "mutex": lambda w, m: m.mutex("mutex"),
    "rwlock": lambda w, m: m.rwlock("rwlock"),
    "rwsem": lambda w, m: m.rwsem("rwsem"),
    "done": lambda w, m: m.make(Completion, "done"),
    "queue": lambda w, m: m.make(WaitQueue, "queue"),
    "seq": lambda w, m: m.make(SeqCount, "seq"),
    "users": lambda w, m: m.refcount("users", 2),
    "counter": lambda w, m: m.make(PerCpuCounter, "counter", batch=3),
    "shelf": lambda w, m: m.list_head("shelf"),
    "page": lambda w, m: m.run(m.alloc_page(name="page")),
    "thing": lambda w, m: m.run(m.kmalloc(Thing, "thing")),
    "timer": lambda w, m: m.irq.timer("timer", lambda: _handler(w), cpu=0),
    "line": lambda w, m: m.irq.line("line", lambda: _handler(w), cpu=1),
    "faults": lambda w, m: m.pages.faults,
}
TELLERS: dict[str, Callable[[Any], object]] = {
    "users": lambda users: users.value,
    "line": lambda line: line.raised,
    "counter": lambda counter: counter.sum(),
    "done": lambda done: (done.count, done.all),
    "faults": lambda faults: len(faults.failed),
    "page": lambda page: tuple(page.words[:3]),
    "thing": lambda thing: (thing.peek("a"), thing.peek("b")),
    "shelf": lambda shelf: tuple(map(str, shelf.peek_entries())),
}
OPERATIONS: dict[str, tuple[str, Operation]] = {}  # name → (the primitive it is one form of, what it does)
NEEDS: dict[str, set[str]] = {}


def operation(primitive: str, *needs: str) -> Callable[[Operation], Operation]:
    """Enter an operation of a primitive; `needs`: things made at set-up, beside one of that name."""

    def enter(function: Any) -> Operation:
        name = function.__name__
        OPERATIONS[name] = primitive, function
        NEEDS[name] = {*needs, *({primitive} & MAKERS.keys())}
        return function  # type: ignore[no-any-return]

    return enter


def _blocks() -> None:
    """Every way to hold a lock as a block, around a read and a write that are not atomic together."""
    ways = [(lock, "") for lock in ("spin", "ticket", "tas", "raw", "mutex")]
    ways += [("spin", off) for off in ("irqsave", "irq", "bh")]
    for side in ("read", "write"):
        ways.append(("rwsem", side))
        ways += [("rwlock", side + off) for off in ("", "_irqsave", "_irq", "_bh")]
    for lock, way in ways:

        async def body(world: World, log: Log, lock: str = lock, way: str = way) -> None:
            thing = getattr(world, lock)
            for part in way.split("_") if way else ():  # read_irqsave is `.read().irqsave()`
                thing = getattr(thing, part)()
            async with thing:
                if "read" in way:
                    log.append(await world.y.load())
                else:
                    await _bump(world)

        body.__name__ = f"{lock}_{way or 'plain'}"
        operation(lock)(body)


_blocks()


@operation("spin")
async def spin_try(w: Any, log: Log) -> None:
    if await w.spin.trylock():
        await _bump(w)
        await w.spin.release()
    else:
        log.append("taken")


@operation("mutex")
async def mutex_try(w: Any, log: Log) -> None:
    if await w.mutex.trylock():
        await _bump(w)
        await w.mutex.release()
    else:
        log.append("taken")


@operation("spin")
async def spin_look(w: Any, log: Log) -> None:
    log.append(w.spin.owner is None)


@operation("spin")
async def spin_then_look(w: Any, log: Log) -> None:
    async with w.spin:
        log.append(await w.x.load())
        await _bump(w)
        log.append(w.x.value)


@operation("mutex")
async def mutex_then_look(w: Any, log: Log) -> None:
    async with w.mutex:
        await _bump(w)
        log.append(w.x.value)
    log.append(w.x.value)


@operation("spin", "raw")
async def spin_over_raw(w: Any, log: Log) -> None:
    async with w.spin:
        if await w.x.load() < 3:
            async with w.raw:
                await _bump(w)


@operation("raw", "spin")
async def raw_over_spin(w: Any, log: Log) -> None:
    async with w.raw:
        await _bump(w)
        async with w.spin:
            log.append(await w.y.load())


@operation("rwlock")
async def rwlock_look(w: Any, log: Log) -> None:
    log.append((w.rwlock.owner is None, len(w.rwlock.readers)))


@operation("rcu")
async def rcu_read(w: Any, log: Log) -> None:
    async with w.machine.rcu.read():
        log.append((await w.x.load(), await w.y.load()))


@operation("rcu")
async def rcu_sync(w: Any, log: Log) -> None:
    await w.x.store(1)
    await w.machine.rcu.synchronize()
    await w.y.store(1)


@operation("rcu")
async def rcu_expedited(w: Any, log: Log) -> None:
    await w.machine.rcu.synchronize(expedited=True)
    await w.y.store(2)


@operation("rcu")
async def rcu_call(w: Any, log: Log) -> None:
    await w.x.store(2)
    w.machine.rcu.call(lambda: w.y.store(4), "callback")


@operation("queue")
async def queue_wait(w: Any, log: Log) -> None:
    await w.queue.wait_event(lambda: w.x.value > 0)
    log.append("woken")


@operation("queue")
async def queue_wake(w: Any, log: Log) -> None:
    await w.x.store(1)
    await w.queue.wake_up()


@operation("queue")
async def queue_wake_early(w: Any, log: Log) -> None:
    await w.queue.wake_up()
    await w.x.store(1)


@operation("done")
async def done_wait(w: Any, log: Log) -> None:
    await w.done.wait()
    log.append(await w.x.load())


@operation("done")
async def done_complete(w: Any, log: Log) -> None:
    await w.x.store(1)
    await w.done.complete()


@operation("done")
async def done_all(w: Any, log: Log) -> None:
    await w.done.complete_all()


@operation("done")
async def done_look(w: Any, log: Log) -> None:
    log.append((w.done.count, w.done.all))


@operation("seq")
async def seq_write(w: Any, log: Log) -> None:
    async with w.machine.rcu.read():  # something that is not the writer's lock: two writers overlap
        await w.seq.write_begin()
        await w.x.store(5)
        await w.seq.write_end()


@operation("seq")
async def seq_read(w: Any, log: Log) -> None:
    count = await w.seq.word.load()
    value = await w.x.load()
    log.append((count & 1, value, await w.seq.read_retry(count)))


@operation("timer")
async def timer_mod(w: Any, log: Log) -> None:
    w.timer.mod(50)
    log.append(w.timer.pending)


@operation("timer")
async def timer_delete(w: Any, log: Log) -> None:
    log.append(w.timer.pending)
    w.timer.delete()


@operation("timer")
async def timer_late_look(w: Any, log: Log) -> None:
    await w.machine.work(60)
    log.append(w.timer.pending)


@operation("softirq")
async def softirq_raise(w: Any, log: Log) -> None:
    w.machine.irq.raise_softirq(w.machine.cpus[0], "softirq", lambda: _handler(w))
    log.append(await w.x.load())


@operation("softirq")
async def bh_off(w: Any, log: Log) -> None:
    w.machine.irq.local_bh_disable()
    log.append(await w.x.load())
    log.append(await w.x.load())
    await w.machine.irq.local_bh_enable()


@operation("line")
async def irq_fire(w: Any, log: Log) -> None:
    w.line.fire(10)
    log.append(w.line.raised)


@operation("line")
async def irq_off(w: Any, log: Log) -> None:
    flags = w.machine.irq.local_irq_save()
    log.append(await w.x.load())
    log.append(await w.x.load())
    await w.machine.irq.local_irq_restore(flags)
    log.append(w.x.value)


@operation("line")
async def irq_look(w: Any, log: Log) -> None:
    await w.machine.work(30)
    log.append((w.line.raised, w.x.value))


@operation("preempt")
async def preempt_off(w: Any, log: Log) -> None:
    w.machine.irq.preempt_disable()
    await _bump(w)
    await w.machine.irq.preempt_enable()


@operation("atomic")
async def atomic_load(w: Any, log: Log) -> None:
    log.append(await w.x.load())


@operation("atomic")
async def atomic_look(w: Any, log: Log) -> None:
    await w.machine.work(20)
    log.append(w.x.value)


@operation("atomic")
async def atomic_store(w: Any, log: Log) -> None:
    await w.x.store(3)


@operation("atomic")
async def atomic_bump(w: Any, log: Log) -> None:
    await _bump(w)


@operation("atomic")
async def atomic_add(w: Any, log: Log) -> None:
    log.append(await w.x.add_return(1))


@operation("atomic")
async def atomic_cmpxchg(w: Any, log: Log) -> None:
    log.append(await w.x.cmpxchg(0, 7))


@operation("atomic")
async def atomic_xchg(w: Any, log: Log) -> None:
    log.append(await w.x.xchg(9))


@operation("atomic")
async def atomic_bits(w: Any, log: Log) -> None:
    log.append((await w.x.modify(lambda x: x | 1), await w.x.modify(lambda x: x & ~2)))


@operation("atomic")
async def atomic_relax(w: Any, log: Log) -> None:
    await w.x.relax_while(0)
    log.append(await w.y.load())


@operation("spinning")
async def spin_by_hand(w: Any, log: Log) -> None:
    while not await w.x.load():
        await w.machine.work(5)
    log.append("saw")


@operation("spinning")
async def spin_and_give_up(w: Any, log: Log) -> None:
    for _ in range(4):
        if await w.x.load():
            return
        await w.machine.work(5)
    log.append("gave up")


@operation("users")
async def users_get(w: Any, log: Log) -> None:
    await w.users.get()


@operation("users")
async def users_put(w: Any, log: Log) -> None:
    log.append(await w.users.put())


@operation("counter")
async def counter_add(w: Any, log: Log) -> None:
    await w.counter.add(2)


@operation("counter")
async def counter_look(w: Any, log: Log) -> None:
    log.append((w.counter.read(), w.counter.sum()))


@operation("page")
async def page_load(w: Any, log: Log) -> None:
    log.append((await w.page.load(0), await w.page.load32(2)))


@operation("page")
async def page_store(w: Any, log: Log) -> None:
    await w.page.store(0, 5, keep=8)
    await w.page.store32(3, 9)


@operation("page")
async def page_look(w: Any, log: Log) -> None:
    await w.machine.work(10)
    log.append(w.page.words[0])


@operation("page")
async def page_cmpxchg(w: Any, log: Log) -> None:
    log.append(await w.page.cmpxchg(0, 0, 4))


@operation("page")
async def page_cmpxchg_local(w: Any, log: Log) -> None:
    log.append(await w.page.cmpxchg_local(0, 0, 6))


@operation("page")
async def page_xchg(w: Any, log: Log) -> None:
    log.append(await w.page.xchg(1, 2))


@operation("page")
async def page_bits(w: Any, log: Log) -> None:
    log.append((await w.page.test_and_set_bit(0, 3), await w.page.test_and_clear_bit(0, 0)))


@operation("page")
async def page_copy(w: Any, log: Log) -> None:
    await w.page.copy_in(0, (1, 2))


@operation("page")
async def page_relax(w: Any, log: Log) -> None:
    await w.page.relax_until_written(0, 0)
    log.append(await w.page.load(1))


@operation("page")
async def page_free(w: Any, log: Log) -> None:
    await w.machine.free_page(w.page)


@operation("page")
async def page_free_seen(w: Any, log: Log) -> None:
    if await w.page.load(0):
        await w.machine.free_page(w.page)


@operation("page")
async def page_free_rcu(w: Any, log: Log) -> None:
    w.machine.rcu.free_page_rcu(w.page)


@operation("thing")
async def field_plain(w: Any, log: Log) -> None:
    await w.thing.write(a=await w.thing.read("a") + 1)


@operation("thing")
async def field_once(w: Any, log: Log) -> None:
    log.append(await w.thing.read_once("b"))
    await w.thing.write_once(a=3)


@operation("thing")
async def field_release(w: Any, log: Log) -> None:
    await w.thing.write(a=4)
    await w.thing.write_once(b=1)


@operation("thing")
async def field_acquire(w: Any, log: Log) -> None:
    if await w.thing.read_once("b"):
        log.append(await w.thing.read("a"))


@operation("thing")
async def field_peek(w: Any, log: Log) -> None:
    await w.x.load()
    log.append(w.thing.peek("a"))


@operation("thing")
async def thing_free(w: Any, log: Log) -> None:
    await w.machine.kfree(w.thing)


@operation("thing")
async def field_bare(w: Any, log: Log) -> None:
    await w.x.load()
    log.append(w.thing.a)


@operation("thing")
async def thing_free_seen(w: Any, log: Log) -> None:
    if await w.thing.read_once("b"):
        await w.machine.kfree(w.thing)


@operation("thing")
async def thing_free_rcu(w: Any, log: Log) -> None:
    w.machine.rcu.kfree_rcu(w.thing)


@operation("faults")
async def fail_next(w: Any, log: Log) -> None:
    w.faults.nth = w.faults.count + 1


@operation("faults")
async def alloc_pages(w: Any, log: Log) -> None:
    page = await w.machine.alloc_page(name="new")
    log.append(page is not None)


@operation("faults")
async def alloc_row(w: Any, log: Log) -> None:
    log.append(len(await w.machine.alloc_pages(2, name="row")))


@operation("faults")
async def alloc_thing(w: Any, log: Log) -> None:
    log.append(await w.machine.kmalloc(Thing, "new") is not None)


@operation("shelf")
async def list_add(w: Any, log: Log) -> None:
    await w.shelf.add("new")


@operation("shelf")
async def list_add_tail(w: Any, log: Log) -> None:
    await w.shelf.add_tail("last")


@operation("shelf")
async def list_del(w: Any, log: Log) -> None:
    await w.shelf.del_("new")


@operation("shelf")
async def list_walk(w: Any, log: Log) -> None:
    for entry in w.shelf.entries():
        log.append(entry)
        await w.machine.work(1)


@operation("shelf")
async def list_look(w: Any, log: Log) -> None:
    log.append((w.shelf.empty(), len(tuple(w.shelf.entries()))))


@operation("spawn")
async def spawn_here(w: Any, log: Log) -> None:
    w.spawned.append(w.machine.spawn(_bump(w), cpu=2, name="child"))


@operation("spawn")
async def spawn_anywhere(w: Any, log: Log) -> None:
    child = w.machine.spawn(w.x.store(2), name="child")
    await w.machine.work(10)
    log.append(child.done)


@operation("spawn", "done")
async def spawn_and_join(w: Any, log: Log) -> None:
    async def child() -> None:
        await _bump(w)
        await w.done.complete()

    w.machine.spawn(child(), cpu=2, name="joined")
    await w.done.wait()
    log.append(await w.y.load())


@operation("spawn")
async def spawn_device(w: Any, log: Log) -> None:
    w.machine.spawn_device(_handler(w), "device")


@operation("random")
async def random_number(w: Any, log: Log) -> None:
    log.append(w.machine.random.randrange(4))
