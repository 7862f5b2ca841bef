"""More that a generated program can do: loops of every shape, and things set off inside sections.

A loop is judged by what it looks at and by how its bound came to be: one that another thread sets, a helper
gone through twice, plain looks beside awaited ones, a loop in a section or in a handler.
"""

from __future__ import annotations

from typing import Any

from tests.kernel.explored.operations import Log, operation

FEW = 2  # looks


async def _poll(word: Any, most: int, log: Log) -> None:
    """Look until it is there, or so often; 0: for ever."""
    tries = 0
    while not await word.load():
        tries += 1
        if most and tries >= most:
            log.append("gave up")
            return
    log.append("saw")


async def _told(word: Any, answer: Any) -> None:
    """The same of somebody who has no log: the answer is added to another word."""
    log: Log = []
    await _poll(word, FEW, log)
    await answer.add_return(16 if log == ["saw"] else 32)


# -- how often a loop looks is read from elsewhere -----------------------------


@operation("spinning")
async def poll_as_told(w: Any, log: Log) -> None:
    await _poll(w.x, await w.y.load(), log)


@operation("spinning")
async def poll_as_told_late(w: Any, log: Log) -> None:
    tries = 0
    while not await w.x.load():
        tries += 1
        if w.y.value and tries > FEW + w.y.value:
            log.append("gave up")
            break


@operation("spinning")
async def poll_twice(w: Any, log: Log) -> None:
    await _poll(w.x, FEW, log)
    await _poll(w.y, 0, log)


@operation("spinning")
async def poll_twice_one(w: Any, log: Log) -> None:
    await _poll(w.x, 0, log)
    await w.x.store(0)
    await _poll(w.x, FEW + 3, log)


@operation("spinning")
async def poll_rounds(w: Any, log: Log) -> None:
    for _ in range(2):
        await _poll(w.y, 2, log)


@operation("spinning")
async def poll_two(w: Any, log: Log) -> None:
    while not (await w.x.load() or await w.y.load()):
        await w.machine.work(1)


@operation("spinning")
async def poll_both(w: Any, log: Log) -> None:
    while not (await w.x.load() and await w.y.load()):
        pass


@operation("spinning")
async def poll_and_write(w: Any, log: Log) -> None:
    tries = 0
    while not await w.x.load() and tries < 2:
        await w.y.add_return(1)
        tries += 1


@operation("spinning")
async def poll_then_slower(w: Any, log: Log) -> None:
    for tries in range(FEW):
        if await w.x.load():
            return
        if tries == 1:
            log.append(await w.y.load())


# -- what a loop looks at -----------------------------------------------------


@operation("spinning")
async def poll_plain(w: Any, log: Log) -> None:
    while not (await w.x.load() or w.y.value):
        await w.machine.work(1)


@operation("done")
async def done_poll(w: Any, log: Log) -> None:
    while not w.done.count:
        await w.x.load()


@operation("shelf")
async def list_poll(w: Any, log: Log) -> None:
    for _ in range(FEW):
        if not w.shelf.empty():
            log.append("filled")
            break
        await w.x.load()


@operation("spawn")
async def spawn_and_poll(w: Any, log: Log) -> None:
    child = w.machine.spawn(w.y.store(2), cpu=2, name="polled")
    while not child.done:
        await w.machine.work(5)
    log.append(await w.y.load())


@operation("spawn")
async def spawn_poller(w: Any, log: Log) -> None:
    w.machine.spawn(_told(w.x, w.y), cpu=2, name="poller")


@operation("page")
async def page_poll(w: Any, log: Log) -> None:
    while not await w.page.load(0):
        await w.machine.work(3)
    log.append("written")


@operation("page")
async def page_poll_few(w: Any, log: Log) -> None:
    for _ in range(FEW):
        if await w.page.load32(3) == 9:
            break
    else:
        log.append("never 9")


@operation("thing")
async def field_poll(w: Any, log: Log) -> None:
    while not await w.thing.read_once("b"):
        pass
    log.append(await w.thing.read("a"))


@operation("users")
async def users_poll(w: Any, log: Log) -> None:
    tries = 0
    while w.users.value > 1:
        await w.x.load()
        tries += 1
        if tries > FEW:
            log.append("used")
            break


@operation("timer")
async def timer_poll(w: Any, log: Log) -> None:
    w.timer.mod(0)
    for _ in range(FEW):
        if not w.timer.pending:
            break
        await w.machine.work(5)
    else:
        log.append("pending")


@operation("line")
async def irq_poll(w: Any, log: Log) -> None:
    w.line.fire(0)
    for _ in range(FEW):
        if w.line.raised > 1:
            break
        await w.machine.work(5)
    log.append(w.x.value)


@operation("seq")
async def seq_retry(w: Any, log: Log) -> None:
    for _ in range(2):
        count = await w.seq.word.load()
        value = await w.x.load()
        if not await w.seq.read_retry(count):
            log.append(value)
            break
    else:
        log.append("torn")


# -- loops that take something ------------------------------------------------


@operation("spin")
async def spin_poll(w: Any, log: Log) -> None:
    while not await w.spin.trylock():
        await w.machine.work(2)
    log.append(await w.y.load())
    await w.spin.release()


@operation("mutex")
async def mutex_poll(w: Any, log: Log) -> None:
    for _ in range(FEW):
        if await w.mutex.trylock():
            log.append(await w.x.load())
            await w.mutex.release()
            return
    log.append("never got it")


@operation("atomic")
async def atomic_take(w: Any, log: Log) -> None:
    for _ in range(FEW):
        if not await w.x.cmpxchg(0, 2):
            break
    else:
        log.append("never got it")


@operation("spin")
async def spin_while_owned(w: Any, log: Log) -> None:
    while w.spin.owner is not None:
        await w.x.load()
    log.append("free")


# -- loops in sections and handlers -------------------------------------------


@operation("raw")
async def raw_poll(w: Any, log: Log) -> None:
    async with w.raw:
        await _poll(w.x, FEW, log)


@operation("mutex")
async def mutex_poll_inside(w: Any, log: Log) -> None:
    async with w.mutex:
        while not await w.x.load():
            pass


@operation("rcu")
async def rcu_poll(w: Any, log: Log) -> None:
    async with w.machine.rcu.read():
        await _poll(w.y, 2, log)


@operation("preempt")
async def preempt_poll(w: Any, log: Log) -> None:
    w.machine.irq.preempt_disable()
    await _poll(w.x, FEW, log)
    await w.machine.irq.preempt_enable()


@operation("softirq")
async def softirq_poll(w: Any, log: Log) -> None:
    w.machine.irq.raise_softirq(w.machine.cpus[0], "polls", lambda: _told(w.y, w.x))


@operation("line")
async def irq_off_poll(w: Any, log: Log) -> None:
    flags = w.machine.irq.local_irq_save()
    await _poll(w.x, FEW, log)
    await w.machine.irq.local_irq_restore(flags)


# -- rounds that shut others out and let them in, and rounds that differ -----------


@operation("line")
async def irq_rounds(w: Any, log: Log) -> None:
    up = 0
    while not up:
        flags = w.machine.irq.local_irq_save()
        await w.machine.work(1)
        up = w.x.value
        await w.machine.work(1)
        await w.machine.irq.local_irq_restore(flags)


@operation("preempt")
async def preempt_rounds(w: Any, log: Log) -> None:
    up = False
    while not up:
        w.machine.irq.preempt_disable()
        up = bool(await w.x.load() or await w.y.load())
        await w.machine.irq.preempt_enable()


@operation("softirq")
async def bh_rounds(w: Any, log: Log) -> None:
    up = 0
    while not up:
        w.machine.irq.local_bh_disable()
        up = await w.x.load()
        await w.machine.irq.local_bh_enable()


@operation("preempt")
async def preempt_now_and_then(w: Any, log: Log) -> None:
    rounds = 0
    w.machine.irq.preempt_disable()
    while not await w.x.load():
        rounds += 1
        if rounds % 7 == 0:
            await w.machine.irq.preempt_enable()
            w.machine.irq.preempt_disable()
    await w.machine.irq.preempt_enable()


@operation("line")
async def irq_now_and_then(w: Any, log: Log) -> None:
    up = 0
    while not up:
        flags = w.machine.irq.local_irq_save()
        for _ in range(5):
            up = up or w.y.value
            await w.machine.work(1)
        await w.machine.irq.local_irq_restore(flags)


@operation("spinning")
async def poll_in_phases(w: Any, log: Log) -> None:
    number = 0
    while not w.y.value:
        await w.machine.work(1)
        number = (number + 1) % 5
        if number == 1:
            continue
        if number == 2:
            continue
        if number == 3:
            continue
    log.append("saw")


@operation("spawn")
async def spawn_at_last(w: Any, log: Log) -> None:
    number = 0
    while not w.x.value:
        await w.machine.work(1)
        number += 1
        _ = w.machine.spawn(w.x.store(1), cpu=3, name="late") if number == 6 else None


@operation("mutex")
async def mutex_join(w: Any, log: Log) -> None:
    async with w.mutex:
        child = w.machine.spawn(w.y.store(5), cpu=2, name="child")
        while not child.done:
            await w.machine.work(5)
        log.append(await w.y.load())


# -- things set off, and time, in a section ------------------------------------


@operation("spin")
async def spin_raise(w: Any, log: Log) -> None:
    async with w.spin:
        w.machine.irq.raise_softirq(w.machine.cpus[1], "raised", lambda: w.x.add_return(8))
        log.append(await w.x.load())
        log.append(w.x.value)


@operation("mutex", "line")
async def mutex_fire(w: Any, log: Log) -> None:
    async with w.mutex:
        w.line.fire(0)
        log.append(await w.x.load())
        log.append((w.x.value, w.line.raised))


@operation("rwsem", "timer")
async def rwsem_mod(w: Any, log: Log) -> None:
    async with w.rwsem.write():
        w.timer.mod(0)
        await w.y.store(await w.y.load() + 2)
        log.append((w.x.value, w.timer.pending))


@operation("raw")
async def raw_spawn(w: Any, log: Log) -> None:
    async with w.raw:
        w.machine.spawn(w.y.store(6), cpu=3, name="set off")
        log.append(await w.y.load())
        log.append(w.y.value)


@operation("spin")
async def spin_device(w: Any, log: Log) -> None:
    async with w.spin:
        w.machine.spawn_device(w.y.store(7), "device")
        log.append(await w.y.load())
        log.append(await w.y.load())


@operation("mutex")
async def mutex_call(w: Any, log: Log) -> None:
    async with w.mutex:
        w.machine.rcu.call(lambda: w.y.store(4), "callback")
        log.append(await w.y.load())
        log.append(w.y.value)


@operation("rwlock")
async def rwlock_work(w: Any, log: Log) -> None:
    async with w.rwlock.read():
        log.append(w.x.value)
        await w.machine.work(20)
        log.append((w.x.value, w.y.value))


@operation("mutex")
async def mutex_work(w: Any, log: Log) -> None:
    async with w.mutex:
        before = w.y.value
        await w.machine.work(20)
        await w.y.store(before + 1)
        log.append(w.x.value)
