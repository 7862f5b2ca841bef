"""The trie: what was seen before costs a look-up; what comes out of order keeps its place."""

import os
import subprocess
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path

import pytest
from lockdep_flow import Context

from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.chain import Chain
from vtdkit.kernel.checkers.lockdep.keys import (
    EXCLUSIVE,
    HARDIRQS_OFF,
    READ,
    RECURSIVE,
    SOFTIRQS_OFF,
    Taken,
    queued_read,
    unpack,
)
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep


class Counting(Lockdep):
    """Counts how often the slow path is taken."""

    slow = 0

    def acquire(
        self, chain: Chain, irqstate: int, key: int, site: Hashable, sites: Sequence[Hashable] = ()
    ) -> Chain:
        self.slow += 1
        return super().acquire(chain, irqstate, key, site, sites)


def bench(*names: str, kind: str = "plain") -> tuple[list[Report], Lockdep, Context, list[int]]:
    reports: list[Report] = []
    lockdep = Counting(reports.append)
    return reports, lockdep, Context(lockdep), [lockdep.lock_class(name, kind=kind).key() for name in names]


def held(context: Context) -> list[str]:
    return [lock.lock for lock in context.chain.held()]


def test_a_chain_that_was_seen_takes_no_slow_path_again() -> None:
    reports, lockdep, task, (a, b, c) = bench("a", "b", "c")
    for _ in range(1000):
        for key in (a, b, c):
            task.take(key, "take")
        for key in (c, b, a):
            task.drop(key, "drop")
    assert lockdep.slow == 3
    assert task.chain is lockdep.root("task")
    assert reports == []


def test_the_interrupt_state_is_part_of_what_was_seen() -> None:
    _, lockdep, task, (a,) = bench("a")
    for irqstate in (0, HARDIRQS_OFF, SOFTIRQS_OFF, HARDIRQS_OFF | SOFTIRQS_OFF) * 2:
        task.set_irqs(irqstate, "switch")
        task.take(a, "take")
        task.drop(a, "drop")
    assert lockdep.slow == 4
    assert len(lockdep.root("task").children) == 1


def test_the_hot_path_of_the_caller_is_two_dictionary_steps() -> None:
    _, lockdep, _, (a, b) = bench("a", "b")
    root = lockdep.root("task")
    outer = lockdep.acquire(root, 0, a, "here")
    inner = lockdep.acquire(outer, 0, b, "there")
    assert root.next[0][a] is outer
    assert root.next[0][a].next[0][b] is inner
    assert (inner.key, inner.parent, outer.parent, root.parent) == (b, outer, root, None)
    assert root.key not in (a, b)
    assert root.next[1] == {}


def test_a_lock_let_go_out_of_order_leaves_the_others_in_place() -> None:
    reports, _, task, (a, b, c) = bench("a", "b", "c")
    for key in (a, b, c):
        task.take(key, f"takes {key}")
    task.drop(a, "drop")
    assert held(task) == ["b", "c"]
    assert task.sites == [f"takes {b}", f"takes {c}"]
    task.drop(c, "drop")
    task.drop(b, "drop")
    assert held(task) == []
    assert reports == []


def test_letting_go_out_of_order_teaches_the_order_that_remains() -> None:
    _, lockdep, task, (a, b, c) = bench("a", "b", "c")
    for key in (a, b, c):
        task.take(key, "take")
    assert [(edge.prev, edge.next) for edge in lockdep.edges()] == [("a", "b"), ("b", "c")]
    task.drop(b, "drop")
    assert [(edge.prev, edge.next) for edge in lockdep.edges()] == [("a", "b"), ("b", "c"), ("a", "c")]


def test_of_two_equal_locks_the_inner_one_is_let_go() -> None:
    _, lockdep, task, _ = bench()
    x, y = lockdep.lock_class("x", kind="rwlock"), lockdep.lock_class("y", kind="rwlock")
    for key in (x.key(RECURSIVE), y.key(RECURSIVE), x.key(RECURSIVE)):
        task.take(key, "take")
    task.drop(x.key(RECURSIVE), "drop")
    assert held(task) == ["x", "y"]


def test_an_interrupt_starts_empty_and_learns_no_order_from_what_it_interrupted() -> None:
    reports, lockdep, task, (a, b) = bench("a", "b")
    task.take(a, "task")
    interrupt = Context(lockdep, "hardirq")
    assert interrupt.irqstate == HARDIRQS_OFF
    interrupt.take(b, "interrupt")
    assert lockdep.edges() == ()
    assert reports == []


def test_a_soft_interrupt_may_be_interrupted_by_a_hard_one_but_not_by_its_own_sort() -> None:
    reports, lockdep, _, (a,) = bench("a")
    Context(lockdep, "softirq").take(a, "softirq")
    assert set(lockdep.classes()[0].uses()) == {"HARDIRQ-ON-W", "IN-SOFTIRQ-W", "USED"}
    assert reports == []


def test_interrupts_that_come_on_are_looked_at_once_for_each_chain_and_state() -> None:
    reports, lockdep, task, (a,) = bench("a")
    task.set_irqs(HARDIRQS_OFF | SOFTIRQS_OFF, "off")
    task.take(a, "take")
    assert set(lockdep.classes()[0].uses()) == {"USED"}
    for state, seen, uses in (
        (HARDIRQS_OFF, 0, {"USED"}),
        (SOFTIRQS_OFF, 1 << SOFTIRQS_OFF, {"USED", "HARDIRQ-ON-W"}),
        (0, 1 << SOFTIRQS_OFF | 1, {"USED", "HARDIRQ-ON-W", "SOFTIRQ-ON-W"}),
    ):
        lockdep.irqs_on(task.chain, state, "on")
        assert task.chain.irqs_seen == seen
        assert set(lockdep.classes()[0].uses()) == uses
    assert reports == []


def test_a_trylock_that_is_held_does_not_hide_the_order_behind_it() -> None:
    reports, lockdep, task, _ = bench()
    a, b, c = (lockdep.lock_class(name, kind="plain") for name in "abc")
    for key in (a.key(), b.key(trylock=True), c.key()):
        task.take(key, "take")
    assert [(edge.prev, edge.next) for edge in lockdep.edges()] == [("b", "c"), ("a", "c")]
    assert reports == []


def test_a_trylock_may_come_in_any_order_and_in_any_context() -> None:
    reports, lockdep, task, _ = bench()
    spin, mutex = lockdep.lock_class("spin"), lockdep.lock_class("mutex", kind="mutex")
    task.take(mutex.key(), "first")
    task.take(spin.key(), "first")
    task.drop(spin.key(), "first")
    task.drop(mutex.key(), "first")
    task.take(spin.key(), "second")
    task.take(mutex.key(trylock=True), "second")
    interrupt = Context(lockdep, "hardirq")
    interrupt.take(spin.key(trylock=True), "interrupt")
    assert reports == []


def test_more_than_47_locks_at_once_are_too_many() -> None:
    reports, lockdep, task, _ = bench()
    for n in range(47):
        task.take(lockdep.lock_class(f"c{n}", kind="plain").key(), n)
    assert reports == []
    task.take(lockdep.lock_class("one more", kind="plain").key(), 47)
    assert [report.kind for report in reports] == [kinds.TOO_DEEP]


def test_a_key_says_which_class_and_how_and_nothing_else() -> None:
    _, lockdep, _, _ = bench(*map(str, range(9)))
    for taken in (
        Taken(0, EXCLUSIVE, False),
        Taken(8, RECURSIVE, True),
        Taken(7, READ, False),
    ):
        lock = lockdep.classes()[taken.class_id]
        assert unpack(lock.key(taken.read, trylock=taken.trylock)) == taken


def test_queued_readers_recurse_where_the_kernel_counts_as_in_interrupt() -> None:
    assert queued_read(False, 0) == READ
    assert queued_read(False, HARDIRQS_OFF) == READ
    assert queued_read(False, SOFTIRQS_OFF) == RECURSIVE
    assert queued_read(True, HARDIRQS_OFF) == RECURSIVE


def test_unknown_contexts_and_impossible_classes_are_refused_in_words() -> None:
    _, lockdep, _, _ = bench("a")
    with pytest.raises(ValueError, match="unknown kind of context 'nmi'; known: task"):
        lockdep.root("nmi")
    with pytest.raises(ValueError, match=r"unknown kind of lock 'futex' for class 'b'"):
        lockdep.lock_class("b", kind="futex")
    with pytest.raises(ValueError, match=r"subclass of 'a' must be 0\.\.7, not 8"):
        lockdep.lock_class("a", subclass=8, kind="plain")
    with pytest.raises(ValueError, match="lock class 'a' exists as plain, not mutex"):
        lockdep.lock_class("a", kind="mutex")


def test_the_validator_has_room_for_8192_classes_as_the_kernel_has() -> None:
    lockdep = Lockdep(print)
    last = [lockdep.lock_class(f"c{n}") for n in range(8192)][-1]
    assert last.id == 8191
    assert unpack(last.key(READ)).class_id == 8191
    with pytest.raises(ValueError, match="no room for class 'one more': 8192 exist"):
        lockdep.lock_class("one more")


def test_a_class_is_made_once_and_its_subclasses_are_classes_of_their_own() -> None:
    lockdep = Lockdep(print)
    plain, nested = lockdep.lock_class("lock"), lockdep.lock_class("lock", subclass=1)
    assert lockdep.lock_class("lock") is plain
    assert (plain.id, plain.name, nested.id, nested.name) == (0, "lock", 1, "lock/1")


PROGRAM = """
import lockdep_cases, lockdep_player
for case in lockdep_cases.CASES:
    player = lockdep_player.Player(queued=case.kind == "queued")
    for report in player.play(case.steps):
        print(case.id, "<Report", report, report.sites, report.usage)
    print(player.lockdep.edges(), [(lock.name, lock.uses()) for lock in player.lockdep.classes()])
"""


def test_two_hash_seeds_give_the_same_text() -> None:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[2])])
    texts = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert texts[0].count("<Report ") == 247
