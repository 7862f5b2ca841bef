"""Small random programs over every primitive: explored, in every order, at random, simulated, all say the
same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.kernel.explored.generated import (
    CPUS,
    PAIRS,
    Differs,
    Effort,
    Program,
    TooMany,
    compare,
    generate,
    met,
)
from tests.kernel.explored.soundness import table
from vtdkit.kernel.checkers.checks import Checks
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explored.locations import LIFE, Locations
from vtdkit.kernel.explored.machine import ExploredMachine
from vtdkit.kernel.explored.pages import XPage
from vtdkit.kernel.explored.parts import XChecks
from vtdkit.kernel.explored.points import Doing
from vtdkit.kernel.explored.process import Process
from vtdkit.kernel.explored.touching import Touching
from vtdkit.kernel.explored.watch import NotAStep
from vtdkit.kernel.explorer import footprint as footprints
from vtdkit.kernel.explorer import races
from vtdkit.kernel.explorer.footprint import Footprint, Place
from vtdkit.kernel.explorer.path import Event, Path
from vtdkit.kernel.explorer.system import ACQUIRE, READ, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT, WRITE

PROGRAMS, SIZE = 500, 3
EFFORT = Effort(limit=80, runs=6, beside=6, simulations=2, most=400)
HARDER = replace(EFFORT, simulations=20)


@pytest.mark.parametrize("part", range(10))
def test_all_ways_to_run_a_program_agree(part: int) -> None:
    cut = 0
    for seed in range(part, PROGRAMS, 10):
        try:
            compare(generate(seed, SIZE), EFFORT)
        except TooMany:
            cut += 1
    assert cut <= PROGRAMS / 100


def test_every_pair_of_primitives_is_generated() -> None:
    """In these 500 every primitive with every other one: the table says how often."""
    pairs = Counter(pair for seed in range(PROGRAMS) for pair in met(generate(seed, SIZE)))
    assert not [pair for pair in PAIRS if not pairs[pair]], "\n".join(table(pairs))


# -- the test itself: an explorer with one rule less is found out ------------

Drop = Callable[[pytest.MonkeyPatch], None]


def _blind(first: int, second: int) -> Drop:
    """Accesses of these two kinds to one location do not conflict."""

    def drop(patch: pytest.MonkeyPatch) -> None:
        group = {READ: 0, WAIT: 0, SHARED_ACQUIRE: 1, SHARED_RELEASE: 1}
        one, two = group.get(first, 2), group.get(second, 2)
        made = Footprint.__init__

        def init(self: Footprint, accesses: object, places: object) -> None:
            made(self, accesses, places)  # type: ignore[arg-type]
            for place in self.places:
                for mine, other in ((one, two), (two, one)):
                    if place.group == mine:
                        self.clash &= ~(1 << 3 * place.number + other)

        patch.setattr(Footprint, "__init__", init)

    return drop


def _unnoted(method: str) -> Drop:
    """One of the ways in which what a step touches is noted is left out."""
    return lambda patch: patch.setattr(Touching, method, lambda *_: False)


def _gates(patch: pytest.MonkeyPatch) -> None:
    passes = ExploredMachine._pass_gates

    def unsaid(self: ExploredMachine, process: Process) -> None:
        before = len(self.touched)
        passes(self, process)
        del self.touched[before:]

    patch.setattr(ExploredMachine, "_pass_gates", unsaid)


def _waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(footprints, "WAITING_KINDS", frozenset())


def _arrival(patch: pytest.MonkeyPatch) -> None:
    looks, spins = Touching.looks, Touching.spins

    def early(machine: Touching, process: Process, accesses: Any) -> bool:
        looks(machine, accesses)
        last = process.looks.pop()  # of looks that were taken before this one
        found = spins(machine, process, accesses)
        process.looks.append(last)
        return found

    patch.setattr(Touching, "looks", lambda *_: None)
    patch.setattr(Touching, "spins", early)


def _shut_out(patch: pytest.MonkeyPatch) -> None:
    """Who waits for a change of a lock is thought to wait until it is free."""
    right = races._word_verdict

    def verdict(path: Path, late: Event, place: Place, start: int, rest: int, limit: int) -> int:
        if races.holder_of(path, place, start, rest) is not None:
            return races.IMPOSSIBLE
        return right(path, late, place, start, rest, limit)

    patch.setattr(races, "_word_verdict", verdict)


#: rule → how to drop it, and the threads of a program that shows it
RULES: dict[str, tuple[Drop, tuple[tuple[str, ...], ...]]] = {
    "a look and a change": (_blind(READ, WRITE), (("rwsem_read",), ("rwsem_read", "raw_plain"))),
    "two changes": (_blind(WRITE, ACQUIRE), (("rcu_expedited", "rcu_read"), ("spin_bh",))),
    "a shared hold and a change": (
        _blind(SHARED_ACQUIRE, RELEASE),
        (("rwlock_read_irq",), ("rwlock_write_irq",)),
    ),
    "a look and a shared hold": (_blind(READ, SHARED_ACQUIRE), (("rwlock_read",), ("rwlock_look",))),
    "a plain look belongs to its step": (_unnoted("once"), (("irq_look", "done_look"), ("irq_fire",))),
    "a plain look after others could come in is a step": (
        _unnoted("must_stop"),
        (("atomic_load", "page_look"), ("atomic_add", "page_cmpxchg")),
    ),
    "a plain access that races is a step": (
        lambda patch: patch.setattr(Locations, "races", lambda *_: None),
        (("atomic_store", "list_add_tail"), ("atomic_load", "users_get", "list_look")),
    ),
    "one interrupt or thread at a time on a CPU": (_gates, (("irq_off",), ("softirq_raise", "bh_off"))),
    "what a step sets off or tells others may free what it looked at before": (
        lambda patch: patch.setattr(
            ExploredMachine, "told", property(lambda _: False, lambda *_: None), raising=False
        ),
        (("page_copy",), ("page_free_seen",)),
    ),
    "a plain access that races with a free is a step": (
        lambda patch: patch.setattr(XChecks, "object_freed", Checks.object_freed),
        (("field_release", "field_bare"), ("thing_free_seen",)),
    ),
    "who waits for a word waits for the end of its page": (
        lambda patch: patch.setattr(
            XPage,
            "_point",
            lambda page, index, kind, words, ready=None: page.machine.stop(
                ((page.base + index, kind), (page.base + LIFE, READ)), Doing(words, page, index), ready
            ),
        ),
        (("page_copy",), ("page_free_rcu", "page_relax")),
    ),
    "who waits is let go by somebody": (_waits, (("raw_plain",), ("raw_plain",))),
    "a thread that stands before a look has not looked yet": (
        _arrival,
        (("seq_write", "spin_and_give_up"), ("seq_read", "spin_by_hand")),
    ),
    "a lock shuts out who takes it, not who spins on it": (
        _shut_out,
        (("mutex_try", "spin_by_hand"), ("mutex_try", "mutex_plain")),
    ),
    "who spins waits": (_unnoted("spins"), (("preempt_off",), ("spin_by_hand",))),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_explorer_without_a_rule_is_found_out(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drop, threads = RULES[rule]
    cpus = (0, 0) if "CPU" in rule else (0, 1)
    program = Program(0, tuple(zip(cpus, threads, strict=True)))
    compare(program, HARDER)
    drop(monkeypatch)
    with pytest.raises((Differs, NotAStep, ValueError)):
        compare(program, HARDER)


def test_an_explorer_without_the_rule_that_a_lock_keeps_others_off_its_cpu_tells_of_a_deadlock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All ways to run ask one machine who has a CPU: that nobody waits there for ever is known otherwise."""
    threads = ("raw_over_spin", "spin_over_raw"), ("spin_try", "raw_plain")
    program = Program(0, tuple((0, operations) for operations in threads))
    assert not explore(program.on, cpus=CPUS).of("deadlock")
    _unnoted("keeps_its_cpu")(monkeypatch)
    assert explore(program.on, cpus=CPUS).of("deadlock")


def test_what_comes_after_the_last_look_of_who_spins_does_not_tell_whether_it_gives_up() -> None:
    """It is in no order with where the thread stands: some orders of one class would tell so, others not. The
    enumerator, which runs others of them, met a location more (`Grew`)."""
    first, second = ("atomic_cmpxchg", "spin_and_give_up", "spin_by_hand"), ("atomic_look", "spin_by_hand")
    compare(Program(0, ((0, first), (1, second))), HARDER)
