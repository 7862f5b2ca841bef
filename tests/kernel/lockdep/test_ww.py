"""Wound/wait mutexes: the 36 cases of the kernel's self-test, then the two rules themselves."""

import copy
from collections.abc import Callable

import pytest

from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.context import Context
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep
from vtdkit.kernel.checkers.lockdep.ww import Outcome, WoundWait, WwClass, WwContext, WwMutex

ACQUIRED, WAIT, EDEADLK, EALREADY = Outcome.ACQUIRED, Outcome.WAIT, Outcome.EDEADLK, Outcome.EALREADY


class Bench:
    """Three objects of a wait-die class, a task, and another task whose transactions get in the way."""

    def __init__(self, wait_die: bool = True) -> None:
        self.reports: list[Report] = []
        self.lockdep = Lockdep(self.reports.append)
        self.ww = WoundWait(self.lockdep, self.reports.append)
        self.cls = WwClass(self.lockdep, "ww_lockdep", wait_die=wait_die)
        self.o, self.o2, self.o3 = (WwMutex(self.cls, name) for name in ("o", "o2", "o3"))
        self.a = self.lockdep.lock_class("A").key()
        self.task, self.other = Context(self.lockdep), Context(self.lockdep)
        self.places = 0

    def site(self) -> str:
        self.places += 1
        return f"place {self.places}"

    def begin(self, task: Context | None = None) -> WwContext:
        return self.ww.acquire_init(self.cls, task or self.task, self.site())

    def lock(self, mutex: WwMutex, context: WwContext | None = None) -> Outcome:
        return self.ww.lock(mutex, context.task if context else self.task, context, self.site())

    def slow(self, mutex: WwMutex, context: WwContext) -> Outcome:
        return self.ww.lock_slow(mutex, context.task, context, self.site())

    def trylock(self, mutex: WwMutex) -> bool:
        return self.ww.trylock(mutex, self.task, self.site())

    def unlock(self, mutex: WwMutex) -> None:
        self.ww.unlock(mutex, mutex.owner or self.task, self.site())

    def done(self, context: WwContext) -> None:
        self.ww.acquire_done(context, self.site())

    def finish(self, context: WwContext) -> None:
        self.ww.acquire_fini(context, self.site())

    def spin(self) -> None:
        self.task.take(self.a, self.site())

    def unspin(self) -> None:
        self.task.drop(self.a, self.site())

    def collide(self, *more: WwMutex) -> WwContext:
        """An older transaction holds o2 (and more); ours holds o and was told to back off from o2."""
        older = self.begin(self.other)
        for mutex in (self.o2, *more):
            assert self.lock(mutex, older) is ACQUIRED
        ours = self.begin()
        assert self.lock(self.o, ours) is ACQUIRED
        assert self.lock(self.o2, ours) is EDEADLK
        return ours


Act = Callable[[Bench], object]
SILENT: dict[str, Act] = {}
REPORTS: dict[str, tuple[Act, str]] = {}


def silent(act: Act) -> Act:
    SILENT[act.__name__] = act
    return act


def reports(kind: str) -> Callable[[Act], Act]:
    def note(act: Act) -> Act:
        REPORTS[act.__name__] = (act, kind)
        return act

    return note


@silent
def fail_acquire(b: Bench) -> None:
    t = b.begin()
    assert b.lock(b.o, t) is ACQUIRED
    assert b.lock(b.o, t) is EALREADY
    assert not b.trylock(b.o)
    younger = copy.copy(t)
    younger.stamp += 1
    assert b.lock(b.o, younger) is EDEADLK
    b.unlock(b.o)
    assert b.trylock(b.o)
    b.unlock(b.o)


@silent
def normal(b: Bench) -> None:
    """Taken as an ordinary mutex, in every way, it belongs to no transaction."""
    assert b.lock(b.o) is ACQUIRED
    assert b.o.context is None
    b.unlock(b.o)
    assert b.trylock(b.o)
    assert not b.trylock(b.o)
    b.unlock(b.o)
    b.begin()
    nested = b.cls.mutex.key(nest=b.cls.acquire)
    b.task.take(nested, b.site())
    b.task.drop(nested, b.site())
    assert b.o.context is None


@reports(kinds.WARN_ON)
def unneeded_slow(b: Bench) -> None:
    b.slow(b.o, b.begin())


@reports(kinds.RECURSION)
def two_contexts(b: Bench) -> None:
    b.begin()
    b.begin()


@reports(kinds.WARN_ON)
def diff_class(b: Bench) -> None:
    b.lock(WwMutex(WwClass(b.lockdep, "other"), "alien"), b.begin())


@reports(kinds.WARN_ON)
def context_done_twice(b: Bench) -> None:
    t = b.begin()
    b.done(t)
    b.done(t)
    b.finish(t)


@reports(kinds.BAD_UNLOCK)
def context_unlock_twice(b: Bench) -> None:
    t = b.begin()
    b.done(t)
    b.finish(t)
    b.finish(t)


@reports(kinds.WARN_ON)
def context_fini_early(b: Bench) -> None:
    t = b.begin()
    b.lock(b.o, t)
    b.done(t)
    b.finish(t)


@reports(kinds.WARN_ON)
def context_lock_after_done(b: Bench) -> None:
    t = b.begin()
    b.done(t)
    b.lock(b.o, t)


@reports(kinds.BAD_UNLOCK)
def object_unlock_twice(b: Bench) -> None:
    b.lock(b.o)
    b.unlock(b.o)
    b.unlock(b.o)


@reports(kinds.WARN_ON)
def object_lock_unbalanced(b: Bench) -> None:
    t = b.begin()
    b.lock(b.o, t)
    t.acquired = 0
    b.unlock(b.o)
    b.finish(t)


@reports(kinds.WARN_ON)
def object_lock_stale_context(b: Bench) -> None:
    t = b.begin()
    b.o.context = b.begin(b.other)
    b.lock(b.o, t)


@silent
def edeadlk_normal(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o2)
    b.unlock(b.o)
    assert b.lock(b.o2, t) is ACQUIRED


@silent
def edeadlk_normal_slow(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o2)
    b.unlock(b.o)
    assert b.slow(b.o2, t) is ACQUIRED


@reports(kinds.WARN_ON)
def edeadlk_no_unlock(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o2)
    b.lock(b.o2, t)


@reports(kinds.WARN_ON)
def edeadlk_no_unlock_slow(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o2)
    b.slow(b.o2, t)


@reports(kinds.WARN_ON)
def edeadlk_acquire_more(b: Bench) -> None:
    b.lock(b.o3, b.collide())


@reports(kinds.WARN_ON)
def edeadlk_acquire_more_slow(b: Bench) -> None:
    b.slow(b.o3, b.collide())


@reports(kinds.WARN_ON)
def edeadlk_acquire_more_edeadlk(b: Bench) -> None:
    assert b.lock(b.o3, b.collide(b.o3)) is EDEADLK


@reports(kinds.WARN_ON)
def edeadlk_acquire_more_edeadlk_slow(b: Bench) -> None:
    assert b.slow(b.o3, b.collide(b.o3)) is EDEADLK


@reports(kinds.WARN_ON)
def edeadlk_acquire_wrong(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o)
    b.lock(b.o3, t)


@reports(kinds.WARN_ON)
def edeadlk_acquire_wrong_slow(b: Bench) -> None:
    t = b.collide()
    b.unlock(b.o)
    b.slow(b.o3, t)


@reports(kinds.NOT_NESTED)
def spin_nest_unlocked(b: Bench) -> None:
    b.task.take(b.lockdep.lock_class("A").key(nest=b.cls.mutex), b.site())


@silent
def spin_nest_lock(b: Bench) -> None:
    x, y = b.lockdep.lock_class("X"), b.lockdep.lock_class("Y")
    nested = y.key(nest=x)
    for key in (x.key(), nested, b.a, nested):
        b.task.take(key, b.site())
    for key in (b.a, nested, nested, x.key()):
        b.task.drop(key, b.site())


@reports(kinds.RECURSION)
def context_block(b: Bench) -> None:
    b.lock(b.o, b.begin())
    b.lock(b.o2)


@silent
def context_try(b: Bench) -> None:
    b.lock(b.o, b.begin())
    assert b.trylock(b.o2)
    b.unlock(b.o2)
    b.unlock(b.o)


@silent
def context_context(b: Bench) -> None:
    t = b.begin()
    assert b.lock(b.o, t) is ACQUIRED
    assert b.lock(b.o2, t) is ACQUIRED
    b.unlock(b.o2)
    b.unlock(b.o)


@reports(kinds.RECURSION)
def try_block(b: Bench) -> None:
    assert b.trylock(b.o)
    b.lock(b.o2)


@silent
def try_try(b: Bench) -> None:
    assert b.trylock(b.o)
    assert b.trylock(b.o2)
    b.unlock(b.o2)
    b.unlock(b.o)


@reports(kinds.RECURSION)
def try_context(b: Bench) -> None:
    assert b.trylock(b.o)
    b.lock(b.o2, b.begin())


@reports(kinds.RECURSION)
def block_block(b: Bench) -> None:
    b.lock(b.o)
    b.lock(b.o2)


@silent
def block_try(b: Bench) -> None:
    b.lock(b.o)
    assert b.trylock(b.o2)


@reports(kinds.RECURSION)
def block_context(b: Bench) -> None:
    b.lock(b.o)
    b.lock(b.o2, b.begin())


def spin_inside_and_outside(b: Bench, take: Callable[[], object]) -> None:
    b.spin()
    b.unspin()
    take()
    b.spin()
    b.unspin()
    b.unlock(b.o)
    b.spin()
    take()
    b.unlock(b.o)
    b.unspin()


@reports(kinds.CIRCULAR)
def spin_block(b: Bench) -> None:
    spin_inside_and_outside(b, lambda: b.lock(b.o))


@silent
def spin_try(b: Bench) -> None:
    spin_inside_and_outside(b, lambda: b.trylock(b.o))


@reports(kinds.CIRCULAR)
def spin_context(b: Bench) -> None:
    t = b.begin()
    spin_inside_and_outside(b, lambda: b.lock(b.o, t))


@pytest.mark.parametrize("name", SILENT)
def test_the_case_is_silent(name: str) -> None:
    bench = Bench()
    SILENT[name](bench)
    assert bench.reports == []


@pytest.mark.parametrize("name", REPORTS)
def test_the_case_is_reported(name: str) -> None:
    bench = Bench()
    act, kind = REPORTS[name]
    act(bench)
    assert kind in [report.kind for report in bench.reports]


def test_these_are_the_36_cases_of_the_kernel() -> None:
    assert len(SILENT) + len(REPORTS) == 36
    assert len(REPORTS) == 26


def test_wait_die_the_older_waits_and_the_younger_backs_off() -> None:
    bench = Bench(wait_die=True)
    older, younger = bench.begin(), bench.begin(bench.other)
    assert bench.lock(bench.o, older) is ACQUIRED
    assert bench.lock(bench.o2, younger) is ACQUIRED
    assert bench.lock(bench.o2, older) is WAIT
    assert bench.lock(bench.o, younger) is EDEADLK
    bench.unlock(bench.o2)
    assert bench.ww.granted(bench.o2, older.task, older, "granted") is ACQUIRED
    assert bench.slow(bench.o, younger) is WAIT
    assert bench.reports == []


def test_wait_die_one_that_holds_nothing_waits_however_young() -> None:
    bench = Bench(wait_die=True)
    older, younger = bench.begin(), bench.begin(bench.other)
    bench.lock(bench.o, older)
    assert bench.lock(bench.o, younger) is WAIT


def test_wound_wait_the_older_wounds_the_younger_which_backs_off_at_its_next_collision() -> None:
    bench = Bench(wait_die=False)
    older, younger = bench.begin(), bench.begin(bench.other)
    bench.lock(bench.o, older)
    bench.lock(bench.o2, younger)
    assert bench.lock(bench.o2, older) is WAIT
    assert (older.wounded, younger.wounded) == (False, True)
    assert bench.lock(bench.o, younger) is EDEADLK
    bench.unlock(bench.o2)
    assert bench.slow(bench.o, younger) is WAIT
    assert not younger.wounded
    assert bench.reports == []


def test_wound_wait_the_younger_waits_and_gives_up_if_it_is_wounded_meanwhile() -> None:
    bench = Bench(wait_die=False)
    older, younger = bench.begin(), bench.begin(bench.other)
    bench.lock(bench.o, older)
    bench.lock(bench.o2, younger)
    assert bench.lock(bench.o, younger) is WAIT
    assert not bench.ww.give_up(bench.o, younger, "looks again")
    assert bench.lock(bench.o2, older) is WAIT
    assert bench.ww.give_up(bench.o, younger, "looks again")
    assert [lock.lock for lock in younger.task.chain.held()] == ["ww_lockdep_acquire", "ww_lockdep_mutex"]
    assert bench.reports == []


def test_deadlock_injection_strikes_at_growing_intervals_and_the_slow_path_recovers() -> None:
    bench = Bench()
    mutexes = [WwMutex(bench.cls, f"m{n}") for n in range(40)]
    t = bench.ww.acquire_init(bench.cls, bench.task, "begin", inject=2)
    struck = []
    for count, mutex in enumerate(mutexes):
        if bench.lock(mutex, t) is EDEADLK:
            struck.append(count)
            for held in mutexes:
                if held.context is t:
                    bench.unlock(held)
            assert bench.slow(mutex, t) is ACQUIRED
    # the first of a transaction never collides; the countdown runs 2, 3, 10, 35 collisions-to-be
    assert struck == [3, 7, 18]
    assert t.inject_interval == 35
    assert bench.reports == []


def test_a_thousand_mutexes_of_one_transaction_are_one_entry_of_the_held_locks() -> None:
    bench = Bench()
    t = bench.begin()
    for n in range(1000):
        assert bench.lock(WwMutex(bench.cls, f"m{n}"), t) is ACQUIRED
    assert bench.task.chain.depth == 2
    assert bench.reports == []
