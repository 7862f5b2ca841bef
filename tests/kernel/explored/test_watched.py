"""What can change in a primitive is reached through a watched cell; who goes past it is told what to
write."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.explored.operations import MAKERS, NEEDS, OPERATIONS, World
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explored.locations import Locations
from vtdkit.kernel.explored.machine import ExploredMachine
from vtdkit.kernel.explored.watch import NotAStep, Row, Seen
from vtdkit.kernel.locks.sync import Completion, WaitQueue
from vtdkit.kernel.machine.machine import Machine

#: attribute → why no program can tell one order from another by it while it is explored
UNSEEN = {
    "vc": "the race checker's clock",
    "tick": "the race checker's clock",
    "spots": "where, for reports and statistics",
    "known_to": "the race checker's clock",
    "vc_readers": "the race checker's clock",
    "clocks": "the race checker's clocks",
    "chain": "what the lock validator remembers",
    "innermost": "what the thread itself holds",
    "below": "what the owner held before, its own business",
    "place": "where it was taken, for reports",
    "since": "a time, and time stands still",
    "log": "statistics: read after a run",
    "saved": "the owner's own flags",
    "lines": "a price, and all prices are zero",
    "last_get": "where, for the leak report",
    "allocated": "where, for reports",
    "armed": "where, for the leak report",
    "cells": "each is a cell of its own",
    "released": "clocks: changed and read in the steps of their field",
    "_gone": "changed in the step that changes the list, read in one that reads it",
    "freed": "the life of the thing, touched with every access; None until then for who does not hold it",
}


def _state(thing: Any) -> dict[str, str]:
    """Every attribute as text, unseen."""
    names = {name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())}
    names |= set(getattr(thing, "__dict__", ()))
    out = {}
    for name in names:
        value = getattr(thing, name, None)
        if isinstance(value, list | tuple | set | frozenset | dict | deque):
            out[name] = str([each if isinstance(each, int | str) else id(each) for each in value])
        else:
            out[name] = str(value if isinstance(value, int | str | None) else id(value))
    return out


def _changing() -> Iterator[tuple[type, str]]:
    """The attributes of primitives that change when something is done to them, found by doing it all."""
    seen = set()
    for name, (_, operation) in OPERATIONS.items():
        machine = ExploredMachine(Locations(), cpus=4)
        world = World(machine, {*NEEDS[name], "done", "queue"})
        things = [getattr(world, each) for each in MAKERS if hasattr(world, each)]
        things += [world.x, world.y, *(thing.word for thing in things if hasattr(thing, "word"))]
        things += [thing.shared for thing in things if hasattr(thing, "batch")]
        machine.spawn(operation(world, []), cpu=0)  # type: ignore[arg-type]
        helper = machine.spawn(_help(world), cpu=3)
        things.append(helper)
        machine.begin()
        for _ in range(40):
            for process in list(machine.processes.values()):
                before = [_state(thing) for thing in things]
                if process.point is not None and (process.point.ready is None or process.point.ready()):
                    machine.step(process)
                for thing, old in zip(things, before, strict=True):
                    seen |= {
                        (type(thing), key) for key, text in _state(thing).items() if old.get(key) != text
                    }
        machine.dispose()
    yield from sorted(seen, key=str)


async def _help(world: Any) -> None:
    await world.x.store(1)
    await world.queue.wake_up()
    await world.done.complete()


def test_every_attribute_that_changes_is_watched() -> None:
    changing = list(_changing())
    assert len({cls for cls, _ in changing}) > 12
    loose = []
    for cls, name in changing:
        watched = isinstance(vars(cls).get(name), Seen) or name in ("words", "local") or name in UNSEEN
        if not watched:
            loose.append(f"{cls.__name__}.{name}")
    assert not loose


def test_rows_of_numbers_are_watched_one_by_one() -> None:
    machine = ExploredMachine(Locations(), cpus=2)
    world = World(machine, {"page", "counter"})
    assert isinstance(world.counter.local, Row)
    machine.running = machine  # type: ignore[assignment]  # as if a thread ran
    assert isinstance(world.page.words, Row)


def _of(body: Callable[[Any], Any]) -> Callable[[Machine], Any]:
    def scenario(machine: Machine) -> Any:
        world = World(machine, {"spin", "mutex", "done", "queue", "page", "line", "timer", "faults"})
        machine.spawn(body(world), cpu=0, name="bad")
        return lambda: None

    return scenario


@pytest.mark.parametrize(
    ("bad", "instead"),
    [
        (lambda w: setattr(w.x, "value", 3), r"write await x.store\(value\) instead"),
        (lambda w: setattr(w.done, "count", 3), r"await done.complete\(\)"),
        (lambda w: w.done.queue, r"await done.complete\(\)"),
        (lambda w: w.queue.queue, r"await queue.wait_event\(condition\)"),
        (lambda w: setattr(w.spin, "owner", None), r"await spin.acquire\(\)"),
        (lambda w: w.mutex.handoff, r"await mutex.acquire\(\)"),
        (lambda w: setattr(w.line, "raised", 0), r"line.fire\(\)"),
        (lambda w: w.x.watchers, r"await x.store\(value\)"),
    ],
)
def test_who_goes_past_a_cell_is_told_what_to_write(bad: Callable[[Any], object], instead: str) -> None:
    async def body(world: Any) -> None:
        await world.x.load()
        bad(world)

    with pytest.raises(NotAStep, match=instead):
        explore(_of(body))


def _outcomes(first: Callable[[Any, list[Any]], Any], second: Callable[[Any, list[Any]], Any]) -> set[object]:
    def scenario(machine: Machine) -> Any:
        world, log = World(machine, set(MAKERS)), list[Any]()
        machine.spawn(first(world, log), cpu=0, name="first")
        machine.spawn(second(world, log), cpu=1, name="second")
        return lambda: tuple(log)

    found = explore(scenario)
    assert found.complete
    return set(found.outcomes)


@pytest.mark.parametrize(
    ("look", "change", "values"),
    [
        ("timer_late_look", "timer_mod", {False, True}),  # a timer's mod, delete, pending
        ("irq_look", "irq_fire", {(0, 0), (1, 0), (1, 8)}),  # an irq line's raised
        ("counter_look", "counter_add", {(0, 0), (0, 2)}),  # a per-CPU counter's read and sum
        ("done_look", "done_complete", {(0, False), (1, False)}),  # completion.count
        ("page_look", "page_xchg", {0}),
        ("page_look", "page_cmpxchg", {0, 4}),  # page.words read as a plain attribute
        ("alloc_thing", "fail_next", {True, False}),  # faults.nth for kmalloc
        ("alloc_pages", "fail_next", {True, False}),  # and for pages
    ],
)
def test_no_outcome_of_a_plain_look_is_lost(look: str, change: str, values: set[object]) -> None:
    """Lost outcomes: each of these was one outcome, "complete", where there are more."""
    looks, changes = OPERATIONS[look][1], OPERATIONS[change][1]

    async def first(world: Any, log: list[Any]) -> None:
        await looks(world, log)

    async def second(world: Any, log: list[Any]) -> None:
        await changes(world, [])

    assert {outcome[0] for outcome in _outcomes(first, second)} == values  # type: ignore[index]


def test_a_thread_spawned_anywhere_may_have_ended_or_not() -> None:
    """spawn() without a CPU from inside a thread, and a context's done."""

    async def first(world: Any, log: list[Any]) -> None:
        await OPERATIONS["spawn_anywhere"][1](world, log)

    async def second(world: Any, log: list[Any]) -> None:
        await world.x.load()

    assert _outcomes(first, second) == {(True,), (False,)}


def test_a_lost_wake_up_is_found_in_every_way_to_run() -> None:
    """Checked, overtaken by the wake-up, asleep for ever."""

    def scenario(machine: Machine) -> Any:
        flag, queue = machine.atomic("flag"), machine.make(WaitQueue, "queue")

        async def sleeper() -> None:
            await queue.wait_event(lambda: bool(flag.value))

        async def waker() -> None:
            await queue.wake_up()
            await machine.work(5000)
            await flag.store(1)

        machine.spawn(sleeper(), cpu=0, name="sleeper")
        machine.spawn(waker(), cpu=1, name="waker")
        return lambda: "awake"

    found = explore(scenario)
    assert set(found.outcomes) == {"awake", "deadlock: sleeper waits for queue"}
    assert found.of("deadlock")
    machine = Machine(2)
    scenario(machine)
    machine.simulate()
    assert [finding.where for finding in machine.findings if "blocked" in finding.kind] == ["queue"]


@pytest.mark.parametrize("kind", ["rwlock", "rwsem"])
def test_a_deadlock_on_a_shared_lock_says_who_waits_for_whom(kind: str) -> None:
    """In a simulation too, where the report of a contended shared lock ended in an AttributeError."""
    machine = Machine(2)
    lock, mutex = getattr(machine, kind)("shared"), machine.spinlock("spin")

    async def one() -> None:
        async with lock.write():
            await machine.work(100)
            async with mutex:
                pass

    async def two() -> None:
        async with mutex:
            await machine.work(100)
            async with lock.read():
                pass

    machine.spawn(one(), cpu=0, name="one")
    machine.spawn(two(), cpu=1, name="two")
    machine.simulate()
    told = " ".join(finding.text for finding in machine.findings)
    assert "one waits for spin held by two" in told
    assert "two waits for shared held by one" in told
    assert "shared" in repr(lock)


def _spin(writes: bool, tries: int | None = None) -> Callable[[Machine], Any]:
    def scenario(machine: Machine) -> Any:
        word, log = machine.atomic("x"), list[str]()

        async def spinner() -> None:
            count = 0
            while not await word.load():
                count += 1
                if count == tries:
                    log.append("gave up")
                    return
            log.append("saw it")

        machine.spawn(spinner(), cpu=0, name="spinner")
        if writes:
            machine.spawn(word.store(1), cpu=1, name="writer")
        return lambda: tuple(log)

    return scenario


@pytest.mark.parametrize("options", [{}, {"depth": 9}, {"limit": 5}, {"preemptions": 1}])
def test_a_spin_loop_by_hand_ends_or_is_stuck(options: dict[str, int]) -> None:
    assert set(explore(_spin(True), **options).outcomes) <= {("saw it",), "cut short"}  # type: ignore[arg-type]
    stuck = explore(_spin(False), **options)  # type: ignore[arg-type]
    assert [found.text for found in stuck.of("deadlock")] == ["spinner waits for x"]


@pytest.mark.parametrize("tries", [1, 3, 4, 30])
def test_a_spin_loop_that_gives_up_has_all_its_tries_explored(tries: int) -> None:
    found = explore(_spin(True, tries))
    assert dict(found.outcomes) == {("saw it",): tries, ("gave up",): 1}
    assert set(explore(_spin(False, tries)).outcomes) == {("gave up",)}


def test_an_endless_loop_that_concerns_nobody_is_told() -> None:
    async def body(world: Any) -> None:
        while True:
            await world.x.add_return(1)

    with pytest.raises(
        NotAStep, match=r"bad has done 100000 things, and no other thread could see one: an endless loop"
    ):
        explore(_of(body))


def test_a_completion_nobody_completes_is_a_deadlock() -> None:
    def scenario(machine: Machine) -> Any:
        done = machine.make(Completion, "done")
        machine.spawn(done.wait(), cpu=0, name="waits")
        return lambda: None

    assert set(explore(scenario).outcomes) == {"deadlock: waits waits for done"}


# -- what is no cell at all: Python's own lists and variables -----------------


def _log(lock: bool, own: bool, wait: bool) -> Callable[[Machine], Callable[[], object]]:
    """Two threads write down what they do, twice each; each in a list of its own, or not."""

    def build(machine: Machine) -> Callable[[], object]:
        spin, logs = machine.spinlock("log"), ([], []) if own else ([],) * 2

        async def body(number: int) -> None:
            for _ in range(2):
                if lock:
                    async with spin:
                        logs[number].append(number)
                else:
                    logs[number].append(number)
                if wait:
                    await machine.work(10)

        for cpu in (0, 1):
            machine.spawn(body(cpu), cpu=cpu, name=f"t{cpu}")
        return lambda: tuple(map(tuple, logs))

    return build


@pytest.mark.parametrize("wait", [True, False], ids=["taking time", "at once"])
def test_a_list_that_threads_share_is_refused_with_what_to_write_instead(wait: bool) -> None:
    with pytest.raises(NotAStep, match=r"a list or a variable of Python's\. Make it"):
        explore(_log(lock=False, own=False, wait=wait))


def test_a_list_under_a_lock_is_explored_unless_its_sections_are_taken_for_steps() -> None:
    scenario = _log(lock=True, own=False, wait=True)
    assert len(explore(scenario).outcomes) == 6
    with pytest.raises(NotAStep, match="as no explored one does"):
        explore(scenario, sections=True)


def test_a_list_of_each_thread_is_its_own_business() -> None:
    assert explore(_log(lock=False, own=True, wait=True)).executions == 1


def test_an_outcome_that_equals_no_other_says_nothing() -> None:
    def build(machine: Machine) -> Callable[[], object]:
        async def body() -> None:
            await machine.work(5)

        for cpu in (0, 1):
            machine.spawn(body(), cpu=cpu, name=f"t{cpu}")
        return object

    assert explore(build).complete


def _lost(machine: Machine) -> Callable[[], object]:
    """Two threads count in a variable of Python's: whoever comes second counts on, unless they meet."""
    count = 0

    async def body() -> None:
        nonlocal count
        seen = count
        await machine.work(10)
        count = seen + 1

    for cpu in (0, 1):
        machine.spawn(body(), cpu=cpu, name=f"t{cpu}")
    return lambda: count


def test_where_time_passes_threads_stop_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAStep, match="ends in 1, as no explored one does"):
        explore(_lost)
    monkeypatch.setattr(Locations, "everywhere", property(lambda _: False, lambda *_: None), raising=False)
    assert set(explore(_lost).outcomes) == {2}
